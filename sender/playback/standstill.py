"""When a live source stands still, and what of that is told.

A source stands still once it has given no new picture for a second: it repeats the one before
exactly, as a grabber does of a machine whose picture was frozen, or it gives none at all.  Its last
picture is then due once more about every second, so that who joins sees it.

Pure: times in, notices out.
"""

from __future__ import annotations

from shared.control import Notice
from shared.errors import SourceFailed

__all__ = ["REPEAT_EVERY_NS", "STILL_AFTER_NS", "StandStill"]

STILL_AFTER_NS = 950_000_000  # told before a receiver that misses pictures for 1 s would complain
STILL_AFTER_FRAMES = 3  # of a source so slow that a second is no long time for it
REPEAT_EVERY_NS = 1_000_000_000

KIND = "source_still"


class StandStill:
    """Of one live source that is to give `fps` frames a second and is waited for from `now_ns` on.

    `timeout_ns` is how long it may stand still, None: for ever.
    """

    def __init__(self, now_ns: int, *, fps: float, timeout_ns: int | None) -> None:
        self._after_ns = max(STILL_AFTER_NS, round(STILL_AFTER_FRAMES * 1e9 / fps))
        self._timeout_ns = timeout_ns
        self._since_ns = now_ns
        self._look_ns = now_ns + self._after_ns
        self._told: str | None = None

    @property
    def look_ns(self) -> int:
        """When to look next, unless a new picture comes before."""
        if self._timeout_ns is None:
            return self._look_ns
        return min(self._look_ns, self._since_ns + self._timeout_ns)

    def moved(self, at_ns: int) -> Notice | None:
        """A new picture was delivered at `at_ns`."""
        ended, since_ns = self._told is not None, self._since_ns
        self._since_ns, self._look_ns, self._told = at_ns, at_ns + self._after_ns, None
        if not ended:
            return None
        lasted_s = (at_ns - since_ns) / 1e9
        text = f"the source gives new pictures again, after {lasted_s:.0f} s"
        return Notice(kind=KIND, text=text, since_ns=since_ns)

    def look(self, now_ns: int, heard_ns: int | None, *, explained: bool = False) -> Notice | None:
        """It is time to look: what is to be told, if that is news.

        `heard_ns` is when the source delivered something last, be it the same picture again;
        `explained` where the source has told by itself why it gives no picture.  Raises
        `SourceFailed` once that has lasted too long.
        """
        still_ns = now_ns - self._since_ns
        repeats = heard_ns is not None and now_ns - heard_ns < self._after_ns
        if self._timeout_ns is not None and still_ns >= self._timeout_ns:
            what = "the same picture" if repeats else "no picture"
            raise SourceFailed(
                f"the source has delivered {what} for {still_ns / 1e9:.0f} s",
                hint="check it; --source-timeout says how long it is waited for, 0 for ever",
            )
        if now_ns < self._look_ns:
            return None
        self._look_ns = now_ns + REPEAT_EVERY_NS
        text = "the source stands still" if repeats else "the source delivers no picture"
        if text == self._told or (explained and self._told is None):
            return None
        self._told = text
        return Notice(kind=KIND, text=text, lasting=True, since_ns=self._since_ns)
