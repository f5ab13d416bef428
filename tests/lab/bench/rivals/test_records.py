from __future__ import annotations

import numpy as np

from lab.bench.rivals.ends import MAX_MESSAGE, Watch, from_i420, i420, jpeg, top_of, unpacked
from lab.bench.rivals.records import (
    Offered,
    Picture,
    Shown,
    read_offered,
    read_pictures,
    read_shown,
    write_offered,
    write_pictures,
    write_shown,
)
from shared.quality import psnr_db
from shared.strip import draw_strip


def test_records_come_back_as_written(tmp_path) -> None:
    offered = [Offered(0, 10**18 + 1), Offered(1, 10**18 + 2)]
    write_offered(tmp_path / "offered", offered)
    assert read_offered(tmp_path / "offered") == offered
    shown = [Shown(0, 1, 10**18 + 3), Shown(1, 2, 4, 1.5, 0.25)]
    write_shown(tmp_path / "shown", shown, [7])
    assert read_shown(tmp_path / "shown") == (shown, [7])
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    write_pictures(tmp_path / "pictures.npz", [Picture(12, image)])
    (picture,) = read_pictures(tmp_path / "pictures.npz")
    assert picture.index == 12
    assert np.array_equal(picture.image, image)


def test_the_watch_reads_strips_keeps_a_sample_and_notes_what_it_cannot_read() -> None:
    watch = Watch(sample_every=2)
    for index in range(4):
        image = np.full((64, 320), 90, np.uint8)
        draw_strip(image, index, 1000 + index)
        watch.see(2000 + index, top_of(image), lambda image=image: image)
    watch.see(3000, np.zeros((11, 320), np.uint8), lambda: np.zeros((64, 320), np.uint8))
    assert watch.shown == [Shown(i, 1000 + i, 2000 + i) for i in range(4)]
    assert [picture.index for picture in watch.pictures] == [0, 2]
    assert watch.unreadable_ns == [3000]


def test_planes_of_limited_range_come_back_as_the_picture() -> None:
    grey = np.tile(np.linspace(0, 255, 320).astype(np.uint8), (64, 1))
    for image, channels in ((grey, 1), (np.dstack([grey] * 3), 3)):
        planes = np.frombuffer(i420(image), np.uint8).reshape(96, 320)
        assert planes[:64].min() == 16
        back = from_i420(planes, channels)
        assert back.shape == image.shape
        assert (psnr_db(image, back) or 99) > 45


def test_a_picture_too_large_for_a_message_is_packed_at_a_lower_quality() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (720, 1280), np.uint8)
    data = jpeg(noise, 100)
    assert len(data) <= MAX_MESSAGE
    assert unpacked(data, 1).shape == noise.shape


def test_a_packed_picture_keeps_its_colours() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, :, 0] = 200
    back = unpacked(jpeg(image, 95), 3)
    assert back[32, 32, 0] > 180
    assert back[32, 32, 2] < 20
