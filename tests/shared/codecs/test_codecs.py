"""What holds for every codec: names, sizes as announced, damage refused, nothing written to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.codecs import CODECS, open_decoder, open_encoder
from shared.errors import BadInput, DecodeFailed
from shared.frame import EncodedFrame, Image
from shared.quality import psnr_db

every_codec = pytest.mark.parametrize("name", CODECS)
SHAPES = [(48, 64), (48, 64, 3)]
every_kind = pytest.mark.parametrize("shape", SHAPES)


def a_picture(shape: tuple[int, ...], seed: int = 1) -> Image:
    """A smooth ramp with noise on it: neither trivial nor incompressible."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 200, shape[1])[None, :] + np.zeros(shape[0])[:, None]
    ramp = ramp if len(shape) == 2 else np.stack([ramp, ramp[:, ::-1], ramp / 2], axis=-1)
    return np.clip(ramp + rng.normal(0, 8, shape), 0, 255).astype(np.uint8)


def decoded(frame: EncodedFrame, payload: bytes | memoryview | None = None) -> Image:
    return open_decoder(frame.codec).decode(
        frame.payload if payload is None else payload,
        width=frame.width,
        height=frame.height,
        channels=frame.channels,
    )


def test_there_are_a_lossy_and_a_lossless_codec() -> None:
    assert {name: codec.lossless for name, codec in CODECS.items()} == {
        "jpeg": False,
        "lossless": True,
    }


def test_an_unknown_codec_is_refused_with_the_names_that_there_are() -> None:
    for opened in (open_encoder, open_decoder):
        with pytest.raises(BadInput) as caught:
            opened("h265")
        assert "jpeg, lossless" in caught.value.hint


@every_codec
@every_kind
def test_a_frame_carries_its_codec_and_size(name: str, shape: tuple[int, ...]) -> None:
    frame = open_encoder(name).encode(a_picture(shape))
    assert (frame.codec, frame.width, frame.height) == (name, 64, 48)
    assert frame.channels == (1 if len(shape) == 2 else 3)


@every_codec
@every_kind
def test_the_measured_psnr_is_that_of_the_decoded_picture(
    name: str, shape: tuple[int, ...]
) -> None:
    picture = a_picture(shape)
    frame = open_encoder(name).encode(picture)
    assert frame.psnr_db == psnr_db(picture, decoded(frame))


@every_codec
@every_kind
def test_the_original_is_not_written_to(name: str, shape: tuple[int, ...]) -> None:
    picture = a_picture(shape)
    picture.flags.writeable = False
    before = picture.copy()
    open_encoder(name).encode(picture)
    assert np.array_equal(picture, before)


@every_codec
@every_kind
def test_a_decoded_picture_is_new_contiguous_and_writable(
    name: str, shape: tuple[int, ...]
) -> None:
    picture = decoded(open_encoder(name).encode(a_picture(shape)))
    assert picture.dtype == np.uint8
    assert picture.flags.c_contiguous
    assert picture.flags.writeable


@every_codec
def test_payloads_decode_from_any_buffer(name: str) -> None:
    frame = open_encoder(name).encode(a_picture((48, 64)))
    assert np.array_equal(decoded(frame), decoded(frame, memoryview(bytearray(frame.payload))))


@every_codec
def test_red_stays_red_and_blue_stays_blue(name: str) -> None:
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:16, :, 0], picture[16:, :, 2] = 250, 250
    shown = decoded(open_encoder(name).encode(picture)).astype(int)
    assert np.all(shown[:12, :, 0] > 200)
    assert np.all(shown[:12, :, 2] < 60)
    assert np.all(shown[20:, :, 2] > 200)
    assert np.all(shown[20:, :, 0] < 60)


@every_codec
@every_kind
def test_every_frame_decodes_on_its_own_and_in_any_order(name: str, shape: tuple[int, ...]) -> None:
    encoder = open_encoder(name)
    frames = [encoder.encode(a_picture(shape, seed)) for seed in range(5)]
    alone = [decoded(frame) for frame in frames]
    decoder = open_decoder(name)
    for at in (3, 0, 4, 4, 1):
        again = decoder.decode(
            frames[at].payload, width=64, height=48, channels=frames[at].channels
        )
        assert np.array_equal(again, alone[at])


@every_codec
def test_one_encoder_and_decoder_take_pictures_of_changing_size(name: str) -> None:
    encoder, decoder = open_encoder(name), open_decoder(name)
    for shape in [(48, 64), (48, 64, 3), (17, 31, 3), (64, 48), (48, 64)]:
        frame = encoder.encode(a_picture(shape))
        shown = decoder.decode(
            frame.payload, width=frame.width, height=frame.height, channels=frame.channels
        )
        assert shown.shape == shape
        assert psnr_db(a_picture(shape), shown) == frame.psnr_db


@every_codec
@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((15, 64), np.uint8),
        np.zeros((64, 4097), np.uint8),
        np.zeros((64, 64, 4), np.uint8),
        np.zeros((64, 64), np.uint16),
    ],
)
def test_what_is_no_picture_is_not_encoded(name: str, bad: Image) -> None:
    with pytest.raises(BadInput):
        open_encoder(name).encode(bad)


@every_codec
@every_kind
@pytest.mark.parametrize(
    ("width", "height"),
    [(65, 48), (64, 49), (48, 64), (32, 48), (4096, 4096), (0, 0), (1 << 16, 48)],
)
def test_a_picture_of_another_size_than_announced_is_refused(
    name: str, shape: tuple[int, ...], width: int, height: int
) -> None:
    frame = open_encoder(name).encode(a_picture(shape))
    with pytest.raises(DecodeFailed):
        open_decoder(name).decode(
            frame.payload, width=width, height=height, channels=frame.channels
        )


@every_codec
@every_kind
@pytest.mark.parametrize("channels", [0, 1, 2, 3, 4])
def test_a_picture_of_other_channels_than_announced_is_refused(
    name: str, shape: tuple[int, ...], channels: int
) -> None:
    frame = open_encoder(name).encode(a_picture(shape))
    if channels == frame.channels:
        return
    with pytest.raises(DecodeFailed):
        open_decoder(name).decode(frame.payload, width=64, height=48, channels=channels)


@every_codec
@every_kind
def test_a_payload_cut_short_anywhere_is_refused(name: str, shape: tuple[int, ...]) -> None:
    frame = open_encoder(name).encode(a_picture(shape))
    decoder = open_decoder(name)
    for length in range(0, len(frame.payload), 37):
        with pytest.raises(DecodeFailed):
            decoder.decode(frame.payload[:length], width=64, height=48, channels=frame.channels)


@every_codec
@settings(deadline=None, max_examples=60)
@given(noise=st.binary(max_size=300), kept=st.integers(0, 80), shape=st.sampled_from(SHAPES))
def test_noise_after_any_true_beginning_never_crashes_the_decoder(
    name: str, noise: bytes, kept: int, shape: tuple[int, ...]
) -> None:
    frame = open_encoder(name).encode(a_picture(shape))
    try:
        shown = decoded(frame, frame.payload[:kept] + noise)
    except DecodeFailed:
        return
    assert shown.shape == shape


@every_codec
def test_a_decoder_goes_on_after_a_damaged_frame(name: str) -> None:
    frame = open_encoder(name).encode(a_picture((48, 64, 3)))
    decoder = open_decoder(name)
    good = decoder.decode(frame.payload, width=64, height=48, channels=3)
    with pytest.raises(DecodeFailed):
        decoder.decode(frame.payload[:-40], width=64, height=48, channels=3)
    again = decoder.decode(frame.payload, width=64, height=48, channels=3)
    assert np.array_equal(again, good)
