"""Periodic features: SP 800-22 rev 1a, 2.6 (discrete Fourier transform)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.fft import rfft
from scipy.special import erfc

__all__ = ["spectral"]


def spectral(bits: NDArray[np.uint8]) -> float:
    """SP 800-22, 2.6: how many peaks of the spectrum stay below the 95 % threshold."""
    n = bits.size
    peaks = np.abs(rfft(bits * 2.0 - 1))[: n // 2]
    below = np.count_nonzero(peaks < np.sqrt(n * np.log(1 / 0.05)))
    difference = (below - 0.95 * n / 2) / np.sqrt(n * 0.95 * 0.05 / 4)
    return float(erfc(abs(difference) / np.sqrt(2)))
