"""A connection through an HTTP proxy, by its method CONNECT (RFC 9110, section 9.3.6).

aiohttp asks a proxy for a tunnel only where TLS goes through it, sends ws:// as a request for a
page, which few proxies make a WebSocket of, and knows no `all_proxy`.  RFC 6455 (section 4.1) wants
a tunnel for both, so the connection is made here and handed to aiohttp as one of its own.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.client_proto import ResponseHandler

from shared.errors import SignalingUnreachable
from signaling.proxy import Proxy

if TYPE_CHECKING:
    from aiohttp.client import ClientTimeout
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.tracing import Trace

__all__ = ["ProxyFailed", "TunnelConnector"]

MAX_HEAD_BYTES = 16_384  # of a proxy's answer; a page of text comes after it, which nobody reads

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: |$)")


class ProxyFailed(SignalingUnreachable):
    """The proxy is in the way, not the server."""


class TunnelConnector(aiohttp.BaseConnector):
    """Every connection is a tunnel through `proxy`, which has to open it in `open_within_s`.

    `tls` is for the server behind it, None for the system's.  A connection that can't be made
    raises `ProxyFailed`, or what TLS with the server raises.
    """

    def __init__(self, proxy: Proxy, *, tls: ssl.SSLContext | None, open_within_s: float) -> None:
        super().__init__(force_close=True)
        self._proxy = proxy
        self._tls = tls
        self._open_within_s = open_within_s

    async def _create_connection(
        self,
        req: ClientRequest,
        traces: list[Trace],  # noqa: ARG002 -- aiohttp's signature
        timeout: ClientTimeout,  # noqa: ARG002
    ) -> ResponseHandler:
        # The one method that a connector has to bring, as aiohttp's own for Unix sockets does.
        host, port = req.url.raw_host, req.url.port
        assert host is not None  # noqa: S101 -- `parse_url` has seen to it
        assert port is not None  # noqa: S101
        transport = await _open_tunnel(self._proxy, host, port, within_s=self._open_within_s)
        handler: ResponseHandler = self._factory()
        try:
            if req.url.scheme in ("https", "wss"):
                context = self._tls or ssl.create_default_context()
                transport = await _start_tls(transport, handler, context, host)
            else:
                transport.set_protocol(handler)
            handler.connection_made(transport)
        except ssl.SSLCertVerificationError as error:
            raise aiohttp.ClientConnectorCertificateError(req.connection_key, error) from error
        except ssl.SSLError as error:
            raise aiohttp.ClientConnectorSSLError(req.connection_key, error) from error
        except BaseException:
            transport.abort()
            raise
        return handler


async def _start_tls(
    transport: asyncio.Transport, handler: asyncio.Protocol, context: ssl.SSLContext, host: str
) -> asyncio.Transport:
    loop = asyncio.get_running_loop()
    encrypted = await loop.start_tls(transport, handler, context, server_hostname=host.rstrip("."))
    if encrypted is None:
        raise ConnectionError("the connection was closed during the TLS handshake")
    return encrypted


async def _open_tunnel(proxy: Proxy, host: str, port: int, *, within_s: float) -> asyncio.Transport:
    """Connect to the proxy and have it connect to the server.  Raises `ProxyFailed`."""
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        async with asyncio.timeout(within_s):
            transport, answer = await asyncio.get_running_loop().create_connection(
                _Answer, proxy.host, proxy.port, ssl=proxy.tls or None
            )
            try:
                transport.write(_request(target, proxy.authorization))
                _check(proxy, target, await answer.head)
            except BaseException:
                transport.abort()
                raise
            return transport
    except TimeoutError:
        what = "does not answer"
    except ssl.SSLCertVerificationError:
        what = "shows a certificate that is not trusted"
    except ssl.SSLError:
        what = "does not speak TLS"
    except socket.gaierror:
        what = "has no address: the name is not known"
    except _NotAnswered as error:
        what = str(error)
    except (OSError, UnicodeError):  # UnicodeError: a name that DNS can't have
        what = "can't be reached"
    raise _failed(proxy, what) from None


def _request(target: str, authorization: str | None) -> bytes:
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if authorization is not None:
        lines.append(f"Proxy-Authorization: {authorization}")
    return "\r\n".join((*lines, "", "")).encode()


def _check(proxy: Proxy, target: str, head: bytes) -> None:
    """Raises `ProxyFailed` unless the proxy's answer says that the tunnel is open."""
    matched = _STATUS_LINE.match(head.partition(b"\r\n")[0])
    if matched is None:
        raise _failed(proxy, "does not speak HTTP")
    status = int(matched[1])
    if 200 <= status < 300:
        return
    if status == 407 and proxy.authorization is None:
        what = "asks for credentials (407)"
        hint = f"name them with it: {proxy.named_by} as http://USER:PASSWORD@{proxy.where}"
    elif status == 407:
        what = "does not accept the credentials (407)"
        hint = f"check user name and password in {proxy.named_by}"
    elif status == 403:
        what = f"refuses to connect to {target} (403)"
        hint = "ask those who run it; many proxies let connections to port 443 alone through"
    else:
        what, hint = f"does not connect to {target}: it answers {status}", ""
    raise _failed(proxy, what, hint=hint)


def _failed(proxy: Proxy, what: str, *, hint: str = "") -> ProxyFailed:
    return ProxyFailed(
        f"the proxy at {proxy.where} {what}",
        hint=hint or f"check {proxy.named_by}; --proxy none goes without a proxy",
    )


class _NotAnswered(ConnectionError):
    """The proxy ended the connection, or said more than an answer has."""


class _Answer(asyncio.Protocol):
    """Reads the head of the proxy's answer.

    The server speaks no word before the client, so nothing that belongs to it can come after.
    """

    def __init__(self) -> None:
        self.head: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._received = bytearray()

    def data_received(self, data: bytes) -> None:
        if self.head.done():
            return
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end >= 0:
            self.head.set_result(bytes(self._received[:end]))
        elif len(self._received) > MAX_HEAD_BYTES:
            self.head.set_exception(_NotAnswered("does not speak HTTP"))

    def connection_lost(self, _exc: Exception | None) -> None:
        if not self.head.done():
            said = "does not speak HTTP" if self._received else "closes the connection"
            self.head.set_exception(_NotAnswered(said))
