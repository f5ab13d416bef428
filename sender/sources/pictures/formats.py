"""Which formats of still pictures are taken, by what they are known, and how they are compressed.

Everything that Pillow decodes, by its own plugins or by one that is installed, but what would run
a program.  Nothing here decodes a picture.
"""

from __future__ import annotations

from importlib import import_module

from PIL import Image as Pillow
from PIL import ImageFile

__all__ = [
    "ANIMATED",
    "FORMATS",
    "PAGED",
    "SUFFIXES",
    "UNMARKED",
    "block_of",
    "missing_plugin",
    "reach_of",
]

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

# Sides of the grids of lossy compression in pixels: of a block with its halved colours, of the
# largest transform, or of what a wavelet's coefficient of the fifth level covers.
_BLOCKS = {"AVIF": 64, "BLP": 16, "DDS": 4, "HEIF": 64, "ICNS": 32, "JPEG2000": 32, "JXL": 64}
_TIFF_BLOCKS = {"jpeg": 16, "tiff_jpeg": 16, "webp": 16}
_TRANSFORM = 8  # JPEG's, ITU-T T.81
# How far beyond the grid a decoder carries colours: halved ones are enlarged across the edges of
# blocks (measured for JPEG: 51 levels in the pixel beside the block), loop filters reach further,
# and wavelets overlap.
_REACH = 4
_REACHES = {"AVIF": 16, "DDS": 0, "JPEG2000": 16}


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


def reach_of(picture: ImageFile.ImageFile) -> int:
    """How many pixels beyond the grid of `block_of` what lies in a block can be seen."""
    return _REACHES.get(picture.format or "", _REACH)


def block_of(picture: ImageFile.ImageFile, head: bytes) -> int:
    """The side of the grid on which a picture was compressed with loss, in pixels; 1: without.

    `head` is how its file begins.  Where a format allows both and does not tell: with loss.
    """
    name = picture.format or ""
    if name in ("JPEG", "MPO"):
        # Of several components each is sampled on a grid of its own, the widest over all others.
        layers: list[tuple[int, int, int, int]] = getattr(picture, "layer", [])
        if len(layers) < 2:
            return _TRANSFORM
        return _TRANSFORM * max(max(across, down) for _id, across, down, _table in layers)
    if name == "TIFF":
        return _TIFF_BLOCKS.get(str(picture.info.get("compression")), 1)
    if name == "WEBP":
        return 1 if head[12:16] == b"VP8L" else 16
    return _BLOCKS.get(name, 1)
