"""Packets back to frames, within limits; where they are reached the newest frames win.

Pure.  Packets may come in any order, more than once, or never: a block is whole with any k of its
symbols.  A frame that stays incomplete is given up in the end, and so is one of which nothing at
all has come while newer ones did.  Nothing here trusts its input.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from shared.errors import MalformedFrame
from shared.link.fec import restore
from shared.link.packets import Cut, Packet, cut

__all__ = ["GIVE_UP_NS", "Assembled", "GivenUp", "Reassembler"]

MAX_HALF_BUILT = 16  # frames; at 30 fps what `GIVE_UP_NS` allows, and some
MAX_HELD_BYTES = 96 * 1024 * 1024  # one frame of the largest size, and the start of the next
STALE_AFTER = 64  # frame ids behind the newest; a sender that far ahead has given the frame up

# 400 ms (ITU-T G.114's limit for any use): a frame of which nothing came for so long, with newer
# ones there, would be shown too late to matter, and what depends on it waits for a key frame.
GIVE_UP_NS = 400_000_000


@dataclass(frozen=True, slots=True)
class Assembled:
    """A frame that is whole."""

    frame_id: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A frame that will not be completed; `begun` tells whether anything of it had come."""

    frame_id: int
    begun: bool


class _HalfBuilt:
    """The symbols of one frame so far."""

    __slots__ = ("blocks", "cut", "held", "last_at_ns", "missing")

    def __init__(self, frame: Cut, now_ns: int) -> None:
        self.cut = frame
        self.blocks: dict[int, dict[int, bytes] | list[bytes]] = {}  # symbols, or the source
        self.missing = frame.blocks  # blocks that are not whole
        self.held = 0
        self.last_at_ns = now_ns

    def add(self, packet: Packet) -> int:
        """Take a symbol and return how many bytes more are held now."""
        block = self.blocks.setdefault(packet.block, {})
        if isinstance(block, list) or packet.symbol in block:
            return 0
        k = self.cut.source_symbols(packet.block)
        block[packet.symbol] = packet.piece
        if len(block) == k:
            self.blocks[packet.block] = restore(k, block)
            self.missing -= 1
        self.held += len(packet.piece)
        return len(packet.piece)

    def data(self) -> bytes:
        pieces = [piece for i in range(self.cut.blocks) for piece in self.blocks[i]]
        whole = b"".join(pieces)  # type: ignore[arg-type]  # all blocks are lists by now
        return whole if len(whole) == self.cut.length else whole[: self.cut.length]


class Reassembler:
    """Puts frames together.  Give it packets with `add`, and call `expire` now and then."""

    def __init__(
        self,
        *,
        max_half_built: int = MAX_HALF_BUILT,
        max_held_bytes: int = MAX_HELD_BYTES,
    ) -> None:
        self._max_half_built = max_half_built
        self._max_held_bytes = max_held_bytes
        self._half_built: dict[int, _HalfBuilt] = {}
        self._unseen: dict[int, int] = {}  # frame id skipped so far: when a newer one came, in ns
        self._finished: set[int] = set()
        self._newest = -1
        self._held_bytes = 0
        self._given_up: list[GivenUp] = []

    @property
    def held_bytes(self) -> int:
        """Bytes of symbols held for frames begun and not complete."""
        return self._held_bytes

    @property
    def waiting(self) -> bool:
        """Whether any frame is begun and not complete, or was skipped."""
        return bool(self._half_built or self._unseen)

    @property
    def gave_up(self) -> bool:
        """Whether there is anything for `take_given_up` to tell."""
        return bool(self._given_up)

    def take_given_up(self) -> list[GivenUp]:
        """The frames given up since the last call, in the order of giving up."""
        given_up, self._given_up = self._given_up, []
        return given_up

    def add(self, packet: Packet, now_ns: int) -> Assembled | None:
        """Take one packet; return the frame that it completes, if it does.

        Repeats, and packets of frames that are finished, given up or too old, are ignored.
        Raises `MalformedFrame` for one that contradicts an earlier one.
        """
        frame_id = packet.frame_id
        if frame_id in self._finished or frame_id <= self._newest - STALE_AFTER:
            return None
        frame = self._half_built.get(frame_id)
        if frame is None:
            frame = self._begin(packet, now_ns)
        elif frame.cut.length != packet.length:
            raise MalformedFrame("a packet disagrees about the length of its frame")
        self._held_bytes += frame.add(packet)
        frame.last_at_ns = now_ns
        if not frame.missing:
            self._remove(frame_id)
            return Assembled(frame_id, frame.data())
        while (
            len(self._half_built) > self._max_half_built or self._held_bytes > self._max_held_bytes
        ):
            self._give_up(min(self._half_built))
        return None

    def expire(self, now_ns: int) -> None:
        """Give up what has been waiting in vain for `GIVE_UP_NS` while newer frames came."""
        horizon_ns = now_ns - GIVE_UP_NS
        for frame_id in [i for i, at_ns in self._unseen.items() if at_ns <= horizon_ns]:
            self._give_up(frame_id)
        for frame_id in [i for i, f in self._half_built.items() if f.last_at_ns <= horizon_ns]:
            if frame_id < self._newest:
                self._give_up(frame_id)

    def _begin(self, packet: Packet, now_ns: int) -> _HalfBuilt:
        frame_id = packet.frame_id
        frame = self._half_built[frame_id] = _HalfBuilt(cut(packet.length), now_ns)
        self._unseen.pop(frame_id, None)
        if frame_id > self._newest:
            if self._newest >= 0:  # what came before the first frame seen was not for us
                first = max(self._newest + 1, frame_id - STALE_AFTER + 1)
                self._unseen.update(dict.fromkeys(range(first, frame_id), now_ns))
            self._newest = frame_id
            self._forget_stale()
        return frame

    def _remove(self, frame_id: int) -> None:
        self._held_bytes -= self._half_built.pop(frame_id).held
        self._finished.add(frame_id)

    def _give_up(self, frame_id: int) -> None:
        begun = frame_id in self._half_built
        if begun:
            self._remove(frame_id)
        else:
            del self._unseen[frame_id]
            self._finished.add(frame_id)
        self._given_up.append(GivenUp(frame_id, begun))

    def _forget_stale(self) -> None:
        horizon = self._newest - STALE_AFTER
        for frame_id in sorted(i for i in (*self._half_built, *self._unseen) if i <= horizon):
            self._give_up(frame_id)
        if len(self._finished) > 2 * STALE_AFTER:
            self._finished = {frame_id for frame_id in self._finished if frame_id > horizon}
