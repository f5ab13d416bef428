"""The still that one receiver wants: asked for, thought better of, or made and not yet sent.

Pure: requests and times in, decisions out.
"""

from __future__ import annotations

from sender.pipeline import SealedFrame

__all__ = ["STILL_EVERY_NS", "StillWish"]

STILL_EVERY_NS = 500_000_000  # a still costs a lossless encode: who asks faster is not answered


class StillWish:
    """One at a time; the newest wish counts."""

    def __init__(self) -> None:
        self._index: int | None = None
        self._made: SealedFrame | None = None
        self._asked_ns: int | None = None

    def asked(self, index: int, now_ns: int) -> bool:
        """The receiver asks for the picture of frame `index`; whether it should get one."""
        before_ns, self._asked_ns = self._asked_ns, now_ns
        too_soon = before_ns is not None and now_ns - before_ns < STILL_EVERY_NS
        if self._made is not None or too_soon:
            return False
        self._index = index
        return True

    def withdrawn(self, index: int) -> None:
        """It does not want that of frame `index` any more."""
        if index == self._index:
            self._index = self._made = None

    def wants(self, index: int) -> bool:
        """Whether it asked for that of frame `index`, and did not think better of it."""
        return index == self._index

    def keep(self, still: SealedFrame) -> None:
        """Keep `still` until the path can carry it."""
        self._made = still

    def take(self) -> SealedFrame | None:
        """What was kept, if anything; the caller sends it."""
        still, self._made = self._made, None
        return still
