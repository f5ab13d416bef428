"""The sockets that a server listens on: of one address or several, of IPv4, IPv6 or both."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack

from shared.errors import BadInput

__all__ = ["addresses_of", "bound_sockets"]

ANY_IPV4 = "0.0.0.0"  # noqa: S104 -- compared with, and bound to where a person says so
ANY_IPV6 = "::"
TRIES = 20  # to find one port that is free at several addresses

_Where = tuple[str, socket.AddressFamily, tuple[object, ...]]
"""The host as it was given, and what it resolves to."""


async def bound_sockets(hosts: Sequence[str], port: int) -> list[socket.socket]:
    """Sockets bound to `port` at each of `hosts`, which the caller has to close.

    `::` is bound for IPv4 as well, so that what it covers needs no socket of its own.  Port 0 takes
    one that is free at all of them.

    Raises:
        BadInput: one of them can't be bound; none stays bound then.
    """
    places = _without_covered([place for host in hosts for place in await _resolved(host, port)])
    for tries_left in range(TRIES if port == 0 else 1, 0, -1):
        try:
            return _bound(places, port)
        except _TakenMeanwhile as taken:
            if tries_left == 1:
                raise taken.told from None
    raise AssertionError("unreachable")


def addresses_of(sock: socket.socket) -> list[tuple[str, int]]:
    """Where a bound socket is reached, as host and port: two for one that serves both families."""
    name = sock.getsockname()
    host, _ = socket.getnameinfo(name, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
    port = int(name[1])
    if host == ANY_IPV6 and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
        return [(host, port), (ANY_IPV4, port)]
    return [(host, port)]


async def _resolved(host: str, port: int) -> list[_Where]:
    if not host.strip():
        raise BadInput("--host names no address", hint=_HINT)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host.strip().strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        raise _cannot_listen(host, port, error) from None
    places: list[_Where] = [(host, family, tuple(address)) for family, _, _, _, address in found]
    for _, family, address in places:
        if family == socket.AF_INET6 and str(address[0]).startswith("fe80:") and not address[3]:
            raise BadInput(
                f"{host} is an address of one network link, and which one is not said",
                hint="write it with its interface, such as fe80::1%eth0",
            )
    return places


def _without_covered(places: list[_Where]) -> list[_Where]:
    """Each place once, and none that a socket for every address serves already."""
    all_of = {address[0] for _, _, address in places} & {ANY_IPV4, ANY_IPV6}
    kept: dict[tuple[object, ...], _Where] = {}
    for place in places:
        _, family, address = place
        by_ipv6 = ANY_IPV6 in all_of and address[0] != ANY_IPV6
        by_ipv4 = ANY_IPV4 in all_of and family == socket.AF_INET and address[0] != ANY_IPV4
        if not (by_ipv6 or by_ipv4):
            kept.setdefault(address, place)
    return list(kept.values())


class _TakenMeanwhile(Exception):
    """The port that was free at the first address is not free at another one."""

    def __init__(self, told: BadInput) -> None:
        super().__init__(told)
        self.told = told


def _bound(places: list[_Where], port: int) -> list[socket.socket]:
    asked_for = port
    of_name = {host: sum(place[0] == host for place in places) for host, _, _ in places}
    sockets: list[socket.socket] = []
    with ExitStack() as made:
        for host, family, address in places:
            try:
                sock = made.enter_context(socket.socket(family, socket.SOCK_STREAM))
                if os.name == "posix" and sys.platform != "cygwin":
                    # A server that was restarted does not wait for its old connections to end.
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    sock.setsockopt(
                        socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address[0] != ANY_IPV6)
                    )
                sock.bind((address[0], port, *address[2:]))
            except OSError as error:
                in_use = error.errno == errno.EADDRINUSE
                failure = _cannot_listen(host, port if in_use else asked_for, error)
                # Of a name with several addresses those of a family that is switched off are
                # passed over, as long as there is another one.
                absent = error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
                if absent and of_name[host] > 1:
                    of_name[host] -= 1
                    continue
                if in_use and sockets and asked_for == 0:
                    raise _TakenMeanwhile(failure) from None
                raise failure from None
            sockets.append(sock)
            port = port or int(sock.getsockname()[1])
        made.pop_all()
    return sockets


_HINT = "--host takes an address of this machine, such as 127.0.0.1, 0.0.0.0 or ::"


def _cannot_listen(host: str, port: int, error: OSError | UnicodeError) -> BadInput:
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EADDRINUSE:
        return BadInput(
            f"port {port} on {host} is in use",
            hint="stop what uses it, or choose another with --port; --port 0 takes any free one",
        )
    if number == errno.EACCES:
        return BadInput(
            f"this user may not listen on {where}", hint="choose a --port of 1024 or above"
        )
    if number == errno.EAFNOSUPPORT:
        return BadInput(f"can't listen on {where}: this machine has no IPv6", hint=_HINT)
    if isinstance(error, socket.gaierror) or number is None:
        reason = "no such address"
    else:  # the error's own text repeats the address
        reason = os.strerror(number).lower()
    return BadInput(f"can't listen on {where}: {reason}", hint=_HINT)
