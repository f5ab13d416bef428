"""One video file or network stream as a source of pictures.

A file plays at its own times, a network stream at the pace at which it comes; a rate given by hand
is kept evenly.  Sound is passed over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import av

from sender.sources.source import (
    Reading,
    Skipped,
    SourceInfo,
    SourcePicture,
    checked_fps,
    checked_picture,
)
from sender.sources.video.claims import PixelAspect, ending_remark, ends_after, own_rate
from sender.sources.video.decoding import Decoding
from sender.sources.video.network import ConnectionBroke, NetworkReader, unbroken
from sender.sources.video.opening import Location, OpenVideo, is_network, opened, reason
from sender.sources.video.rendering import Compression, FrameRenderer, picture_remarks
from sender.sources.video.timeline import MAX_PAUSE_S, VideoTimeline
from shared.control import Notice
from shared.errors import SourceFailed

__all__ = ["VideoSource"]

_MAX_UNSHOWN = 600  # pictures in a row that can't be shown


class VideoSource:
    """One video; see `sender.sources.source.Source`.

    `location` is a path, an address, or a seekable binary file object (a video that lies inside
    another file), which stays open and is read from its start for every pass.  `clock` (ns,
    monotonic) and `sleep` (of so many seconds; False: nobody waits any more) are for streams that
    break off.  `close` may come from any thread and ends a pass that waits for the network at once.
    """

    def __init__(
        self,
        location: str | Path | BinaryIO,
        *,
        fps: float | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], bool] | None = None,
    ) -> None:
        self._fps = fps
        checked_fps(fps)
        self._location = _named(location)
        self._network = is_network(self._location)
        self._clock = clock
        self._stop = threading.Event()
        self._sleep = sleep or (lambda seconds: not self._stop.wait(seconds))
        self._step = threading.Lock()  # PyAV must not be closed while it reads
        self._pump: NetworkReader | None = None
        self._told_of_pauses = False
        self._picture_remarks: tuple[str, ...] = ()
        self._strict = True
        ending = () if self._network else _ending(self._location)
        self._video = self._opened()
        self._live = self._network and self._video.container.duration is None
        rate, rate_remarks = own_rate(self._video)
        self._rate = checked_fps(fps, rate)
        frame_count = None if self._live else self._video.stream.frames or None
        # The first picture says what the stream is; the first pass goes on from it.
        readings, before, self.first = self._begun()
        shape = self.first.image.shape
        self.info = SourceInfo(
            kind="video",
            width=int(shape[1]),
            height=int(shape[0]),
            channels=1 if len(shape) == 2 else 3,
            fps=self._rate,
            frame_count=frame_count,
            live=self._live,
            remarks=(
                *self._picture_remarks,
                *(rate_remarks if fps is None else ()),
                *(() if self._strict else (_NOT_WHOLE,)),
                *_beginning(before),
                *ending,
            ),
        )
        self._waiting: Iterator[Reading] | None = chain(before, [self.first], readings)
        if self._live:
            # Read from now on: what waited in buffers while the ends were paired would be old.
            self._pump = NetworkReader(self._unbroken(readings), newest_only=True)

    def pictures(self) -> Iterator[Reading]:
        if self._live and self._pump is not None:
            yield from self._pump.taken()
            return
        if self._stop.is_set():
            return
        readings, self._waiting = self._waiting, None
        if readings is None:
            self._put_away()
            self._video = self._opened()
            readings = self._pass(self._video)
        if self._network:
            self._pump = NetworkReader(self._unbroken(readings), newest_only=False)
            yield from self._pump.taken()
        else:
            yield from self._guarded(readings)

    def close(self) -> None:
        self._stop.set()
        if self._step.acquire(blocking=False):  # else the pass that holds it sees to it
            try:
                self._put_away()
            finally:
                self._step.release()

    def _put_away(self) -> None:
        """Let go of the file or the connection that was read last."""
        if self._pump is not None:
            self._pump.close()  # its thread closes what it reads, as soon as it can
        else:
            self._video.container.close()

    def _opened(self) -> OpenVideo:
        return opened(self._location, live_threads=self._network, strict=self._strict)

    def _begun(self) -> tuple[Iterator[Reading], list[Reading], SourcePicture]:
        """Return the first pass, what it gave before its first picture, and that picture."""
        while True:
            readings, before = self._pass(self._video), list[Reading]()
            try:
                return readings, before, _first(readings, before, self._video)
            except SourceFailed:
                self._video.container.close()
                if self._video.codec != "mjpeg" or not self._strict:
                    raise
                # A device that writes no whole JPEG at all: better its pictures than none.
                self._strict = False
                self._video = self._opened()

    def _guarded(self, readings: Iterator[Reading]) -> Iterator[Reading]:
        """Read on until the source is closed, which may happen in another thread at any time."""
        while True:
            with self._step:
                reading = None if self._stop.is_set() else next(readings, None)
                if self._stop.is_set():
                    self._video.container.close()
                    return
            if reading is None:
                return
            yield reading

    def _unbroken(self, readings: Iterator[Reading]) -> Iterator[Reading]:
        return unbroken(
            readings, self._again, endless=self._live, clock=self._clock, sleep=self._sleep
        )

    def _again(self) -> Iterator[Reading]:
        """Open a network source once more; one that has an end goes on where it broke off."""
        try:
            video = self._opened()
        except SourceFailed as error:
            raise ConnectionBroke(str(error)) from None
        if not self._live:
            # Where it can't be sought, it is read from its start and what was shown passed over.
            with suppress(av.FFmpegError):
                video.container.seek(int(self._timeline.last_in_file_s * av.time_base))
        return self._pass(video, resumed=not self._live)

    def _pass(self, video: OpenVideo, *, resumed: bool = False) -> Iterator[Reading]:
        """Yield the readings of an open video and close it; `resumed`: only what is not shown yet.

        Raises `SourceFailed` where the network breaks off or nothing can be shown any more.
        """
        decoding = Decoding(video, network=self._network)
        codec = video.stream.codec_context.codec
        renderer, compression = FrameRenderer(codec.name), Compression(codec)
        aspect = PixelAspect(video)
        if not resumed:
            self._timeline = VideoTimeline(1.0 / self._rate)
        own_times = not self._live and self._fps is None and video.timed
        shown, unshown = 0, 0
        try:
            for item in decoding.frames():
                if not isinstance(item, av.VideoFrame):
                    yield item
                    continue
                time_s = _time_s(item, video)
                if resumed and time_s is not None and self._timeline.is_past(time_s):
                    continue
                try:
                    image = renderer.image(item)
                    geometry = compression.geometry(
                        item, image.shape[:2], aspect.now, interlaced=decoding.interlaced
                    )
                    image = checked_picture(geometry.shown(image), shown)
                except SourceFailed as error:
                    unshown += 1
                    if shown == 0 or unshown > _MAX_UNSHOWN:
                        raise
                    yield Skipped(str(error))
                    continue
                at_s = self._timeline.at(time_s)
                if own_times and self._timeline.pauses_cut and not self._told_of_pauses:
                    self._told_of_pauses = True
                    yield _PAUSE_CUT
                if shown == 0:
                    self._picture_remarks = picture_remarks(item, geometry, decoding.interlaced)
                shown, unshown = shown + 1, 0
                yield SourcePicture(image, geometry, at_s if own_times else None)
            # Some formats tell a connection that gave out as the end; what resumes with nothing is
            # at its end indeed.
            early = shown > 0 and ends_after(self._timeline.last_in_file_s, video)
            if self._network and not self._live and early:
                raise ConnectionBroke("the source ended before its end")
        except av.FFmpegError as error:
            raise ConnectionBroke(f"the source broke off ({reason(error)})") from None
        finally:
            video.container.close()


_PAUSE_CUT = Notice(
    kind="source_times", text=f"pauses of the video above {MAX_PAUSE_S:.0f} s are left out"
)


_NOT_WHOLE = "the video's JPEG pictures are not well formed: damage to them may go unnoticed"


def _named(location: str | Path | BinaryIO) -> Location:
    """Name a file so that FFmpeg takes no part of its name for a protocol."""
    if not isinstance(location, str | Path):
        return location
    if isinstance(location, str) and ("://" in location or location.startswith("file:")):
        return location
    return f"file:{location}"


def _beginning(before: list[Reading]) -> tuple[str, ...]:
    """What is wrong with a video's start, by the readings before its first picture."""
    skipped = [reading.why for reading in before if isinstance(reading, Skipped)]
    return (f"the video begins with pictures that can't be shown: {skipped[0]}",) if skipped else ()


def _ending(location: Location) -> tuple[str, ...]:
    """Look at a file's end, where that takes nothing away from the pass that follows."""
    if isinstance(location, str) and not Path(location.removeprefix("file:")).is_file():
        return ()
    video = opened(location, live_threads=False)
    try:
        remark = ending_remark(video)
    finally:
        video.container.close()
    return (remark,) if remark else ()


def _time_s(frame: av.VideoFrame, video: OpenVideo) -> float | None:
    # Frames that the decoder held back come without a time base: it is the stream's.
    base = frame.time_base or video.stream.time_base
    return None if frame.pts is None or base is None else float(frame.pts * base)


def _first(readings: Iterator[Reading], before: list[Reading], video: OpenVideo) -> SourcePicture:
    """Return the first picture, and put what comes `before` it there."""
    for reading in readings:
        if isinstance(reading, SourcePicture):
            return reading
        before.append(reading)
    what = f"{video.codec} in {video.format}"
    skipped = [reading.why for reading in before if isinstance(reading, Skipped)]
    if skipped:
        raise SourceFailed(
            f"not one picture of the video ({what}) can be decoded: {skipped[0]}",
            hint="check that FFmpeg plays it",
        )
    raise SourceFailed(f"the video ({what}) holds no picture")
