"""Sealed bytes as a picture: what the network sees of a frame.

One byte is one grey pixel, row by row, in the proportions of the frame.  Nothing is stretched,
repeated or made up; the few pixels left over in the last row are plain.
"""

from __future__ import annotations

from math import ceil, sqrt

import numpy as np

from shared.frame import Image

__all__ = ["PLAIN", "sealed_picture"]

PLAIN = 24  # dark grey: no sealed byte here


def sealed_picture(sealed: bytes, width: int, height: int) -> Image:
    """`sealed` as grey uint8 `(h, w)`, w : h about `width` : `height` and w · h ≥ its length.

    To be shown larger it must be enlarged without smoothing: bytes have no values in between.
    """
    columns = max(1, round(sqrt(len(sealed) * width / height)))
    rows = max(1, ceil(len(sealed) / columns))
    picture = np.full(rows * columns, PLAIN, np.uint8)
    picture[: len(sealed)] = np.frombuffer(sealed, np.uint8)
    return picture.reshape(rows, columns)
