from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lab.bench.rivals.ends import (
    MAX_MESSAGE,
    MAX_PICTURES,
    MAX_WAITING,
    Watch,
    from_i420,
    i420,
    jpeg,
    top_of,
    unpacked,
)
from lab.bench.rivals.records import (
    Offered,
    OfferedFile,
    Picture,
    PictureFile,
    Shown,
    ShownFile,
    read_offered,
    read_pictures,
    read_shown,
)
from shared.errors import OutputFailed
from shared.frame import Image
from shared.quality import psnr_db
from shared.strip import draw_strip


def test_records_come_back_as_written(tmp_path) -> None:
    offered = [Offered(0, 10**18 + 1), Offered(1, 10**18 + 2)]
    with OfferedFile(tmp_path / "offered") as offered_file:
        for one in offered:
            offered_file.add(one)
    assert read_offered(tmp_path / "offered") == offered
    shown = [Shown(0, 1, 10**18 + 3), Shown(1, 2, 4, 1.5, 0.25)]
    with ShownFile(tmp_path / "shown") as shown_file:
        shown_file.add(shown[0])
        shown_file.add_unreadable(7)
        shown_file.add(shown[1])
    assert read_shown(tmp_path / "shown") == (shown, [7])
    grey, colour = np.eye(5, dtype=np.uint8), np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    with PictureFile(tmp_path / "pictures") as pictures:
        pictures.add(Picture(3, grey))
        pictures.add(Picture(12, colour[:, ::-1]))
    found = read_pictures(tmp_path / "pictures")
    assert [picture.index for picture in found] == [3, 12]
    assert np.array_equal(found[0].image, grey)
    assert np.array_equal(found[1].image, colour[:, ::-1])


def test_a_stream_of_which_nothing_came_has_an_empty_record(tmp_path) -> None:
    with Watch(tmp_path / "shown", tmp_path / "pictures", sample_every=1):
        pass
    assert read_shown(tmp_path / "shown") == ([], [])
    assert read_pictures(tmp_path / "pictures") == []


def readable(read: Callable[[Path], Any], path: Path) -> bool:
    try:
        read(path)
    except OutputFailed:
        return False
    return True


def test_a_record_cut_off_within_a_piece_is_told_in_a_line(tmp_path) -> None:
    path, grey = tmp_path / "torn", np.eye(5, dtype=np.uint8)
    records: list[tuple[Any, list[Any], Callable[[Path], Any]]] = [
        (OfferedFile, [Offered(0, 10**18), Offered(1, 10**18 + 1)], read_offered),
        (ShownFile, [Shown(0, 1, 10**18 + 3), Shown(1, 2, 4, 1.5, 0.25)], read_shown),
        (PictureFile, [Picture(3, grey), Picture(4, grey)], read_pictures),
    ]
    for kind, pieces, read in records:
        whole = [0]
        with kind(path) as file:
            for piece in pieces:
                file.add(piece)
                whole.append(path.stat().st_size)
        written = path.read_bytes()
        assert whole[-1] == len(written)  # each piece is there as soon as it is added
        for length in range(len(written) + 1):
            path.write_bytes(written[:length])
            assert readable(read, path) == (length in whole)


def striped(index: int, captured_at_ns: int) -> Image:
    image = np.full((64, 320), 90, np.uint8)
    draw_strip(image, index, captured_at_ns)
    return image


def test_the_watch_reads_strips_keeps_a_sample_and_notes_what_it_cannot_read(tmp_path) -> None:
    with Watch(tmp_path / "shown", tmp_path / "pictures", sample_every=2) as watch:
        for index in range(4):
            image = striped(index, 1000 + index)
            watch.see(2000 + index, top_of(image), lambda image=image: image)
        watch.see(3000, np.zeros((11, 320), np.uint8), lambda: np.zeros((64, 320), np.uint8))
    shown, unreadable_ns = read_shown(tmp_path / "shown")
    assert shown == [Shown(i, 1000 + i, 2000 + i) for i in range(4)]
    assert unreadable_ns == [3000]
    pictures = read_pictures(tmp_path / "pictures")
    assert [picture.index for picture in pictures] == [0, 2]
    assert np.array_equal(pictures[1].image, striped(2, 1002))


def test_the_sample_of_pictures_is_bounded(tmp_path) -> None:
    image = striped(0, 1000)
    with Watch(tmp_path / "shown", tmp_path / "pictures", sample_every=1) as watch:
        for _ in range(MAX_PICTURES + 3):
            watch.see(2000, top_of(image), lambda: image)
    assert len(read_shown(tmp_path / "shown")[0]) == MAX_PICTURES + 3
    assert len(read_pictures(tmp_path / "pictures")) == MAX_PICTURES


def test_pictures_are_made_and_written_in_another_thread_a_few_at_a_time(tmp_path) -> None:
    go_on, made = threading.Event(), []
    image = striped(0, 1000)

    def whole() -> Image:
        assert go_on.wait(30)
        made.append(threading.get_ident())
        return image

    with Watch(tmp_path / "shown", tmp_path / "pictures", sample_every=1) as watch:
        for _ in range(MAX_WAITING):
            watch.see(2000, top_of(image), whole)
        assert made == []
        threading.Timer(0.05, go_on.set).start()
        watch.see(2000, top_of(image), whole)  # no room: waits for one of them
        assert made
    assert len(set(made)) == 1
    assert made[0] != threading.get_ident()
    assert len(read_pictures(tmp_path / "pictures")) == MAX_WAITING + 1


def test_a_picture_that_cannot_be_written_fails_the_watch(tmp_path) -> None:
    image = striped(0, 1000)

    def whole() -> Image:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        with Watch(tmp_path / "shown", tmp_path / "pictures", sample_every=1) as watch:
            watch.see(2000, top_of(image), whole)


def test_a_record_takes_no_more_memory_the_longer_the_stream(tmp_path) -> None:
    image, lost = striped(0, 1000), np.zeros((11, 320), np.uint8)
    record, pictures, offered_file = (tmp_path / name for name in ("shown", "pictures", "offered"))

    def stream(frames: int) -> None:
        for at_ns in range(10**18, 10**18 + frames):
            watch.see(at_ns, top_of(image), lambda: image, told_ms=at_ns / 7, bound_ms=at_ns / 9)
            watch.see(at_ns, lost, lambda: lost)
            offered.add(Offered(at_ns, at_ns))

    with (
        Watch(record, pictures, sample_every=10) as watch,
        OfferedFile(offered_file) as offered,
    ):
        stream(20)
        tracemalloc.start()
        try:
            stream(1000)
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert held < 30_000  # a row alone takes 100 bytes in memory, a picture 20,480
    assert len(read_shown(record)[0]) == len(read_offered(offered_file)) == 1020


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
