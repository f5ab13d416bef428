"""What the header of a still picture says, before anything of it is decoded.

Orientation and pixel aspect are read here and applied by `sender.sources.geometry`, and by nothing
else; colour profiles are not applied.  Takes a picture that Pillow has opened and not loaded.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL import ExifTags, ImageFile
from PIL import Image as Pillow

from sender.sources.geometry import Geometry
from sender.sources.pictures.density import pixel_aspect
from sender.sources.pictures.formats import lossy_grid
from sender.sources.pictures.samples import DEEP_MODES, has_grey_palette

__all__ = [
    "PageHeader",
    "deep_channels",
    "full_brightness",
    "header_of",
    "is_by_the_way",
    "orientation_of",
    "stored_geometry",
]

_UPRIGHT = 1
# The codestream of a JPEG XL says how it is turned, whatever its EXIF data says, and so does the
# container of a HEIF; their decoders turn the picture.
_TURNED_BY_DECODER = frozenset({"HEIF", "JXL"})
_SRGB = (b"sRGB", b"s\0R\0G\0B")  # in a profile's description, of version 2 and of version 4


@dataclass(frozen=True, slots=True)
class PageHeader:
    """What is known of a picture before it is decoded; the size is as it is shown, in pixels."""

    size: tuple[int, int]
    grey: bool
    turned: bool = False
    stretched: bool = False  # to square pixels
    deep: bool = False  # more than 8 bits a sample
    transparent: bool = False
    printing: bool = False  # in inks, which have no one true picture on a screen
    profiled: bool = False  # with a colour profile other than sRGB


def header_of(picture: ImageFile.ImageFile, head: bytes) -> PageHeader:
    """Return what is known of a picture; `head` is how its file begins."""
    # PNG may have its EXIF data at its end, and Pillow would decode the picture to get there.
    late = picture.format == "PNG" and "exif" not in picture.info
    geometry = stored_geometry(picture, head, _UPRIGHT if late else orientation_of(picture))
    mode, deep = picture.mode, deep_channels(picture)
    profile = picture.info.get("icc_profile") or b""
    return PageHeader(
        geometry.shown_size,
        grey=mode in ("1", "L", "LA", "La", "I", *DEEP_MODES)
        or deep == "LA"
        or (mode in ("P", "PA") and _paints_in_grey(picture)),
        turned=geometry.orientation != _UPRIGHT,
        stretched=geometry.pixel_aspect != 1,
        deep=mode in ("I", *DEEP_MODES) or bool(deep),
        transparent=mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info,
        printing=mode == "CMYK",
        profiled=bool(profile) and not any(name in profile for name in _SRGB),
    )


def _paints_in_grey(picture: ImageFile.ImageFile) -> bool:
    # The picture itself would be decoded before it tells its palette: it is put to another.
    palette, other = picture.palette, Pillow.new("P", (1, 1))
    if palette is not None:
        other.putpalette(palette.palette, palette.rawmode or palette.mode)
    return has_grey_palette(other)


def stored_geometry(picture: ImageFile.ImageFile, head: bytes, orientation: int) -> Geometry:
    """Return how a picture is stored that is to be shown by that orientation of EXIF's."""
    width, height = picture.size
    if _tag(picture, ExifTags.Base.Orientation, _UPRIGHT) in (5, 6, 7, 8):
        width, height = height, width  # of a TIFF, Pillow gives the size as shown
    aspect = pixel_aspect(picture.format or "", picture.info, head)
    grid = lossy_grid(picture, head)
    return Geometry(width, height, orientation, aspect, grid.block, grid.reach)


def orientation_of(picture: ImageFile.ImageFile) -> int:
    """Return a picture's orientation as EXIF counts it, 1 to 8; 1 where nothing says so."""
    if picture.format in _TURNED_BY_DECODER:
        return _UPRIGHT
    try:
        orientation = int(picture.getexif().get(ExifTags.Base.Orientation, _UPRIGHT))
    except Exception:  # broken EXIF data is no EXIF data
        return _UPRIGHT
    return orientation if 1 <= orientation <= 8 else _UPRIGHT


def _tag(picture: ImageFile.ImageFile, tag: int, default: int) -> int:
    """A whole number that stands in a TIFF's directory; `default` in all other files."""
    value: object = getattr(picture, "tag_v2", {}).get(tag, default)
    first = value[0] if isinstance(value, tuple) and value else value
    return first if isinstance(first, int) else default


def is_by_the_way(picture: ImageFile.ImageFile) -> bool:
    """Whether a page is a smaller copy or a mask of another (TIFF 6.0, NewSubfileType)."""
    reduced, mask = 0b001, 0b100
    new_type = _tag(picture, ExifTags.Base.NewSubfileType, 0)
    return bool(new_type & (reduced | mask)) or _tag(picture, ExifTags.Base.SubfileType, 1) == 2


def deep_channels(picture: ImageFile.ImageFile) -> str:
    """Return the channels, such as "RGB", of which Pillow keeps the upper halves; "" if it doesn't.

    Of grey with transparency, "LA", it makes colours.
    """
    if picture.mode not in ("RGB", "RGBA", "LA") or not picture.tile:
        return ""
    arguments = picture.tile[0][3]
    raw = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    channels, deep, _order = raw.partition(";16") if isinstance(raw, str) else ("", "", "")
    return channels if deep else ""


def full_brightness(picture: ImageFile.ImageFile) -> tuple[int, bool]:
    """Return what white is in grey samples of more than 8 bits, and whether it is black.

    White is 0 where it is not known.
    """
    if picture.format == "TIFF":
        bits = _tag(picture, ExifTags.Base.BitsPerSample, 16)
        white_is_zero = _tag(picture, ExifTags.Base.PhotometricInterpretation, 1) == 0
        return ((1 << bits) - 1, white_is_zero) if picture.mode in DEEP_MODES else (0, False)
    return 0 if picture.format == "FITS" else 65535, False
