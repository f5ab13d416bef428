"""Records what was shown as a video, and goes on in another file where one can't hold the picture.

Each frame keeps the moment at which it was captured, one that is repeated that at which it was
shown again.  A recording is lossy; `FilesSink` keeps exact pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av

from receiver.sinks import ShownFrame
from receiver.sinks.background import BackgroundSink, reason_of
from receiver.sinks.videofile import ENCODER, FORMATS, VideoFile
from shared.errors import BadInput, OutputFailed
from shared.frame import Frame

__all__ = ["RecordSink"]

MOST_FILES = 100  # of one recording; a source that changes its size all the time fills no folder
SAME_SHAPE = 0.02  # of the proportions: a picture that the path made smaller is rounded to pixels


class RecordSink(BackgroundSink):
    """A `Sink` that writes the video `path`; the first frame sets its size.

    A picture that is smaller and of the same proportions is enlarged to it: that is what a narrow
    path makes of one.  For one that is larger or of other proportions the recording goes on beside
    it, in the first of `NAME-2.mp4`, `NAME-3.mp4` and so on that does not exist yet, and
    `on_next(path, number, size)` is called, from the sink's thread.

    Raises:
        BadInput: the ending is neither .mp4 nor .mkv, or this PyAV has no H.264 encoder.
    """

    bytes_waiting = 256 * 1024 * 1024  # three seconds of 1280x720 RGB at 30 fps
    close_within_s = 30.0
    gives_up = True  # a video can't go on after a hole in its container

    def __init__(
        self,
        path: Path,
        *,
        on_failure: Callable[[OutputFailed], None] | None = None,
    ) -> None:
        if path.suffix.lower() not in FORMATS:
            raise BadInput(
                f"a recording ends in .mp4 or .mkv, not {path.suffix or 'nothing'!r}",
                hint="for example --record session.mp4",
            )
        if ENCODER not in av.codecs_available:
            raise BadInput("this PyAV has no H.264 encoder", hint="pip install av, from PyPI")
        super().__init__(on_failure=on_failure)
        self.on_next: Callable[[Path, int, tuple[int, int]], None] | None = None
        self._path = path
        self._files = 1
        self._video: VideoFile | None = None

    def _open(self) -> None:
        try:
            self._video = VideoFile(self._path)
        except OSError as error:
            raise OutputFailed(
                f"the recording {self._path} can't be written: {error.strerror}",
                hint="give another path with --record",
            ) from error

    def _keep(self, shown: ShownFrame) -> None:
        frame = shown.frame
        at_ns = frame.captured_at_ns
        if frame.repeated and shown.latency_ms is not None:
            at_ns += round(shown.latency_ms * 1e6)
        video = self._current()
        if video.size is not None and not _holds(video.size, frame) and self._files < MOST_FILES:
            video = self._go_on(frame)
        video.add(frame.image, at_ns)

    def _current(self) -> VideoFile:
        assert self._video is not None  # noqa: S101 -- opened before the thread began
        return self._video

    def _go_on(self, frame: Frame) -> VideoFile:
        """The recording goes on in the next file, for pictures like `frame`."""
        self._current().close()
        self._files += 1
        number = self._files
        while (path := self._path.with_stem(f"{self._path.stem}-{number}")).exists():
            number += 1
        self._video = VideoFile(path)
        if self.on_next is not None:
            self.on_next(path, self._files, (frame.width, frame.height))
        return self._video

    def _finish(self) -> None:
        self._current().close(whole=self._failure is None)

    def _failed(self, missing: int | None, cause: Exception | None) -> OutputFailed:
        rest = "the session goes on"
        if missing is not None:
            rest = f"{missing} frames are missing in it" if missing else "its end is missing"
        return OutputFailed(
            f"the recording {self._path} can't be written ({reason_of(cause)}); {rest}",
            hint="" if missing is None else "free some space, or give a path on a faster disk",
        )


def _holds(size: tuple[int, int], frame: Frame) -> bool:
    """Whether a video of `size` loses nothing of `frame`."""
    width, height = size
    if frame.width > width or frame.height > height:
        return False
    across, down = frame.width / width, frame.height / height
    return abs(across - down) <= SAME_SHAPE * max(across, down) + 2 / min(width, height)
