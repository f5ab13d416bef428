"""The shape of a still picture's pixels, by the densities that its file gives.

Scanners, fax machines and video grabbers write pictures with fewer dots one way than the other.
Few files mean it when they give a density at all, but two that differ are no accident.

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

__all__ = ["pixel_aspect"]

_SQUARE = Fraction(1)
_NEARLY = Fraction(1, 100)  # what rounding to whole dots can do to equal densities
_MOST = 4  # times as wide as high, or as high as wide; beyond, a field is broken
_PRECISION = 1000  # the largest denominator kept: a picture has at most four times as many pixels


def pixel_aspect(format_name: str, info: Mapping[Any, object], head: bytes) -> Fraction:
    """Return the width of a pixel over its height; 1 where a file says nothing, or nonsense.

    `info` is what Pillow found in a file of that format, and `head` is how the file begins.
    """
    if format_name == "PCX":
        return _SQUARE  # many have the size of a screen where the density belongs
    if format_name == "GIF" and len(head) > 12 and head[12]:
        return _plausible(Fraction(head[12] + 15, 64))  # GIF89a, section 18
    if info.get("jfif_unit") == 0:
        return _of_jfif(info)
    for name in ("aspect", "resolution", "dpi"):  # PNG, TIFF without a unit, and all others
        if name in info:
            return _of_densities(info[name])
    return _SQUARE


def _of_jfif(info: Mapping[Any, object]) -> Fraction:
    aspect = _of_densities(info.get("jfif_density"))  # ITU-T T.871, section 10.1
    comment = info.get("comment")
    # FFmpeg (libavcodec) writes the aspect itself where the standard has densities.
    return 1 / aspect if isinstance(comment, bytes) and comment.startswith(b"Lavc") else aspect


def _of_densities(densities: object) -> Fraction:
    """The aspect of pixels by how many there are on a length: across, and down."""
    try:
        across, down = (Fraction(float(value)) for value in densities)  # type: ignore[attr-defined]
        return _plausible((down / across).limit_denominator(_PRECISION))
    except (ArithmeticError, TypeError, ValueError):
        return _SQUARE


def _plausible(aspect: Fraction) -> Fraction:
    nearly_square = abs(aspect - 1) < _NEARLY
    impossible = not Fraction(1, _MOST) <= aspect <= _MOST
    return _SQUARE if nearly_square or impossible else aspect
