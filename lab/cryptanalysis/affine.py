"""Linear algebra against a network that is affine over Z/256, as one without the fold is.

The attacker knows neither weights nor key: from blocks 0, 1, 256 and 65,536 of a frame it has the
affine map of the counter's low three bytes, and with it every block up to 2**24.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lab.cryptanalysis.target import TargetFrame
from shared.keystream.layers import COUNTER_LANES

__all__ = ["predict_affine", "share_predicted"]

_LOW_BYTES = 3
KNOWN_BLOCKS = 1 + _LOW_BYTES


def _counters(values: NDArray[np.integer]) -> NDArray[np.uint8]:
    return values.astype(">u8").view(np.uint8).reshape(-1, COUNTER_LANES)


def predict_affine(known: NDArray[np.uint8], counters: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the blocks at `counters` of an affine network from blocks 0, 1, 256 and 65,536."""
    slopes = known[1:] - known[0]
    low = counters[:, ::-1][:, :_LOW_BYTES]
    predicted: NDArray[np.uint8] = low @ slopes + known[0]  # uint8 arithmetic is mod 256
    return predicted


def share_predicted(frame: TargetFrame, rng: np.random.Generator, *, unseen: int = 1024) -> float:
    """Return which share of the bytes of `unseen` blocks the attack predicts: 1/256 by luck."""
    known = frame.at(_counters(np.array([0, 1, 1 << 8, 1 << 16])))
    counters = _counters(rng.integers(1 << 24, size=unseen))
    return float((predict_affine(known, counters) == frame.at(counters)).mean())
