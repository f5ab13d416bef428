"""SCTP packets of a peer that keeps to nothing, into an association that is up.

An input is a row of chunks; each goes into a packet with the right tag and checksum, without which
none would get any further.  A row's first byte 0xFF says that what follows is a whole packet.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Iterator

from aiortc import RTCPeerConnection, RTCSctpTransport
from google_crc32c import value as crc32c

from shared.link.webrtc.sctp import UnreliablePath
from tests.fuzz.inputs import join, split

PORT, TAG, TSN = 5000, 0x01020304, 1_000
STREAM = 1  # of the frames channel
WHOLE = 0xFF
MOST_ANSWERED = 64  # packets that one packet may make this end send


def one(data: bytes) -> None:
    stumbled: list[BaseException] = []
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _, what: stumbled.append(what.get("exception") or OSError()))
    try:
        loop.run_until_complete(_associate(data))
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                loop.run_until_complete(task)
        loop.close()
    if stumbled:
        raise stumbled[0]


async def _associate(data: bytes) -> None:
    sent: list[bytes] = []

    async def send(packet: bytes) -> None:
        sent.append(packet)

    connection = RTCPeerConnection()
    connection.createDataChannel("control")
    sctp = connection.sctp
    assert sctp is not None
    broken: list[str] = []
    path = UnreliablePath(sctp, lambda _: None, broken.append)
    path.stream = STREAM
    sctp.transport._send_data = send  # type: ignore[method-assign]
    sctp._remote_port, sctp._remote_verification_tag = PORT, 7
    sctp._local_verification_tag, sctp._last_received_tsn = TAG, TSN
    sctp._inbound_streams_count, sctp._data_channel_id = 65535, 1
    sctp._set_state(sctp.State.ESTABLISHED)
    await sctp._send(0, 53, b"an honest word")
    for packet in map(_packet, split(data)):
        sent.clear()
        await sctp._handle_data(packet)
        await asyncio.sleep(0)
        assert len(sent) <= MOST_ANSWERED
        if broken or sctp.state == "closed":
            break
    await _end(sctp, connection)


def _packet(chunks: bytes) -> bytes:
    if chunks[:1] == bytes((WHOLE,)):
        return chunks[1:]
    head = struct.pack("!HHL", PORT, PORT, TAG)
    return head + struct.pack("<L", crc32c(head + bytes(4) + chunks)) + chunks


async def _end(sctp: RTCSctpTransport, connection: RTCPeerConnection) -> None:
    sctp._set_state(sctp.State.CLOSED)
    await connection.close()


def _chunk(kind: int, body: bytes = b"", flags: int = 0) -> bytes:
    return struct.pack("!BBH", kind, flags, len(body) + 4) + body + bytes(-len(body) % 4)


def _data(tsn: int, body: bytes, *, stream: int, protocol: int, flags: int) -> bytes:
    return _chunk(0, struct.pack("!LHHL", tsn, stream, 0, protocol) + body, flags)


def seeds() -> Iterator[tuple[str, bytes]]:
    frames = [_data(TSN + 1 + i, b"\1" * 20, stream=STREAM, protocol=53, flags=7) for i in (0, 2)]
    yield "frames", join(frames)
    parts = [
        _data(TSN + 1 + i, b"part", stream=0, protocol=53, flags=f) for i, f in enumerate((2, 0, 1))
    ]
    yield "fragments", join(parts)
    opening = struct.pack("!BBHLHH", 3, 0x81, 0, 0, 6, 0) + b"frames"
    yield "channel", join([_data(TSN + 1, opening, stream=3, protocol=50, flags=3)])
    gaps = struct.pack("!LLHH", TSN, 1 << 20, 2, 1) + struct.pack("!HHHHL", 2, 3, 5, 65535, TSN)
    yield "sack", join([_chunk(3, gaps)])
    yield "forward", join([_chunk(192, struct.pack("!LHH", TSN + 5, 1, 0))])
    yield "heartbeat", join([_chunk(4, struct.pack("!HH", 1, 12) + b"heartbee")])
    reset = struct.pack("!HHLLLH", 13, 18, 1, 1, TSN, STREAM) + bytes(2)
    yield "reset", join([_chunk(130, reset)])
    init = struct.pack("!LLHHL", 9, 1 << 20, 16, 16, 77) + struct.pack("!HH", 0xC000, 4)
    yield "init", join([_chunk(1, init), _chunk(10, bytes(24)), _chunk(11)])
    yield "endings", join([_chunk(7, struct.pack("!L", TSN)), _chunk(8), _chunk(14)])
    yield "abort", join([_chunk(6), _chunk(9, struct.pack("!HH", 3, 8) + bytes(4))])
    yield "several", join([_chunk(4, struct.pack("!HH", 1, 4)) + _chunk(3, gaps) + frames[0]])
    yield "whole", join([bytes((WHOLE,)) + _packet(frames[0])])
