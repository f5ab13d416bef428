"""The demo clip: a real echocardiogram, endless, and with its burned-in text masked."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from sender.masks.rectangles import fit_masks
from sender.sources import images
from sender.sources.demo import DEMO_MASKS, DemoSource
from shared.frame import Image


@pytest.fixture(scope="module")
def clip() -> DemoSource:
    return DemoSource()


def brightest(clip: DemoSource, *, masked: bool) -> Image:
    pictures = [r.masked if masked else r.image for r in islice(clip.pictures(), 30)]
    return np.max(np.stack(pictures), axis=(0, 3))


def test_the_clip_is_as_recorded(clip: DemoSource) -> None:
    info = clip.info
    assert (info.width, info.height, info.channels) == (320, 240, 3)
    assert info.fps == pytest.approx(30.0, abs=0.01)
    assert not info.live


def test_the_clip_goes_on_endlessly(clip: DemoSource) -> None:
    pictures = list(islice(images(clip), 61))
    assert np.array_equal(pictures[0], pictures[30])
    assert np.array_equal(pictures[0], pictures[60])
    assert not np.array_equal(pictures[0], pictures[15])


def test_every_mask_lies_within_the_picture(clip: DemoSource) -> None:
    assert fit_masks(clip.first.masks, 320, 240) == DEMO_MASKS


def test_every_mask_hides_something_bright(clip: DemoSource) -> None:
    seen = brightest(clip, masked=False)
    for rect in DEMO_MASKS:
        assert seen[rect.y : rect.y + rect.height, rect.x : rect.x + rect.width].max() > 90


def test_no_text_is_left_around_the_sector(clip: DemoSource) -> None:
    left = brightest(clip, masked=True)
    left[15:26, 183:200] = 0  # the orientation mark
    left[144:204, 296:302] = 0  # the depth scale
    # Text in this clip is above 90; outside the sector nothing above the noise of JPEG is left.
    around = np.ones_like(left, bool)
    around[18:204, 40:298] = False
    assert left[around].max() < 24


def test_the_sector_itself_is_untouched(clip: DemoSource) -> None:
    first = clip.first
    assert np.array_equal(first.masked[32:192, 40:280], first.image[32:192, 40:280])
