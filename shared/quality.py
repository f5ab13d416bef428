"""How far a decoded picture is from the original: the peak signal-to-noise ratio of each frame.

PSNR here is engineering telemetry: no threshold of it is claimed to be clinically sufficient.  It
is cheap enough to run on every frame; anything costlier (SSIM and the like) belongs in offline
measurements.
"""

from __future__ import annotations

import math

import cv2

from shared.errors import BadInput
from shared.frame import Image

__all__ = ["PEAK", "psnr_db"]

PEAK = 255.0  # the largest value of an 8-bit sample


def psnr_db(reference: Image, picture: Image) -> float | None:
    """Return the PSNR of `picture` against `reference` in dB, or None where they are bit-exact.

    Both are uint8 of one shape, `(H, W)` or `(H, W, 3)`.  The mean squared error is taken over all
    samples of all channels together: 10·log10(255² / MSE).  The sum of squares is exact (integers
    below 2⁵³).  Raises `BadInput` for differing shapes.
    """
    if reference.shape != picture.shape:
        raise BadInput(f"cannot compare a {reference.shape} picture with a {picture.shape} one")
    squared_error = cv2.norm(reference, picture, cv2.NORM_L2SQR)
    if squared_error == 0.0:
        return None
    return 10.0 * math.log10(PEAK * PEAK * reference.size / squared_error)
