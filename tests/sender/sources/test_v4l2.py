"""What Video4Linux says of a machine's cameras, from a kernel that the tests play."""

from __future__ import annotations

import errno
import os
import struct
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import pytest

from sender.sources import v4l2
from sender.sources.v4l2 import Camera, CameraMode, cameras, model_of

# As linux/videodev2.h has them on every machine of today.
QUERYCAP, ENUM_FMT, ENUM_FRAMESIZES, ENUM_FRAMEINTERVALS = (
    0x80685600,
    0xC0405602,
    0xC02C564A,
    0xC034564B,
)
CAPTURE, MPLANE, METADATA, DEVICE_CAPS = 0x1, 0x1000, 0x0080_0000, 0x8000_0000

Sizes = dict[tuple[int, ...], list[tuple[int, ...]]]  # (w, h) or a range, and its intervals


@dataclass
class Device:
    """A device of the kernel: its formats by FourCC, their sizes, their times between pictures."""

    card: bytes = b"HD Webcam"
    able: int = CAPTURE
    formats: dict[bytes, Sizes] = field(default_factory=dict)


class Kernel:
    """Answers like `fcntl.ioctl`, for devices whose nodes are plain files."""

    def __init__(self, folder: Path, devices: dict[int, Device]) -> None:
        self.devices: dict[int, Device] = {}
        for number, device in devices.items():
            node = folder / f"video{number}"
            node.touch()
            self.devices[node.stat().st_ino] = device

    def __call__(self, descriptor: int, request: int, buffer: bytearray) -> int:
        device = self.devices[os.fstat(descriptor).st_ino]
        if request == QUERYCAP:
            struct.pack_into(
                "=16s32s32sIII", buffer, 0, b"uvcvideo", device.card, b"usb-1", 0,
                DEVICE_CAPS | CAPTURE | METADATA, device.able,
            )  # fmt: skip
            return 0
        (index,) = struct.unpack_from("=I", buffer)
        if request == ENUM_FMT:
            (kind,) = struct.unpack_from("=I", buffer, 4)
            assert kind == (1 if device.able & CAPTURE else 9)
            self.has(index, device.formats)
            buffer[44:48] = list(device.formats)[index]
        elif request == ENUM_FRAMESIZES:
            sizes = device.formats[bytes(buffer[4:8])]
            self.has(index, sizes)
            size = list(sizes)[index]
            buffer[8:12] = struct.pack("=I", 1 if len(size) == 2 else 3)
            buffer[12 : 12 + 4 * len(size)] = struct.pack(f"={len(size)}I", *size)
        else:
            assert request == ENUM_FRAMEINTERVALS
            width, height = struct.unpack_from("=II", buffer, 8)
            sizes = device.formats[bytes(buffer[4:8])]
            size = next(s for s in sizes if s[:2] == (width, height) or s[1:5:3] == (width, height))
            self.has(index, sizes[size])
            interval = sizes[size][index]
            buffer[16:20] = struct.pack("=I", 1 if len(interval) == 2 else 3)
            buffer[20 : 20 + 4 * len(interval)] = struct.pack(f"={len(interval)}I", *interval)
        return 0

    @staticmethod
    def has(index: int, entries: object) -> None:
        if index >= len(entries):  # type: ignore[arg-type]
            raise OSError(errno.EINVAL, "no more")


def test_a_camera_is_listed_with_its_sizes_and_rates(tmp_path: Path) -> None:
    formats: dict[bytes, Sizes] = {
        b"YUYV": {(640, 480): [(1, 30), (1, 15)], (1920, 1080): [(1, 5)]},
        b"MJPG": {(1920, 1080): [(1001, 30000)]},
    }
    kernel = Kernel(tmp_path, {0: Device(formats=formats)})
    assert cameras(tmp_path, kernel) == [
        Camera(
            0,
            "HD Webcam",
            modes=(
                CameraMode("YUYV", (640, 480), (Fraction(30), Fraction(15))),
                CameraMode("YUYV", (1920, 1080), (Fraction(5),)),
                CameraMode("MJPG", (1920, 1080), (Fraction(30000, 1001),)),
            ),
        )
    ]


def test_a_range_of_sizes_and_of_rates_is_one_entry(tmp_path: Path) -> None:
    ranges: Sizes = {(32, 1920, 2, 16, 1080, 2): [(1, 60, 1, 1, 1, 1)]}
    (camera,) = cameras(tmp_path, Kernel(tmp_path, {0: Device(formats={b"RGB3": ranges})}))
    (mode,) = camera.modes
    assert (mode.size, mode.largest) == ((32, 16), (1920, 1080))
    assert mode.rates == (Fraction(60), Fraction(1))


def test_cards_with_several_planes_are_asked_for_those(tmp_path: Path) -> None:
    device = Device(able=MPLANE, formats={b"NV12": {(64, 48): [(1, 25)]}})
    (camera,) = cameras(tmp_path, Kernel(tmp_path, {0: device}))
    assert camera.modes[0].fourcc == "NV12"


def test_nodes_that_deliver_no_pictures_are_left_out(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, {0: Device(), 1: Device(able=METADATA)})
    (tmp_path / "videodev").touch()
    assert [camera.number for camera in cameras(tmp_path, kernel)] == [0]


def test_cameras_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, {10: Device(), 2: Device(), 0: Device()})
    assert [camera.number for camera in cameras(tmp_path, kernel)] == [0, 2, 10]


def test_a_path_that_stays_with_the_device_is_listed_beside_its_number(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, {3: Device()})
    (tmp_path / "v4l" / "by-id").mkdir(parents=True)
    link = tmp_path / "v4l" / "by-id" / "usb-Maker_Scope-video-index0"
    link.symlink_to(tmp_path / "video3")
    (camera,) = cameras(tmp_path, kernel)
    assert camera.path == str(link)


def test_a_camera_that_this_user_may_not_open_is_listed_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = Kernel(tmp_path, {0: Device()})

    def refused(*_arguments: object) -> int:
        raise PermissionError

    monkeypatch.setattr(v4l2.os, "open", refused)
    (camera,) = cameras(tmp_path, kernel)
    assert "group 'video'" in camera.why


@pytest.mark.parametrize(
    ("error", "listed"), [(errno.ENOTTY, 0), (errno.EIO, 1), (errno.ENODEV, 1)]
)
def test_a_device_that_does_not_answer_is_listed_unless_it_is_none(
    error: int, listed: int, tmp_path: Path
) -> None:
    (tmp_path / "video0").touch()

    def ioctl(_descriptor: int, _request: int, _buffer: bytearray) -> int:
        raise OSError(error, "no")

    found = cameras(tmp_path, ioctl)
    assert len(found) == listed
    assert all("does not answer" in camera.why for camera in found)


def test_a_driver_that_never_comes_to_an_end_is_left_after_a_while(tmp_path: Path) -> None:
    (tmp_path / "video0").touch()
    asked = 0

    def ioctl(_descriptor: int, request: int, buffer: bytearray) -> int:
        nonlocal asked
        asked += 1
        if request == QUERYCAP:
            buffer[84:88] = struct.pack("=I", CAPTURE)
        elif request == ENUM_FRAMESIZES:
            raise OSError(errno.ENOTTY, "not known")
        return 0

    (camera,) = cameras(tmp_path, ioctl)
    assert camera.modes == ()
    assert asked < 2000


def test_a_name_can_t_write_to_the_terminal_what_it_likes(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, {0: Device(card=b"Scope\x1b[2J\xff\n X")})
    (camera,) = cameras(tmp_path, kernel)
    assert camera.name.isprintable()
    assert camera.name.startswith("Scope")


def test_every_node_that_was_opened_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = Kernel(tmp_path, {0: Device(), 1: Device(able=METADATA)})
    opened, closed = [], []
    open_, close = os.open, os.close

    def opens(path: Path, flags: int) -> int:
        assert flags & os.O_NONBLOCK
        opened.append(open_(path, flags))
        return opened[-1]

    def closes(descriptor: int) -> None:
        closed.append(descriptor)
        close(descriptor)

    monkeypatch.setattr(v4l2.os, "open", opens)
    monkeypatch.setattr(v4l2.os, "close", closes)
    cameras(tmp_path, kernel)
    assert len(opened) == 2
    assert opened == closed


def test_a_machine_without_cameras_has_none(tmp_path: Path) -> None:
    assert cameras(tmp_path) == []


def test_a_model_is_read_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "video3").mkdir()
    (tmp_path / "video3" / "name").write_bytes(b"USB Grabber\xff\n")
    assert model_of(3, tmp_path) == "USB Grabber\ufffd"
    assert model_of(4, tmp_path) == ""
