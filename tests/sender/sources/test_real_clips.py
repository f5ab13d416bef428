"""Real recordings, where they are at hand: in the folder that VEILSCOPE_CLIPS names, or beside the
repository.  The project does not contain them and does not need them."""

from __future__ import annotations

import os
from pathlib import Path

import av
import numpy as np
import pytest

from sender.sources import images, open_source
from shared.codecs import open_decoder, open_encoder

CLIPS = Path(
    os.environ.get("VEILSCOPE_CLIPS")
    or Path(__file__).resolve().parents[3].parent / "shared" / "clips"
)
pytestmark = pytest.mark.skipif(not CLIPS.is_dir(), reason="the real clips are not here")


@pytest.mark.parametrize(
    ("name", "kind", "size", "count"),
    [
        ("us2_liver_sweep.h264", "video", (739, 593), 140),
        ("us3_lung_healthy.mpeg", "video", (370, 370), 438),
        ("en1_nasal_1080p", "images", (1920, 1080), 35),
        ("en2_larynx_p1seq4", "images", (512, 512), None),
    ],
)
def test_a_real_clip_plays_whole(
    name: str, kind: str, size: tuple[int, int], count: int | None
) -> None:
    source = open_source(str(CLIPS / name))
    assert (source.info.kind, source.info.width, source.info.height) == (kind, *size)
    assert sum(1 for _ in images(source)) == (count or source.info.frame_count)


@pytest.mark.parametrize("name", ["us2_liver_sweep.h264", "us3_lung_healthy.mpeg"])
def test_the_pictures_are_those_that_ffmpeg_shows(name: str) -> None:
    with av.open(str(CLIPS / name)) as container:
        expected = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert np.array_equal(next(images(open_source(str(CLIPS / name)))), expected)


@pytest.mark.parametrize("name", ["us2_liver_sweep.h264", "en2_larynx_p1seq4", "en1_nasal_1080p"])
def test_a_real_picture_survives_the_lossless_codec(name: str) -> None:
    picture = next(images(open_source(str(CLIPS / name))))
    frame = open_encoder("lossless").encode(picture)
    shown = open_decoder("lossless").decode(
        frame.payload, width=frame.width, height=frame.height, channels=frame.channels
    )
    assert np.array_equal(shown, picture)
