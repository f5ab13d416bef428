"""Damaged files of pictures, alone and among others: told in words, and the others are shown."""

from __future__ import annotations

import io
import random
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageFile

from sender.sources import Skipped, SourcePicture, open_source
from sender.sources.pictures import page_headers
from shared.errors import VeilscopeError

# Of formats that Pillow will drop, and of what is damaged.
pytestmark = pytest.mark.filterwarnings("ignore")

COLOURS = Pillow.fromarray(np.random.default_rng(5).integers(0, 256, (40, 50, 3), dtype=np.uint8))
FRAMES = [Pillow.fromarray(np.roll(COLOURS, by, 0)) for by in range(1, 4)]
LOOKED_UP = COLOURS.convert("P")

KINDS: dict[str, tuple[str, Pillow.Image, dict[str, object]]] = {
    "png": ("PNG", COLOURS, {}),
    "palette.png": ("PNG", LOOKED_UP, {}),
    "moving.png": ("PNG", LOOKED_UP, {"save_all": True, "append_images": FRAMES}),
    "bmp": ("BMP", COLOURS, {}),
    "palette.bmp": ("BMP", LOOKED_UP, {}),
    "gif": ("GIF", LOOKED_UP, {}),
    "moving.gif": ("GIF", LOOKED_UP, {"save_all": True, "append_images": FRAMES}),
    "moving.webp": ("WEBP", COLOURS, {"save_all": True, "append_images": FRAMES}),
    "avif": ("AVIF", COLOURS, {}),
    "tif": ("TIFF", COLOURS, {"compression": "tiff_lzw"}),
    "pages.tif": ("TIFF", LOOKED_UP, {"save_all": True, "append_images": FRAMES}),
    "palette.ico": ("ICO", LOOKED_UP, {}),
    "palette.pcx": ("PCX", LOOKED_UP, {}),
    "palette.tga": ("TGA", LOOKED_UP, {}),
    "palette.im": ("IM", LOOKED_UP, {}),
    "jpg": ("JPEG", COLOURS, {}),
    "jp2": ("JPEG2000", COLOURS, {}),
    "ppm": ("PPM", COLOURS, {}),
    "dds": ("DDS", COLOURS, {}),
    "sgi": ("SGI", COLOURS, {}),
    "qoi": ("QOI", COLOURS, {}),
}


def content_of(kind: str) -> bytes:
    name, picture, options = KINDS[kind]
    written = io.BytesIO()
    picture.save(written, name, **options)
    return written.getvalue()


def play(path: Path) -> list[SourcePicture | Skipped]:
    source = open_source(f"images:{path}")
    readings = list(source.pictures())
    source.close()
    assert all(isinstance(reading, SourcePicture | Skipped) for reading in readings)
    return readings


def hurt(content: bytes, rng: random.Random) -> bytes:
    data = bytearray(content)
    if rng.random() < 0.3:
        return bytes(data[: rng.randrange(1, len(data))])
    for _ in range(rng.choice((1, 1, 2, 4, 10))):
        at = rng.randrange(len(data) if rng.random() < 0.3 else min(len(data), 200))
        kind = rng.randrange(4)
        if kind == 0:
            data[at] = rng.randrange(256)
        elif kind == 1:
            data[at : at + 2] = rng.choice((b"\0\0", b"\xff\xff", b"\1\0", b"\0\x80"))
        elif kind == 2:
            data[at:at] = rng.randbytes(rng.randrange(1, 9))
        elif len(data) > 30:
            del data[at : at + rng.randrange(1, 9)]
    return bytes(data)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_cut_short_costs_a_folder_that_file_alone(kind: str, tmp_path: Path) -> None:
    for number in (1, 3):
        COLOURS.save(tmp_path / f"{number}.png")
    content = content_of(kind)
    for share in (0.05, 0.3, 0.5, 0.8):
        (tmp_path / f"2.{kind}").write_bytes(content[: round(len(content) * share)])
        readings = play(tmp_path)
        assert isinstance(readings[0], SourcePicture)
        assert isinstance(readings[-1], SourcePicture)
        assert len(readings) > 2, "what was left out is told"


@pytest.mark.parametrize("kind", KINDS)
def test_damage_of_any_kind_is_told_in_words(kind: str, tmp_path: Path) -> None:
    rng, content = random.Random(kind), content_of(kind)
    among_others = tmp_path / "folder"
    among_others.mkdir()
    COLOURS.save(among_others / "1.png")
    for _ in range(12):
        damaged = hurt(content, rng)
        (among_others / f"2.{kind}").write_bytes(damaged)
        assert isinstance(play(among_others)[0], SourcePicture)
        alone = tmp_path / f"1.{kind}"
        alone.write_bytes(damaged)
        with suppress(VeilscopeError):
            play(alone)


def test_of_an_animation_that_is_cut_short_what_comes_before_is_shown(tmp_path: Path) -> None:
    content = content_of("moving.gif")
    (tmp_path / "1.gif").write_bytes(content[: len(content) // 2])
    source = open_source(f"images:{tmp_path}")
    readings = list(source.pictures())
    assert len(readings) > 1
    assert source.info.frame_count == len(readings)
    assert [type(reading) for reading in readings[:-1]] == [SourcePicture] * (len(readings) - 1)
    assert isinstance(readings[-1], Skipped)


def test_a_tiff_of_previews_alone_is_told_as_one_picture_that_is_missing(tmp_path: Path) -> None:
    COLOURS.save(tmp_path / "1.png")
    COLOURS.save(tmp_path / "2.tif", tiffinfo={254: 1})
    first, second = play(tmp_path)
    assert isinstance(first, SourcePicture)
    assert isinstance(second, Skipped)


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"palette.ico"}))  # Pillow's opening does
def test_headers_are_read_without_decoding(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"1.{kind}"
    path.write_bytes(content_of(kind))

    def never(_picture: ImageFile.ImageFile) -> None:
        pytest.fail("the picture was decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", never)
    assert {header.size for header in page_headers(path)} == {(50, 40)}


def test_a_palette_of_greys_is_known_by_its_header(tmp_path: Path) -> None:
    for suffix in ("png", "bmp", "gif", "tif", "pcx", "tga"):
        path = tmp_path / f"1.{suffix}"
        COLOURS.convert("L").convert("P").save(path)
        assert page_headers(path)[0].grey, suffix
        LOOKED_UP.save(path)
        assert not page_headers(path)[0].grey, suffix
