"""The lossless codec gives back every bit, for any size and content, or says that it does not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.codecs.lossless import LosslessDecoder, LosslessEncoder
from shared.errors import DecodeFailed
from shared.frame import Image

CONTENTS = ("noise", "flat", "ramp", "stripes", "speckle")


def drawn(content: str, shape: tuple[int, ...], seed: int) -> Image:
    rng = np.random.default_rng(seed)
    if content == "noise":
        return rng.integers(0, 256, shape, dtype=np.uint8)
    if content == "flat":
        return np.full(shape, seed % 256, np.uint8)
    if content == "ramp":
        return (np.arange(np.prod(shape)) * (seed % 7 + 1)).astype(np.uint8).reshape(shape)
    if content == "stripes":
        return np.where(np.arange(np.prod(shape)).reshape(shape) % 2, 255, 0).astype(np.uint8)
    return np.clip(rng.rayleigh(40, shape), 0, 255).astype(np.uint8)


def there_and_back(image: Image) -> Image:
    frame = LosslessEncoder().encode(image)
    assert frame.psnr_db is None
    assert frame.lossless
    return LosslessDecoder().decode(
        frame.payload, width=frame.width, height=frame.height, channels=frame.channels
    )


@settings(deadline=None, max_examples=80)
@given(
    height=st.integers(16, 200),
    width=st.integers(16, 200),
    colour=st.booleans(),
    content=st.sampled_from(CONTENTS),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_bit_comes_back(
    height: int, width: int, colour: bool, content: str, seed: int
) -> None:
    image = drawn(content, (height, width, 3) if colour else (height, width), seed)
    assert np.array_equal(there_and_back(image), image)


@pytest.mark.parametrize(
    "shape",
    [(16, 16), (16, 4096), (4096, 16, 3), (17, 4095, 3), (1081, 1921, 3), (2160, 4096)],
)
def test_the_smallest_and_the_largest_pictures_come_back(shape: tuple[int, ...]) -> None:
    image = drawn("speckle", shape, 7)
    assert np.array_equal(there_and_back(image), image)


def test_a_view_into_a_larger_picture_comes_back() -> None:
    image = drawn("noise", (100, 120, 3), 3)[10:80:2, 5:100]
    assert np.array_equal(there_and_back(image), image)


def test_many_frames_through_one_pair_come_back() -> None:
    encoder, decoder = LosslessEncoder(), LosslessDecoder()
    for seed in range(60):
        channels = 1 if seed % 20 < 10 else 3  # a run of grey, a run of colour
        shape = (50, 70) if channels == 1 else (50, 70, 3)
        image = drawn(CONTENTS[seed % len(CONTENTS)], shape, seed)
        frame = encoder.encode(image)
        shown = decoder.decode(frame.payload, width=70, height=50, channels=channels, key=frame.key)
        assert np.array_equal(shown, image)


def test_a_picture_that_repeats_costs_next_to_nothing() -> None:
    encoder, image = LosslessEncoder(), drawn("speckle", (200, 200), 5)
    sizes = [len(encoder.encode(image).payload) for _ in range(3)]
    assert sizes[0] > 20_000
    assert max(sizes[1:]) < 500


def test_grey_that_decodes_to_another_picture_than_was_sent_is_refused() -> None:
    frame = LosslessEncoder().encode(drawn("noise", (32, 40), 1))
    damaged = bytearray(frame.payload)
    damaged[4] ^= 1  # the CRC of the samples
    with pytest.raises(DecodeFailed, match="made from"):
        LosslessDecoder().decode(bytes(damaged), width=40, height=32, channels=1)


def test_smooth_pictures_become_small() -> None:
    image = np.repeat(np.linspace(0, 255, 256).astype(np.uint8)[:, None], 256, axis=1)
    assert len(LosslessEncoder().encode(image).payload) < image.size // 4


@settings(deadline=None, max_examples=100)
@given(data=st.data(), colour=st.booleans())
def test_any_flipped_bit_is_refused_or_changes_nothing(data: st.DataObject, colour: bool) -> None:
    image = drawn("noise", (32, 40, 3) if colour else (32, 40), 11)
    frame = LosslessEncoder().encode(image)
    damaged = bytearray(frame.payload)
    bit = data.draw(st.integers(0, 8 * len(damaged) - 1))
    damaged[bit // 8] ^= 1 << bit % 8
    try:
        shown = LosslessDecoder().decode(
            bytes(damaged), width=40, height=32, channels=frame.channels
        )
    except DecodeFailed:
        return
    assert np.array_equal(shown, image)


def test_a_configuration_record_that_is_too_long_is_refused() -> None:
    frame = LosslessEncoder().encode(drawn("noise", (32, 40, 3), 1))
    damaged = bytearray(frame.payload)
    damaged[6:8] = (300).to_bytes(2, "big")
    with pytest.raises(DecodeFailed, match="configuration record"):
        LosslessDecoder().decode(bytes(damaged), width=40, height=32, channels=3)
