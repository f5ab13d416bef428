"""When the frames of a DICOM file are shown: its rate, by what its header says."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydicom.dataset import Dataset

__all__ = ["frame_rate"]


def frame_rate(header: Dataset) -> float | None:
    """Return the file's own rate in frames a second, None where it names none.

    Looked for in the order frame time, frame time vector (C.7.6.5; its mean, as playback is
    even), cine rate, recommended display frame rate.
    """
    if (interval_ms := _positive(header.get("FrameTime"))) is not None:
        return 1000.0 / interval_ms
    vector = header.get("FrameTimeVector")
    if vector is not None and not isinstance(vector, int | float | str) and len(vector) > 1:
        mean_ms = _positive(np.mean([float(step) for step in vector[1:]]))  # the first is 0
        if mean_ms is not None:
            return 1000.0 / mean_ms
    for rate in ("CineRate", "RecommendedDisplayFrameRate"):
        if (fps := _positive(header.get(rate))) is not None:
            return fps
    return None


def _positive(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if 0.0 < number < float("inf") else None
