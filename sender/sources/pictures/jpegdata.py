"""JPEG data, decoded so that damage is noticed.

libjpeg fills in what is missing of a picture with grey, and what is wrong in it with whatever comes
out, and tells so by warnings that Pillow and OpenCV throw away.  Here such a picture is refused:
it would be a wrong picture shown as a right one.  Damage after which the data happens to fit again
can't be seen by any decoder.
"""

from __future__ import annotations

import io
import re

import numpy as np
import simplejpeg
from PIL import Image as Pillow

from shared.errors import SourceFailed
from shared.frame import Image

__all__ = ["decoded"]

_END_OF_IMAGE = b"\xff\xd9"
_MISSING_END = "Premature end of JPEG file"  # libjpeg's JWRN_JPEG_EOF
_LEFT_OVER = re.compile(r"([0-9]+) extraneous bytes before marker 0xd9")  # JWRN_EXTRANEOUS_DATA
# Of all that libjpeg warns of, what means that samples are missing or wrong.
_DAMAGE = (
    "Inconsistent progression",
    "bad Huffman code",
    "bad arithmetic code",
    "extraneous bytes",
    "instead of RST",
    "premature end of data segment",
    _MISSING_END,
)


def decoded(data: bytes, *, grey: bool) -> Image:
    """Return a grey or RGB JPEG as uint8 `(H, W)` or `(H, W, 3)`, exactly as libjpeg decodes it.

    Raises `SourceFailed` for data that is cut short or damaged.
    """
    colours = "GRAY" if grey else "RGB"
    try:
        image = _decoded(data, colours)
    except ValueError as error:
        warning = str(error)
        if _is_padding(data, warning) or not any(damage in warning for damage in _DAMAGE):
            # Nothing that concerns the picture, such as an unknown version of JFIF.
            return _by_pillow(data)
        if not warning.startswith(_MISSING_END):
            raise SourceFailed("it is damaged or cut short") from None
        # Some cameras leave the last marker out: no damage, if nothing else is missing.
        try:
            image = _decoded(data + _END_OF_IMAGE, colours)
        except ValueError:
            raise SourceFailed("it is damaged or cut short") from None
    return image[:, :, 0] if grey else image


def _decoded(data: bytes, colours: str) -> Image:
    return np.asarray(simplejpeg.decode_jpeg(data, colours, strict=True), np.uint8)


def _by_pillow(data: bytes) -> Image:
    try:
        with Pillow.open(io.BytesIO(data), formats=("JPEG",)) as picture:
            return np.asarray(picture, np.uint8)
    except Exception:  # decoders raise whatever they please
        raise SourceFailed("it is damaged, or of a kind that can't be decoded here") from None


def _is_padding(data: bytes, warning: str) -> bool:
    """Whether what is left over before the end is padding, as some cameras write it."""
    found = _LEFT_OVER.search(warning)
    if found is None:
        return False
    end = data.rfind(_END_OF_IMAGE)
    # One byte over and over: damage leaves data that looks like any other.
    left_over = data[max(0, end - int(found[1])) : end]
    return left_over.count(left_over[:1]) == len(left_over)
