"""The JPEG codec: quality, chroma, and hostile headers refused before a pixel is allocated."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.codecs.codec import EncoderTarget
from shared.codecs.jpeg import JpegDecoder, JpegEncoder
from shared.errors import BadInput, DecodeFailed
from shared.frame import Image


def speckle(shape: tuple[int, ...], seed: int = 0) -> Image:
    rng = np.random.default_rng(seed)
    return np.clip(rng.rayleigh(40, shape), 0, 255).astype(np.uint8)


@settings(deadline=None, max_examples=50)
@given(
    height=st.integers(16, 150),
    width=st.integers(16, 150),
    colour=st.booleans(),
    quality=st.integers(1, 100),
)
def test_pictures_of_any_size_and_quality_come_back_at_the_stated_psnr(
    height: int, width: int, colour: bool, quality: int
) -> None:
    image = speckle((height, width, 3) if colour else (height, width))
    frame = JpegEncoder(EncoderTarget(quality=quality)).encode(image)
    shown = JpegDecoder().decode(frame.payload, width=width, height=height, channels=frame.channels)
    error = image.astype(np.float64) - shown.astype(np.float64)
    assert frame.psnr_db == pytest.approx(10 * np.log10(255**2 / np.mean(error**2)), rel=1e-9)


def test_more_quality_costs_more_bytes_and_gives_more_decibels() -> None:
    frames = [
        JpegEncoder(EncoderTarget(quality=q)).encode(speckle((128, 128, 3)))
        for q in (30, 60, 90, 98)
    ]
    sizes = [len(frame.payload) for frame in frames]
    decibels = [frame.psnr_db or np.inf for frame in frames]
    assert sizes == sorted(sizes)
    assert decibels == sorted(decibels)


def test_pictures_keep_to_their_share_of_the_bitrate_and_use_it() -> None:
    share = 8_000.0
    encoder = JpegEncoder(EncoderTarget(bitrate_bps=round(share * 8 * 25), fps=25))
    sizes = [len(encoder.encode(speckle((200, 200), seed)).payload) for seed in range(20)]
    assert max(sizes) <= 1.1 * share
    assert min(sizes[3:]) >= 0.7 * share


def test_a_bitrate_beyond_need_gives_the_quality_asked_for() -> None:
    image = speckle((128, 128, 3))
    encoder = JpegEncoder(EncoderTarget(bitrate_bps=400_000))
    coarse = encoder.encode(image)
    encoder.retarget(EncoderTarget(bitrate_bps=1_000_000_000))
    frames = [encoder.encode(image) for _ in range(20)]
    assert len(coarse.payload) < len(frames[-1].payload)
    assert frames[-1].payload == JpegEncoder().encode(image).payload


def test_a_picture_that_survives_bit_for_bit_has_no_psnr() -> None:
    assert (
        JpegEncoder(EncoderTarget(quality=100)).encode(np.full((32, 32), 128, np.uint8)).psnr_db
        is None
    )


def test_high_quality_keeps_chroma_whole_and_normal_quality_halves_it() -> None:
    def luma_sampling(quality: int) -> int:
        data = JpegEncoder(EncoderTarget(quality=quality)).encode(speckle((64, 64, 3))).payload
        header = data.index(b"\xff\xc0")
        return data[header + 11]

    assert luma_sampling(94) == 0x22
    assert luma_sampling(95) == 0x11


def test_the_payload_is_a_jpeg_that_others_open() -> None:
    image = speckle((40, 56, 3))
    payload = JpegEncoder().encode(image).payload
    opened = cv2.imdecode(np.frombuffer(payload, np.uint8), cv2.IMREAD_COLOR)
    assert opened is not None
    assert opened.shape == (40, 56, 3)


@pytest.mark.parametrize("quality", [0, 101, -5])
def test_a_quality_out_of_range_is_refused(quality: int) -> None:
    with pytest.raises(BadInput):
        JpegEncoder(EncoderTarget(quality=quality))


def with_header(payload: bytes, at: int, value: bytes) -> bytes:
    header = payload.index(b"\xff\xc0")
    changed = bytearray(payload)
    changed[header + at : header + at + len(value)] = value
    return bytes(changed)


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (5, b"\xff\xff\xff\xff"),  # 65535 x 65535
        (5, b"\x00\x00"),  # height to be told later (DNL)
        (4, b"\x0c"),  # 12-bit samples
        (2, b"\x00\x02"),  # a header without content
        (9, b"\x04"),  # four components
    ],
)
def test_hostile_frame_headers_are_refused_before_a_pixel_is_decoded(
    at: int, value: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    payload = JpegEncoder().encode(speckle((40, 56, 3))).payload
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("the decoder was let loose"))
    with pytest.raises(DecodeFailed):
        JpegDecoder().decode(with_header(payload, at, value), width=56, height=40, channels=3)


def test_a_second_frame_header_is_refused() -> None:
    payload = JpegEncoder().encode(speckle((40, 56))).payload
    header = payload.index(b"\xff\xc0")
    length = int.from_bytes(payload[header + 2 : header + 4], "big")
    segment = payload[header : header + 2 + length]
    twice = payload[:header] + segment + payload[header:]
    with pytest.raises(DecodeFailed, match="single baseline"):
        JpegDecoder().decode(twice, width=56, height=40, channels=1)


def test_progressive_pictures_are_refused() -> None:
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
    _, progressive = cv2.imencode(".jpg", speckle((40, 56)), options)
    with pytest.raises(DecodeFailed, match="baseline"):
        JpegDecoder().decode(progressive.tobytes(), width=56, height=40, channels=1)


def test_other_picture_files_are_refused() -> None:
    _, png = cv2.imencode(".png", speckle((40, 56)))
    with pytest.raises(DecodeFailed):
        JpegDecoder().decode(png.tobytes(), width=56, height=40, channels=1)


def test_an_orientation_tag_does_not_turn_the_picture() -> None:
    image = speckle((40, 56))
    payload = JpegEncoder().encode(image).payload
    # An APP1 segment: Exif, one entry in the directory, orientation 6 (turn by 90 degrees).
    tiff = (
        b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00"
        + bytes(4)
    )
    body = b"Exif\x00\x00" + tiff
    tagged = b"\xff\xd8\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + payload[2:]
    shown = JpegDecoder().decode(tagged, width=56, height=40, channels=1)
    assert np.array_equal(shown, JpegDecoder().decode(payload, width=56, height=40, channels=1))


def _segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + (2 + len(body)).to_bytes(2, "big") + body


@pytest.mark.parametrize(
    "before",
    [*(bytes((0xFF, marker)) for marker in (0x00, 0x01, 0xD0, 0xD7, 0xD8, 0xD9, 0xFF)),
     b"\xff\xff\xff", b"\x00", b"\xff\xe0\x00\x00", b"\xff\xe0\x00\x01", b"\xff\xf7\x00\x02"],
    ids=bytes.hex,
)  # fmt: skip
def test_no_header_hides_behind_a_marker_that_decoders_step_over(
    before: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For whoever takes each marker to have a length, the small header is the only one."""
    payload = JpegEncoder().encode(speckle((16, 16))).payload
    at = payload.index(b"\xff\xc0")
    small = payload[at : at + 2 + int.from_bytes(payload[at + 2 : at + 4], "big")]
    large = with_header(payload, 5, b"\x40\x00\x40\x00")
    body = large[2:-2]
    hidden = payload[:2] + before + body
    jump = len(payload[:2] + before) + int.from_bytes(body[:2], "big")
    hidden += bytes(max(0, jump - len(hidden))) + small + _segment(0xDA, b"") + b"\xff\xd9"
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("the decoder was let loose"))
    with pytest.raises(DecodeFailed):
        JpegDecoder().decode(hidden, width=16, height=16, channels=1)
    with pytest.raises(DecodeFailed):
        JpegDecoder().decode(payload[:2] + before + payload[2:], width=16, height=16, channels=1)


def test_a_jpeg_whose_headers_do_not_lead_to_a_scan_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    payload = JpegEncoder().encode(speckle((16, 16))).payload
    scan = payload.index(b"\xff\xda")
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("the decoder was let loose"))
    for headers in (payload[:scan], payload[:scan] + _segment(0xFE, b"x") + b"\x00"):
        with pytest.raises(DecodeFailed):
            JpegDecoder().decode(headers + b"\xff\xd9", width=16, height=16, channels=1)


def test_comments_and_application_data_may_stand_before_the_picture() -> None:
    image = speckle((16, 16))
    payload = JpegEncoder().encode(image).payload
    more = payload[:2] + _segment(0xE2, b"ICC") + _segment(0xFE, b"\xff\xc0") + payload[2:]
    plain, shown = (
        JpegDecoder().decode(data, width=16, height=16, channels=1) for data in (payload, more)
    )
    assert np.array_equal(plain, shown)
