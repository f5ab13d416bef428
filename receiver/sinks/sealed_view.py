"""Sealed bytes as a picture: what the network sees of a frame.

The bytes fill the picture row by row as they are.  Nothing is stretched, repeated or made up:
where there are fewer bytes than pixels the rest stays one plain grey.
"""

from __future__ import annotations

import numpy as np

from shared.frame import Image

__all__ = ["PLAIN", "sealed_picture"]

PLAIN = 24  # dark grey: no sealed bytes here


def sealed_picture(sealed: bytes, width: int, height: int, channels: int = 3) -> Image:
    """`sealed` as uint8 `(height, width)` for 1 channel, else RGB `(height, width, 3)`.

    Bytes beyond the picture's own are left out.
    """
    picture = np.full(height * width * channels, PLAIN, np.uint8)
    shown = np.frombuffer(sealed, np.uint8)[: picture.size]
    picture[: shown.size] = shown
    return picture.reshape((height, width) if channels == 1 else (height, width, channels))
