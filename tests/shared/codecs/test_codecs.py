"""What holds for every codec: names, sizes as announced, damage refused, nothing written to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.codecs import CODECS, Decoder, EncoderTarget, open_decoder, open_encoder
from shared.codecs.chain import ChainWriter
from shared.errors import BadInput, DecodeFailed
from shared.frame import EncodedFrame, Image
from shared.quality import psnr_db

every_codec = pytest.mark.parametrize("name", CODECS)
SHAPES = [(48, 64), (48, 64, 3)]
every_inter_codec = pytest.mark.parametrize("name", [c.name for c in CODECS.values() if c.inter])
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
        key=frame.key,
    )


def decode(decoder: Decoder, frame: EncodedFrame, payload: bytes | None = None) -> Image:
    return decoder.decode(
        frame.payload if payload is None else payload,
        width=frame.width,
        height=frame.height,
        channels=frame.channels,
        key=frame.key,
    )


def test_every_codec_says_whether_it_is_exact_and_whether_pictures_build_on_one_another() -> None:
    assert {name: (codec.lossless, codec.inter) for name, codec in CODECS.items()} == {
        "jpeg": (False, ()),
        "lossless": (True, (1,)),
        "h264": (False, (1, 3)),
        "h264-444": (False, (1, 3)),
    }


def test_an_unknown_codec_is_refused_with_the_names_that_there_are() -> None:
    for opened in (open_encoder, open_decoder):
        with pytest.raises(BadInput) as caught:
            opened("h265")
        assert "jpeg, lossless, h264" in caught.value.hint


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
def test_every_key_frame_decodes_on_its_own_and_in_any_order(
    name: str, shape: tuple[int, ...]
) -> None:
    encoder = open_encoder(name)
    frames = [encoder.encode(a_picture(shape, seed), key=True) for seed in range(5)]
    assert all(frame.key for frame in frames)
    alone = [decoded(frame) for frame in frames]
    decoder = open_decoder(name)
    for at in (3, 0, 4, 4, 1):
        assert np.array_equal(decode(decoder, frames[at]), alone[at])


@every_codec
@every_kind
def test_the_first_frame_is_key_and_one_picture_in_gives_one_picture_out(
    name: str, shape: tuple[int, ...]
) -> None:
    encoder, decoder = open_encoder(name), open_decoder(name)
    for seed in range(40):
        picture = a_picture(shape, seed)
        frame = encoder.encode(picture)
        assert frame.key or seed > 0
        this_very_picture = psnr_db(picture, decode(decoder, frame))
        assert frame.psnr_db == pytest.approx(this_very_picture, abs=1e-9)


@every_inter_codec
def test_frames_after_the_first_build_on_the_one_before(name: str) -> None:
    encoder = open_encoder(name)
    keys = [encoder.encode(a_picture((48, 64), seed), key=seed == 3).key for seed in range(6)]
    assert keys == [True, False, False, True, False, False]


@every_inter_codec
def test_a_frame_whose_predecessor_was_not_decoded_is_refused(name: str) -> None:
    encoder = open_encoder(name)
    frames = [encoder.encode(a_picture((48, 64), seed), key=seed == 4) for seed in range(6)]
    with pytest.raises(DecodeFailed):
        decode(open_decoder(name), frames[1])
    decoder = open_decoder(name)
    decode(decoder, frames[0])
    for at in (2, 3, 5):  # a gap; what follows a gap; what follows a key frame not seen
        with pytest.raises(DecodeFailed):
            decode(decoder, frames[at])
    decode(decoder, frames[1])  # what was refused did no harm
    with pytest.raises(DecodeFailed):
        decode(decoder, frames[1])  # twice
    decode(decoder, frames[4])
    decode(decoder, frames[5])


@every_inter_codec
def test_a_frame_of_another_encoders_chain_is_refused(name: str) -> None:
    mine, other = open_encoder(name), open_encoder(name)
    decoder = open_decoder(name)
    decode(decoder, mine.encode(a_picture((48, 64), 1)))
    other.encode(a_picture((48, 64), 1))
    with pytest.raises(DecodeFailed):
        decode(decoder, other.encode(a_picture((48, 64), 2)))


@every_inter_codec
def test_a_frame_is_not_taken_for_a_key_frame_nor_the_other_way_round(name: str) -> None:
    encoder, decoder = open_encoder(name), open_decoder(name)
    key, other = encoder.encode(a_picture((48, 64), 1)), encoder.encode(a_picture((48, 64), 2))
    decode(decoder, key)
    for frame in (key, other):
        with pytest.raises(DecodeFailed):
            decode(decoder, replace(frame, key=not frame.key))


@every_inter_codec
def test_after_damage_only_a_key_frame_is_shown(name: str) -> None:
    encoder, decoder = open_encoder(name), open_decoder(name)
    frames = [encoder.encode(a_picture((48, 64), seed), key=seed == 3) for seed in range(5)]
    decode(decoder, frames[0])
    with pytest.raises(DecodeFailed):
        decode(decoder, frames[1], frames[1].payload[:-1] + b"\0\0")
    with pytest.raises(DecodeFailed):
        decode(decoder, frames[2])
    assert np.array_equal(decode(decoder, frames[3]), decoded(frames[3]))
    decode(decoder, frames[4])


@every_inter_codec
def test_a_change_of_size_or_colour_makes_a_key_frame(name: str) -> None:
    encoder = open_encoder(name)
    shapes = [(48, 64), (48, 64), (50, 64), (50, 64), (50, 64, 3), (48, 64)]
    keys = [encoder.encode(a_picture(shape)).key for shape in shapes]
    assert [keys[at] for at in (0, 2, 4, 5)] == [True] * 4
    assert not keys[1] and not keys[3]


@every_codec
@every_kind
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_any_flipped_bits_are_refused_or_give_a_picture_as_announced(
    name: str, shape: tuple[int, ...], data: st.DataObject
) -> None:
    encoder, decoder = open_encoder(name), open_decoder(name)
    frames = [encoder.encode(a_picture(shape, seed)) for seed in range(2)]
    at = data.draw(st.integers(0, 1))
    damaged = bytearray(frames[at].payload)
    for bit in data.draw(st.lists(st.integers(0, 8 * len(damaged) - 1), min_size=1, max_size=9)):
        damaged[bit // 8] ^= 1 << bit % 8
    try:
        if at == 1:
            decode(decoder, frames[0])
        assert decode(decoder, frames[at], bytes(damaged)).shape == shape
    except DecodeFailed:
        return


@pytest.mark.parametrize(("name", "number"), [("h264", 1), ("h264-444", 1)])
@settings(deadline=None, max_examples=80)
@given(data=st.data())
def test_a_stream_that_was_made_to_hurt_is_refused_or_gives_a_picture_as_announced(
    name: str, number: int, data: st.DataObject
) -> None:
    encoder, decoder = open_encoder(name), open_decoder(name)
    shape = data.draw(st.sampled_from(SHAPES))
    frames = [encoder.encode(a_picture(shape, seed)) for seed in range(3)]
    announced = (64, 48, frames[0].channels)
    writer = ChainWriter(number)
    for frame in frames:
        stream = bytearray(frame.payload[11:])
        for _ in range(data.draw(st.integers(0, 4))):
            stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
        cut = data.draw(st.integers(1, len(stream)) | st.just(len(stream)))
        payload = writer.pack(bytes(stream[:cut]), shape=announced, key=frame.key)
        try:
            assert decode(decoder, frame, payload).shape == shape
        except DecodeFailed:
            break
    after = encoder.encode(a_picture(shape, 9), key=True)
    assert psnr_db(a_picture(shape, 9), decode(decoder, after)) == after.psnr_db


@every_codec
def test_the_smallest_pictures_and_long_thin_ones_are_taken(name: str) -> None:
    encoder, decoder = open_encoder(name), open_decoder(name)
    for shape in [(16, 16), (16, 16, 3), (17, 4096), (4095, 17, 3), (33, 16, 3)]:
        picture = a_picture(shape)
        frame = encoder.encode(picture)
        assert psnr_db(picture, decode(decoder, frame)) == frame.psnr_db


LEVELS = (0, 1, 17, 64, 127, 128, 200, 254, 255)
COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (12, 200, 90), (250, 128, 114)]


def largest_error_of_flat(name: str, picture: Image, quality: int) -> int:
    encoder, decoder = open_encoder(name, target=EncoderTarget(quality=quality)), open_decoder(name)
    frames = [encoder.encode(picture) for _ in range(3)]
    return max(int(np.abs(decode(decoder, frame).astype(int) - picture).max()) for frame in frames)


@every_codec
@pytest.mark.parametrize("value", LEVELS)
def test_flat_grey_comes_back_to_within_one_level(name: str, value: int) -> None:
    for shape in [(47, 65), (47, 65, 3)]:
        assert largest_error_of_flat(name, np.full(shape, value, np.uint8), 90) <= 1


@every_codec
@pytest.mark.parametrize("colour", COLOURS)
def test_flat_colour_comes_back_to_within_one_or_two_levels(
    name: str, colour: tuple[int, int, int]
) -> None:
    picture = np.full((47, 65, 3), colour, np.uint8)
    assert largest_error_of_flat(name, picture, 97) <= 1
    assert largest_error_of_flat(name, picture, 90) <= 2


@every_codec
def test_a_target_may_change_before_every_picture(name: str) -> None:
    encoder, decoder = open_encoder(name), open_decoder(name)
    for seed, bitrate in enumerate([None, 300_000, 10_000_000, 20_000, None, 300_000]):
        encoder.retarget(EncoderTarget(bitrate_bps=bitrate, fps=25, quality=80 - seed))
        picture = a_picture((48, 64, 3), seed)
        frame = encoder.encode(picture)
        assert psnr_db(picture, decode(decoder, frame)) == frame.psnr_db


@pytest.mark.parametrize(
    "figures", [{"quality": 0}, {"quality": 101}, {"fps": 0.0}, {"bitrate_bps": 0}]
)
def test_a_target_out_of_range_is_refused(figures: dict[str, int]) -> None:
    with pytest.raises(BadInput):
        EncoderTarget(**figures)


@every_codec
def test_one_encoder_and_decoder_take_pictures_of_changing_size(name: str) -> None:
    encoder, decoder = open_encoder(name), open_decoder(name)
    for shape in [(48, 64), (48, 64, 3), (17, 31, 3), (64, 48), (48, 64)]:
        frame = encoder.encode(a_picture(shape))
        shown = decode(decoder, frame)
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
