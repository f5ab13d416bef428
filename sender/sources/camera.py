"""A camera or capture card through OpenCV: live, at its own pace.

The device may not grant the size and rate asked for; what it delivers is what counts.  A camera
that stops delivering fails the source; nothing tries to reconnect here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from sender.sources.geometry import Geometry
from sender.sources.source import SourceInfo, SourcePicture, checked_fps, checked_picture
from shared.errors import BadInput, SourceFailed

__all__ = ["CameraSource"]


class CameraSource:
    """One capture device by its number; see `sender.sources.source.Source`."""

    def __init__(
        self, number: str, *, size: tuple[int, int] | None = None, fps: float | None = None
    ) -> None:
        if not number.isdecimal():
            raise BadInput("a camera is named by its number", hint="write camera:0 for the first")
        if fps is not None:
            checked_fps(fps)
        self._device = _opened(int(number))
        if size is not None:
            self._device.set(cv2.CAP_PROP_FRAME_WIDTH, size[0])
            self._device.set(cv2.CAP_PROP_FRAME_HEIGHT, size[1])
        if fps is not None:
            self._device.set(cv2.CAP_PROP_FPS, fps)
        self._device.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest picture, not the oldest waiting
        try:
            self.first = self._read(0)
        except SourceFailed:
            self.close()
            raise
        self.info = SourceInfo(
            kind="camera",
            width=self.first.image.shape[1],
            height=self.first.image.shape[0],
            channels=3,
            fps=checked_fps(None, self._device.get(cv2.CAP_PROP_FPS)),
            frame_count=None,
            live=True,
        )

    def pictures(self) -> Iterator[SourcePicture]:
        ordinal = 0
        while self._device.isOpened():
            yield self._read(ordinal)
            ordinal += 1

    def close(self) -> None:
        self._device.release()

    def _read(self, ordinal: int) -> SourcePicture:
        delivered, picture = self._device.read()
        if not delivered or picture is None:
            raise SourceFailed(
                "the camera delivers no picture",
                hint="check its cable, and that no other program is using it",
            )
        colours = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
        image = checked_picture(colours, ordinal)
        return SourcePicture(image, Geometry(image.shape[1], image.shape[0]))


def _opened(number: int) -> cv2.VideoCapture:
    # OpenCV prints lines of its own about a device that is not there: ask the system first.
    missing = sys.platform == "linux" and not Path(f"/dev/video{number}").exists()
    device = None if missing else cv2.VideoCapture(number)
    if device is None or not device.isOpened():
        raise SourceFailed(
            f"camera {number} can't be opened",
            hint="check that it is plugged in and that this user may use it (group 'video')",
        )
    return device
