"""Between pictures and the planes that video codecs work on: full-range Y'CbCr, BT.601.

The matrix is JPEG's (ITU-T T.871), full range, so that grey is carried as it is and all 256 levels
of it; both ends use this file, and the stream is tagged accordingly.  A grey picture is luma with
flat chroma.  4:2:0 needs even sides: an odd one is padded with its last row or column, which the
receiver cuts off.  OpenCV does the sums: libswscale takes ten times as long and is a level darker.

Scratch planes are kept from picture to picture; nothing here is thread-safe.
"""

from __future__ import annotations

from typing import cast

import av
import cv2
import numpy as np

from shared.errors import DecodeFailed
from shared.frame import Image

__all__ = ["COLOURSPACE", "FULL_RANGE", "PlaneReader", "PlaneWriter", "padded", "plane"]

FULL_RANGE = 2  # AVCOL_RANGE_JPEG
COLOURSPACE = 5  # AVCOL_SPC_BT470BG, which is BT.601's matrix
_NEUTRAL = 128  # chroma of what has no colour


def padded(width: int, height: int, *, halved: bool) -> tuple[int, int]:
    """The size that is coded for a picture: even where chroma is halved."""
    return (width + (width & 1), height + (height & 1)) if halved else (width, height)


def plane(frame: av.VideoFrame, number: int) -> Image:
    """Plane `number` of `frame` as a writable view `(height, width)`; nothing is copied."""
    found = frame.planes[number]
    buffer = cast("bytearray", found)  # a plane is a writable buffer, which PyAV's types don't say
    return np.ndarray((found.height, found.width), np.uint8, buffer, strides=(found.line_size, 1))


class PlaneWriter:
    """Pictures of one size into one frame, which is written over by the next picture."""

    def __init__(self, width: int, height: int, channels: int, *, halved: bool) -> None:
        self._size = (width, height)
        wide, high = padded(width, height, halved=halved)
        self._halved = halved
        self.frame = av.VideoFrame(wide, high, "yuv420p" if halved else "yuv444p")
        self.frame.color_range = FULL_RANGE
        self.frame.colorspace = COLOURSPACE
        self._y, self._cb, self._cr = (plane(self.frame, number) for number in range(3))
        if channels == 1:
            self._cb[:], self._cr[:] = _NEUTRAL, _NEUTRAL
            return
        self._ycrcb = np.empty((high, wide, 3), np.uint8)
        self._whole_cr, self._whole_cb = (np.empty((high, wide), np.uint8) for _ in range(2))

    def write(self, image: Image) -> av.VideoFrame:
        """Return the frame that now holds `image`, uint8 `(height, width)` or `(…, 3)` RGB."""
        if image.ndim == 2:
            self._write_luma(image)
            return self.frame
        high, wide = self._y.shape
        if (wide, high) != self._size:
            below, right = high - image.shape[0], wide - image.shape[1]
            image = np.asarray(
                cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE), np.uint8
            )
        # Luma comes from here too: RGB2GRAY rounds it otherwise, which would show in flat colours.
        cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb, dst=self._ycrcb)
        if self._halved:
            cv2.split(self._ycrcb, [self._y, self._whole_cr, self._whole_cb])
            for whole, half in ((self._whole_cr, self._cr), (self._whole_cb, self._cb)):
                size = (half.shape[1], half.shape[0])
                cv2.resize(whole, size, dst=half, interpolation=cv2.INTER_AREA)
        else:
            cv2.split(self._ycrcb, [self._y, self._cr, self._cb])
        return self.frame

    def _write_luma(self, image: Image) -> None:
        height, width = image.shape
        self._y[:height, :width] = image
        self._y[height:, :width] = image[-1]
        self._y[:, width:] = self._y[:, width - 1 : width]


class PlaneReader:
    """Decoded frames of one size back into pictures."""

    def __init__(self, width: int, height: int, channels: int, *, halved: bool) -> None:
        self._size = (width, height)
        self._padded = padded(width, height, halved=halved)
        self._channels = channels
        self._halved = halved
        self._formats = ("yuvj420p", "yuv420p") if halved else ("yuvj444p", "yuv444p")
        if channels == 3:
            wide, high = self._padded
            self._cr, self._cb = (np.empty((high, wide), np.uint8) for _ in range(2))
            self._ycrcb = np.empty((high, wide, 3), np.uint8)

    def read(self, frame: av.VideoFrame) -> Image:
        """Return the picture in `frame` as a new C-contiguous array.

        Raises `DecodeFailed` for a frame of another size, sampling or range.
        """
        if (
            (frame.width, frame.height) != self._padded
            or frame.format.name not in self._formats
            or frame.color_range != FULL_RANGE
        ):
            raise DecodeFailed("the payload decodes to another kind of picture than announced")
        width, height = self._size
        y = plane(frame, 0)
        if self._channels == 1:
            return y[:height, :width].copy()
        cb, cr = plane(frame, 1), plane(frame, 2)
        if self._halved:
            cb = _doubled(cb, self._cb)
            cr = _doubled(cr, self._cr)
        cv2.merge([y, cr, cb], self._ycrcb)
        rgb = np.asarray(cv2.cvtColor(self._ycrcb, cv2.COLOR_YCrCb2RGB), np.uint8)
        return rgb if self._padded == self._size else np.ascontiguousarray(rgb[:height, :width])


def _doubled(chroma: Image, out: Image) -> Image:
    """Chroma at twice the size both ways; linear, as its samples lie between those of luma."""
    size = (out.shape[1], out.shape[0])
    cv2.resize(chroma, size, dst=out, interpolation=cv2.INTER_LINEAR)
    return out
