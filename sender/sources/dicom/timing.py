"""When the frames of a DICOM file are shown: its rate and its times, by what its header says.

A file may say so in many places, and the first place that says something possible is believed:
a frame time in seconds or microseconds instead of milliseconds is a common slip.  In order: frame
time and frame time vector (C.7.6.5), the times of an enhanced file's frames (C.7.6.16.2), cine
rate, recommended display frame rate, and at last durations, which need not be what lies between
two frames.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
from pydicom.dataset import Dataset

from sender.sources.dicom.elements import (
    frame_count,
    items,
    number,
    numbers,
    places,
    raw,
    wholes,
)

__all__ = ["frame_rate", "frame_times"]

# A possible frame time, of 1 to 240 frames a second, gives at least 1000 frames a second if it was
# written in seconds, and at most 0.24 if it was written in microseconds.
SLOWEST_FPS = 0.25
FASTEST_FPS = 240.0

LONGEST_STEP_S = 10.0  # between two frames; a longer gap is a broken time, not a clip
MAX_TIMED_FRAMES = 100_000  # beyond, a clip is played evenly
# Times are often rounded to milliseconds: what differs by no more is even.
EVEN_WITHIN_S = 0.001
EVEN_WITHIN = 0.02  # of the mean step

_VECTOR_TAG = 0x00181065  # Frame Time Vector, where the frame increment pointer names it
_DATE_TIME = re.compile(r"(\d{14})(?:\.(\d{1,6}))?([+-]\d{4})?")  # PS3.5 section 6.2, to seconds

Steps = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class _Timing:
    """A rate in frames a second; `steps` are the seconds between frames where these are known."""

    fps: float
    steps: Steps = ()


def frame_rate(header: Dataset) -> float | None:
    """Return the file's own rate in frames a second, None where it names none that is possible.

    Where the steps between frames vary it is their mean.
    """
    timing = next(_timings(header), None)
    return None if timing is None else timing.fps


def frame_times(header: Dataset, count: int) -> tuple[float, ...] | None:
    """Return the times of the first `count` frames in seconds, the first at 0, strictly increasing.

    None where frames come evenly, at `frame_rate`, or the file does not say.
    """
    timing = next(_timings(header), None)
    if timing is None or count < 2 or len(timing.steps) < count - 1:
        return None
    steps = np.array(timing.steps[: count - 1])
    mean = float(steps.mean())
    if np.abs(steps - mean).max() <= max(EVEN_WITHIN_S, EVEN_WITHIN * mean):
        return None
    return (0.0, *(float(at) for at in np.cumsum(steps)))


def _timings(header: Dataset) -> Iterator[_Timing]:
    """Yield what the file says of its rate and is possible, the most trusted first."""
    count = frame_count(header)
    vector = tuple(ms / 1000.0 for ms in numbers(header, "FrameTimeVector")[1:])  # the first is 0
    of_vector = _steps_timing(vector) if len(vector) == count - 1 else None
    of_time = _rate_timing(_inverse(number(header, "FrameTime"), 1000.0))
    pointed = _VECTOR_TAG in wholes(header, "FrameIncrementPointer")
    found = [of_vector, of_time] if pointed else [of_time, of_vector]
    yield from (timing for timing in found if timing is not None)
    if count > 1:
        for steps in _enhanced(header, count):
            if (timing := _steps_timing(steps)) is not None:
                yield timing
    # Elements that hold a rate, and durations: of the whole clip in s, then of one frame in ms.
    rates = [number(header, "CineRate"), number(header, "RecommendedDisplayFrameRate")]
    rates.append(_inverse(number(header, "EffectiveDuration"), count) if count > 1 else None)
    rates.append(_inverse(number(header, "ActualFrameDuration"), 1000.0))
    contents = places(header, "FrameContentSequence", 0)
    rates.extend(_inverse(number(place, "FrameAcquisitionDuration"), 1000.0) for place in contents)
    for rate in rates:
        if (timing := _rate_timing(rate)) is not None:
            yield timing
    # A vector for another number of frames still says how far frames are apart.
    if (timing := _steps_timing(vector)) is not None:
        yield _Timing(timing.fps)


def _enhanced(header: Dataset, count: int) -> Iterator[Steps]:
    """Yield the seconds between frames, by each kind of time that all frames of a file have."""
    groups = items(header, "PerFrameFunctionalGroupsSequence")
    if len(groups) < count or count > MAX_TIMED_FRAMES:
        return
    kinds = (
        ("FrameContentSequence", "FrameReferenceDateTime", _date_time),
        ("FrameContentSequence", "FrameAcquisitionDateTime", _date_time),
        ("TemporalPositionSequence", "TemporalPositionTimeOffset", number),  # s
        ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime", _milliseconds),
    )
    for macro, keyword, read in kinds:
        times: list[float] = []
        for ordinal in range(count):
            # Of this frame's own group only: a time that all frames share is no frame's time.
            found = (read(item, keyword) for item in items(groups[ordinal], macro)[:1])
            at = next(found, None)
            if at is None:
                break
            times.append(at)
        else:
            # Whole microseconds: differences of large numbers are noise below.
            yield tuple(round(later - earlier, 6) for earlier, later in pairwise(times))


def _steps_timing(steps: Steps) -> _Timing | None:
    if not steps or not all(0.0 < step <= LONGEST_STEP_S for step in steps):  # NaN neither
        return None
    timing = _rate_timing(round(len(steps) / sum(steps), 6))
    return None if timing is None else _Timing(timing.fps, steps)


def _rate_timing(fps: float | None) -> _Timing | None:
    return _Timing(fps) if fps is not None and SLOWEST_FPS <= fps <= FASTEST_FPS else None


def _inverse(duration: float | None, whole: float) -> float | None:
    return whole / duration if duration is not None and duration > 0.0 else None


def _milliseconds(item: Dataset, keyword: str) -> float | None:
    value = number(item, keyword)
    return None if value is None else value / 1000.0


def _date_time(item: Dataset, keyword: str) -> float | None:
    """Return a date and time in seconds from an arbitrary start."""
    value = raw(item, keyword)
    if isinstance(value, datetime):  # as pydicom gives it where it was told to
        value = value.strftime("%Y%m%d%H%M%S.%f%z")
    parts = _DATE_TIME.fullmatch(str(value).strip(" \0")) if value is not None else None
    if parts is None:
        return None
    digits, fraction, zone = parts.groups()
    try:
        at = datetime.strptime(digits, "%Y%m%d%H%M%S")
        if zone is not None:
            offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:5]))
            at += offset if zone[0] == "-" else -offset
    except (ValueError, OverflowError):  # no date, or one at the very end of the calendar
        return None
    seconds = (at - datetime(2000, 1, 1)).total_seconds()
    return seconds + float(f"0.{fraction or 0}")
