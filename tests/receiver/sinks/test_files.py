from __future__ import annotations

import errno
import io
import os
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from receiver.sinks import ShownFrame
from receiver.sinks import files as files_module
from receiver.sinks.files import FilesSink, encode_png
from shared import privatefile
from shared.errors import OutputFailed
from shared.frame import Frame, Image


def shown(index: int, image: Image, sealed: bytes = b"sealed") -> ShownFrame:
    return ShownFrame(Frame(index, 0, image), sealed, 20.0, 0.5, 41.0, 1, "jpeg", 30.0)


def pictures(count: int, shape: tuple[int, ...] = (48, 64, 3)) -> list[Image]:
    rng = np.random.default_rng(7)
    return [rng.integers(0, 256, shape, np.uint8) for _ in range(count)]


@pytest.mark.parametrize("shape", [(48, 64, 3), (48, 64), (17, 23, 3), (17, 23)])
def test_saved_pictures_equal_the_shown_ones(tmp_path: Path, shape: tuple[int, ...]) -> None:
    folder = tmp_path / "made" / "on demand"
    images = pictures(12, shape)
    sink = FilesSink(folder)
    sink.start()
    for index, image in enumerate(images):
        sink.show(shown(index * 100, image))
    sink.close()
    assert sorted(path.name for path in folder.iterdir()) == [
        f"frame-{index * 100:06d}.png" for index in range(12)
    ]
    for index, image in enumerate(images):
        saved = cv2.imread(str(folder / f"frame-{index * 100:06d}.png"), cv2.IMREAD_UNCHANGED)
        assert saved is not None
        assert np.array_equal(saved if saved.ndim == 2 else saved[:, :, ::-1], image)


def test_what_is_saved_is_for_its_owner_alone_whatever_the_umask_and_was_there(
    tmp_path: Path,
) -> None:
    (tmp_path / "frame-000005.png").touch(0o644)
    before = os.umask(0)
    try:
        sink = FilesSink(tmp_path, sealed_folder=tmp_path)
        sink.start()
        sink.show(shown(5, pictures(1)[0]))
        sink.close()
    finally:
        os.umask(before)
    modes = {path.suffix: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {".png": 0o600, ".sealed": 0o600}


def test_the_sealed_bytes_are_saved_beside(tmp_path: Path) -> None:
    sink = FilesSink(tmp_path / "f", sealed_folder=tmp_path / "s")
    sink.start()
    sink.show(shown(5, pictures(1)[0], b"\x00\x01 as sent"))
    sink.close()
    assert (tmp_path / "s" / "frame-000005.sealed").read_bytes() == b"\x00\x01 as sent"


def test_a_folder_that_cannot_be_made_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputFailed, match="can't be saved"):
        FilesSink(tmp_path / "file" / "folder").start()


def test_a_full_disk_is_told_once_and_the_rest_is_still_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Disk(io.FileIO):
        """One that is full while two of the frames come."""

        def write(self, content: object) -> int:
            if "000001" in str(self.name) or "000002" in str(self.name):
                super().write(memoryview(content)[:10])  # type: ignore[arg-type]
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(content)  # type: ignore[arg-type]

    monkeypatch.setattr(privatefile, "open", Disk, raising=False)
    failures: list[OutputFailed] = []
    sink = FilesSink(tmp_path, on_failure=failures.append)
    sink.start()
    for index, image in enumerate(pictures(4)):
        sink.show(shown(index, image))
    with pytest.raises(OutputFailed, match="2 of the frames shown were not saved"):
        sink.close()
    sink.close()
    assert len(failures) == 1
    assert (sink.kept, sink.lost) == (2, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "frame-000000.png",
        "frame-000003.png",
    ]


def test_a_slow_disk_never_blocks_and_what_is_too_much_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = pictures(1)[0]
    monkeypatch.setattr(FilesSink, "bytes_waiting", 3 * (image.nbytes + 6))
    disk = threading.Event()
    monkeypatch.setattr(
        files_module, "encode_png", lambda picture: disk.wait(30) and encode_png(picture)
    )
    sink = FilesSink(tmp_path)
    sink.start()
    for index in range(10):
        sink.show(shown(index, image))
    disk.set()
    with pytest.raises(OutputFailed, match="7 of the frames shown were not saved"):
        sink.close()
    assert len(list(tmp_path.iterdir())) == 3
