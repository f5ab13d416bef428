"""Datagrams of one burst in as few system calls as the kernel takes them.

Linux cuts one large send into datagrams of one size itself (UDP_SEGMENT, since 4.18): a frame's
packets then cost one system call and one way through the network stack instead of thirty, and
nothing gets between them.  Where that is not to be had they leave one by one, as anywhere else.
"""

from __future__ import annotations

import asyncio
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
_NEVER = (errno.ENOPROTOOPT, errno.EOPNOTSUPP, errno.EINVAL, errno.EIO)


class Bursts:
    """Sends bursts of datagrams, by the transports of asyncio that it is given."""

    def __init__(self) -> None:
        self._segments = sys.platform == "linux"
        self._asked = False  # whether this kernel knows how

    def send(
        self, transport: asyncio.DatagramTransport, datagrams: Sequence[bytes], address: Any
    ) -> None:
        """Send `datagrams` to `address` in order; like `sendto` it never blocks."""
        for size, alike in groupby(datagrams, len):
            run = list(alike)
            step = max(1, min(_MOST_SEGMENTS, _MOST_BYTES // size))
            for start in range(0, len(run), step):
                piece = run[start : start + step]
                if not self._send_as_one(transport, piece, address):
                    for datagram in piece:
                        transport.sendto(datagram, address)

    def _send_as_one(
        self, transport: asyncio.DatagramTransport, datagrams: list[bytes], address: Any
    ) -> bool:
        """Whether the kernel has taken `datagrams`, all of one size, in one send."""
        if len(datagrams) < 2 or not self._segments:
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
            size = len(datagrams[0]).to_bytes(2, sys.byteorder)
            udp.sendmsg(datagrams, [(socket.IPPROTO_UDP, _UDP_SEGMENT, size)], 0, address)
        except OSError as error:  # a full buffer: the transport keeps what waits
            self._segments = error.errno not in _NEVER
            return False
        finally:
            udp.detach()  # it stays the transport's
        return True
