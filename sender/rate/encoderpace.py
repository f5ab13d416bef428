"""The frame rate that this machine keeps up with: mask, encode and seal take their time too.

It falls by a step when the median of the last frames fills its interval, and rises again when the
next step up would leave plenty of room.  One slow frame changes nothing.

Pure: durations and times in, a share of the source's frame rate and the reason of a change out.
"""

from __future__ import annotations

from collections import deque
from fractions import Fraction
from statistics import median

from sender.rate.ladder import RATES, STEP_UP_NS

__all__ = ["EncoderPace"]

WARM_UP = 30  # frames of a stream that tell nothing: both ends start cold, and in each other's way
BUSY_OVER, BUSY_FROM = 15, 8  # frames whose median tells the encoder's pace
SLOW, QUICK = 0.9, 0.8  # share of the frame interval that may be taken


class EncoderPace:
    """Of one stream; begins with all frames."""

    def __init__(self) -> None:
        self._cold = WARM_UP
        self._busy: deque[int] = deque(maxlen=BUSY_OVER)
        self._at = 0
        self._quick_from_ns: int | None = None

    @property
    def share(self) -> Fraction:
        """Which share of the source's frames the encoder keeps up with."""
        return RATES[self._at]

    @property
    def busy_ns(self) -> float:
        """What a frame takes, in the median; 0 before the first."""
        return median(self._busy) if self._busy else 0.0

    def taken(self, fps: float) -> float:
        """Which share of the interval between the frames of a source of `fps` one takes."""
        return self.busy_ns / 1e9 * fps

    def took(self, busy_ns: int) -> None:
        """The newest frame took so long."""
        if self._cold:
            self._cold -= 1
        else:
            self._busy.append(busy_ns)

    def settle(self, now_ns: int, fps: float) -> str | None:
        """Lower or raise the share for a source of `fps`; the reason where it changed."""
        if len(self._busy) < BUSY_FROM:
            return None
        taken = [float(rate) * self.taken(fps) for rate in RATES]  # of an interval
        if taken[self._at] > SLOW:
            if self._at + 1 < len(RATES):
                self._at += 1
                self._quick_from_ns = None
                self._busy.clear()
                return "frame rate lowered: encoder slow"
        elif self._at > 0 and taken[self._at - 1] < QUICK:
            if self._quick_from_ns is None:
                self._quick_from_ns = now_ns
            elif now_ns - self._quick_from_ns >= STEP_UP_NS:
                self._at -= 1
                self._quick_from_ns = None
                return "frame rate raised: encoder keeps up"
        else:
            self._quick_from_ns = None
        return None
