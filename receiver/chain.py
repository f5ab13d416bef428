"""Which frames may be decoded, and when: a frame that builds on another one never without it.

Frames of an inter codec are links of a chain that begins with a key frame: each is decoded on top
of the one decoded just before it.  They may arrive out of order, so a frame that is ahead of its
reference is held for a moment, while the link may yet repair what is missing; then the chain is
broken, everything that hangs on it is dropped, and a key frame must be asked for.  Frames of an
intra codec all are key frames: nothing of them is ever held.

Pure: indices and times in, what to decode and what to drop out.  It refuses to let anything be
decoded that would show a corrupted picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from shared.telemetry.records import DropReason

__all__ = ["MAX_HELD", "ChainGuard", "Turn"]

MAX_HELD = 64  # frames: two seconds at 30 fps, far beyond the time that one is held

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Turn(Generic[T]):
    """What an arrival comes to: frames to decode, in this order, and those given up."""

    decode: tuple[T, ...] = ()
    dropped: tuple[tuple[DropReason, int], ...] = ()


@dataclass(frozen=True, slots=True)
class _Held(Generic[T]):
    index: int
    until_ns: int
    item: T


class ChainGuard(Generic[T]):
    """The chain of one sender's frames; `T` is whatever stands for a frame."""

    def __init__(self) -> None:
        self._tip: int | None = None  # what the decoder holds
        self._newest = -1  # the newest index ever decoded
        self._dead = -1  # all that builds on an index up to this one, but for the tip, is lost
        self._held: dict[int, _Held[T]] = {}  # by the index that it builds on
        self._wants_key: int | None = None

    @property
    def held_until_ns(self) -> int | None:
        """When `expire` has something to do, or None while nothing is held."""
        return min((held.until_ns for held in self._held.values()), default=None)

    @property
    def wants_key(self) -> int | None:
        """The newest index that could not be decoded; None while the chain is whole."""
        return self._wants_key

    def offer(
        self, index: int, depends_on: int | None, item: T, now_ns: int, patience_ns: int
    ) -> Turn[T]:
        """Frame `index` has come; it may be held for `patience_ns` if it is ahead of its reference.

        Whatever is to be decoded counts as decoded: tell `failed` where it was not.
        """
        if index <= self._newest:
            return Turn(dropped=((DropReason.LATE, index),))
        if depends_on is None or depends_on == self._tip:
            return self._run(index, item, key=depends_on is None)
        ahead = depends_on > max(self._dead, -1 if self._tip is None else self._tip)
        if not ahead and all(held.index != depends_on for held in self._held.values()):
            return Turn(dropped=self._lost([index, *self._drop_held_on(index)]))
        dropped: tuple[tuple[DropReason, int], ...] = ()
        if len(self._held) >= MAX_HELD or depends_on in self._held:
            dropped = self._lost([held.index for held in self._held.values()])
            self._held.clear()
        self._held[depends_on] = _Held(index, now_ns + patience_ns, item)
        return Turn(dropped=dropped)

    def expire(self, now_ns: int) -> Turn[T]:
        """Give up what has waited long enough, and what hangs on that; the rest may yet go on."""
        over = [held for held in self._held.values() if held.until_ns <= now_ns]
        if not over:
            return Turn()
        self._held = {ref: held for ref, held in self._held.items() if held.until_ns > now_ns}
        lost = [held.index for held in over]
        for held in over:
            lost += self._drop_held_on(held.index)
        return Turn(dropped=self._lost(lost))

    def failed(self, index: int) -> None:
        """Frame `index` could not be decoded: only a key frame can be next."""
        self._tip = None
        self._lost([index])

    def _run(self, index: int, item: T, *, key: bool) -> Turn[T]:
        """`item` and all held frames that follow from it, one on the other."""
        run = [item]
        while (next_one := self._held.pop(index, None)) is not None:
            run.append(next_one.item)
            index = next_one.index
        if key:
            self._wants_key = None
        # What is older than this has been overtaken, whatever it waited for.
        overtaken = sorted(held.index for held in self._held.values() if held.index < index)
        self._held = {ref: held for ref, held in self._held.items() if held.index > index}
        self._tip = self._newest = index
        dropped = tuple((DropReason.MISSING_REFERENCE, old) for old in overtaken)
        return Turn(tuple(run), dropped)

    def _drop_held_on(self, index: int) -> list[int]:
        """Let go of the frames that wait for `index`, one after the other; returns which."""
        indices = []
        while (held := self._held.pop(index, None)) is not None:
            index = held.index
            indices.append(index)
        return indices

    def _lost(self, indices: list[int]) -> tuple[tuple[DropReason, int], ...]:
        self._dead = max([self._dead, *indices])
        self._wants_key = max([self._wants_key or 0, *indices])
        return tuple((DropReason.MISSING_REFERENCE, index) for index in sorted(indices))
