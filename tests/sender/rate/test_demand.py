"""The least that a picture is worth sending with, and the most that it gains from."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from sender.rate.budget import COARSE_BPP, FINE_BPP, FULL_BPP, Demand, jpeg_size
from sender.rate.plan import StreamFacts, Wishes
from shared.codecs import CODECS
from shared.frame import COUNTED_TO_DB, Frame

ONE, HALF = Fraction(1), Fraction(1, 2)
PIXELS = 640 * 480
FPS = 30.0
GREY = Frame(0, 0, np.zeros((480, 640), np.uint8))
JPEG, H264, LOSSLESS = (
    StreamFacts.of(CODECS[name], GREY, cores=2) for name in ("jpeg", "h264", "lossless")
)


def learnt(facts: StreamFacts, wishes: Wishes | None = None, quality: int = 90) -> Demand:
    """After a frame of one bit a pixel at 40 dB."""
    demand = Demand(facts, wishes or Wishes())
    demand.learn(PIXELS // 8, PIXELS, 40.0, quality)
    return demand


def test_an_inter_codec_needs_no_frame_to_be_known() -> None:
    demand = Demand(H264, Wishes())
    assert demand.least(ONE, FPS) == COARSE_BPP * PIXELS
    assert demand.most(ONE, FPS) == FULL_BPP * PIXELS
    assert Demand(H264, Wishes(prefer="sharp")).least(ONE, FPS) == FINE_BPP * PIXELS


def test_half_the_sides_are_a_quarter_of_the_bits() -> None:
    for facts in (H264, JPEG, LOSSLESS):
        demand = learnt(facts)
        assert demand.least(HALF, FPS) == pytest.approx(demand.least(ONE, FPS) / 4)
        assert demand.most(HALF, FPS) == pytest.approx(demand.most(ONE, FPS) / 4)


def test_what_a_jpeg_comes_to_is_learnt_whatever_quality_it_had() -> None:
    demand = learnt(JPEG, quality=50)
    assert demand.of_jpeg(50, ONE) == pytest.approx(PIXELS)
    assert demand.of_jpeg(90, ONE) == pytest.approx(PIXELS / jpeg_size(50))
    assert Demand(JPEG, Wishes()).most(ONE, FPS) == math.inf


def test_a_lossless_picture_takes_what_it_takes() -> None:
    demand = learnt(LOSSLESS)
    assert demand.least(ONE, FPS) == demand.most(ONE, FPS) == pytest.approx(PIXELS)


def test_the_bitrate_asked_for_is_the_ceiling_of_both() -> None:
    demand = Demand(H264, Wishes(bitrate_bps=300_000))
    assert demand.least(ONE, FPS) == demand.most(ONE, FPS) == 10_000


def test_a_psnr_asked_for_raises_the_least_by_what_it_takes() -> None:
    demand = learnt(H264, Wishes(min_psnr_db=37.0))  # 3 dB less: half the bits
    assert demand.psnr_bits() == pytest.approx(0.5)
    assert demand.least(ONE, FPS) == pytest.approx(0.5 * PIXELS)
    assert learnt(H264).psnr_bits() == 0.0


def test_a_picture_too_good_to_be_counted_teaches_nothing_of_the_psnr() -> None:
    demand = learnt(H264, Wishes(min_psnr_db=37.0))
    demand.learn(PIXELS // 800, PIXELS, COUNTED_TO_DB, 90)
    assert demand.psnr_bits() == pytest.approx(0.5)


def test_what_is_learnt_follows_the_frames_slowly() -> None:
    demand = learnt(H264)
    demand.learn(PIXELS // 4, PIXELS, 40.0, 90)
    assert demand.bits_a_pixel == pytest.approx(1.2)
