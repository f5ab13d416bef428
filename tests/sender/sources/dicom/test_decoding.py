"""Frames of every encoding become the samples that were stored, or a reason why not."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import jpeg_ls
import numpy as np
import pytest
from openjpeg.utils import encode_array
from PIL import Image as Pillow
from pydicom.dataset import Dataset
from pydicom.pixels.encoders.base import RLELosslessEncoder
from pydicom.uid import UID

from sender.sources.dicom.decoding import decoder_of, syntax_name
from sender.sources.dicom.uncompressed import BadFrame, Decode, Layout
from shared.errors import SourceFailed
from tests.sender.sources.dicom.clips import (
    BASELINE,
    BIG,
    EXTENDED,
    J2K,
    JPEG_LS,
    JPEG_XL,
    LITTLE,
    LOSSLESS,
    RLE,
    header,
    jpeg,
    noise,
    smooth,
)

GREY, DEEP, COLOUR = noise((40, 60)), noise((40, 60), 1, "u2", 4095), noise((40, 60, 3), 2)
DEEP_COLOUR = noise((40, 60, 3), 3, "u2", 65535)
SIGNED = (noise((40, 60), 4, "u2", 4095).astype("i4") - 2048).astype("<i2")


def decoder(like: np.ndarray, syntax: str, **elements: Any) -> Decode:
    native = syntax in (LITTLE, BIG)
    layout = Layout.of(header(like, **elements), big_endian=syntax == BIG)
    return decoder_of(layout, UID(syntax), encapsulated=not native)


def rle(picture: np.ndarray) -> bytes:
    return RLELosslessEncoder.encode(
        picture.tobytes(),
        rows=picture.shape[0],
        columns=picture.shape[1],
        samples_per_pixel=3 if picture.ndim == 3 else 1,
        planar_configuration=0,
        bits_allocated=8 * picture.dtype.itemsize,
        bits_stored=8 * picture.dtype.itemsize,
        pixel_representation=int(picture.dtype.kind == "i"),
        photometric_interpretation="RGB" if picture.ndim == 3 else "MONOCHROME2",
        number_of_frames=1,
    )


def lossless_jpeg(picture: np.ndarray) -> bytes:
    bits = 12 if picture.dtype.itemsize == 2 and picture.max() < 4096 else None
    bits = bits or 8 * picture.dtype.itemsize
    return bytes(imagecodecs.jpeg8_encode(picture, lossless=True, predictor=1, bitspersample=bits))


def j2k(picture: np.ndarray) -> bytes:
    return bytes(encode_array(picture, photometric_interpretation=1 if picture.ndim == 3 else 2))


def jxl(picture: np.ndarray) -> bytes:
    return bytes(imagecodecs.jpegxl_encode(picture, lossless=True))


# -- without loss, sample for sample ---------------------------------------------------------------


@pytest.mark.parametrize(
    "picture", [GREY, DEEP, COLOUR, DEEP_COLOUR, SIGNED], ids=["8", "12", "rgb", "rgb16", "signed"]
)
@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        (LITTLE, lambda p: p.tobytes()),
        (BIG, lambda p: p.astype(p.dtype.newbyteorder(">")).tobytes()),
        (RLE, rle),
        ("1.2.840.10008.1.2.8.1", lambda p: zlib.compress(p.tobytes(), wbits=-15)),
        ("1.2.840.10008.1.2.1.98", lambda p: p.tobytes()),
    ],
)
def test_what_keeps_every_sample_gives_every_sample(
    picture: np.ndarray, syntax: str, encode: Any
) -> None:
    assert np.array_equal(decoder(picture, syntax)(encode(picture)), picture)


@pytest.mark.parametrize(
    "picture", [GREY, DEEP, COLOUR, DEEP_COLOUR], ids=["8", "12", "rgb", "rgb16"]
)
@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        (LOSSLESS, lossless_jpeg),
        (JPEG_LS, lambda p: bytes(jpeg_ls.encode_array(p))),
        (J2K, j2k),
        ("1.2.840.10008.1.2.4.201", lambda p: bytes(imagecodecs.htj2k_encode(p))),
        (JPEG_XL, jxl),
    ],
    ids=["jpeg", "jpeg-ls", "j2k", "htj2k", "jxl"],
)
def test_compression_without_loss_gives_every_sample(
    picture: np.ndarray, syntax: str, encode: Any
) -> None:
    stored = 12 if picture is DEEP else 8 * picture.dtype.itemsize
    assert np.array_equal(decoder(picture, syntax, BitsStored=stored)(encode(picture)), picture)


@pytest.mark.parametrize("colour", [False, True])
def test_the_largest_step_between_neighbours_survives_lossless_jpeg(colour: bool) -> None:
    picture = np.zeros((20, 30), np.uint16)  # padding of signed samples beside zeros does it
    picture[5, 5] = 32768
    picture = np.stack([picture] * 3, axis=-1) if colour else picture
    data = bytes(imagecodecs.jpeg8_encode(picture, lossless=True, predictor=1, bitspersample=16))
    assert np.array_equal(decoder(picture, LOSSLESS)(data), picture)


@pytest.mark.parametrize("interleaved", [0, 1, 2])
def test_jpeg_ls_is_read_in_every_interleave_mode(interleaved: int) -> None:
    picture = COLOUR.transpose(2, 0, 1) if interleaved == 0 else COLOUR
    data = jpeg_ls.encode_array(np.ascontiguousarray(picture), interleave_mode=interleaved)
    assert np.array_equal(decoder(COLOUR, JPEG_LS)(bytes(data)), COLOUR)


def test_signed_samples_keep_their_sign_through_jpeg_ls_and_lossless_jpeg() -> None:
    words = (SIGNED.astype(int) & 0xFFF).astype("<u2")  # as encoders store them
    elements = {"BitsStored": 12, "PixelRepresentation": 1}
    data = bytes(jpeg_ls.encode_array(words))
    assert np.array_equal(decoder(SIGNED, JPEG_LS, **elements)(data), SIGNED)
    assert np.array_equal(decoder(SIGNED, LOSSLESS, **elements)(lossless_jpeg(words)), SIGNED)


def test_one_bit_samples_are_unpacked() -> None:
    picture = noise((40, 60), 5, peak=1)
    packed = np.packbits(picture.reshape(-1), bitorder="little").tobytes()
    assert np.array_equal(decoder(picture, LITTLE, BitsAllocated=1, BitsStored=1)(packed), picture)


def test_planes_are_put_together() -> None:
    planes = np.ascontiguousarray(COLOUR.transpose(2, 0, 1)).tobytes()
    assert np.array_equal(decoder(COLOUR, LITTLE, PlanarConfiguration=1)(planes), COLOUR)


# -- colours ---------------------------------------------------------------------------------------


def ycbcr(picture: np.ndarray, *, partial: bool = False) -> np.ndarray:
    """The formulas of C.7.6.3.1.2 in floating point."""
    r, g, b = np.moveaxis(picture.astype(float), -1, 0)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    cb, cr = (b - y) / 1.772, (r - y) / 1.402
    if partial:
        y, cb, cr = y * 219 / 255 + 16, cb * 224 / 255, cr * 224 / 255
    stacked = np.stack([y, cb + 128, cr + 128], axis=-1)
    return np.rint(np.clip(stacked, 0, 255)).astype(np.uint8)


@pytest.mark.parametrize("photometric", ["YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422"])
@pytest.mark.parametrize("columns", [30, 31])
def test_uncompressed_ycbcr_becomes_rgb(photometric: str, columns: int) -> None:
    picture = np.repeat(smooth(1, (20, 16)), 2, axis=1)[:, :columns]
    picture = np.repeat(picture[:, ::2], 2, axis=1)[:, :columns]  # pairs of one colour
    stored = ycbcr(picture, partial="PARTIAL" in photometric)
    data = stored.tobytes()
    if photometric != "YBR_FULL":
        flat = stored.reshape(-1, 3)
        pairs = np.column_stack([flat[::2, 0], flat[1::2, 0], flat[::2, 1:]])
        data = pairs.astype(np.uint8).tobytes()
    found = decoder(picture, LITTLE, PhotometricInterpretation=photometric)(data)
    # Of an odd number of columns, pairs reach from a row into the next.
    whole = np.s_[:, 1:-1] if columns % 2 else np.s_[:]
    if photometric == "YBR_FULL" or columns == 30:
        assert np.abs(found[whole].astype(int) - picture[whole]).max() <= 2
    assert found.shape == picture.shape


def test_ycbcr_in_rle_becomes_rgb() -> None:
    picture = smooth(2, (40, 60))
    found = decoder(picture, RLE, PhotometricInterpretation="YBR_FULL")(rle(ycbcr(picture)))
    assert np.abs(found.astype(int) - picture).max() <= 2


def jpeg_without_marks(components: np.ndarray) -> bytes:
    """Three components as they are, in a JPEG that says nothing of colours."""
    out = io.BytesIO()
    Pillow.fromarray(components, "YCbCr").save(out, "JPEG", quality=95, subsampling=0)
    data = out.getvalue()
    assert data[2:4] == b"\xff\xe0"
    return data[:2] + data[4 + int.from_bytes(data[4:6], "big") :]


@pytest.mark.parametrize(
    ("data", "photometric"),
    [
        (jpeg(smooth(0)), "YBR_FULL_422"),  # with a JFIF mark
        (jpeg(smooth(0)), "RGB"),  # which says otherwise than the file, and is right
        (jpeg(smooth(0), subsampling="4:2:2"), "YBR_FULL_422"),
        (jpeg_without_marks(ycbcr(smooth(0))), "YBR_FULL"),
        (jpeg_without_marks(smooth(0)), "RGB"),  # as the file says: stored as they are
        (jpeg(smooth(0), keep_rgb=True), "RGB"),  # with Adobe's mark
        (jpeg(smooth(0), keep_rgb=True), "YBR_FULL"),  # components named R, G and B
        (jpeg(smooth(0), progressive=True), "YBR_FULL_422"),
    ],
)
def test_jpeg_colours_are_taken_for_what_they_are(data: bytes, photometric: str) -> None:
    found = decoder(smooth(0), BASELINE, PhotometricInterpretation=photometric)(data)
    assert np.abs(found.astype(int) - smooth(0)).mean() < 3


def test_a_jpeg_that_says_that_it_is_turned_is_not(tmp_path: Path) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    found = decoder(smooth(0), BASELINE)(jpeg(smooth(0), exif=exif.tobytes()))
    assert found.shape == smooth(0).shape


@pytest.mark.parametrize("bits", [8, 12])
def test_jpeg_extended_is_read_with_8_and_12_bits(bits: int) -> None:
    picture = smooth(0, colour=False).astype("u1" if bits == 8 else "u2")
    picture = picture if bits == 8 else picture * np.uint16(16)
    data = bytes(imagecodecs.jpeg8_encode(picture, level=98, bitspersample=bits))
    expected = imagecodecs.jpeg8_decode(data)
    found = decoder(picture, EXTENDED, BitsStored=bits)(data)
    assert np.abs(found.astype(int) - expected).max() <= 2


# -- what can't be decoded -------------------------------------------------------------------------

ENCODED = {
    "baseline": (BASELINE, jpeg(smooth(0))),
    "lossless": (LOSSLESS, lossless_jpeg(smooth(0))),
    "jpeg-ls": (JPEG_LS, bytes(jpeg_ls.encode_array(smooth(0)))),
    "j2k": (J2K, j2k(smooth(0))),
    "jxl": (JPEG_XL, jxl(smooth(0))),
    "rle": (RLE, rle(smooth(0))),
    "native": (LITTLE, smooth(0).tobytes()),
}


@pytest.mark.parametrize("name", ENCODED)
def test_a_frame_cut_short_is_noticed(name: str) -> None:
    syntax, data = ENCODED[name]
    decode = decoder(smooth(0), syntax)
    for kept in (0, 1, 20, 70, len(data) // 2):
        with pytest.raises(BadFrame):
            decode(data[:kept])


def test_a_jpeg_ls_frame_without_its_end_is_given_up_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """CharLS goes on for many seconds where it finds no end."""
    given: list[bytes] = []

    def recorded(data: bytes) -> object:
        given.append(data)
        raise RuntimeError

    monkeypatch.setattr(jpeg_ls, "decode_pixel_data", recorded)
    with pytest.raises(BadFrame):
        decoder(smooth(0), JPEG_LS)(ENCODED["jpeg-ls"][1][:-40])
    assert given[0].endswith(b"\xff\xd9")


@pytest.mark.parametrize("name", sorted(set(ENCODED) - {"native", "rle"}))
def test_a_frame_of_another_size_than_the_file_says_is_not_decoded(name: str) -> None:
    syntax, data = ENCODED[name]
    other = np.zeros((24, 32, 3), np.uint8)
    with pytest.raises(BadFrame, match="Rows and Columns"):
        decoder(other, syntax)(data)


@pytest.mark.parametrize("name", sorted(set(ENCODED) - {"native", "rle", "jxl"}))
def test_a_frame_of_other_components_than_the_file_says_is_not_decoded(name: str) -> None:
    syntax, data = ENCODED[name]
    with pytest.raises(BadFrame, match="SamplesPerPixel"):
        decoder(smooth(0, colour=False), syntax)(data)


def test_a_small_frame_that_claims_to_be_huge_is_refused_before_it_is_decoded() -> None:
    for syntax, data, at in (
        (BASELINE, jpeg(smooth(0)), None),
        (J2K, j2k(smooth(0)), 8),
    ):
        bomb = bytearray(data)
        if at is None:
            frame = data.index(b"\xff\xc0")
            bomb[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
        else:
            bomb[at : at + 8] = b"\x00\x0f\xff\xff" * 2
        with pytest.raises(BadFrame, match="Rows and Columns"):
            decoder(smooth(0), syntax)(bytes(bomb))


def test_deflated_data_inflate_no_further_than_the_frame() -> None:
    bomb = zlib.compress(bytes(50_000_000), wbits=-15)
    found = decoder(GREY, "1.2.840.10008.1.2.8.1")(bomb)
    assert found.shape == GREY.shape


def test_rle_segments_unpack_no_further_than_the_frame() -> None:
    data = rle(GREY)[:64] + b"\x81\x07" * 100_000
    assert np.all(decoder(GREY, RLE)(data) == 7)


def test_a_missing_decoder_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "imagecodecs", None)
    with pytest.raises(SourceFailed, match="JPEG XL") as caught:
        decoder(COLOUR, JPEG_XL)(jxl_of_colour)
    assert "pip install" in caught.value.hint


jxl_of_colour = jxl(COLOUR)


def test_a_frame_of_something_else_is_refused_in_words() -> None:
    with pytest.raises(BadFrame, match="does not begin"):
        decoder(COLOUR, BASELINE)(b"GIF89a" + bytes(100))
    png = cv2.imencode(".png", GREY)[1].tobytes()
    with pytest.raises(BadFrame):
        decoder(GREY, J2K)(png)


def test_a_layout_needs_bits_allocated() -> None:
    ds: Dataset = header(GREY)
    del ds.BitsAllocated
    with pytest.raises(SourceFailed, match="BitsAllocated"):
        Layout.of(ds)


@pytest.mark.parametrize(
    "text", ["DOE^JANE", "1.2\x1b]0;owned\x07", "1.2.840.10008.1.2.DOE", "", "1" * 65, "1.2\n"]
)
def test_what_is_no_uid_is_not_repeated_as_the_name_of_an_encoding(text: str) -> None:
    name = syntax_name(text)
    assert name == syntax_name("JANE^DOE")
    assert name.isprintable()
    assert syntax_name("1.2.3.4") == "1.2.3.4"
    assert syntax_name(J2K).startswith("JPEG 2000")


def test_a_grey_jpeg_is_shown_though_its_header_says_colour() -> None:
    picture = smooth(3, colour=False)
    for photometric in ("RGB", "YBR_FULL_422"):
        decode = decoder(smooth(3), BASELINE, PhotometricInterpretation=photometric)
        shown = decode(jpeg(picture))
        assert shown.shape == (*picture.shape, 3)
        assert np.abs(shown.astype(int) - picture[:, :, None]).max() < 12
        assert np.array_equal(shown[:, :, 0], shown[:, :, 2])


def test_samples_that_nothing_reads_are_named_with_what_would_read_them() -> None:
    with pytest.raises(SourceFailed, match=r"12 bits .*BitsAllocated") as caught:
        decoder(GREY, LITTLE, BitsAllocated=12)
    assert "gdcmconv" in caught.value.hint
