"""Which counters of one epoch were seen: a sliding bitmap, after RFC 6479 and RFC 4303 §3.4.3.

`check` comes before the authentication tag (it is cheap), `mark` after it, so that a forged frame
can't push the window forward or burn a counter.  Pure and not thread-safe; the caller locks.
"""

from __future__ import annotations

from shared.errors import BadInput, Replayed

__all__ = ["WINDOW_SIZE", "ReplayWindow"]

WINDOW_SIZE = 1024  # frames: 17 s at 60 fps, far beyond any reordering that a live picture survives


class ReplayWindow:
    """Accepts each counter (u64) once, in any order within `size` of the newest accepted."""

    def __init__(self, size: int = WINDOW_SIZE) -> None:
        if size < 1:
            raise BadInput("a replay window holds at least one counter")
        self._size = size
        self._mask = (1 << size) - 1
        self._newest = -1
        self._seen = 0  # bit i: counter `newest - i` was accepted

    def check(self, counter: int) -> None:
        """Raise `Replayed` if `counter` was accepted before or lies behind the window."""
        age = self._newest - counter
        if age < 0:
            return
        if age >= self._size:
            raise Replayed("a frame older than the replay window arrived")
        if self._seen >> age & 1:
            raise Replayed("a frame arrived a second time")

    def mark(self, counter: int) -> None:
        """Record `counter` as accepted; raise `Replayed` as `check` does."""
        self.check(counter)
        advance = counter - self._newest
        if advance > 0:
            # A counter can jump by 2^64: never shift by more than the window.
            self._seen = (self._seen << advance) & self._mask if advance < self._size else 0
            self._newest = counter
        self._seen |= 1 << (self._newest - counter)
