"""Records what was shown as a video: H.264 in MP4 or Matroska.

Each frame keeps the moment at which it was captured, so a recording runs at
the pace of the session, pauses included.  A recording is lossy; `FilesSink` keeps exact pictures.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import cv2
import numpy as np
from av.video.reformatter import Colorspace
from numpy.typing import NDArray

from receiver.sinks import ShownFrame
from receiver.sinks.background import BackgroundSink, reason_of
from shared.errors import BadInput, OutputFailed
from shared.frame import Frame
from shared.privatefile import make_private

__all__ = ["RecordSink"]

FORMATS = {".mp4": "mp4", ".mkv": "matroska"}
# Written out about once a second, so that a recording cut off by a crash lacks no more than that,
# and that a full disk is noticed at once.
WRITTEN_OUT = {
    ".mp4": {"movflags": "frag_keyframe+empty_moov", "flush_packets": "1"},
    ".mkv": {"cluster_time_limit": "1000", "flush_packets": "1"},
}
ENCODER = "libx264"
TIME_BASE = Fraction(1, 90_000)  # the usual clock of video: finer than any frame interval
BT709 = 1  # ITU-T H.273: the code for the matrix, the primaries and the transfer alike
LIMITED_RANGE = 1  # 16 to 235, what players expect of a video file
KEY_FRAME_EVERY = "30"  # frames; a second at 30 fps, and what a fragment of an MP4 holds
# crf 16: no loss to the eye
OPTIONS = {"preset": "veryfast", "crf": "16", "tune": "zerolatency", "g": KEY_FRAME_EVERY}


class RecordSink(BackgroundSink):
    """A `Sink` that writes the video `path`; the first frame sets its size.

    A later frame of another size is fitted into it, with black bars.  A recording cut off by a
    crash plays up to about a second before.

    Raises:
        BadInput: the ending is neither .mp4 nor .mkv, or this PyAV has no H.264 encoder.
    """

    bytes_waiting = 256 * 1024 * 1024  # three seconds of 1280x720 RGB at 30 fps
    close_within_s = 30.0
    gives_up = True  # a video can't go on after a hole in its container

    def __init__(
        self, path: Path, *, on_failure: Callable[[OutputFailed], None] | None = None
    ) -> None:
        if path.suffix.lower() not in FORMATS:
            raise BadInput(
                f"a recording ends in .mp4 or .mkv, not {path.suffix or 'nothing'!r}",
                hint="for example --record session.mp4",
            )
        if ENCODER not in av.codecs_available:
            raise BadInput("this PyAV has no H.264 encoder", hint="pip install av, from PyPI")
        super().__init__(on_failure=on_failure)
        self._path = path
        self._file: _File | None = None
        self._container: Any = None
        self._stream: Any = None
        self._first_ns = 0
        self._last_pts = -1

    def _open(self) -> None:
        ending = self._path.suffix.lower()
        try:
            self._file = _File(self._path)
            self._container = av.open(
                self._file, "w", format=FORMATS[ending], options=WRITTEN_OUT[ending]
            )
        except OSError as error:
            if self._file is not None:
                self._file.close()
            raise OutputFailed(
                f"the recording {self._path} can't be written: {error.strerror}",
                hint="give another path with --record",
            ) from error

    def _keep(self, shown: ShownFrame) -> None:
        frame = shown.frame
        if self._stream is None:
            self._open_stream(frame)
        pts = round((frame.captured_at_ns - self._first_ns) * TIME_BASE.denominator / 1e9)
        self._last_pts = pts = max(pts, self._last_pts + 1)
        picture = av.VideoFrame.from_ndarray(self._fitted(frame), format="rgb24")
        picture = picture.reformat(format=self._stream.pix_fmt, dst_colorspace=Colorspace.ITU709)
        picture.pts = pts
        picture.time_base = TIME_BASE
        for packet in self._stream.encode(picture):
            self._container.mux(packet)
        self._written_file().check()

    def _written_file(self) -> _File:
        assert self._file is not None  # noqa: S101 -- opened before the thread began
        return self._file

    def _open_stream(self, frame: Frame) -> None:
        stream = cast(Any, self._container.add_stream(ENCODER, options=dict(OPTIONS)))
        stream.width, stream.height = frame.width, frame.height
        odd = frame.width % 2 or frame.height % 2
        stream.pix_fmt = "yuv444p" if odd else "yuv420p"  # 4:2:0 has no odd sizes
        context = stream.codec_context
        # Without these tags players guess the matrix from the size, and colours shift.
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = LIMITED_RANGE
        stream.time_base = context.time_base = TIME_BASE
        self._stream = stream
        self._first_ns = frame.captured_at_ns

    def _fitted(self, frame: Frame) -> NDArray[np.uint8]:
        image = frame.image
        if image.ndim == 2:
            image = np.repeat(image[:, :, None], 3, axis=2)
        width, height = self._stream.width, self._stream.height
        if (frame.width, frame.height) == (width, height):
            return image
        scale = min(width / frame.width, height / frame.height)
        size = (max(1, round(frame.width * scale)), max(1, round(frame.height * scale)))
        canvas = np.zeros((height, width, 3), np.uint8)
        top, left = (height - size[1]) // 2, (width - size[0]) // 2
        canvas[top : top + size[1], left : left + size[0]] = cv2.resize(image, size)
        return canvas

    def _finish(self) -> None:
        try:
            if self._stream is not None and self._failure is None:
                for packet in self._stream.encode(None):
                    self._container.mux(packet)
            self._container.close()
            self._written_file().check()
        finally:
            with suppress(Exception):  # it failed before, or just now
                self._container.close()
            self._written_file().close()

    def _failed(self, missing: int | None, cause: Exception | None) -> OutputFailed:
        rest = "the session goes on"
        if missing is not None:
            rest = f"{missing} frames are missing in it" if missing else "its end is missing"
        return OutputFailed(
            f"the recording {self._path} can't be written ({reason_of(cause)}); {rest}",
            hint="" if missing is None else "free some space, or give a path on a faster disk",
        )


class _File:
    """What libav writes through; it may lose an error of the disk, and this keeps the first one.

    An older file of the name is replaced at the first byte, and not before; a new one that never
    got a byte is removed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._new = not path.exists()
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self._written = False
        self._error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            if not self._written:
                self._written = True
                with suppress(OSError):  # a device holds nothing to replace
                    os.ftruncate(self._descriptor, 0)
                make_private(self._descriptor)
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            self._error = self._error or error
            raise
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return os.lseek(self._descriptor, offset, whence)

    def tell(self) -> int:
        return os.lseek(self._descriptor, 0, os.SEEK_CUR)

    def check(self) -> None:
        """Raise the first error of the disk."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        if self._descriptor < 0:
            return
        os.close(self._descriptor)
        self._descriptor = -1
        if self._new and not self._written:
            self._path.unlink(missing_ok=True)
