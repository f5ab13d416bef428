"""When the pictures of a video are shown: a file's own times, made to run forward.

Files hold times that are missing, repeated, set back where recordings were joined, or that leap by
hours where a clock was set.  Pure.
"""

from __future__ import annotations

__all__ = ["MAX_PAUSE_S", "VideoTimeline"]

MAX_PAUSE_S = 10.0  # between two pictures: longer is a broken clock, or a pause nobody sits out
_SAME_STEPS = 1.5  # set back by less: the same picture's time again, or one swapped with the next
_SQUEEZE = 0.25  # of a step, after a time that does not go on


class VideoTimeline:
    """The times of one pass; `step_s` is the time of a picture that has none of its own."""

    def __init__(self, step_s: float) -> None:
        self._step_s = step_s
        self._shift_s: float | None = None  # from a file's times to those of the pass
        self._last_s = -step_s
        self.pauses_cut = 0

    @property
    def last_in_file_s(self) -> float:
        """When the last picture is shown, by the file's own times."""
        return self._last_s - (self._shift_s or 0.0)

    def is_past(self, time_s: float) -> bool:
        """Whether what the file shows at `time_s` was shown already."""
        return self._shift_s is not None and time_s <= self.last_in_file_s

    def at(self, time_s: float | None) -> float:
        """Return when a picture with the file's time `time_s` is shown, in s from the first.

        Times returned grow strictly, by `MAX_PAUSE_S` at most: a longer pause counts in
        `pauses_cut`, and becomes one step, as does a time set back.
        """
        expected_s = self._last_s + self._step_s
        if time_s is None:
            at_s = expected_s
        elif self._shift_s is None:
            # The first known time; pictures before it, if any, had none.
            self._shift_s, at_s = expected_s - time_s, expected_s
        else:
            at_s = time_s + self._shift_s
            behind_s = self._last_s - at_s
            if 0.0 <= behind_s < _SAME_STEPS * self._step_s:
                # Going on from here would slow down all that follows; a short step is made up.
                at_s = self._last_s + _SQUEEZE * self._step_s
            elif behind_s >= 0.0 or -behind_s > MAX_PAUSE_S:
                self._shift_s, at_s = expected_s - time_s, expected_s
                self.pauses_cut += behind_s < 0.0
        self._last_s = at_s
        return at_s
