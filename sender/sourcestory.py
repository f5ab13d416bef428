"""What both ends are told of a source, beside its pictures.

A source's own notices are passed on; a picture that can't be shown is told of at once, and while
more follow every few seconds, and at the end, with their number; a change of size, or between grey
and colour, is told of once.  Pure: what came and when in, notices out.
"""

from __future__ import annotations

from shared.control import MAX_DETAIL_CHARS, Notice
from shared.frame import Frame, Gap

__all__ = ["TELL_EVERY_NS", "SourceStory"]

TELL_EVERY_NS = 5_000_000_000  # a person reads no more; the figures count each picture at once


class SourceStory:
    """The story of one source."""

    def __init__(self) -> None:
        self._skipped = 0
        self._untold = 0  # of those
        self._why = ""
        self._told_at_ns: int | None = None
        self._shape: tuple[int, int, int] | None = None

    def of(self, event: Frame | Gap | Notice, now_ns: int) -> list[Notice]:
        """What is to be told as `event` comes."""
        notices = []
        if isinstance(event, Notice):
            notices.append(event)
        elif isinstance(event, Gap):
            self._skipped += 1
            self._untold += 1
            self._why = event.why
        else:
            notices += self._changed(event)
        told_at_ns = self._told_at_ns
        if self._untold and (told_at_ns is None or now_ns - told_at_ns >= TELL_EVERY_NS):
            notices.append(self._skips())
            self._told_at_ns = now_ns
        return notices

    def rest(self) -> list[Notice]:
        """What is still to be told once the source has ended."""
        return [self._skips()] if self._untold else []

    def _skips(self) -> Notice:
        self._untold = 0
        # It may be damaged, of no use here, or not to be masked as was asked for: the reason says.
        number = (
            "a picture of the source is left out"
            if self._skipped == 1
            else f"{self._skipped} pictures of the source so far are left out, the last"
        )
        return Notice(kind="picture_skipped", text=f"{number}: {self._why}"[:MAX_DETAIL_CHARS])

    def _changed(self, frame: Frame) -> list[Notice]:
        shape = (frame.width, frame.height, frame.channels)
        before, self._shape = self._shape, shape
        if before is None or shape == before:
            return []
        colours = "colour" if frame.channels == 3 else "grey"
        text = f"the picture is {frame.width}x{frame.height} {colours} now"
        return [Notice(kind="picture_changed", text=text)]
