"""Records what was shown as a video, and goes on in another file where one can't hold the picture.

Each frame keeps the moment at which it was captured, one that is repeated that at which it was
shown again, and so does one whose capture can't have been when the other end says.  A recording is
lossy; `FilesSink` keeps exact pictures.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import av

from receiver.sinks import ShownFrame
from receiver.sinks.background import BackgroundSink, reason_of
from receiver.sinks.videofile import ENCODER, FORMATS, VideoFile
from shared.errors import BadInput, OutputFailed
from shared.frame import Frame

__all__ = ["RecordSink", "Timeline"]

MOST_FILES = 100  # of one recording; a source that changes its size all the time fills no folder
OLDEST_NS = 60_000_000_000  # at its showing; a picture of a minute ago is none of a live stream
SAME_SHAPE = 0.02  # of the proportions: a picture that the path made smaller is rounded to pixels


class RecordSink(BackgroundSink):
    """A `Sink` that writes the video `path`; the first frame sets its size.

    A picture that is smaller and of the same proportions is enlarged to it: that is what a narrow
    path makes of one.  For one that is larger or of other proportions the recording goes on beside
    it, in the first of `NAME-2.mp4`, `NAME-3.mp4` and so on that does not exist yet, and
    `on_next(path, number, size)` is called, from the sink's thread.  There are at most
    `MOST_FILES`: what the last one can't hold is fitted into it, and `on_fitted(count, size)` is
    called, with the first such picture's size and in the end with how many there were and None.

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
        self.on_fitted: Callable[[int, tuple[int, int] | None], None] | None = None
        self._path = path
        self._files = 1
        self._fitted = 0  # pictures that the last file could not hold as they were
        self._video: VideoFile | None = None
        self._timeline = Timeline()

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
        video = self._current()
        if video.size is not None and not _holds(video.size, frame):
            if self._files < MOST_FILES:
                video = self._go_on(frame)
            else:
                self._fit(frame)
        video.add(frame.image, self._timeline.moment_of(shown, time.monotonic_ns()))

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

    def _fit(self, frame: Frame) -> None:
        """`frame` goes into the last file as well as it can."""
        self._fitted += 1
        if self._fitted == 1:
            self._tell_fitted((frame.width, frame.height))

    def _tell_fitted(self, size: tuple[int, int] | None) -> None:
        if self.on_fitted is not None:
            self.on_fitted(self._fitted, size)

    def _finish(self) -> None:
        self._current().close(whole=self._failure is None)
        if self._fitted:
            self._tell_fitted(None)

    def _failed(self, missing: int | None, cause: Exception | None) -> OutputFailed:
        rest = "the session goes on"
        if missing is not None:
            rest = f"{missing} frames are missing in it" if missing else "its end is missing"
        return OutputFailed(
            f"the recording {self._path} can't be written ({reason_of(cause)}); {rest}",
            hint="" if missing is None else "free some space, or give a path on a faster disk",
        )


class Timeline:
    """When each picture of a recording was captured, as far as that can be believed.

    The stamp is the other end's word.  A recording holds to it only where the picture was captured
    before it was shown, not long before, and after the one before; else to when it was shown.
    """

    def __init__(self) -> None:
        self._last_ns: int | None = None

    def moment_of(self, shown: ShownFrame, now_ns: int) -> int:
        """The moment of `shown` on this machine's monotonic clock, which is at `now_ns` or was
        when it was shown."""
        captured_at_ns = shown.frame.captured_at_ns
        if shown.latency_ms is None:  # on the other end's clock, which is not compared
            shown_at_ns = now_ns
        else:
            shown_at_ns = captured_at_ns + round(shown.latency_ms * 1e6)
        late = self._last_ns is not None and captured_at_ns <= self._last_ns
        age_ns = shown_at_ns - captured_at_ns
        believed = 0 <= age_ns <= OLDEST_NS and not late and not shown.frame.repeated
        at_ns = captured_at_ns if believed else shown_at_ns
        self._last_ns = at_ns
        return at_ns


def _holds(size: tuple[int, int], frame: Frame) -> bool:
    """Whether a video of `size` loses nothing of `frame`."""
    width, height = size
    if frame.width > width or frame.height > height:
        return False
    across, down = frame.width / width, frame.height / height
    return abs(across - down) <= SAME_SHAPE * max(across, down) + 2 / min(width, height)
