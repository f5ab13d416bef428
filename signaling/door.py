"""The TCP connections of the server before and after they carry a WebSocket.

The web server behind it neither counts connections nor minds one on which no request ever ends.
This does both: it cuts what is over the limit at once, and what carries no WebSocket in time.  It
says nothing to whom it cuts, so it lets in twice as many as the server grants: those hear why.

Not counted is a TLS handshake, which ends in time or fails.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import cast

from signaling.address import origin_of
from signaling.limits import Limits

__all__ = ["Door"]

_NS_PER_S = 1_000_000_000


class Door:
    """`clock_ns` is the time by which connections expire."""

    def __init__(self, limits: Limits, *, clock_ns: Callable[[], int]) -> None:
        self._limits = limits
        self._clock_ns = clock_ns
        # Since when each connection carries no WebSocket; None while it does.
        self._waiting_since_ns: dict[asyncio.BaseTransport, int | None] = {}
        self._origins: dict[asyncio.BaseTransport, str] = {}  # one that is closed has none to tell
        self._of_origin: Counter[str] = Counter()

    def protocol(self, inside: Callable[[], asyncio.Protocol]) -> asyncio.Protocol:
        """A connection that is handed on to a protocol that `inside` makes, if it is let in."""
        return _Visitor(self, inside)

    @contextlib.contextmanager
    def serving(self, transport: asyncio.BaseTransport | None) -> Iterator[None]:
        """A WebSocket is open on `transport` until the block ends."""
        self._set(transport, None)
        try:
            yield
        finally:
            self._set(transport, self._clock_ns())

    def expire(self, now_ns: int) -> None:
        """Cut what has carried no WebSocket for as long as a hello may take."""
        late_ns = now_ns - round(self._limits.hello_s * _NS_PER_S)
        for transport, since_ns in list(self._waiting_since_ns.items()):
            if since_ns is not None and since_ns <= late_ns:
                cast(asyncio.Transport, transport).abort()

    def enter(self, transport: asyncio.BaseTransport) -> bool:
        """Count the connection in, if it may stay."""
        peer = transport.get_extra_info("peername")
        origin = origin_of(str(peer[0]) if peer else "")
        if (
            len(self._waiting_since_ns) >= 2 * self._limits.connections
            or self._of_origin[origin] >= 2 * self._limits.connections_per_address
        ):
            return False
        self._waiting_since_ns[transport] = self._clock_ns()
        self._origins[transport] = origin
        self._of_origin[origin] += 1
        return True

    def leave(self, transport: asyncio.BaseTransport) -> None:
        """The connection is gone."""
        del self._waiting_since_ns[transport]
        origin = self._origins.pop(transport)
        self._of_origin[origin] -= 1
        if not self._of_origin[origin]:
            del self._of_origin[origin]

    def _set(self, transport: asyncio.BaseTransport | None, since_ns: int | None) -> None:
        if transport is not None and transport in self._waiting_since_ns:
            self._waiting_since_ns[transport] = since_ns


class _Visitor(asyncio.Protocol):
    """Passes what happens on a connection on, once the door lets it in."""

    def __init__(self, door: Door, inside: Callable[[], asyncio.Protocol]) -> None:
        self._door = door
        self._make_inside = inside
        self._inside: asyncio.Protocol = asyncio.Protocol()  # does nothing
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not self._door.enter(transport):
            cast(asyncio.Transport, transport).abort()
            return
        self._transport = transport
        self._inside = self._make_inside()
        self._inside.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._door.leave(self._transport)
        self._inside.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._inside.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inside.eof_received()

    def pause_writing(self) -> None:
        self._inside.pause_writing()

    def resume_writing(self) -> None:
        self._inside.resume_writing()
