"""What this machine has of processors, and how many pixels a second they have time to spare for."""

from __future__ import annotations

import os

__all__ = ["SPARE_PIXELS_A_CORE", "cores"]

SPARE_PIXELS_A_CORE = 20e6
"""Pixels a second and core up to which pictures may be taken pains with.

H.264's better settings and a decode for the PSNR take 10 ns a pixel of grey, several times that of
colour.  Above, a graphics processor may encode H.264, if there is one.
"""


def cores() -> int:
    """How many processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # not everywhere
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
