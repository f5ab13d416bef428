"""Packets of frames and parity over several of them, on their way to whole frames.

An input is a row of messages; the first byte of each says how long after the one before it comes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from shared.errors import MalformedFrame
from shared.link.fec import combine
from shared.link.messages import SIZED, Packet, cut, pack_packet
from shared.link.receiving import FrameReceiver
from shared.link.redundancy import WindowParity, pack_window_parity
from tests.fuzz.inputs import join, split

WAITS_NS = (0, 1_000_000, 50_000_000, 500_000_000)
SIZES = (440, 1160, 1404)


def one(data: bytes) -> None:
    receiver = FrameReceiver(cross_parity=True)
    now_ns, came = 10**12, 0
    for message in split(data):
        if not message:
            continue
        now_ns += WAITS_NS[message[0] & 3]
        came += len(message)
        with contextlib.suppress(MalformedFrame):
            receiver.on_packet(message[1:], now_ns)
        receiver.poll(now_ns)
        assert receiver.held_bytes <= 2 * came
    receiver.next_at_ns()


def seeds() -> Iterator[tuple[str, bytes]]:
    frames = [bytes(range(1, 251)) * 12, bytes(range(250)) * 4, b"small"]
    for message_bytes in SIZES:
        cuts = [cut(len(frame), message_bytes) for frame in frames]
        symbols: list[bytes] = []
        messages: list[bytes] = []
        for frame_id, (frame, shape) in enumerate(zip(frames, cuts, strict=True)):
            size = shape.symbol_bytes
            for number in range(shape.symbols):
                piece = frame[number * size : (number + 1) * size].ljust(size, b"\0")
                symbols.append(piece)
                packet = Packet(len(symbols), frame_id, len(frame), 0, number, piece)
                messages.append(b"\0" + pack_packet(packet, SIZED))
        longest = max(map(len, symbols))
        whole = [symbol.ljust(longest, b"\0") for symbol in symbols]
        for row in range(3):
            piece = combine(whole, row)
            parity = WindowParity(90 + row, 0, tuple(cuts), row, piece)
            messages.append(b"\0" + pack_window_parity(parity))
        yield f"{message_bytes}", join(messages)
        yield f"{message_bytes}-lossy", join([messages[0], *messages[2:4], *messages[5:]])
