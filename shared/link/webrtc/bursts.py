"""Datagrams of one burst in as few system calls as the kernel takes them, whole or in pieces.

Linux cuts one large send into datagrams of one size itself (UDP_SEGMENT, since 4.18): a frame's
packets then cost one system call and one way through the network stack instead of thirty, and
nothing gets between them.  Where that is not to be had they leave one by one, as anywhere else.

A datagram that is larger than the path takes is cut by IP unless it forbids that.  For the search
of a path's size it must (RFC 8899 section 3): then such a datagram is lost, here or on the way.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import sys
from collections.abc import Sequence
from itertools import groupby
from typing import Any, cast

__all__ = ["Bursts"]

_UDP_SEGMENT = 103  # linux/udp.h, an option of level IPPROTO_UDP
_MOST_SEGMENTS = 64  # UDP_MAX_SEGMENTS; newer kernels take twice that
_MOST_BYTES = 65_000  # of one send: what a UDP datagram may hold
# An old kernel, or a device that can't; anything else may pass.
_NEVER = (errno.ENOPROTOOPT, errno.EOPNOTSUPP, errno.EIO)
# What the kernel says of segments that its own device does not take in one piece.
_TOO_LARGE = (errno.EINVAL, errno.EMSGSIZE)

# By system and family: level and option, its value for datagrams that nobody cuts, and the usual.
# Linux's 3 is IP_PMTUDISC_PROBE: it sets DF and goes by no size that an ICMP message named, which
# anybody may send; 1 (WANT) cuts what is larger than that.
_WHOLE: dict[tuple[str, socket.AddressFamily], tuple[int, int, int, int]] = {
    ("linux", socket.AF_INET): (socket.IPPROTO_IP, 10, 3, 1),
    ("linux", socket.AF_INET6): (socket.IPPROTO_IPV6, 23, 3, 1),
    ("darwin", socket.AF_INET): (socket.IPPROTO_IP, 28, 1, 0),
    ("darwin", socket.AF_INET6): (socket.IPPROTO_IPV6, 62, 1, 0),
    ("win32", socket.AF_INET): (socket.IPPROTO_IP, 14, 1, 0),
    ("win32", socket.AF_INET6): (socket.IPPROTO_IPV6, 14, 1, 0),
}


class Bursts:
    """Sends bursts of datagrams, by the transports of asyncio that it is given.

    `whole`: whether datagrams that are too large for the path are to be lost rather than cut.
    """

    def __init__(self) -> None:
        self.whole = False
        self._segments = sys.platform == "linux"
        self._asked = False  # whether this kernel knows how
        # The transport that was last sent by, how its datagrams are sent, and what it takes.
        self._by: asyncio.DatagramTransport | None = None
        self._by_whole = False
        self._too_large = _MOST_BYTES  # the least size that was refused in segments

    def send(
        self, transport: asyncio.DatagramTransport, datagrams: Sequence[bytes], address: Any
    ) -> None:
        """Send `datagrams` to `address` in order; like `sendto` it never blocks.

        One that is too large for this machine's own network is lost like any other, and so are all
        where the socket's address has gone: asyncio would log a line for each.
        """
        if transport.is_closing():
            return
        if transport is not self._by or self.whole != self._by_whole:
            self._prepare(transport)
        for size, alike in groupby(datagrams, len):
            run = list(alike)
            step = max(1, min(_MOST_SEGMENTS, _MOST_BYTES // size))
            for start in range(0, len(run), step):
                piece = run[start : start + step]
                if not self._send_as_one(transport, piece, size, address):
                    for datagram in piece:
                        transport.sendto(datagram, address)

    def _prepare(self, transport: asyncio.DatagramTransport) -> None:
        """Set up a socket that was not sent by before, or differently."""
        whole_before = transport is self._by and self._by_whole
        self._by, self._by_whole = transport, self.whole
        self._too_large = _MOST_BYTES
        opened = transport.get_extra_info("socket")
        if opened is None or self.whole == whole_before:
            return
        option = _WHOLE.get((sys.platform, opened.family))
        if option is not None:
            level, name, whole, usual = option
            with contextlib.suppress(OSError):
                opened.setsockopt(level, name, whole if self.whole else usual)

    def _send_as_one(
        self,
        transport: asyncio.DatagramTransport,
        datagrams: list[bytes],
        size: int,
        address: Any,
    ) -> bool:
        """Whether the kernel has taken `datagrams`, all of one size, in one send."""
        if len(datagrams) < 2 or size >= self._too_large or not self._segments:
            return False
        opened = transport.get_extra_info("socket")  # which asyncio lets nobody send on
        if opened is None:  # of a TURN allocation
            return False
        direct = cast("asyncio.WriteTransport", transport)  # it has its methods, not its name
        if direct.is_closing() or direct.get_write_buffer_size():  # what waits there goes first
            return False
        udp = socket.socket(opened.family, opened.type, opened.proto, fileno=opened.fileno())
        try:
            if not self._asked:  # a kernel that doesn't know would send one large datagram
                udp.getsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT)
                self._asked = True
            segment = size.to_bytes(2, sys.byteorder)
            udp.sendmsg(datagrams, [(socket.IPPROTO_UDP, _UDP_SEGMENT, segment)], 0, address)
        except OSError as error:  # a full buffer: the transport keeps what waits
            self._segments = error.errno not in _NEVER
            if error.errno in _TOO_LARGE:
                self._too_large = size
            return False
        finally:
            udp.detach()  # it stays the transport's
        return True
