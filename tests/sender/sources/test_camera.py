"""Cameras, with devices and a clock that the tests play."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import pytest

import sender.sources.camera as camera
from sender.sources import Skipped, SourcePicture, images
from sender.sources.camera import CameraSource
from sender.sources.capturemode import CaptureMode
from shared.control import Notice
from shared.errors import BadInput, SourceFailed

SECOND_NS = 1_000_000_000


class Device:
    """Answers like cv2.VideoCapture; delivers `count` blue pictures, then none."""

    def __init__(self, count: int = 1_000_000, **settings: float) -> None:
        self.count = count
        self.settings: dict[int, float] = {cv2.CAP_PROP_FPS: 25.0}
        self.opened = True

    def isOpened(self) -> bool:  # noqa: N802
        return self.opened

    def set(self, name: int, value: float) -> bool:
        self.settings[name] = value
        return True

    def get(self, name: int) -> float:
        return self.settings.get(name, 0.0)

    def read(self) -> tuple[bool, object]:
        assert self.opened, "a device that was released is not read"
        self.count -= 1
        if self.count < 0:
            return False, None
        return True, self.picture()

    def picture(self) -> object:
        width = int(self.settings.get(cv2.CAP_PROP_FRAME_WIDTH, 64))
        picture = np.zeros((48, width, 3), np.uint8)
        picture[..., 0] = 255  # OpenCV delivers blue first
        return picture

    def release(self) -> None:
        self.opened = False


class Played(Device):
    """Delivers what is on a list: a picture by its shape, None for an empty read, an error."""

    def __init__(self, *script: tuple[int, ...] | Exception | np.ndarray | None) -> None:
        super().__init__()
        self.script = list(script)

    def read(self) -> tuple[bool, object]:
        assert self.opened, "a device that was released is not read"
        step = self.script.pop(0) if self.script else None
        if isinstance(step, Exception):
            raise step
        if isinstance(step, np.ndarray):
            return True, step
        return step is not None, None if step is None else np.full(step, 9, np.uint8)


class Webcam(Device):
    """Grants what a UVC camera of USB 2 does: full HD at 5 fps as it is, at 30 as MJPG."""

    RATES = {"YUYV": {(640, 480): 30.0, (1920, 1080): 5.0}, "MJPG": {(1920, 1080): 30.0}}  # noqa: RUF012

    def __init__(self, *, packs: bool = True) -> None:
        super().__init__()
        self.packs = packs
        self.fourcc, self.size, self.fps = "YUYV", (640, 480), 30.0
        self.wanted = [640, 480]

    def set(self, name: int, value: float) -> bool:
        if name == cv2.CAP_PROP_FOURCC:
            fourcc = int(value).to_bytes(4, "little").decode()
            if fourcc == "YUYV" or self.packs:
                self.fourcc = fourcc
        elif name == cv2.CAP_PROP_FRAME_WIDTH:
            self.wanted[0] = int(value)
        elif name == cv2.CAP_PROP_FRAME_HEIGHT:
            self.wanted[1] = int(value)
        rates = self.RATES[self.fourcc]
        if tuple(self.wanted) in rates or len(rates) == 1:
            self.size = next(iter(rates)) if len(rates) == 1 else (self.wanted[0], self.wanted[1])
        self.fps = rates[self.size]
        return True

    def get(self, name: int) -> float:
        return {
            cv2.CAP_PROP_FOURCC: float(cv2.VideoWriter.fourcc(*self.fourcc)),
            cv2.CAP_PROP_FRAME_WIDTH: float(self.size[0]),
            cv2.CAP_PROP_FRAME_HEIGHT: float(self.size[1]),
            cv2.CAP_PROP_FPS: self.fps,
        }.get(name, 0.0)

    def picture(self) -> object:
        return np.zeros((self.size[1], self.size[0], 3), np.uint8)


class Clock:
    """Goes on by what is waited for, and by a little at each look."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.pauses: list[float] = []

    def __call__(self) -> int:
        self.now_ns += 1
        return self.now_ns

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now_ns += round(seconds * 1e9)


def plugged_in(monkeypatch: pytest.MonkeyPatch, *devices: Device | None) -> list[int]:
    """Let OpenCV open one device after the other, the last over and over; None is one that fails.

    Returns the list of the numbers that were opened.
    """
    waiting = list(devices)
    opened: list[int] = []

    def open_device(number: int) -> Device:
        opened.append(number)
        device = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if device is None:
            device = Device()
            device.opened = False
        return device

    monkeypatch.setattr(camera.Path, "exists", lambda _self: True)
    monkeypatch.setattr(cv2, "VideoCapture", open_device)
    return opened


def source(clock: Clock | None = None, **options: object) -> CameraSource:
    clock = clock or Clock()
    return CameraSource("0", clock_ns=clock, pause=clock.pause, **options)  # type: ignore[arg-type]


def test_a_camera_is_live_and_delivers_rgb(monkeypatch: pytest.MonkeyPatch) -> None:
    plugged_in(monkeypatch, Device(3))
    opened = source()
    assert opened.info.live
    assert opened.info.frame_count is None
    assert (opened.info.width, opened.info.height, opened.info.fps) == (64, 48, 25.0)
    assert next(images(opened))[0, 0].tolist() == [0, 0, 255]


# -- what is asked for and granted --------------------------------------------------------------


def test_size_and_rate_are_asked_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    plugged_in(monkeypatch, Device(3))
    opened = source(size=(128, 96), fps=60.0)
    # The height was not granted: what the device delivers is what counts.
    assert (opened.info.width, opened.info.height, opened.info.fps) == (128, 48, 60.0)
    assert opened.info.remarks == ("asked for 128x96, the device gives 128x48",)


def test_mjpg_is_taken_where_the_rate_would_suffer_without(monkeypatch: pytest.MonkeyPatch) -> None:
    for options in ({"fps": 30.0}, {}):  # asked for, or what looks smooth
        webcam = Webcam()
        plugged_in(monkeypatch, webcam)
        opened = source(size=(1920, 1080), **options)
        assert webcam.fourcc == "MJPG"
        assert (opened.info.width, opened.info.height, opened.info.fps) == (1920, 1080, 30.0)
        assert opened.first.geometry.block == 16  # masks must grow to its grid
        assert any("MJPG" in remark for remark in opened.info.remarks)


def test_pictures_stay_uncompressed_where_they_come_fast_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    webcam = Webcam()
    plugged_in(monkeypatch, webcam)
    opened = source(size=(640, 480), fps=30.0)
    assert webcam.fourcc == "YUYV"
    geometry = opened.first.geometry
    assert (geometry.block, geometry.reach) == (2, 4)  # of two pixels with one colour
    assert opened.info.remarks == ()


@pytest.mark.parametrize(
    ("fourcc", "block", "reach"),
    [
        ("MJPG", 16, 4),
        ("H264", 16, 4),
        ("HEVC", 64, 4),
        ("RGB3", 1, 0),
        ("GREY", 1, 0),
        ("NV12", 2, 4),
        ("", 16, 4),  # the device does not say
        ("XYZ1", 16, 4),
    ],
)
def test_what_is_not_known_of_a_device_s_packing_counts_as_loss(
    fourcc: str, block: int, reach: int
) -> None:
    geometry = CaptureMode(64, 48, 30.0, fourcc).geometry(64, 48)
    assert (geometry.block, geometry.reach) == (block, reach)


def test_mjpg_is_given_up_again_where_it_does_no_better(monkeypatch: pytest.MonkeyPatch) -> None:
    webcam = Webcam()
    plugged_in(monkeypatch, webcam)
    opened = source(size=(640, 480), fps=60.0)  # which it has in no packing
    assert (webcam.fourcc, webcam.size) == ("YUYV", (640, 480))
    assert opened.info.remarks == ("asked for 60 frames a second, the device gives 30",)


def test_a_camera_without_mjpg_delivers_as_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    webcam = Webcam(packs=False)
    plugged_in(monkeypatch, webcam)
    opened = source(size=(1920, 1080), fps=30.0)
    assert (webcam.fourcc, opened.info.fps) == ("YUYV", 5.0)
    assert opened.info.remarks == ("asked for 30 frames a second, the device gives 5",)


@pytest.mark.parametrize(
    ("delivered", "shape"),
    [
        (np.full((48, 64), 7, np.uint8), (48, 64)),
        (np.full((48, 64, 1), 7, np.uint8), (48, 64)),
        (np.full((48, 64), 7 * 257, np.uint16), (48, 64)),
        (np.full((48, 64, 4), 7, np.uint8), (48, 64, 3)),
    ],
)
def test_grey_and_deep_pictures_come_as_they_should(
    delivered: np.ndarray, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    plugged_in(monkeypatch, Played(delivered))
    opened = source()
    assert opened.first.image.shape == shape
    assert (opened.first.image == 7).all()
    assert opened.info.channels == (1 if len(shape) == 2 else 3)


@pytest.mark.parametrize("fourcc", ["GREY", "Y800", "Y16 "])
def test_a_camera_that_knows_no_colours_is_grey(
    fourcc: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Played((48, 64, 3))  # OpenCV copies its one channel into three
    device.settings[cv2.CAP_PROP_FOURCC] = float(cv2.VideoWriter.fourcc(*fourcc))
    plugged_in(monkeypatch, device)
    assert source().info.channels == 1


# -- at opening ---------------------------------------------------------------------------------


def test_a_camera_that_begins_with_empty_reads_is_given_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plugged_in(monkeypatch, Played(None, cv2.error("a torn JPEG"), None, (48, 64, 3)))
    assert source().info.width == 64


def test_a_camera_that_never_delivers_fails_and_is_released(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = Device(0)
    plugged_in(monkeypatch, device)
    with pytest.raises(SourceFailed, match="no picture") as caught:
        source()
    assert caught.value.hint
    assert not device.opened


def test_a_camera_that_blocks_in_each_read_fails_within_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()

    class Blocked(Device):
        def read(self) -> tuple[bool, object]:
            clock.now_ns += 3 * SECOND_NS
            return False, None

    plugged_in(monkeypatch, Blocked())
    with pytest.raises(SourceFailed):
        source(clock)
    assert clock.now_ns < 10 * SECOND_NS


def test_pictures_too_small_to_send_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    plugged_in(monkeypatch, Played((8, 8, 3)))
    with pytest.raises(SourceFailed, match="8x8"):
        source()


def test_a_camera_that_is_not_there_fails_with_a_hint() -> None:
    with pytest.raises(SourceFailed, match="camera 63") as caught:
        CameraSource("63")
    assert "plugged in" in caught.value.hint


def test_a_camera_that_this_user_may_not_use_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    plugged_in(monkeypatch, None)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "access", lambda *_arguments: False)
    with pytest.raises(SourceFailed, match="camera 0") as caught:
        source()
    assert "group 'video'" in caught.value.hint
    monkeypatch.setattr(os, "access", lambda *_arguments: True)
    with pytest.raises(SourceFailed) as caught:
        source()
    assert "no other program" in caught.value.hint


@pytest.mark.parametrize("number", ["", "front", "-1", "0.5", "²"])
def test_a_camera_is_named_by_its_number_or_path(number: str) -> None:
    with pytest.raises(BadInput):
        CameraSource(number)


def test_a_path_leads_to_the_device_whatever_its_number_is_now(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    link = tmp_path / "usb-DOE-video-index0"
    (tmp_path / "video4").touch()
    link.symlink_to(tmp_path / "video4")
    clock = Clock()
    opened = plugged_in(monkeypatch, Played((48, 64, 3)), Played((48, 64, 3)))
    pictures = CameraSource(str(link), clock_ns=clock, pause=clock.pause).pictures()
    link.unlink()
    link.symlink_to(tmp_path / "video7")  # pulled out, and plugged in again
    readings = [next(pictures) for _reading in range(3)]
    assert isinstance(readings[2], SourcePicture)
    assert opened == [4, 7]


def test_a_path_that_leads_nowhere_fails_without_being_repeated(tmp_path: Path) -> None:
    with pytest.raises(SourceFailed) as caught:
        CameraSource(str(tmp_path / "usb-DOE"))
    assert "DOE" not in str(caught.value) + caught.value.hint


# -- on the way ---------------------------------------------------------------------------------


def told(readings: Iterator[object], count: int) -> list[str]:
    """The next readings, as words."""
    words = []
    for _reading in range(count):
        reading = next(readings)
        if isinstance(reading, Notice):
            words.append("lost" if reading.lasting else "back")
        else:
            words.append("skipped" if isinstance(reading, Skipped) else "picture")
    return words


def test_empty_reads_between_pictures_are_retried_and_not_worth_a_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shape = (48, 64, 3)
    stutter = [None, None, cv2.error("a torn JPEG")] * 5
    plugged_in(monkeypatch, Played(shape, shape, *stutter, shape))
    clock = Clock()
    assert told(source(clock).pictures(), 2) == ["picture", "picture"]
    assert 0 < clock.now_ns < SECOND_NS


def test_a_change_of_size_goes_on_with_the_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    plugged_in(monkeypatch, Played((48, 64, 3), (48, 64, 3), (96, 128, 3), (96, 128)))
    pictures = images(source())
    assert [next(pictures).shape for _picture in range(3)] == [
        (48, 64, 3),
        (96, 128, 3),
        (96, 128),
    ]


def test_a_picture_that_can_t_be_sent_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    plugged_in(monkeypatch, Played((48, 64, 3), (8, 8, 3), (48, 64, 3)))
    assert told(source().pictures(), 2) == ["skipped", "picture"]


def test_a_camera_that_stops_is_told_as_lost_once_and_taken_up_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = Device(3), Device(2)
    clock = Clock()
    opened = plugged_in(monkeypatch, first, None, None, second)
    readings = source(clock).pictures()
    assert told(readings, 2) == ["picture", "picture"]
    stopped_ns = clock.now_ns
    notice = next(readings)
    assert isinstance(notice, Notice)
    assert (notice.kind, notice.lasting) == ("source_lost", True)
    assert notice.since_ns is not None
    assert notice.since_ns <= stopped_ns  # when the last picture came
    assert SECOND_NS <= clock.now_ns - notice.since_ns < 1.1 * SECOND_NS
    back = next(readings)
    assert isinstance(back, Notice)
    assert (back.kind, back.lasting, back.text) == ("source_lost", False, "the camera is back")
    assert told(readings, 3) == ["picture", "picture", "lost"]
    assert opened == [0] * 4
    assert not first.opened


def test_a_camera_that_was_pulled_out_is_lost_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(2)
    clock = Clock()
    plugged_in(monkeypatch, device, Device())
    readings = source(clock).pictures()
    assert told(readings, 1) == ["picture"]
    monkeypatch.setattr(device, "isOpened", lambda: False)
    assert told(readings, 1) == ["lost"]
    assert clock.now_ns < SECOND_NS
    assert told(readings, 2) == ["back", "picture"]


def test_a_camera_that_hangs_for_seconds_goes_on_without_being_opened_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shape = (48, 64, 3)
    opened = plugged_in(monkeypatch, Played(shape, shape, *[None] * 90, shape))
    assert told(source().pictures(), 4) == ["picture", "lost", "back", "picture"]
    assert opened == [0]


def test_attempts_to_open_it_come_more_and_more_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    plugged_in(monkeypatch, Device(1), *[None] * 7, Device())
    assert told(source(clock).pictures(), 3) == ["lost", "back", "picture"]
    waits = [pause for pause in clock.pauses if pause >= 0.5]
    assert waits == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0, 4.0, 4.0]


def test_a_device_that_comes_back_is_set_as_the_first_was(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Webcam(), Webcam()
    first.count = 1
    plugged_in(monkeypatch, first, second)
    readings = source(size=(1920, 1080), fps=30.0).pictures()
    assert told(readings, 2) == ["lost", "back"]
    picture = next(readings)
    assert isinstance(picture, SourcePicture)
    assert second.fourcc == "MJPG"
    assert (picture.image.shape[:2], picture.geometry.block) == ((1080, 1920), 16)


def test_another_device_that_has_the_number_by_now_is_not_taken_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = plugged_in(monkeypatch, Device(1), Device(3))
    models = ["grabber", "webcam", "", "grabber"]
    monkeypatch.setattr(camera, "model_of", lambda _number: models.pop(0))
    readings = source().pictures()
    assert told(readings, 2) == ["lost", "back"]
    assert not models  # two attempts were left
    assert len(opened) == 2


def test_time_between_opening_and_playing_is_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    shape = (48, 64, 3)
    plugged_in(monkeypatch, Played(shape, None, shape))
    opened = source(clock)
    clock.now_ns += 300 * SECOND_NS  # a code is read out over the telephone
    assert told(opened.pictures(), 1) == ["picture"]


# -- closing ------------------------------------------------------------------------------------


def test_closing_releases_the_device_and_ends_the_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(9)
    plugged_in(monkeypatch, device)
    opened = source()
    opened.close()
    opened.close()
    assert not device.opened
    assert list(images(opened)) == []


def test_closing_while_the_device_is_lost_ends_the_attempts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plugged_in(monkeypatch, Device(1), None)
    looks_ns = count(0, SECOND_NS // 2)
    opened = CameraSource("0", clock_ns=lambda: next(looks_ns))  # pauses as it does in earnest
    readings = opened.pictures()
    assert told(readings, 1) == ["lost"]
    threading.Timer(0.05, opened.close).start()
    assert list(readings) == []


class Gate(Device):
    """Lets its second read wait until it may return, and notices a release in its middle."""

    def __init__(self, deliver: Callable[[], tuple[bool, object]]) -> None:
        super().__init__()
        self.reading, self.go_on = threading.Event(), threading.Event()
        self.deliver = deliver
        self.reads = 0
        self.released_in_a_read = False

    def read(self) -> tuple[bool, object]:
        self.reads += 1
        if self.reads == 1:
            return True, self.picture()
        self.reading.set()
        assert self.go_on.wait(30)
        self.released_in_a_read = not self.opened
        return self.deliver()


@pytest.mark.parametrize("delivered", [True, False])
def test_closing_in_the_middle_of_a_read_waits_for_its_end_and_blocks_nobody(
    delivered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Gate(lambda: (delivered, np.zeros((48, 64, 3), np.uint8) if delivered else None))
    plugged_in(monkeypatch, device)
    opened = source()
    read: list[object] = []
    reader = threading.Thread(target=lambda: read.extend(opened.pictures()))
    reader.start()
    assert device.reading.wait(30)
    opened.close()  # from another thread; OpenCV crashes if it released the device now
    assert device.opened
    device.go_on.set()
    reader.join(30)
    assert not reader.is_alive()
    assert not device.released_in_a_read
    assert not device.opened
    assert read == []
