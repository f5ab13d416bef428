"""Any video file or network stream that FFmpeg opens, through PyAV.

Grey videos give grey pictures, all others RGB; levels are brought to full range.  A file plays at
its average rate (elementary streams carry no times: give the rate by hand), a network stream at the
pace at which it comes.  Sound, rotation and pixel aspect are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import ColorRange
from av.video.stream import VideoStream

from sender.sources.geometry import Geometry
from sender.sources.source import SourceInfo, SourcePicture, checked_fps, checked_picture
from shared.errors import SourceFailed
from shared.frame import Image

__all__ = ["VideoSource"]

_TIMEOUT_S = 10.0  # a network stream that says nothing for so long has failed
_NO_PICTURES = frozenset({"ansi", "bintext", "idf", "xbin"})  # FFmpeg draws text files as video


class VideoSource:
    """One video file or stream; see `sender.sources.source.Source`."""

    def __init__(self, location: str | Path, *, fps: float | None = None) -> None:
        checked_fps(fps)
        self._location = str(location)
        self._live = "://" in self._location and not self._location.startswith("file:")
        self._container, stream = self._opened()
        try:
            # The first picture says what the stream is; the first pass goes on from it.
            self._waiting: Iterator[SourcePicture] | None = self._decoded(self._container, stream)
            self.first = next(self._waiting)
        except StopIteration:
            self.close()
            raise SourceFailed("the video holds no picture") from None
        except SourceFailed:
            self.close()
            raise
        rate = stream.average_rate or stream.guessed_rate
        self.info = SourceInfo(
            kind="video",
            width=self.first.image.shape[1],
            height=self.first.image.shape[0],
            channels=1 if self.first.image.ndim == 2 else 3,
            fps=checked_fps(fps, float(rate) if rate else None),
            frame_count=stream.frames or None,
            live=self._live and self._container.duration is None,
        )

    def pictures(self) -> Iterator[SourcePicture]:
        if self._waiting is not None:
            pictures: Iterator[SourcePicture] = chain([self.first], self._waiting)
            self._waiting = None
        else:
            self.close()
            self._container, stream = self._opened()
            pictures = self._decoded(self._container, stream)
        yield from pictures

    def close(self) -> None:
        self._waiting = None
        self._container.close()

    def _opened(self) -> tuple[InputContainer, VideoStream]:
        try:
            container = av.open(self._location, timeout=_TIMEOUT_S if self._live else None)
        except (av.FFmpegError, OSError, ValueError):
            raise SourceFailed(
                "the video can't be opened: it is missing, unreadable or no video",
                hint="check the path or address, and that FFmpeg plays it",
            ) from None
        stream = next(iter(container.streams.video), None)
        if stream is None or stream.codec_context.name in _NO_PICTURES:
            container.close()
            raise SourceFailed("the file holds no video", hint="give a video, DICOM file or folder")
        # Frame threads are quick but hold several frames back, which a live picture can't afford.
        stream.thread_type = "SLICE" if self._live else "AUTO"
        return container, stream

    def _decoded(self, container: InputContainer, stream: VideoStream) -> Iterator[SourcePicture]:
        ordinal = 0
        try:
            for frame in container.decode(stream):
                image = checked_picture(_picture(frame), ordinal)
                yield SourcePicture(image, Geometry(image.shape[1], image.shape[0]))
                ordinal += 1
        except (av.FFmpegError, OSError, ValueError) as error:
            raise SourceFailed(
                f"the video can't be read beyond picture {ordinal} ({type(error).__name__})",
                hint="the file is damaged, or the stream broke off",
            ) from None


def _picture(frame: av.VideoFrame) -> Image:
    """Return a decoded frame as grey or RGB in full range (0…255)."""
    name = frame.format.name
    if not name.startswith(("gray", "ya", "mono")):
        return cast(Image, frame.to_ndarray(format="rgb24"))
    grey = cast(Image, frame.to_ndarray(format="gray"))
    if frame.color_range == ColorRange.MPEG:
        # FFmpeg takes all grey for full range; where the stream says limited, it is limited.
        return np.take(_FROM_LIMITED, grey)
    return grey


# ITU-R BT.601/709: black is 16 and white is 235.
_FROM_LIMITED = np.rint(np.clip((np.arange(256) - 16.0) / 219.0, 0.0, 1.0) * 255.0).astype(np.uint8)
