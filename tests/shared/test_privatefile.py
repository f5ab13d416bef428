from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared import privatefile
from shared.privatefile import check_writable, make_private, write_private


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture
def open_to_all() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_to_all")
def test_a_new_file_is_for_its_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "picture"
    write_private(path, b"content")
    assert path.read_bytes() == b"content"
    assert mode_of(path) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_an_older_file_is_replaced_and_gives_its_rights_to_nobody(tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(b"older and longer")
    path.chmod(0o644)
    with path.open("rb") as reading:
        write_private(path, b"new")
        assert reading.read() == b"older and longer", "its readers must not see the new one"
    assert path.read_bytes() == b"new"
    assert mode_of(path) == 0o600


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    elsewhere, path = tmp_path / "elsewhere", tmp_path / "picture"
    elsewhere.write_bytes(b"theirs")
    for link in (path, tmp_path / ".picture.part"):
        link.symlink_to(elsewhere)
    write_private(path, b"ours")
    assert elsewhere.read_bytes() == b"theirs"
    assert not path.is_symlink()
    assert path.read_bytes() == b"ours"


def test_a_file_that_cannot_be_written_whole_leaves_the_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FullDisk(io.FileIO):
        def write(self, content: object) -> int:
            super().write(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "picture"
    path.write_bytes(b"older")
    monkeypatch.setattr(privatefile, "open", FullDisk, raising=False)
    with pytest.raises(OSError, match="No space"):
        write_private(path, b"whole")
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


def test_an_open_file_is_taken_from_all_but_its_owner_and_a_device_is_not(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.touch()
    path.chmod(0o666)
    with path.open("wb") as file:
        make_private(file.fileno())
    assert mode_of(path) == 0o600
    before = mode_of(Path(os.devnull))
    with Path(os.devnull).open("wb") as device:
        make_private(device.fileno())
    assert mode_of(Path(os.devnull)) == before


def test_a_folder_is_tried_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    check_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(FileNotFoundError):
        check_writable(tmp_path / "missing")
    with pytest.raises(NotADirectoryError):
        check_writable(tmp_path / "file")
