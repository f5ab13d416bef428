"""Files of still pictures: samples of every kind, turning, pixel shape, block grid, damage."""

from __future__ import annotations

import struct
import zlib
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import ImageCms, TiffImagePlugin

from sender.masks.rectangles import apply_masks
from sender.sources.geometry import Geometry
from sender.sources.pictures import file as picturefile
from sender.sources.pictures.file import StillPage, is_picture, page_headers, pages
from shared.errors import SourceFailed
from shared.frame import Image, Rect

RNG = np.random.default_rng(20)
COLOUR = RNG.integers(0, 256, (32, 48, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (32, 48), dtype=np.uint8)


@pytest.fixture(autouse=True)
def _drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test draws the same samples, whichever ran before it."""
    monkeypatch.setitem(globals(), "RNG", np.random.default_rng(21))


SMOOTH = np.stack(np.meshgrid(np.arange(48) * 5, np.arange(32) * 7), -1).sum(-1).astype(np.uint8)


def written(path: Path, picture: Pillow.Image | Image, **options: object) -> Path:
    image = picture if isinstance(picture, Pillow.Image) else Pillow.fromarray(picture)
    image.save(path, **options)
    return path


def only(path: Path) -> StillPage:
    (page,) = pages(path)
    assert isinstance(page, StillPage), page
    return page


def shown(path: Path) -> Image:
    page = only(path)
    return page.geometry.shown(page.stored)


def why(path: Path) -> str:
    (page,) = pages(path)
    assert isinstance(page, SourceFailed)
    return str(page)


# -- samples ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        ("png", {}),
        ("bmp", {}),
        ("dib", {}),
        ("tif", {}),
        ("tif", {"compression": "tiff_lzw"}),
        ("tif", {"compression": "packbits"}),
        ("tif", {"compression": "tiff_adobe_deflate"}),
        ("tif", {"big_tiff": True}),
        ("tga", {"compression": "tga_rle"}),
        ("pcx", {}),
        ("ppm", {}),
        ("qoi", {}),
        ("sgi", {}),
        ("webp", {"lossless": True}),
        ("jp2", {}),
        ("j2k", {}),
        ("jpx", {"irreversible": False}),
    ],
)
def test_formats_without_loss_give_what_was_written(
    suffix: str, options: dict[str, object], tmp_path: Path
) -> None:
    assert np.array_equal(shown(written(tmp_path / f"1.{suffix}", COLOUR, **options)), COLOUR)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "tga", "pgm", "sgi", "jp2", "gif", "pcx"])
def test_grey_stays_grey(suffix: str, tmp_path: Path) -> None:
    assert np.array_equal(shown(written(tmp_path / f"1.{suffix}", GREY)), GREY)
    assert page_headers(tmp_path / f"1.{suffix}")[0].grey


def test_jpeg_is_decoded_as_other_programs_do(tmp_path: Path) -> None:
    for name, picture in (("1.jpg", COLOUR), ("2.jpg", GREY)):
        path = written(tmp_path / name, picture, quality=90)
        with Pillow.open(path) as other:
            assert np.array_equal(shown(path), np.asarray(other))
    assert shown(tmp_path / "2.jpg").ndim == 2


def test_a_jpeg_of_the_colours_themselves_is_no_ycbcr(tmp_path: Path) -> None:
    path = written(tmp_path / "1.jpg", np.full((32, 48, 3), (250, 10, 90), np.uint8), keep_rgb=True)
    assert np.abs(shown(path).astype(int) - [250, 10, 90]).max() <= 2


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_printing_inks_are_no_negative(suffix: str, tmp_path: Path) -> None:
    # Adobe writes the inks of a JPEG upside down.
    path = written(tmp_path / f"1.{suffix}", Pillow.new("CMYK", (48, 32), (0, 255, 255, 0)))
    assert np.abs(shown(path).astype(int) - [255, 0, 0]).max() <= 3
    assert page_headers(path)[0].printing


def test_cielab_comes_as_the_colour_that_it_is(tmp_path: Path) -> None:
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    there = ImageCms.buildTransform(srgb, lab, "RGB", "LAB")
    colour = ImageCms.applyTransform(Pillow.new("RGB", (48, 32), (200, 80, 30)), there)
    assert colour is not None
    path = written(tmp_path / "1.tif", colour)
    assert np.abs(shown(path).astype(int) - [200, 80, 30]).max() <= 3


def test_what_is_transparent_is_black_in_every_kind(tmp_path: Path) -> None:
    clear = np.full(COLOUR.shape[:2], 255, np.uint8)
    clear[:10], clear[10:20] = 0, 51  # nothing of it, and a fifth
    colour, grey = COLOUR.copy(), GREY.copy()
    for image in (colour, grey):
        image[:10] = 0
        image[10:20] = np.rint(image[10:20] / 5)
    rgba = Pillow.fromarray(np.dstack([COLOUR, clear]), "RGBA")
    la = Pillow.merge("LA", (Pillow.fromarray(GREY), Pillow.fromarray(clear)))
    for suffix in ("png", "tif"):
        assert np.array_equal(shown(written(tmp_path / f"rgba.{suffix}", rgba)), colour)
        assert np.array_equal(shown(written(tmp_path / f"la.{suffix}", la)), grey)
        assert page_headers(tmp_path / f"la.{suffix}")[0].transparent


@pytest.mark.parametrize(
    ("transparency", "second", "third"),
    [
        (None, [0, 200, 0], [0, 0, 90]),
        (1, [0, 0, 0], [0, 0, 90]),
        (bytes([255, 0, 128]), [0, 0, 0], [0, 0, 45]),
    ],
)
def test_a_palette_is_looked_up_and_what_it_says_is_transparent_is_black(
    transparency: object, second: list[int], third: list[int], tmp_path: Path
) -> None:
    picture = Pillow.fromarray((np.indices((32, 48)).sum(0) % 3).astype(np.uint8), "P")
    picture.putpalette([255, 0, 0, 0, 200, 0, 0, 0, 90])
    options = {} if transparency is None else {"transparency": transparency}
    image = shown(written(tmp_path / "1.png", picture, **options))
    assert image[0, :3].tolist() == [[255, 0, 0], second, third]


def test_a_palette_of_greys_alone_is_grey(tmp_path: Path) -> None:
    picture = Pillow.fromarray(GREY % 4, "P")
    picture.putpalette([value for level in (0, 90, 180, 255) for value in (level,) * 3])
    path = written(tmp_path / "1.png", picture)
    assert np.array_equal(shown(path), np.array([0, 90, 180, 255], np.uint8)[GREY % 4])
    assert page_headers(path)[0].grey


@pytest.mark.parametrize("suffix", ["png", "tif", "pbm", "bmp", "pcx"])
def test_one_bit_is_black_and_white(suffix: str, tmp_path: Path) -> None:
    picture = Pillow.fromarray(GREY > 99)
    image = shown(written(tmp_path / f"1.{suffix}", picture))
    assert np.array_equal(image, np.where(GREY > 99, 255, 0))


DEEP = RNG.integers(0, 65536, (32, 48), dtype=np.uint16)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm", "jp2"])
def test_sixteen_bits_of_grey_become_eight(suffix: str, tmp_path: Path) -> None:
    deep = DEEP.copy()
    deep[0, :4] = [65535, 0, 257 * 100, 257 * 100 + 129]
    path = written(tmp_path / f"1.{suffix}", deep)
    image = shown(path)
    assert image[0, :4].tolist() == [255, 0, 100, 101]
    assert np.array_equal(image, np.rint(deep / 257.0))
    assert page_headers(path)[0].deep


def test_sixteen_bits_of_the_other_byte_order_become_the_same(tmp_path: Path) -> None:
    path = written(tmp_path / "1.tif", Pillow.fromarray(DEEP.astype(">u2")))
    assert path.read_bytes().startswith(b"MM")
    assert np.array_equal(shown(path), np.rint(DEEP / 257.0))


def test_sixteen_bits_of_which_white_is_zero_are_turned_over(tmp_path: Path) -> None:
    path = written(tmp_path / "1.tif", DEEP, tiffinfo={262: 0})
    assert np.array_equal(shown(path), 255 - np.rint(DEEP / 257.0))


@pytest.mark.parametrize("suffix", ["png", "tif", "ppm"])
def test_sixteen_bits_of_colour_become_eight(suffix: str, tmp_path: Path) -> None:
    deep = RNG.integers(0, 65536, (32, 48, 3), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / f"1.{suffix}"), deep)
    assert np.array_equal(shown(tmp_path / f"1.{suffix}"), np.rint(deep[..., ::-1] / 257.0))


def png(kind: int, samples: np.ndarray) -> bytes:
    """A PNG of 16 bits a sample, of the kinds that Pillow doesn't write (PNG, section 11.2.2)."""
    height, width = samples.shape[:2]
    rows = samples.astype(">u2").reshape(height, -1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)),
        (b"IDAT", zlib.compress(raw)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


@pytest.mark.parametrize(("kind", "depth"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_every_png_of_sixteen_bits_becomes_eight(kind: int, depth: int, tmp_path: Path) -> None:
    deep = RNG.integers(0, 65536, (32, 48, depth), dtype=np.uint16)
    path = tmp_path / "1.png"
    path.write_bytes(png(kind, deep))
    kept = deep[..., 0] if depth < 3 else deep[..., :3]
    expected = np.rint(kept / 257.0)
    if depth in (2, 4):  # black where it is transparent, to a step of its 8 bits
        opaque = deep[..., -1] / 65535.0
        expected = expected * (opaque if depth == 2 else opaque[..., None])
    assert np.abs(shown(path) - expected).max() <= (1.5 if depth in (2, 4) else 0)


def test_twelve_bits_are_scaled_by_their_own_range(tmp_path: Path) -> None:
    packed = np.zeros(32 * 48 * 3 // 2, np.uint8)  # two samples in three bytes
    packed[:] = 0xFF
    packed[0:3] = [0x80, 0x00, 0x00]
    path = tmp_path / "1.tif"
    path.write_bytes(tiff(48, 32, bits=12, samples=packed.tobytes()))
    image = shown(path)
    assert image[0, :3].tolist() == [128, 0, 255]


@pytest.mark.parametrize(
    ("samples", "reason"),
    [(np.float32, "floating-point"), (np.int32, "signed or of 32 bits")],
)
def test_samples_without_a_white_are_refused_and_not_guessed(
    samples: type[np.generic], reason: str, tmp_path: Path
) -> None:
    assert reason in why(written(tmp_path / "1.tif", Pillow.fromarray(GREY.astype(samples))))


@pytest.mark.parametrize(("depth", "white"), [(1, 255), (2, 100), (3, 255), (4, 255), (3, 65535)])
def test_portable_arbitrary_maps(depth: int, white: int, tmp_path: Path) -> None:
    samples = RNG.integers(0, white + 1, (32, 48, depth))
    header = f"P7\n# of a test\nWIDTH 48\nHEIGHT 32\nDEPTH {depth}\nMAXVAL {white}\nENDHDR\n"
    path = tmp_path / "1.pam"
    path.write_bytes(header.encode() + samples.astype(">u2" if white > 255 else "u1").tobytes())
    expected = samples[..., 0] if depth < 3 else samples[..., :3]
    levels = np.rint(expected * 255.0 / white)
    if depth in (2, 4):  # black where it is transparent
        opaque = samples[..., -1] / white
        levels = levels * (opaque if depth == 2 else opaque[..., None])
    assert np.abs(shown(path) - levels).max() <= (1.0 if depth in (2, 4) else 0)
    assert page_headers(path)[0].size == (48, 32)
    path.write_bytes(path.read_bytes()[:-9])
    assert "cut short" in why(path)


# -- turning and pixel shape --------------------------------------------------------------------


def tiff(width: int, height: int, *, bits: int, samples: bytes, **tags: int) -> bytes:
    """A grey TIFF of one strip, for what Pillow doesn't write."""
    entries = {256: width, 257: height, 258: bits, 259: 1, 262: 1, 277: 1, 278: height}
    entries |= {273: 8, 279: len(samples)} | {int(tag[1:]): value for tag, value in tags.items()}
    directory = struct.pack("<H", len(entries))
    for tag, value in sorted(entries.items()):
        directory += struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value)
    at = 8 + len(samples)
    return struct.pack("<2sHI", b"II", 42, at) + samples + directory + bytes(4)


def paged(path: Path, content: list[tuple[Image, dict[int, int]]]) -> Path:
    """A TIFF of several pages, each with tags of its own."""
    with TiffImagePlugin.AppendingTiffWriter(str(path), new=True) as writer:
        for page, tags in content:
            Pillow.fromarray(page).save(writer, "TIFF", tiffinfo=tags)
            writer.newFrame()
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "avif"])
def test_a_picture_is_turned_once_as_it_says(suffix: str, orientation: int, tmp_path: Path) -> None:
    stored = np.zeros((32, 64), np.uint8)
    stored[:16, :16], stored[:16, 48:], stored[16:, :16] = 250, 170, 90  # corners tell all apart
    stored = np.dstack([stored] * 3)
    exif = Pillow.Exif()
    exif[274] = orientation
    path = written(tmp_path / f"1.{suffix}", stored, exif=exif, quality=95)
    page = only(path)
    assert page.geometry.orientation == orientation
    expected = Geometry(64, 32, orientation).shown(stored)
    result = page.geometry.shown(page.stored)
    assert result.shape == expected.shape
    assert np.abs(result[4::8, 4::8].astype(int) - expected[4::8, 4::8]).max() <= 8
    (header,) = page_headers(path)
    assert header.size == (expected.shape[1], expected.shape[0])
    assert header.turned == (orientation != 1)


@pytest.mark.parametrize("stored", [GREY, GREY.astype(np.uint16) * 257])
def test_each_page_of_a_tiff_is_turned_as_it_says_itself(
    stored: np.ndarray[tuple[int, int], np.dtype[np.uint8]], tmp_path: Path
) -> None:
    orientations = (6, 1, 3)
    path = paged(tmp_path / "1.tif", [(stored, {274: value}) for value in orientations])
    for page, orientation in zip(pages(path), orientations, strict=True):
        assert isinstance(page, StillPage)
        assert page.geometry.orientation == orientation
        assert np.array_equal(page.stored, GREY)
    assert [header.size for header in page_headers(path)] == [(32, 48), (48, 32), (48, 32)]


@pytest.mark.parametrize("orientation", [0, 9, 300])
def test_an_impossible_orientation_is_none(orientation: int, tmp_path: Path) -> None:
    exif = Pillow.Exif()
    exif[274] = orientation
    assert only(written(tmp_path / "1.jpg", COLOUR, exif=exif)).geometry.orientation == 1


def test_exif_data_after_the_picture_of_a_png_counts_as_well(tmp_path: Path) -> None:
    exif = Pillow.Exif()
    exif[274] = 6
    data = written(tmp_path / "1.png", COLOUR, exif=exif).read_bytes()
    start = data.index(b"eXIf") - 4
    length = 12 + int.from_bytes(data[start : start + 4], "big")
    chunk, end = data[start : start + length], data.index(b"IEND") - 4
    (tmp_path / "1.png").write_bytes(data[:start] + data[start + length : end] + chunk + data[end:])
    assert only(tmp_path / "1.png").geometry.orientation == 6


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "tif"])
def test_pixels_that_are_not_square_are_said_to_be_so(suffix: str, tmp_path: Path) -> None:
    path = written(tmp_path / f"1.{suffix}", COLOUR, dpi=(100, 200))  # half as many across
    assert only(path).geometry.pixel_aspect == Fraction(2)
    assert shown(path).shape[:2] == (32, 96)
    assert page_headers(path)[0].stretched
    for dpi in ((96, 96), (72, 71.7), (1, 300)):  # alike, alike but for rounding, nonsense
        assert only(written(path, COLOUR, dpi=dpi)).geometry.pixel_aspect == 1


def jfif(path: Path, unit: int, across: int, down: int, **options: object) -> Path:
    data = bytearray(written(path, COLOUR, **options).read_bytes())
    at = data.index(b"JFIF\0") + 7
    data[at : at + 5] = struct.pack(">BHH", unit, across, down)
    path.write_bytes(data)
    return path


def test_jfif_gives_the_shape_of_pixels_without_a_unit(tmp_path: Path) -> None:
    assert only(jfif(tmp_path / "1.jpg", 0, 1, 2)).geometry.pixel_aspect == 2
    assert only(jfif(tmp_path / "1.jpg", 0, 1, 1)).geometry.pixel_aspect == 1
    assert only(jfif(tmp_path / "1.jpg", 0, 0, 0)).geometry.pixel_aspect == 1
    # FFmpeg writes the pixel's width before its height.
    ffmpeg = jfif(tmp_path / "1.jpg", 0, 2, 1, comment=b"Lavc61.19.100")
    assert only(ffmpeg).geometry.pixel_aspect == 2


def test_gif_gives_the_shape_of_pixels_in_sixty_fourths(tmp_path: Path) -> None:
    data = bytearray(written(tmp_path / "1.gif", GREY).read_bytes())
    for byte, aspect in ((0, 1), (49, 1), (113, 2)):
        data[12] = byte
        (tmp_path / "1.gif").write_bytes(data)
        assert only(tmp_path / "1.gif").geometry.pixel_aspect == aspect


def test_a_screen_s_size_in_a_pcx_is_no_density(tmp_path: Path) -> None:
    assert only(written(tmp_path / "1.pcx", COLOUR, dpi=(640, 480))).geometry.pixel_aspect == 1


# -- the grid of lossy compression --------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "block"),
    [
        ("1.jpg", {"subsampling": "4:2:0"}, 16),
        ("1.jpg", {"subsampling": "4:2:2"}, 16),
        ("1.jpg", {"subsampling": "4:4:4"}, 8),
        ("1.webp", {}, 16),
        ("1.webp", {"lossless": True}, 1),
        ("1.jp2", {"irreversible": True}, 32),
        ("1.avif", {}, 64),
        ("1.tif", {}, 1),
        ("1.tif", {"compression": "jpeg"}, 16),
        ("1.tif", {"compression": "tiff_lzw"}, 1),
        ("1.png", {}, 1),
        ("1.gif", {}, 1),
        ("1.bmp", {}, 1),
    ],
)
def test_masks_know_the_grid_on_which_loss_spreads(
    name: str, options: dict[str, object], block: int, tmp_path: Path
) -> None:
    assert only(written(tmp_path / name, COLOUR, **options)).geometry.block == block


@pytest.mark.parametrize("name", ["1.jpg", "1.webp", "1.jp2", "1.avif", "1.tif"])
def test_a_grown_mask_leaves_nothing_of_coloured_letters(name: str, tmp_path: Path) -> None:
    # Halved colours are enlarged across the edges of blocks: a pixel further than the blocks.
    flat = np.full((160, 192, 3), (90, 110, 100), np.uint8)
    lettered, place = flat.copy(), Rect(80, 64, 48, 32)  # on the borders of blocks
    letters = RNG.random((32, 48)) < 0.5
    lettered[64:96, 80:128][letters] = (255, 20, 0)
    options = {"1.jp2": {"irreversible": True, "quality_mode": "rates", "quality_layers": [30]}}
    options["1.tif"] = {"compression": "jpeg"}
    pages = [
        only(written(tmp_path / f"{number}{name}", image, **options.get(name, {})))
        for number, image in enumerate((flat, lettered))
    ]
    masks = [pages[1].geometry.grown(place)]
    left = [apply_masks(page.stored, masks).astype(int) for page in pages]
    # JPEG 2000 shares its bytes out over the whole picture.
    assert np.abs(left[1] - left[0]).max() <= (8 if name == "1.jp2" else 4)


@pytest.mark.parametrize(
    ("factor", "block"),
    [
        (cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411, 32),
        (cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440, 16),
        (cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444, 8),
    ],
)
def test_colours_that_are_quartered_make_the_grid_wider(
    factor: int, block: int, tmp_path: Path
) -> None:
    options = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor]
    cv2.imwrite(str(tmp_path / "1.jpg"), COLOUR[..., ::-1].copy(), options)
    assert only(tmp_path / "1.jpg").geometry.block == block


def test_quartered_colours_inside_of_a_tiff_make_the_grid_wider(tmp_path: Path) -> None:
    picture = Pillow.fromarray(COLOUR).convert("YCbCr")
    path = written(tmp_path / "1.tif", picture, compression="jpeg", tiffinfo={530: (4, 1)})
    assert only(path).geometry.block == 32


def test_a_grey_jpeg_has_no_halved_colours(tmp_path: Path) -> None:
    assert only(written(tmp_path / "1.jpg", GREY)).geometry.block == 8


# -- several pictures ---------------------------------------------------------------------------


def test_previews_and_masks_in_a_tiff_are_no_pages(tmp_path: Path) -> None:
    kinds = [{254: 0}, {254: 1}, {254: 4}, {255: 2}, {}]
    path = paged(tmp_path / "1.tif", [(GREY, kind) for kind in kinds])
    read = list(pages(path))
    assert len(read) == len(page_headers(path)) == 2


def test_the_frames_of_an_animation_are_what_a_viewer_shows(tmp_path: Path) -> None:
    frames = [Pillow.new("RGB", (48, 32), (9, 99, 200)) for _frame in range(3)]
    for number, frame in enumerate(frames):  # of which a file keeps what has changed
        frame.paste((200, 0, 0), (8 * number, 0, 8 * number + 8, 8))
    for suffix in ("gif", "webp", "png"):
        path = tmp_path / f"1.{suffix}"
        options = {"lossless": True} if suffix == "webp" else {}
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=100, **options)
        for page, frame in zip(pages(path), frames, strict=True):
            assert isinstance(page, StillPage)
            assert np.array_equal(page.stored, np.asarray(frame)), suffix


def test_a_grey_animation_stays_grey_until_a_frame_has_colour(tmp_path: Path) -> None:
    frames = [Pillow.new("L", (48, 32), value).convert("RGB") for value in (10, 90)]
    frames.append(Pillow.new("RGB", (48, 32), (200, 0, 0)))
    path = tmp_path / "1.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)
    kinds = [page.stored.ndim for page in pages(path) if isinstance(page, StillPage)]
    assert kinds == [2, 2, 3]


def test_a_default_picture_for_other_programs_is_no_frame_of_an_animated_png(
    tmp_path: Path,
) -> None:
    frames = [Pillow.new("L", (48, 32), value) for value in (10, 90, 200)]
    path = tmp_path / "1.png"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100, default_image=True)
    values = [int(page.stored[0, 0]) for page in pages(path) if isinstance(page, StillPage)]
    assert values == [90, 200]
    assert len(page_headers(path)) == 2


# -- damage -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        ("png", {}),
        ("jpg", {"quality": 95}),
        ("jpg", {"quality": 95, "progressive": True}),
        ("bmp", {}),
        ("tif", {}),
        ("tif", {"compression": "tiff_lzw"}),
        ("webp", {}),
        ("gif", {}),
        ("jp2", {}),
        ("ppm", {}),
        ("tga", {}),
        ("pcx", {}),
        ("avif", {}),
        ("qoi", {}),
        ("sgi", {}),
    ],
)
@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_picture_that_is_cut_short_is_never_shown(
    suffix: str, options: dict[str, object], share: float, tmp_path: Path
) -> None:
    path = written(tmp_path / f"1.{suffix}", COLOUR, **options)
    whole = path.read_bytes()
    path.write_bytes(whole[: round(len(whole) * share)])
    assert "damaged" in why(path)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_is_cut_short_and_closed_again_is_never_shown(
    progressive: bool, tmp_path: Path
) -> None:
    path = written(tmp_path / "1.jpg", COLOUR, quality=95, progressive=progressive)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + b"\xff\xd9")
    assert "damaged" in why(path)


def test_a_jpeg_with_garbage_in_its_data_is_never_shown(tmp_path: Path) -> None:
    path = written(tmp_path / "1.jpg", COLOUR, quality=95)
    whole = path.read_bytes()
    middle = len(whole) * 2 // 3
    path.write_bytes(whole[:middle] + bytes(40) + whole[middle + 40 :])
    assert "damaged" in why(path)


@pytest.mark.parametrize(
    "ending",
    [b"", b"\0" * 40 + b"\xff\xd9", b"\xff\xd9" + b"of a camera", b"\xff" * 9 + b"\xff\xd9"],
)
def test_what_some_cameras_do_to_a_jpeg_s_end_is_no_damage(ending: bytes, tmp_path: Path) -> None:
    path = written(tmp_path / "1.jpg", COLOUR, quality=95)
    expected = shown(path)
    whole = path.read_bytes()
    assert whole.endswith(b"\xff\xd9")
    path.write_bytes(whole[:-2] + ending)
    assert np.array_equal(shown(path), expected)


def test_a_version_of_jfif_that_nobody_knows_is_no_damage(tmp_path: Path) -> None:
    path = written(tmp_path / "1.jpg", COLOUR)
    path.write_bytes(path.read_bytes().replace(b"JFIF\0\1", b"JFIF\0\7"))
    assert shown(path).shape == COLOUR.shape


def test_of_a_tiff_the_pages_before_and_after_a_damaged_one_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "1.tif"
    first, *others = [Pillow.fromarray(GREY) for _page in range(3)]
    first.save(path, save_all=True, append_images=others, compression="tiff_adobe_deflate")
    with Pillow.open(path) as opened:
        opened.seek(1)
        start = opened.tag_v2[273][0]
    data = bytearray(path.read_bytes())
    data[start : start + 30] = bytes(30)
    path.write_bytes(data)
    assert [isinstance(page, StillPage) for page in pages(path)] == [True, False, True]


def test_an_animation_ends_at_a_damaged_frame_as_the_others_build_on_it(tmp_path: Path) -> None:
    frames = [Pillow.fromarray(RNG.integers(0, 256, (32, 48), dtype=np.uint8)) for _ in range(4)]
    path = tmp_path / "1.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    read = list(pages(path))
    assert isinstance(read[0], StillPage)
    assert isinstance(read[-1], SourceFailed)
    assert not any(isinstance(page, SourceFailed) for page in read[:-1])


def test_a_tiff_whose_pages_form_a_ring_comes_to_an_end(tmp_path: Path) -> None:
    path = tmp_path / "1.tif"
    data = bytearray(tiff(48, 32, bits=8, samples=GREY.tobytes()))
    data[-4:] = struct.pack("<I", 8 + 48 * 32)  # the next page is this one
    path.write_bytes(data)
    assert len(list(pages(path))) == 1


@pytest.mark.parametrize("suffix", ["tif", "gif"])
def test_a_file_of_too_many_pages_says_where_it_was_left(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"1.{suffix}"
    first, *others = [Pillow.fromarray(np.full((32, 48), 50 * n, np.uint8)) for n in range(5)]
    first.save(path, save_all=True, append_images=others)
    monkeypatch.setattr(picturefile, "MAX_PAGES", 3)
    *shown_pages, last = pages(path)
    assert len(shown_pages) == len(page_headers(path)) == 3
    assert isinstance(last, SourceFailed)
    assert "left out" in str(last)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_of_a_tiff_that_ends_on_its_way_the_first_pages_are_shown(tmp_path: Path) -> None:
    path = paged(tmp_path / "1.tif", [(GREY, {})] * 3)
    with Pillow.open(path) as opened:
        opened.seek(2)
        start = opened.tag_v2[273][0]
    path.write_bytes(path.read_bytes()[: start - 60])  # before the directory of the third page
    read = list(pages(path))
    assert [isinstance(page, StillPage) for page in read] == [True, True, False]
    assert len(page_headers(path)) == 2


@pytest.mark.parametrize(
    ("head", "package"),
    [
        (b"\xff\x0a" + bytes(40), "pillow-jxl-plugin"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40), "pillow-jxl-plugin"),
        (b"\0\0\0\x18ftypheic" + bytes(40), "pillow-heif"),
    ],
)
def test_a_format_that_needs_a_package_names_it(head: bytes, package: str, tmp_path: Path) -> None:
    (tmp_path / "1.pic").write_bytes(head)
    assert package in why(tmp_path / "1.pic")


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    suffix=st.sampled_from(["png", "jpg", "bmp", "tif", "webp", "gif", "jp2", "ppm", "tga", "pcx"]),
    at=st.floats(0, 1),
    garbage=st.binary(min_size=1, max_size=40),
)
def test_whatever_is_wrong_in_a_file_is_a_reason_in_one_line_and_no_crash(
    suffix: str, at: float, garbage: bytes, tmp_path: Path
) -> None:
    path = written(tmp_path / f"DOE.{suffix}", SMOOTH)
    whole = path.read_bytes()
    cut = round(at * len(whole))
    path.write_bytes(whole[:cut] + garbage + whole[cut + len(garbage) :])
    for page in pages(path):
        if isinstance(page, SourceFailed):
            assert "DOE" not in str(page)
            assert "\n" not in str(page)
        else:
            assert page.stored.dtype == np.uint8
    with suppress(SourceFailed):
        page_headers(path)


# -- what is a picture --------------------------------------------------------------------------


def test_what_is_a_picture_is_told_by_suffix_and_content(tmp_path: Path) -> None:
    written(tmp_path / "still", COLOUR, format="JPEG")
    assert is_picture(tmp_path / "still")
    written(tmp_path / "scan.tga", COLOUR)
    assert is_picture(tmp_path / "scan.tga")
    (tmp_path / "scan").write_bytes((tmp_path / "scan.tga").read_bytes())
    assert not is_picture(tmp_path / "scan")  # a TGA has no mark of its own
    (tmp_path / "clip.mjpeg").write_bytes((tmp_path / "still").read_bytes() * 3)
    assert not is_picture(tmp_path / "clip.mjpeg")  # a video of one JPEG after the other
    (tmp_path / "words.png").write_text("no picture")
    assert not is_picture(tmp_path / "words.png")
    assert not is_picture(tmp_path / "gone.png")
    assert not is_picture(tmp_path)


def test_a_program_in_a_file_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 48 32\n")
    assert "no picture" in why(tmp_path / "1.png")
