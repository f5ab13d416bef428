"""How far loss spreads, by whatever name a source knows a way of compression."""

from __future__ import annotations

import pytest

from sender.sources.compression import LOSSLESS, Grid, grid_of, is_known, jpeg_grid
from sender.sources.pictures.formats import FORMATS


@pytest.mark.parametrize(
    ("names", "grid"),
    [
        (("mjpeg", "MJPG", "JPEG", "tiff_jpeg", "mpeg2video", "h264", "H264"), Grid(16, 4)),
        (("hevc", "HEVC", "JXL", "jpegxl", "1.2.840.10008.1.2.4.112"), Grid(64, 4)),
        (("av1", "AVIF"), Grid(64, 16)),
        (("jpeg2000", "JPEG2000", "1.2.840.10008.1.2.4.91"), Grid(32, 16)),
        (("PNG", "GREY", "raw", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99"), LOSSLESS),
        (("YUYV", "NV12"), Grid(2, 4)),
    ],
)
def test_all_names_of_a_way_of_compression_have_one_grid(
    names: tuple[str, ...], grid: Grid
) -> None:
    assert {name: grid_of(name) for name in names} == dict.fromkeys(names, grid)


@pytest.mark.parametrize("name", ["", "cinepak", "1.2.3.4.5", "XYZ1", "1.2.840.10008.1.2.4.50"])
def test_what_is_not_known_counts_as_lossy(name: str) -> None:
    assert grid_of(name) == Grid(16, 4)
    assert not is_known(name)


def test_every_format_without_loss_is_named() -> None:
    taken = {name for name in FORMATS if grid_of(name) != LOSSLESS}
    lossy = {"AVIF", "BLP", "DDS", "FTEX", "HEIF", "ICNS", "IPTC", "JPEG", "JPEG2000", "JXL"}
    # Of a TIFF its own compression counts.
    assert taken <= lossy | {"MIC", "MPO", "PCD", "TIFF", "WEBP"}


def test_colours_of_less_resolution_widen_what_masks_cover() -> None:
    assert LOSSLESS.with_colours(1) == LOSSLESS
    assert LOSSLESS.with_colours(2) == Grid(2, 4)
    assert LOSSLESS.with_colours(4) == Grid(4, 8)
    assert Grid(16, 4).with_colours(2) == Grid(16, 4)  # reckoned with
    assert Grid(16, 4).with_colours(4) == Grid(32, 8)
    assert (jpeg_grid(1).block, jpeg_grid(2).block, jpeg_grid(4).block) == (8, 16, 32)
