"""One video file of a recording: H.264 in MP4 or Matroska.

Each picture keeps its moment, so it plays at the pace of the session, pauses included.
"""

from __future__ import annotations

import os
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import cv2
import numpy as np
from av.video.reformatter import Colorspace
from numpy.typing import NDArray

from shared.frame import Image
from shared.privatefile import make_private

__all__ = ["ENCODER", "FORMATS", "VideoFile"]

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


class VideoFile:
    """A video that takes RGB or grey pictures; the first sets its size.

    A picture of another size is fitted into it, with black bars where its proportions differ.  Cut
    off by a crash it plays up to about a second before.  Raises `OSError` where `path` can't be
    written.
    """

    def __init__(self, path: Path) -> None:
        ending = path.suffix.lower()
        self._file = _File(path)
        try:
            self._container: Any = av.open(
                self._file, "w", format=FORMATS[ending], options=WRITTEN_OUT[ending]
            )
        except OSError:
            self._file.close()
            raise
        self._stream: Any = None
        self._first_ns = 0
        self._last_pts = -1

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height; None before the first picture."""
        return None if self._stream is None else (self._stream.width, self._stream.height)

    def add(self, image: Image, at_ns: int) -> None:
        """Write one picture of that moment; the first picture's is the beginning."""
        if self._stream is None:
            self._open_stream(image)
            self._first_ns = at_ns
        pts = round((at_ns - self._first_ns) * TIME_BASE.denominator / 1e9)
        self._last_pts = pts = max(pts, self._last_pts + 1)
        picture = av.VideoFrame.from_ndarray(self._fitted(image), format="rgb24")
        picture = picture.reformat(format=self._stream.pix_fmt, dst_colorspace=Colorspace.ITU709)
        picture.pts = pts
        picture.time_base = TIME_BASE
        for packet in self._stream.encode(picture):
            self._container.mux(packet)
        self._file.check()

    def close(self, *, whole: bool = True) -> None:
        """Write what is left, unless writing has failed before (not `whole`), and let go."""
        try:
            if self._stream is not None and whole:
                for packet in self._stream.encode(None):
                    self._container.mux(packet)
            self._container.close()
            self._file.check()
        finally:
            with suppress(Exception):  # it failed before, or just now
                self._container.close()
            self._file.close()

    def _open_stream(self, image: Image) -> None:
        height, width = image.shape[:2]
        stream = cast(Any, self._container.add_stream(ENCODER, options=dict(OPTIONS)))
        stream.width, stream.height = width, height
        odd = width % 2 or height % 2
        stream.pix_fmt = "yuv444p" if odd else "yuv420p"  # 4:2:0 has no odd sizes
        context = stream.codec_context
        # Without these tags players guess the matrix from the size, and colours shift.
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = LIMITED_RANGE
        stream.time_base = context.time_base = TIME_BASE
        self._stream = stream

    def _fitted(self, image: Image) -> NDArray[np.uint8]:
        if image.ndim == 2:
            image = np.repeat(image[:, :, None], 3, axis=2)
        width, height = self._stream.width, self._stream.height
        across, down = image.shape[1], image.shape[0]
        if (across, down) == (width, height):
            return image
        scale = min(width / across, height / down)
        size = (max(1, round(across * scale)), max(1, round(down * scale)))
        canvas = np.zeros((height, width, 3), np.uint8)
        top, left = (height - size[1]) // 2, (width - size[0]) // 2
        canvas[top : top + size[1], left : left + size[0]] = cv2.resize(image, size)
        return canvas


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
