from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from lab.bench.rivals.clip import feed, read_clip, write_clip
from lab.bench.rivals.records import Offered
from shared.errors import BadInput
from shared.strip import read_strip, strip_height


@pytest.mark.parametrize("shape", [(64, 320), (64, 320, 3)])
def test_a_clip_gives_back_the_pictures_bit_for_bit(tmp_path, shape) -> None:
    random = np.random.default_rng(1)
    pictures = [random.integers(0, 256, shape, np.uint8) for _ in range(4)]
    clip = write_clip(tmp_path / "clip.nut", iter(pictures), limit=10)
    assert (clip.width, clip.height, clip.count) == (320, 64, 4)
    assert clip.channels == (1 if len(shape) == 2 else 3)
    back = list(read_clip(clip.path))
    assert all(np.array_equal(a, b) for a, b in zip(pictures, back, strict=True))


def test_odd_sides_are_cut_and_no_more_than_asked_for_is_written(tmp_path) -> None:
    pictures = (np.full((65, 321, 3), i, np.uint8) for i in range(100))
    clip = write_clip(tmp_path / "clip.nut", pictures, limit=3)
    assert (clip.width, clip.height, clip.count) == (320, 64, 3)
    assert [picture[0, 0, 0] for picture in read_clip(clip.path)] == [0, 1, 2]


def test_a_source_without_pictures_is_refused(tmp_path) -> None:
    with pytest.raises(BadInput, match="no picture"):
        write_clip(tmp_path / "clip.nut", iter(()), limit=3)


async def test_the_feed_loops_numbers_stamps_and_notes_what_it_gives(tmp_path) -> None:
    pictures = [np.full((64, 320), value, np.uint8) for value in (10, 20, 30)]
    clip = write_clip(tmp_path / "clip.nut", iter(pictures), limit=3)
    offered: list[Offered] = []
    frames = [frame async for frame in feed(clip.path, fps=100, seconds=0.2, note=offered.append)]
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert [(o.index, o.captured_at_ns) for o in offered] == [
        (frame.index, frame.captured_at_ns) for frame in frames
    ]
    assert len(frames) > 3  # it has looped
    below = strip_height(320)
    for frame in frames:
        strip = read_strip(frame.image)
        assert strip is not None
        assert (strip.index, strip.captured_at_ns) == (frame.index, frame.captured_at_ns)
        assert np.array_equal(frame.image[below:], pictures[frame.index % 3][below:])
    times = [frame.captured_at_ns for frame in frames]
    assert all(later > earlier for earlier, later in pairwise(times))
