"""From the samples of a still picture, of any kind that Pillow reads, to 8-bit grey or RGB.

Grey stays grey, and all else becomes RGB.  What is transparent is black: colours that transparency
hides, a name perhaps, are meant for nobody.  Nothing is stretched to fill the range: 16 bits become
8 by their nominal range.  What has no nominal white (floating-point, signed and 32-bit samples) is
refused, as any guess could be a wrong picture.

Pure.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageCms

from shared.errors import SourceFailed
from shared.frame import Image

__all__ = ["DEEP_MODES", "eight_bit", "has_grey_palette", "opacity", "over_black", "scaled"]

DEEP_MODES = frozenset({"I;16", "I;16B", "I;16L", "I;16N"})
"""Pillow's modes of grey with 16 bits."""

_WITH_SPARE_CHANNEL = frozenset({"LA", "RGBA", "RGBX"})
_WITH_OPACITY = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_UNSET_OPACITY = frozenset({"BMP", "DDS", "ICO", "TGA"})  # whose writers leave zeros there


def eight_bit(picture: Pillow.Image, *, white: int = 0, inverted: bool = False) -> Image:
    """Return a loaded picture as uint8, grey `(H, W)` or RGB `(H, W, 3)`, C-contiguous.

    Of grey samples deeper than 8 bits, `white` is the value of full brightness (0: not known), or
    of none where they are `inverted`.

    Raises `SourceFailed` for samples of which nothing says what white is.
    """
    mode = picture.mode
    if mode == "F":
        raise SourceFailed("its samples are floating-point, and nothing says which value is white")
    if mode == "I" and not white:
        raise SourceFailed(
            "its samples are signed or of 32 bits, and nothing says which value is white"
        )
    if mode == "I" or mode in DEEP_MODES:
        image = scaled(np.asarray(picture), white or 65535)
        return 255 - image if inverted else image
    if mode in ("P", "PA"):
        return _looked_up(picture)
    if mode in _WITH_SPARE_CHANNEL:
        samples = np.asarray(picture)
        kept = samples[:, :, 0] if mode == "LA" else samples[:, :, :3]
        return np.ascontiguousarray(kept)
    if mode == "LAB":
        picture = _from_lab(picture)
    elif mode in ("1", "La"):
        picture = picture.convert("L")
    elif mode not in ("L", "RGB"):
        picture = picture.convert("RGB")
    return np.ascontiguousarray(picture, np.uint8)


def opacity(picture: Pillow.Image) -> Image | None:
    """Return how opaque each pixel of a loaded picture is, uint8 `(H, W)`; None: all of it is."""
    if picture.mode not in _WITH_OPACITY and picture.info.get("transparency") is None:
        return None
    try:
        opaque = np.asarray(picture.convert("RGBA").getchannel("A"))
    except ValueError:  # a key colour that the mode has no room for
        return None
    unset = picture.format in _UNSET_OPACITY and not opaque.any()
    return None if unset or opaque.min(initial=255) == 255 else opaque


def over_black(image: Image, opaque: Image | None) -> Image:
    """Return a picture, uint8 `(H, W)` or `(H, W, 3)`, laid over black by `opacity`."""
    if opaque is None:
        return image
    shares = opaque if image.ndim == 2 else opaque[:, :, None]
    return ((image.astype(np.uint16) * shares + 127) // 255).astype(np.uint8)


def scaled(samples: NDArray[np.generic], white: int) -> Image:
    """Return whole-number `samples` of any shape, of which `white` is full brightness, as uint8."""
    # float32 holds each value of 16 bits exactly, and its share of 255 to far below a half.
    shares = samples.astype(np.float32) * np.float32(255.0 / white)
    image: Image = np.clip(np.rint(shares), 0, 255).astype(np.uint8)
    return image


def has_grey_palette(picture: Pillow.Image) -> bool:
    """Whether a picture in palette mode has greys alone to paint with."""
    palette = _palette(picture)
    return bool((palette == palette[:, :1]).all())


def _looked_up(picture: Pillow.Image) -> Image:
    samples = np.asarray(picture)
    indices = samples if samples.ndim == 2 else samples[:, :, 0]  # the other one is transparency
    palette = _palette(picture)
    if has_grey_palette(picture):
        palette = np.ascontiguousarray(palette[:, 0])
    image: Image = np.take(palette, indices, axis=0)
    return image


def _palette(picture: Pillow.Image) -> Image:
    """Colours by index, uint8 `(256, 3)`; those that a picture leaves out are black."""
    colours = np.zeros((256, 3), np.uint8)
    given = np.asarray(picture.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    colours[: len(given)] = given
    return colours


def _from_lab(picture: Pillow.Image) -> Pillow.Image:
    """CIELab (TIFF 6.0, section 23) to sRGB."""
    transform = ImageCms.buildTransform(
        ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB"
    )
    converted = Pillow.new("RGB", picture.size)
    transform.apply(picture, converted)
    return converted
