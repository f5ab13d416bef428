"""Frames to chunks and back: a frame is far larger than what travels well in one message.

Pure.  A chunk says which frame it belongs to, how long the frame is and which piece it is, so
chunks may come in any order and more than once.  Each piece's length follows from those three: what
differs is malformed.  Nothing here trusts its input, and nothing here checks integrity: that is the
seal's work.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from shared.errors import MalformedFrame
from shared.link.link import MAX_FRAME_BYTES

__all__ = ["CHUNK", "CHUNK_BYTES", "MAX_MESSAGE_BYTES", "Assembled", "Reassembler", "split"]

CHUNK = 1  # first byte of the message; the other kinds are in `shared.link.messages`
HEADER = struct.Struct(">BIIH")  # kind, frame id, length of the whole frame, index of the chunk
# (32 bits of frame ids last for two years at 60 fps: a link does not live so long)

# Four SCTP packets of 1,160 bytes: a message leaves as one burst (RFC 9260 section 6.1, Max.Burst).
MAX_MESSAGE_BYTES = 4 * 1160
CHUNK_BYTES = MAX_MESSAGE_BYTES - HEADER.size

MAX_HALF_BUILT = 16  # frames; a sender keeps at most 8 in flight
MAX_HELD_BYTES = 96 * 1024 * 1024  # one frame of the largest size, and the start of the next
STALE_AFTER = 64  # frame ids behind the newest; a sender that far ahead has given the frame up


def split(frame_id: int, data: bytes | bytearray | memoryview) -> Iterator[bytes]:
    """Yield the messages, at most `MAX_MESSAGE_BYTES` each, that carry `data`.

    `data` is 1 to `MAX_FRAME_BYTES` bytes long; `frame_id` an unsigned number of 32 bits.
    """
    view = memoryview(data).cast("B")
    total = len(view)
    if not 1 <= total <= MAX_FRAME_BYTES:
        raise ValueError(f"a frame is 1 to {MAX_FRAME_BYTES} bytes, not {total}")
    for index, start in enumerate(range(0, total, CHUNK_BYTES)):
        header = HEADER.pack(CHUNK, frame_id, total, index)
        yield b"".join((header, view[start : start + CHUNK_BYTES]))


@dataclass(frozen=True, slots=True)
class Assembled:
    """A frame of which every chunk has come; the time is the caller's clock in ns."""

    frame_id: int
    data: bytes = field(repr=False)
    first_chunk_at_ns: int


@dataclass(slots=True)
class _HalfBuilt:
    total: int
    first_chunk_at_ns: int
    pieces: dict[int, bytes] = field(default_factory=dict)
    held: int = 0

    @property
    def complete(self) -> bool:
        return self.held == self.total


class Reassembler:
    """Puts frames together, within limits; where they are reached the newest frames win.

    `given_up` lists, until the caller takes them, the ids of frames that will not be completed.
    """

    def __init__(
        self,
        *,
        max_half_built: int = MAX_HALF_BUILT,
        max_held_bytes: int = MAX_HELD_BYTES,
    ) -> None:
        self._max_half_built = max_half_built
        self._max_held_bytes = max_held_bytes
        self._half_built: dict[int, _HalfBuilt] = {}
        self._finished: set[int] = set()
        self._newest = -1
        self._held_bytes = 0
        self._given_up: list[int] = []

    @property
    def held_bytes(self) -> int:
        """Bytes of chunks held for frames begun and not complete."""
        return self._held_bytes

    def take_given_up(self) -> list[int]:
        """The ids of frames given up since the last call, oldest first."""
        given_up, self._given_up = self._given_up, []
        return given_up

    def add(self, message: bytes, now_ns: int) -> Assembled | None:
        """Take one chunk; return the frame that it completes, if it does.

        Duplicates, and chunks of frames that are finished, given up or too old, are ignored.
        Raises `MalformedFrame` for a chunk that can't be true.
        """
        frame_id, total, index, piece = _parse(message)
        if frame_id in self._finished or frame_id <= self._newest - STALE_AFTER:
            return None
        frame = self._half_built.get(frame_id)
        if frame is None:
            frame = self._half_built[frame_id] = _HalfBuilt(total, now_ns)
            if frame_id > self._newest:
                self._newest = frame_id
                self._forget_stale()
        if frame.total != total:
            raise MalformedFrame("a chunk disagrees about the length of its frame")
        if index in frame.pieces:
            return None
        frame.pieces[index] = piece
        frame.held += len(piece)
        self._held_bytes += len(piece)
        if frame.complete:
            self._remove(frame_id)
            data = b"".join(frame.pieces[i] for i in range(len(frame.pieces)))
            return Assembled(frame_id, data, frame.first_chunk_at_ns)
        while (
            len(self._half_built) > self._max_half_built or self._held_bytes > self._max_held_bytes
        ):
            self._give_up(min(self._half_built))
        return None

    def _remove(self, frame_id: int) -> None:
        self._held_bytes -= self._half_built.pop(frame_id).held
        self._finished.add(frame_id)

    def _give_up(self, frame_id: int) -> None:
        self._remove(frame_id)
        self._given_up.append(frame_id)

    def _forget_stale(self) -> None:
        horizon = self._newest - STALE_AFTER
        for frame_id in sorted(self._half_built):
            if frame_id <= horizon:
                self._give_up(frame_id)
        self._finished = {frame_id for frame_id in self._finished if frame_id > horizon}


def _parse(message: bytes) -> tuple[int, int, int, bytes]:
    if len(message) <= HEADER.size or len(message) > MAX_MESSAGE_BYTES:
        raise MalformedFrame("a chunk has an impossible length")
    kind, frame_id, total, index = HEADER.unpack_from(message)
    if kind != CHUNK:
        raise MalformedFrame("not a chunk")
    if not 1 <= total <= MAX_FRAME_BYTES:
        raise MalformedFrame("a chunk names an impossible frame length")
    piece = message[HEADER.size :]
    if len(piece) != min(CHUNK_BYTES, total - index * CHUNK_BYTES):
        raise MalformedFrame("a chunk does not fit its place in the frame")
    return frame_id, total, index, piece
