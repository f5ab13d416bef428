"""A camera or capture card through OpenCV: live, at its own pace.

The device may not grant the size and rate asked for; what it delivers is what counts, and what
differs is said.  A device that delivers nothing for a while, or is pulled out, is told as lost and
taken up again as soon as it can be; how long that may last is decided by whoever plays the source.
The same picture over and over is not noticed here.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np

from sender.sources.capturemode import CaptureDevice, CaptureMode, settle
from sender.sources.pictures.samples import scaled
from sender.sources.source import Skipped, SourceInfo, SourcePicture, checked_fps, checked_picture
from sender.sources.v4l2 import NOT_PERMITTED, model_of
from shared.control import Notice
from shared.errors import BadInput, SourceFailed
from shared.frame import Image

__all__ = ["CameraSource"]

LOST_AFTER_NS = 1_000_000_000  # without a picture; cables that are touched are back before
_RETRY_S = 0.02  # after an empty read that did not block: less than a frame at 30 a second
_FIRST_READS = 10  # empty ones at most; cameras begin with pictures that can't be decoded
_FIRST_PICTURE_NS = 5_000_000_000
_REOPEN_S = (0.5, 1.0, 2.0, 4.0)  # pauses before opening anew, the last over and over
_PATIENCE_NS = 2_000_000_000  # with a lost device that is open, before it is opened anew
# A read gives up after so many seconds (OpenCV's own: 10, in which a session would not know why it
# stands still).  It can't be broken off; it is the longest that a camera is not known to be lost.
_READ_TIMEOUT_S = 3

_KIND = "source_lost"


class CameraSource:
    """One capture device by its number or path; see `sender.sources.source.Source`.

    `clock_ns` is that of `time.monotonic_ns`; `pause` waits for some seconds.
    """

    def __init__(
        self,
        name: str,
        *,
        size: tuple[int, int] | None = None,
        fps: float | None = None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        if fps is not None:
            checked_fps(fps)
        self._name = name
        self._asked = size, fps
        self._clock_ns = clock_ns
        self._closing = threading.Event()
        self._pause = pause or self._closing.wait
        # Releasing a device in the middle of a read crashes the process.
        self._device_in_use = threading.Lock()
        self._device: CaptureDevice = _opened(name)
        self._model = model_of(_number(name))
        try:
            self._mode = settle(self._device, size, fps)
            self.first = self._first()
        except SourceFailed:
            self.close()
            raise
        self._delivered_ns = clock_ns()
        image = self.first.image
        width, height = int(image.shape[1]), int(image.shape[0])
        self.info = SourceInfo(
            kind="camera",
            width=width,
            height=height,
            channels=1 if image.ndim == 2 else 3,
            fps=checked_fps(None, self._mode.fps),
            frame_count=None,
            live=True,
            remarks=self._mode.remarks(size, fps, (width, height)),
        )

    def pictures(self) -> Iterator[SourcePicture | Skipped | Notice]:
        """Yield pictures as they come, until the source is closed.

        A lasting notice says that the device is lost, another that it is back.  Raises nothing.
        """
        self._delivered_ns = self._clock_ns()  # nobody looked since it was opened
        lost = False
        while not self._closing.is_set():
            reading = self._read()
            if reading is None:
                stopped = self._has_stopped()
                if self._closing.is_set():
                    return  # which is why it delivers no more
                if stopped and not lost:
                    lost = True
                    yield Notice(
                        kind=_KIND,
                        text="the camera delivers no picture: trying again",
                        lasting=True,
                        since_ns=self._delivered_ns,
                    )
                if lost:
                    reading = self._taken_up_again()
                else:
                    self._pause(_RETRY_S)
            if reading is None:
                continue
            if lost:
                lost = False
                yield Notice(kind=_KIND, text="the camera is back", since_ns=self._clock_ns())
            self._delivered_ns = self._clock_ns()
            yield reading

    def close(self) -> None:
        """Give back the device, at once or as soon as the read in progress has ended."""
        self._closing.set()
        if self._device_in_use.acquire(blocking=False):
            try:
                self._device.release()
            finally:
                self._device_in_use.release()
        # Else it is in use, and whoever uses it comes here next, see `_device_held`.

    def _first(self) -> SourcePicture:
        started_ns = self._clock_ns()
        for attempt in range(_FIRST_READS):
            if attempt:
                self._pause(_RETRY_S)
            reading = self._read()
            if isinstance(reading, SourcePicture):
                return reading
            if isinstance(reading, Skipped):
                raise SourceFailed(reading.why)
            if self._clock_ns() - started_ns > _FIRST_PICTURE_NS:
                break
        raise SourceFailed(
            "the camera delivers no picture",
            hint="check its cable, and that no other program is using it",
        )

    def _read(self) -> SourcePicture | Skipped | None:
        """The next picture; None where the device delivers none."""
        with self._device_held():
            if self._closing.is_set():
                return None
            try:
                delivered, picture = self._device.read()
                image = _image(picture, self._mode) if delivered else None
            except cv2.error:  # a picture that can't be decoded
                image = None
        if image is None or self._closing.is_set():
            return None
        height, width = image.shape[:2]
        try:
            image = checked_picture(image, 0)
        except SourceFailed:
            return Skipped(f"the camera delivers {width}x{height} pictures, which can't be sent")
        return SourcePicture(image, self._mode.geometry(width, height))

    def _read_within(self, patience_ns: int) -> SourcePicture | Skipped | None:
        """Read again and again; None where nothing comes."""
        started_ns = self._clock_ns()
        while not self._closing.is_set() and self._clock_ns() - started_ns < patience_ns:
            reading = self._read()
            if reading is not None:
                return reading
            self._pause(_RETRY_S)
        return None

    def _is_open(self) -> bool:
        with self._device_held():
            return self._device.isOpened()

    def _has_stopped(self) -> bool:
        return self._clock_ns() - self._delivered_ns >= LOST_AFTER_NS or not self._is_open()

    def _taken_up_again(self) -> SourcePicture | Skipped | None:
        """Wait for the device, and open it anew again and again; None once the source is closed."""
        attempt = 0
        while not self._closing.is_set():
            reading = self._read_within(_PATIENCE_NS) if self._is_open() else None
            if reading is not None:
                return reading
            self._pause(_REOPEN_S[min(attempt, len(_REOPEN_S) - 1)])
            attempt += 1
            self._reopen()
        return None

    def _reopen(self) -> None:
        with self._device_held():
            self._device.release()
            if self._closing.is_set():
                return
            with suppress(SourceFailed, cv2.error):  # it stays closed until the next attempt
                # Another device may have its number by now, and writes its text elsewhere.
                if model_of(_number(self._name)) != self._model:
                    return
                self._device = _opened(self._name)
                self._mode = settle(self._device, *self._asked)

    @contextmanager
    def _device_held(self) -> Iterator[None]:
        """Have the device to oneself; who closed the source in the meantime left it to us."""
        try:
            with self._device_in_use:
                yield
        finally:
            if self._closing.is_set():
                self.close()


def _image(picture: object, mode: CaptureMode) -> Image | None:
    """Return what OpenCV delivered as grey or RGB; None for no picture."""
    samples = np.asarray(picture)
    if samples.ndim not in (2, 3) or not samples.size:
        return None
    if samples.dtype == np.uint16:
        samples = scaled(samples, 65535)
    if samples.ndim == 3 and (mode.grey or samples.shape[2] < 3):
        samples = samples[:, :, 0]
    elif samples.ndim == 3:
        code = cv2.COLOR_BGRA2RGB if samples.shape[2] == 4 else cv2.COLOR_BGR2RGB
        samples = np.asarray(cv2.cvtColor(samples, code))
    return np.ascontiguousarray(samples, np.uint8)


# -- opening ------------------------------------------------------------------------------------


def _opened(name: str) -> CaptureDevice:
    """Open the device that a person named; raises `BadInput` or `SourceFailed`."""
    number = _number(name)
    node = Path(f"/dev/video{number}")
    # OpenCV prints lines of its own about a device that is not there: ask the system first.
    missing = sys.platform == "linux" and not node.exists()
    if not missing:
        # It prints some about one that stops as well, across what is shown.
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", str(_READ_TIMEOUT_S))
        device = cv2.VideoCapture(number)
        if device.isOpened():
            return device
    raise SourceFailed(f"camera {number} can't be opened", hint=_what_to_do(node, missing))


def _what_to_do(node: Path, missing: bool) -> str:
    if missing:
        return "check that it is plugged in; veilscope sources lists the cameras that are there"
    if sys.platform == "linux" and node.exists() and not os.access(node, os.R_OK | os.W_OK):
        return NOT_PERMITTED
    return "check that it is plugged in and that no other program is using it"


def _number(name: str) -> int:
    """The number of the device that is named by it, or by a path that leads to it."""
    if name.isdecimal() and name.isascii():
        return int(name)
    if not (sys.platform == "linux" and name.startswith("/")):
        raise BadInput(
            "a camera is named by its number or the path of its device",
            hint="write camera:0 for the first; veilscope sources lists them",
        )
    # A path of /dev/v4l/by-id stays with its device, whose number may change when it comes back.
    found = re.fullmatch(r"video([0-9]{1,9})", Path(name).resolve().name)
    if found is None or not Path(name).exists():
        raise SourceFailed(
            "there is no camera at that path",
            hint="check that it is plugged in; veilscope sources lists the cameras that are there",
        )
    return int(found[1])
