"""Packets back to frames, within limits; where they are reached the newest frames win.

Pure.  Packets may come in any order, more than once, or never: a block is whole with any k of its
symbols.  A frame that stays incomplete is given up in the end, and so is one of which nothing at
all has come while newer ones did.  Nothing here trusts its input.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from shared.errors import MalformedFrame
from shared.link.fec import Equations, coefficients, combine, restore
from shared.link.messages import Cut, Packet, shape
from shared.link.redundancy import WINDOW_FRAMES, WindowParity

__all__ = ["GIVE_UP_NS", "Assembled", "GivenUp", "Reassembler"]

MAX_HALF_BUILT = 16  # frames; at 30 fps what `GIVE_UP_NS` allows, and some
MAX_HELD_BYTES = 96 * 1024 * 1024  # one frame of the largest size, and the start of the next
STALE_AFTER = 64  # frame ids behind the newest; a sender that far ahead has given the frame up

# Parity may come after the next frames' first packets, which overtake it.
WHOLE_KEPT = 2 * WINDOW_FRAMES

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

    def add(self, index: int, symbol: int, piece: bytes) -> int:
        """Take a symbol of block `index` and return how many bytes more are held now."""
        block = self.blocks.setdefault(index, {})
        if isinstance(block, list) or symbol in block:
            return 0
        k = self.cut.source_symbols(index)
        block[symbol] = piece
        if len(block) == k:
            nothing_lost = max(block) < k
            self.blocks[index] = [block[n] for n in range(k)] if nothing_lost else restore(k, block)
            self.missing -= 1
        self.held += len(piece)
        return len(piece)

    def source(self, symbol: int) -> bytes | None:
        """A source symbol of a frame of one block, if it is there."""
        block = self.blocks.get(0, {})
        return block[symbol] if isinstance(block, list) else block.get(symbol)

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
        self.given_up: list[GivenUp] = []
        self.restored: list[Assembled] = []
        # Parity over several frames: what it leaves open, and the newest whole frames that such
        # parity yet to come may be over.
        self._equations = Equations()
        self._whole: dict[int, bytes] = {}

    @property
    def held_bytes(self) -> int:
        """Bytes of symbols held for frames begun and not complete."""
        return self._held_bytes

    @property
    def waiting(self) -> bool:
        """Whether any frame is begun and not complete, or was skipped."""
        return bool(self._half_built or self._unseen)

    def take_given_up(self) -> list[GivenUp]:
        """The frames given up since the last call, in the order of giving up."""
        given_up, self.given_up = self.given_up, []
        return given_up

    def take_restored(self) -> list[Assembled]:
        """The frames that parity over several frames has made whole since the last call."""
        restored, self.restored = self.restored, []
        return restored

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
            frame = self._begin(frame_id, shape(packet.length, len(packet.piece)), now_ns)
        elif (frame.cut.length, frame.cut.symbol_bytes) != (packet.length, len(packet.piece)):
            raise MalformedFrame("a packet disagrees about how its frame is cut")
        self._held_bytes += frame.add(packet.block, packet.symbol, packet.piece)
        frame.last_at_ns = now_ns
        equations = self._equations
        if equations.rows and packet.symbol < frame.cut.symbols and frame.cut.blocks == 1:
            equations.know((frame_id, packet.symbol), packet.piece)
        whole = None if frame.missing else self._finish(frame_id)
        if equations.solved:
            self._take_solved()
        if self._held_bytes > self._max_held_bytes or len(self._half_built) > self._max_half_built:
            self._make_room()
        return whole

    def add_parity(self, parity: WindowParity, now_ns: int) -> None:
        """Take a parity symbol over several frames; see `take_restored` for what it restores.

        Ignored where a frame of them was given up, or all are whole.  Raises `MalformedFrame` for
        one that contradicts a frame that is there.
        """
        frames = dict(enumerate(parity.cuts, parity.first_id))
        if all(frame_id in self._whole for frame_id in frames):
            return
        if parity.first_id <= self._newest - STALE_AFTER or any(
            frame_id in self._finished and frame_id not in self._whole for frame_id in frames
        ):
            return
        pieces = [
            (frame_id, symbol, piece)
            for frame_id, frame_cut in frames.items()
            for symbol, piece in enumerate(self._source(frame_id, frame_cut))
        ]
        factors = coefficients(len(pieces), parity.row)
        terms = {
            (frame_id, symbol): factor
            for (frame_id, symbol, piece), factor in zip(pieces, factors, strict=True)
            if piece is None
        }
        size = len(parity.piece)
        known = combine([(piece or b"").ljust(size, b"\0") for _, _, piece in pieces], parity.row)
        value = int.from_bytes(parity.piece, "little") ^ int.from_bytes(known, "little")
        for frame_id, frame_cut in frames.items():
            if frame_id not in self._finished and frame_id not in self._half_built:
                self._begin(frame_id, frame_cut, now_ns)
        self._equations.add(terms, value)
        self._take_solved()
        self._make_room()

    def _source(self, frame_id: int, frame_cut: Cut) -> list[bytes | None]:
        """A frame's source symbols, None for those that are missing."""
        data, frame = self._whole.get(frame_id), self._half_built.get(frame_id)
        if (data is not None and len(data) != frame_cut.length) or (
            frame is not None and frame.cut != frame_cut
        ):
            raise MalformedFrame("a parity symbol disagrees about how a frame is cut")
        if data is not None:
            size = frame_cut.symbol_bytes
            return [data[at : at + size] for at in range(0, frame_cut.symbols * size, size)]
        numbers = range(frame_cut.symbols)
        return [None if frame is None else frame.source(symbol) for symbol in numbers]

    def _take_solved(self) -> None:
        """Put what equations have solved where it belongs; that may complete frames."""
        for (frame_id, symbol), value in self._equations.take():
            frame = self._half_built.get(frame_id)
            if frame is None:
                continue
            try:
                piece = value.to_bytes(frame.cut.symbol_bytes, "little")
            except OverflowError:
                raise MalformedFrame("a parity symbol contradicts the frames it is over") from None
            self._held_bytes += frame.add(0, symbol, piece)
            if not frame.missing:
                self.restored.append(self._finish(frame_id))

    def _finish(self, frame_id: int) -> Assembled:
        frame = self._half_built[frame_id]
        self._remove(frame_id)
        whole = Assembled(frame_id, frame.data())
        if frame.cut.blocks == 1:
            self._whole[frame_id] = whole.data
            for symbol in self._equations.unknowns_of(frame_id) if self._equations.rows else ():
                piece = frame.source(symbol)
                assert piece is not None  # noqa: S101 -- the frame is whole
                self._equations.know((frame_id, symbol), piece)
            while len(self._whole) > WHOLE_KEPT:
                del self._whole[min(self._whole)]
        return whole

    def _make_room(self) -> None:
        while (
            len(self._half_built) > self._max_half_built or self._held_bytes > self._max_held_bytes
        ):
            self._give_up(min(self._half_built))

    def expire(self, now_ns: int) -> None:
        """Give up what has been waiting in vain for `GIVE_UP_NS` while newer frames came."""
        horizon_ns = now_ns - GIVE_UP_NS
        for frame_id in [i for i, at_ns in self._unseen.items() if at_ns <= horizon_ns]:
            self._give_up(frame_id)
        for frame_id in [i for i, f in self._half_built.items() if f.last_at_ns <= horizon_ns]:
            if frame_id < self._newest:
                self._give_up(frame_id)

    def _begin(self, frame_id: int, frame_cut: Cut, now_ns: int) -> _HalfBuilt:
        frame = self._half_built[frame_id] = _HalfBuilt(frame_cut, now_ns)
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
        if self._equations:
            self._equations.forget(frame_id)
        self.given_up.append(GivenUp(frame_id, begun))

    def _forget_stale(self) -> None:
        horizon = self._newest - STALE_AFTER
        for frame_id in sorted(i for i in (*self._half_built, *self._unseen) if i <= horizon):
            self._give_up(frame_id)
        if len(self._finished) > 2 * STALE_AFTER:
            self._finished = {frame_id for frame_id in self._finished if frame_id > horizon}
