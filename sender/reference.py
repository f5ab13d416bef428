"""Which frame one receiver can decode next: what it was sent, and what it says that it lost.

With an inter codec a frame is of use only to one that was sent the frame before it; a frame that
builds on none begins anew.

Pure: indices and times in, decisions out.
"""

from __future__ import annotations

__all__ = ["Reference"]


class Reference:
    """The chain of frames at one receiver, as far as the sender can know it."""

    def __init__(self) -> None:
        self._index: int | None = None  # the frame that the next one may build on
        self._key_index: int | None = None  # the last key frame sent
        self._newest_index: int | None = None  # the last frame of any kind
        self._asked_ns: int | None = None

    @property
    def is_new(self) -> bool:
        """Whether no frame was sent yet."""
        return self._key_index is None

    def follows(self, index: int | None) -> bool:
        """Whether a frame that builds on frame `index` can be decoded."""
        return index is not None and index == self._index

    def sent(self, index: int, *, key: bool) -> None:
        """Frame `index` is on its way."""
        if key:
            self._key_index = index
        self._index = self._newest_index = index

    def lost(self, index: int, now_ns: int, rtt_ns: int | None) -> bool:
        """The receiver could not decode frame `index`; whether the chain is broken by that.

        It is not where a key frame after `index` is on its way already, where `index` was never
        sent, and within a round trip of the last request (`rtt_ns`; None: not known): what was made
        for that can't have come yet.  Others pay for its key frame, so it must be so.
        """
        key, newest = self._key_index, self._newest_index
        if key is None or newest is None or not key <= index <= newest:
            return False
        if self._asked_ns is not None and rtt_ns is not None and now_ns - self._asked_ns < rtt_ns:
            return False
        self._asked_ns = now_ns
        self._index = None
        return True
