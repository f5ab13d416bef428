"""H.264: every picture within its share of the bitrate, no key picture unasked, an honest PSNR."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from shared.codecs import EncoderTarget, h264, x264
from shared.codecs.chain import ChainWriter
from shared.codecs.h264 import H264Decoder, H264Encoder, quantiser
from shared.codecs.planes import PlaneReader
from shared.errors import DecodeFailed
from shared.frame import COUNTED_TO_DB, EncodedFrame, Image
from shared.quality import psnr_db

every_sampling = pytest.mark.parametrize("halved", [True, False])
every_kind = pytest.mark.parametrize("channels", [1, 3])


@cache
def texture(size: tuple[int, int]) -> NDArray[np.float32]:
    drawn = np.random.default_rng(1).normal(128, 40, (size[0] + 64, size[1] + 64, 3))
    return np.asarray(cv2.blur(drawn, (3, 3)), np.float32)


@cache
def scene(index: int, channels: int = 3, size: tuple[int, int] = (240, 320)) -> Image:
    """Moving texture with noise: what a probe or an endoscope shows when it is moved."""
    at = index % 60
    moved = texture(size)[at : at + size[0], at : at + size[1]]
    noisy = moved + 3 * np.random.default_rng(index).standard_normal(moved.shape, np.float32)
    picture = np.clip(noisy, 0, 255).astype(np.uint8)
    return picture if channels == 3 else np.ascontiguousarray(picture[:, :, 1])


def decode(decoder: H264Decoder, frame: EncodedFrame) -> Image:
    return decoder.decode(
        frame.payload,
        width=frame.width,
        height=frame.height,
        channels=frame.channels,
        key=frame.key,
    )


@every_sampling
@every_kind
@pytest.mark.parametrize(("bitrate_bps", "fps"), [(1_500_000, 30.0), (900_000, 12.0)])
def test_no_picture_not_even_a_key_picture_takes_more_than_its_share(
    halved: bool, channels: int, bitrate_bps: int, fps: float
) -> None:
    target = EncoderTarget(bitrate_bps=bitrate_bps, fps=fps)
    encoder = H264Encoder(target, halved=halved)
    frames = [encoder.encode(scene(i, channels), key=i == 20) for i in range(40)]
    share = bitrate_bps / 8 / fps
    assert max(len(frame.payload) for frame in frames) <= 1.1 * share
    assert sum(len(frame.payload) for frame in frames[5:]) >= 0.5 * share * 35  # and uses it
    assert [frame.key for frame in frames] == [i in (0, 20) for i in range(40)]


def test_the_bitrate_changes_from_picture_to_picture_without_a_key_picture() -> None:
    encoder = H264Encoder(EncoderTarget(bitrate_bps=4_000_000))
    sizes: dict[int, list[int]] = {}
    for index in range(80):
        bitrate = (4_000_000, 600_000, 2_000_000, 1_000_000)[index // 20]
        encoder.retarget(EncoderTarget(bitrate_bps=bitrate))
        frame = encoder.encode(scene(index))
        assert frame.key == (index == 0)
        sizes.setdefault(bitrate, []).append(len(frame.payload))
    for bitrate, found in sizes.items():
        share = bitrate / 8 / 30
        assert max(found) <= 1.1 * share
        assert 0.5 * share <= np.mean(found[3:])


def test_where_there_is_room_the_quick_settings_begin_with_one_key_picture() -> None:
    encoder = H264Encoder(EncoderTarget(bitrate_bps=400_000))
    decoder = H264Decoder()
    keys = []
    # 0.17, then 2.6 bits a pixel; where the path narrows again nothing forces a key picture
    for index, bitrate in enumerate([400_000] * 3 + [6_000_000] * 4 + [400_000] * 3):
        encoder.retarget(EncoderTarget(bitrate_bps=bitrate))
        frame = encoder.encode(scene(index), key=index == 9)
        decoder.decode(frame.payload, width=320, height=240, channels=3, key=frame.key)
        keys.append(frame.key)
        share = bitrate / 8 / 30
        assert len(frame.payload) <= 1.1 * share
    assert [index for index, key in enumerate(keys) if key] == [0, 3, 9]


def test_the_quick_settings_code_without_cabac() -> None:
    quick, fine = H264Encoder(EncoderTarget()), H264Encoder(EncoderTarget(bitrate_bps=400_000))
    entropy_coding_flags = []
    for encoder in (quick, fine):
        payload = encoder.encode(scene(0)).payload
        # The picture parameter set (NAL type 8): after two Exp-Golomb zeros comes the flag.
        at = payload.index(b"\x00\x00\x01\x68") + 4
        entropy_coding_flags.append(payload[at] >> 5 & 1)
    assert entropy_coding_flags == [0, 1]


def test_a_lower_frame_rate_gives_each_picture_more() -> None:
    encoder = H264Encoder(EncoderTarget(bitrate_bps=800_000, fps=30))
    at_30 = [len(encoder.encode(scene(i)).payload) for i in range(15)]
    encoder.retarget(EncoderTarget(bitrate_bps=800_000, fps=10))
    at_10 = [len(encoder.encode(scene(i)).payload) for i in range(15, 30)]
    assert np.mean(at_10[2:]) > 2 * np.mean(at_30[2:])


def test_quality_is_the_ceiling_where_the_bitrate_allows_more() -> None:
    def mean_size(target: EncoderTarget) -> float:
        encoder = H264Encoder(target)
        return float(np.mean([len(encoder.encode(scene(i)).payload) for i in range(6)]))

    alone = [mean_size(EncoderTarget(quality=quality)) for quality in (40, 70, 90)]
    assert alone == sorted(alone)
    bounded = mean_size(EncoderTarget(quality=40, bitrate_bps=500_000_000))
    assert bounded == pytest.approx(alone[0], rel=0.05)


def test_a_small_change_of_quality_waits_for_the_next_key_picture() -> None:
    encoder = H264Encoder(EncoderTarget(quality=90))
    encoder.encode(scene(0))
    encoder.retarget(EncoderTarget(quality=85))
    assert not encoder.encode(scene(1)).key
    before = len(encoder.encode(scene(2), key=True).payload)
    encoder.retarget(EncoderTarget(quality=30))
    changed = encoder.encode(scene(3))
    assert changed.key
    assert len(changed.payload) < before


def test_the_quantiser_falls_as_quality_rises_and_is_never_lossless() -> None:
    found = [quantiser(quality) for quality in range(1, 101)]
    assert found == sorted(found, reverse=True)
    assert 1 <= min(found) < max(found) <= 51


@every_sampling
@every_kind
@pytest.mark.parametrize("bitrate_bps", [None, 1_000_000])
def test_where_time_is_short_the_psnr_is_x264s_own_and_near_the_true_one(
    halved: bool, channels: int, bitrate_bps: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(h264, "SPARE_PIXELS_A_CORE", 0.0)
    encoder = H264Encoder(EncoderTarget(bitrate_bps=bitrate_bps), halved=halved)
    decoder = H264Decoder(halved=halved)
    for index in range(35):
        picture = scene(index, channels)
        frame = encoder.encode(picture)
        assert frame.psnr_db is not None
        error = frame.psnr_db - (psnr_db(picture, decode(decoder, frame)) or np.inf)
        assert -1.5 < error < 0.5
        assert bitrate_bps or abs(error) < 0.6  # what makes it worse is rows that are coded twice


@pytest.mark.parametrize("size", [(240, 320), (480, 640)], ids=["one slice", "two slices"])
@pytest.mark.parametrize(
    ("bits_a_pixel", "most_db", "mean_db"),
    [
        ([None], 1e-6, 1e-6),
        ([0.8], 0.4, 0.02),
        ([0.15], 0.7, 0.15),
        ([0.8, 0.15, None, 0.8], 0.7, 0.15),
    ],
    ids=["free", "roomy", "tight", "retargeted"],
)
def test_grey_in_the_quick_settings_has_x264s_own_psnr_which_is_the_true_one_or_nearly(
    bits_a_pixel: list[float | None],
    most_db: float,
    mean_db: float,
    size: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(h264, "_TIGHT", 0.0)  # quick at every bitrate
    monkeypatch.setattr(x264, "cores", lambda: 2)
    pixels = size[0] * size[1]
    encoder, decoder = H264Encoder(), H264Decoder()
    monkeypatch.setattr(H264Decoder, "__init__", lambda *_, **__: pytest.fail("it was decoded"))
    errors = []
    for index in range(32):
        bits = bits_a_pixel[index * len(bits_a_pixel) // 32]
        rate = None if bits is None else round(bits * pixels * 30)
        encoder.retarget(EncoderTarget(bitrate_bps=rate))
        picture = scene(index, 1, size)
        frame = encoder.encode(picture, key=index == 20)
        assert slices(frame) == (2 if pixels >= 640 * 480 else 1)
        true_db = psnr_db(picture, decode(decoder, frame))
        assert frame.psnr_db is not None and true_db is not None
        errors.append(abs(frame.psnr_db - true_db))
    assert max(errors) < most_db
    assert np.mean(errors) < mean_db


def slices(frame: EncodedFrame) -> int:
    """How many coded slices (NAL types 1 and 5) the picture has."""
    units = frame.payload[11:].split(b"\x00\x00\x01")[1:]
    return sum(unit[0] & 31 in (1, 5) for unit in units)


def test_where_the_path_collapses_the_better_settings_and_a_true_psnr_come_at_once() -> None:
    encoder, decoder = H264Encoder(), H264Decoder()
    for index, bits_a_pixel in enumerate([1.0, 1.0, 0.16, 0.16, 0.1, 0.1]):
        rate = round(bits_a_pixel * 320 * 240 * 30)
        encoder.retarget(EncoderTarget(bitrate_bps=rate))
        picture = scene(index, 1)
        frame = encoder.encode(picture)
        assert frame.key == (index in (0, 4))
        shown = decode(decoder, frame)
        if index >= 4:
            assert frame.psnr_db == psnr_db(picture, shown)


@every_kind
@pytest.mark.parametrize("size", [(480, 640), (1080, 1920)])
def test_of_large_pictures_x264_can_t_tell_exact_ones_from_nearly_exact_ones(
    size: tuple[int, int], channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(h264, "SPARE_PIXELS_A_CORE", 0.0)
    flat = np.full(size if channels == 1 else (*size, 3), 128, np.uint8)
    encoder = H264Encoder()
    for _ in range(2):
        assert encoder.encode(flat).psnr_db == COUNTED_TO_DB


@pytest.mark.parametrize("size", [(64, 64), (240, 320)])
def test_of_small_ones_it_can(size: tuple[int, int]) -> None:
    encoder, decoder = H264Encoder(), H264Decoder()
    flat = np.full(size, 128, np.uint8)
    off = flat.copy()
    off[20, 30] = 129
    for picture in (flat, flat, off, flat):
        frame = encoder.encode(picture)
        true_db = psnr_db(picture, decode(decoder, frame))
        assert (frame.psnr_db is None) == (true_db is None) == (picture is flat)
        assert frame.lossless == (picture is flat)
        assert true_db is None or frame.psnr_db == pytest.approx(true_db, abs=1e-3)


@pytest.mark.parametrize("size", [(600, 800), (601, 799)])
def test_pictures_large_enough_for_several_slices_decode_exactly_as_the_encoder_saw_them(
    size: tuple[int, int],
) -> None:
    encoder, decoder = H264Encoder(EncoderTarget(bitrate_bps=5_000_000)), H264Decoder()
    for index in range(6):
        picture = scene(index, 3, size)
        frame = encoder.encode(picture)
        assert psnr_db(picture, decode(decoder, frame)) == frame.psnr_db


def test_a_picture_larger_than_announced_is_refused_before_memory_is_taken_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frame = H264Encoder().encode(np.zeros((2048, 2048), np.uint8))
    stream = frame.payload[11:]
    lying = ChainWriter(1).pack(stream, shape=(64, 48, 1), key=True)
    monkeypatch.setattr(PlaneReader, "read", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(DecodeFailed):
        H264Decoder().decode(lying, width=64, height=48, channels=1)


def test_a_picture_of_another_shape_than_announced_is_refused() -> None:
    frame = H264Encoder().encode(np.zeros((64, 48), np.uint8))
    lying = ChainWriter(1).pack(frame.payload[11:], shape=(64, 48, 1), key=True)
    with pytest.raises(DecodeFailed, match="another kind"):
        H264Decoder().decode(lying, width=64, height=48, channels=1)


def test_whole_chroma_is_not_taken_for_halved_chroma() -> None:
    frame = H264Encoder(halved=False).encode(scene(0, 3, (64, 64)))
    with pytest.raises(DecodeFailed, match="another kind"):
        decode(H264Decoder(halved=True), frame)


def test_two_pictures_in_one_payload_are_refused() -> None:
    encoder = H264Encoder()
    first, second = (encoder.encode(scene(i, 1, (64, 64)), key=True) for i in range(2))
    both = first.payload[11:] + second.payload[11:]
    lying = ChainWriter(1).pack(both, shape=(64, 64, 1), key=True)
    decoder = H264Decoder()
    try:
        shown = decoder.decode(lying, width=64, height=64, channels=1)
    except DecodeFailed:
        return
    # FFmpeg may take both as one access unit and show one: then it must be a picture of this one.
    assert shown.shape == (64, 64)
