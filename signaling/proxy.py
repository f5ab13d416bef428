"""Which HTTP proxy, if any, leads to a signaling server: an option, or the usual variables.

Pure: the environment is a parameter.  The variables are those of curl and of most programs,
`http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`, in small letters before capitals.  A proxy
may be named with a user and a password, so that neither its text nor a `repr` is ever to be shown.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from shared.errors import BadInput

__all__ = ["NO_PROXY", "Proxy", "proxy_for"]

NO_PROXY = "none"
"""Given as the option, no proxy is used, whatever the variables say."""

# A tunnel carries ws:// as it carries wss://, so where only https_proxy is set, it serves both; a
# proxy that is named for unencrypted pages alone need not tunnel, so http_proxy serves one.
_VARIABLES = {
    "ws": ("ws_proxy", "http_proxy", "https_proxy", "all_proxy"),
    "wss": ("wss_proxy", "https_proxy", "all_proxy"),
}
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy; `tls`: it is spoken to by TLS itself, whatever goes through it."""

    host: str
    port: int
    named_by: str
    """The option or variable that a person has to change."""
    tls: bool = False
    authorization: str | None = field(default=None, repr=False)
    """What the header Proxy-Authorization says (RFC 7617)."""

    @property
    def where(self) -> str:
        """Host and port, for people."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def proxy_for(url: str, option: str | None, environment: Mapping[str, str]) -> Proxy | None:
    """The proxy that leads to the ws:// or wss:// `url`, or None to go without.

    `option` is the URL of one, or `none`; where it is None the variables of `environment` are
    looked at, which never lead to a server on this machine.

    Raises:
        BadInput: what should name the proxy does not.
    """
    if option is not None:
        return None if option.strip().lower() == NO_PROXY else _parse(option, "--proxy")
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "wss" else 80)
    for name in _VARIABLES[parts.scheme]:
        variable = _variable(name, environment)
        if variable is not None and environment[variable].strip():
            if _is_local(host) or _is_exempt(host, port, environment):
                return None
            return _parse(environment[variable], variable)
    return None


def _variable(name: str, environment: Mapping[str, str]) -> str | None:
    """Which spelling is set; one in small letters that is empty hides the one in capitals."""
    if name in environment:
        return name
    if name == "http_proxy" and "REQUEST_METHOD" in environment:
        return None  # in a CGI program, HTTP_PROXY is a header that the client chose (httpoxy)
    return name.upper() if name.upper() in environment else None


def _is_local(host: str) -> bool:
    address = _address(host)
    if address is not None:
        return address.is_loopback
    return host == "localhost" or host.endswith(".localhost")


def _is_exempt(host: str, port: int, environment: Mapping[str, str]) -> bool:
    """Whether `no_proxy` names the host: itself, a domain above it, a network that it is in, `*`.

    An entry may end in a port, and then is of that one alone.
    """
    variable = _variable("no_proxy", environment)
    listed = "" if variable is None else environment[variable]
    address = _address(host)
    for entry in listed.replace(",", " ").lower().split():
        if entry == "*":
            return True
        for named, of_port in _readings(entry):
            if of_port not in (None, port):
                continue
            if address is not None:
                try:
                    network = ipaddress.ip_network(named, strict=False)
                except ValueError:
                    continue
                if address in network:
                    return True
            else:
                domain = named.removeprefix("*").strip(".")
                if domain and f".{host.rstrip('.')}".endswith(f".{domain}"):
                    return True
    return False


def _readings(entry: str) -> Iterator[tuple[str, int | None]]:
    """An entry of `no_proxy` as a host alone, and as a host and a port."""
    yield entry.strip("[]"), None
    named, colon, port = entry.rpartition(":")
    if colon and port.isascii() and port.isdigit() and (":" not in named or named.endswith("]")):
        yield named.strip("[]"), int(port)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return address if mapped is None else mapped


def _parse(text: str, named_by: str) -> Proxy:
    text = text.strip()
    bad = BadInput(
        f"{named_by} does not name an HTTP proxy",
        hint="it looks like http://proxy.example.org:3128, or http://USER:PASSWORD@…; "
        "--proxy none goes without one",
    )
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise bad from None
    if parts.scheme not in _DEFAULT_PORTS or not host or port == 0 or not text.isprintable():
        raise bad
    if " " in text or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise bad
    authorization = None
    if parts.username is not None:
        user, password = unquote(parts.username), unquote(parts.password or "")
        if ":" in user:  # which RFC 7617 has no way to write
            raise bad
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        authorization = f"Basic {token}"
    return Proxy(
        host,
        port or _DEFAULT_PORTS[parts.scheme],
        named_by,
        tls=parts.scheme == "https",
        authorization=authorization,
    )
