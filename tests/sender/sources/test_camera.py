"""Cameras, with a device that the tests play."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

import sender.sources.camera as camera
from sender.sources import images
from shared.errors import BadInput, SourceFailed
from shared.frame import Image


class Device:
    """Answers like cv2.VideoCapture; delivers `count` blue pictures, then none."""

    def __init__(self, count: int) -> None:
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

    def read(self) -> tuple[bool, Image | None]:
        self.count -= 1
        if self.count < 0:
            return False, None
        width = int(self.settings.get(cv2.CAP_PROP_FRAME_WIDTH, 64))
        picture = np.zeros((48, width, 3), np.uint8)
        picture[..., 0] = 255  # OpenCV delivers blue first
        return True, picture

    def release(self) -> None:
        self.opened = False


def plugged_in(monkeypatch: pytest.MonkeyPatch, device: Device) -> None:
    monkeypatch.setattr(camera.Path, "exists", lambda _self: True)
    monkeypatch.setattr(cv2, "VideoCapture", lambda _number: device)


def test_a_camera_is_live_and_delivers_rgb(monkeypatch: pytest.MonkeyPatch) -> None:
    plugged_in(monkeypatch, Device(3))
    source = camera.CameraSource("0")
    assert source.info.live
    assert source.info.frame_count is None
    assert (source.info.width, source.info.height, source.info.fps) == (64, 48, 25.0)
    assert next(images(source))[0, 0].tolist() == [0, 0, 255]


def test_size_and_rate_are_asked_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    plugged_in(monkeypatch, Device(3))
    source = camera.CameraSource("0", size=(128, 96), fps=60.0)
    # The height was not granted: what the device delivers is what counts.
    assert (source.info.width, source.info.height, source.info.fps) == (128, 48, 60.0)


def test_a_camera_that_stops_delivering_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    plugged_in(monkeypatch, Device(2))
    pictures = images(camera.CameraSource("0"))
    next(pictures)
    with pytest.raises(SourceFailed) as caught:
        next(pictures)
    assert caught.value.hint


def test_a_camera_that_never_delivers_fails_at_once_and_is_released(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = Device(0)
    plugged_in(monkeypatch, device)
    with pytest.raises(SourceFailed):
        camera.CameraSource("0")
    assert not device.opened


def test_closing_releases_the_device_and_ends_the_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(9)
    plugged_in(monkeypatch, device)
    source = camera.CameraSource("0")
    source.close()
    source.close()
    assert not device.opened
    assert list(images(source)) == []


def test_a_camera_that_is_not_there_fails_with_a_hint() -> None:
    with pytest.raises(SourceFailed, match="camera 63") as caught:
        camera.CameraSource("63")
    assert "plugged in" in caught.value.hint


@pytest.mark.parametrize("number", ["", "front", "-1", "0.5"])
def test_a_camera_is_named_by_its_number(number: str) -> None:
    with pytest.raises(BadInput):
        camera.CameraSource(number)
