"""When the encoder must make a key frame.

A receiver follows the stream if it was sent the frame that was encoded last; one that was not (it
has just come, its path was busy, a frame of its was lost) can begin again at a key frame only.  A
key frame is several times as large as others and all receivers get it, so those that follow are not
made to pay for one that falls behind all the time; for one that has just come they are.

Pure: counts and times in, a decision out.
"""

from __future__ import annotations

__all__ = ["FOR_SOME_EVERY_NS", "KeyFrames"]

FOR_SOME_EVERY_NS = 1_000_000_000  # key frames while others follow, as often as in recordings


class KeyFrames:
    """The key frames of one encoder."""

    def __init__(self) -> None:
        self._last_ns: int | None = None

    def needed(self, now_ns: int, *, following: int, lost: int, new: int = 0) -> bool:
        """Whether the next frame must be key: `following` receivers follow, `lost` ones do not.

        `lost` and `new` (those never got any) could take the frame, `following` are all, also
        those whose path is busy.  Where none follows nothing else is of use; otherwise at most one
        a second is made for the lost.
        """
        if not lost and not new:
            return False
        if new or not following or self._last_ns is None:
            return True
        return now_ns - self._last_ns >= FOR_SOME_EVERY_NS

    def made(self, now_ns: int) -> None:
        """A key frame was encoded."""
        self._last_ns = now_ns
