"""Which formats of still pictures are taken, by what they are known, and how they are compressed.

Everything that Pillow decodes, by its own plugins or by one that is installed, but what would run
a program.  Nothing here decodes a picture.
"""

from __future__ import annotations

from importlib import import_module

from PIL import ExifTags, ImageFile
from PIL import Image as Pillow

from sender.sources.compression import LOSSLESS, Grid, grid_of, jpeg_grid

__all__ = [
    "ANIMATED",
    "FORMATS",
    "PAGED",
    "SUFFIXES",
    "UNMARKED",
    "lossy_grid",
    "missing_plugin",
]

_YCBCR = 6  # as TIFF's photometric interpretation

# For EPS, Pillow has Ghostscript run the program that such a file is; the others it can't decode.
_LEFT_OUT = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})

# What Pillow opens only where a plugin is installed: its module, its package, how files begin.
_PLUGINS = {
    "JPEG XL": ("pillow_jxl", "pillow-jxl-plugin", (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")),
    "HEIF": ("pillow_heif", "pillow-heif", (b"ftyphei", b"ftyphev", b"ftypmif1", b"ftypmsf1")),
}

ANIMATED = frozenset({"AVIF", "FLI", "GIF", "HEIF", "JXL", "PNG", "WEBP"})
"""Formats whose pictures build on each other, and have one size."""

PAGED = frozenset({"DCX", "TIFF"})
"""Formats whose pictures are pages, each with a size of its own."""

UNMARKED = frozenset(
    {"BLP", "CUR", "FLI", "FTEX", "GBR", "ICO", "IM", "IMT", "IPTC", "MCIDAS", "MSP", "PCD", "PCX"}
    | {"PIXAR", "SGI", "SPIDER", "TGA", "XVTHUMB"}
)
"""Formats without a beginning that is theirs alone: they are believed with a suffix only."""


def _formats() -> tuple[str, ...]:
    for module, _package, _marks in _PLUGINS.values():
        try:
            plugin = import_module(module)
        except ImportError:
            continue
        if hasattr(plugin, "register_heif_opener"):  # the other one registers when it is loaded
            plugin.register_heif_opener()
    Pillow.init()
    return tuple(name for name in Pillow.ID if name not in _LEFT_OUT)


FORMATS = _formats()
"""Pillow's names of the formats that are taken."""

SUFFIXES = frozenset(
    {suffix for suffix, name in Pillow.EXTENSION.items() if name in FORMATS}
    # Of what Pillow has no suffix for, opens by a plugin, or leaves to others.
    | {".jfi", ".jif", ".mpo", ".pam", ".sr", ".jxl", ".heic", ".heif", ".hif"}
)
"""The suffixes, in small letters, of the files that are taken for pictures."""


def missing_plugin(head: bytes) -> tuple[str, str] | None:
    """The format of a file that begins with `head`, and the package that would open it.

    None for a file that needs none.
    """
    for name, (_module, package, marks) in _PLUGINS.items():
        if head.startswith(marks) or head[4:].startswith(marks):
            return name, package
    return None


def lossy_grid(picture: ImageFile.ImageFile, head: bytes) -> Grid:
    """Return the grid on which a picture was compressed with loss.

    `head` is how its file begins.  Where a format allows both and does not tell: with loss.
    """
    name = picture.format or ""
    if name in ("JPEG", "MPO"):
        # Of several components each is sampled on a grid of its own, the widest over all others.
        layers: list[tuple[int, int, int, int]] = getattr(picture, "layer", [])
        if len(layers) < 2:
            return jpeg_grid(1)
        return jpeg_grid(max(max(across, down) for _id, across, down, _table in layers))
    if name == "TIFF":
        grid = grid_of(str(picture.info.get("compression")))
        return grid.with_colours(_tiff_sampling(picture))
    if name == "WEBP" and head[12:16] == b"VP8L":
        return LOSSLESS
    return grid_of(name)


def _tiff_sampling(picture: ImageFile.ImageFile) -> int:
    """How many pixels a side a sample of colour covers (TIFF 6.0, section 21)."""
    tags = getattr(picture, "tag_v2", {})
    if tags.get(ExifTags.Base.PhotometricInterpretation) != _YCBCR:
        return 1
    factors: object = tags.get(ExifTags.Base.YCbCrSubSampling, (2, 2))
    numbers = factors if isinstance(factors, tuple) else (factors,)
    return max((number for number in numbers if number in (1, 2, 4)), default=2)
