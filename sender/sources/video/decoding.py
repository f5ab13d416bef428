"""The packets of a video as frames: what is damaged is passed over, and the stream goes on.

A packet that the decoder refuses costs its picture; a frame that FFmpeg marks as corrupt is a guess
at one, and is not shown.  Pictures that build on a lost one are shown, and said to be marred until
the next picture that stands alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from fractions import Fraction

import av
from av.packet import Packet

from sender.sources.source import Skipped
from sender.sources.video.fields import Deinterlacer
from sender.sources.video.opening import SILENCE_S, OpenVideo, reason
from shared.control import Notice
from shared.errors import SourceFailed

__all__ = ["MARRED", "Decoding"]

MARRED = "source_marred"  # the kind of notice

# Packets in a row that give no picture but errors, before a source counts as failed: 10 s at 60.
_MAX_FAILURES = 600
_MAX_FAILURES_AT_FIRST = 60  # before any picture, of a codec that waits for no key picture
_SILENCE_NS = round(SILENCE_S * 1e9)
_MAX_READ_FAILURES = 20  # in a row; each one has FFmpeg look for the next packet further on


class Decoding:
    """One pass over an open video.

    `network`: an error while reading is raised, not passed over, since it means that the connection
    is gone.  `clock` is monotonic, in ns.
    """

    def __init__(
        self, video: OpenVideo, *, network: bool, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._video = video
        self._network = network
        self._clock = clock
        codec = video.stream.codec_context
        self._intra_only = codec.codec.intra_only
        self._deinterlacer = Deinterlacer(codec.name, codec.field_order, _time_base(video))
        self._ordinal = 0
        self._failures = 0
        self._marred = False

    @property
    def interlaced(self) -> bool:
        """Whether an interlaced frame came so far."""
        return self._deinterlacer.seen

    def frames(self) -> Iterator[av.VideoFrame | Skipped | Notice]:
        """Yield frames in the order in which they are shown, whole ones only.

        Raises `SourceFailed` where nothing can be decoded any more, `av.FFmpegError` where a
        connection breaks off.
        """
        try:
            yield from self._passed()
        except av.FFmpegError:
            if self._marred:  # nothing of this connection will be shown any more
                yield _whole_again()
            raise

    def _passed(self) -> Iterator[av.VideoFrame | Skipped | Notice]:
        held: Packet[av.VideoStream] | None = None
        for packet in self._packets():
            if isinstance(packet, Skipped):
                yield packet
                continue
            if held is not None:
                yield from self._decoded(held)
                held = None
            if packet.is_corrupt and not self._network:
                held = packet  # shown to the decoder only if the file goes on after it
            else:
                yield from self._decoded(packet)
        if held is not None:
            yield Skipped("the last picture of the video is damaged: the file breaks off in it")
        yield from self._decoded(None)
        yield from self._deinterlacer.end()
        if self._marred:
            yield _whole_again()

    def _packets(self) -> Iterator[Packet[av.VideoStream] | Skipped]:
        failures = 0
        while True:
            try:
                asked_ns = self._clock()
                for packet in self._video.container.demux(self._video.stream):
                    # What FFmpeg held back until the next picture, it gives when it gives up
                    # waiting for one: old, and it would pass for new.
                    stale = self._network and self._clock() - asked_ns >= _SILENCE_NS
                    # An empty packet would end the decoder: PyAV's last, and AVI's dropped frames.
                    if packet.size and not stale:
                        failures = 0
                        yield packet
                    asked_ns = self._clock()
                return
            except av.FFmpegError as error:
                failures += 1
                if self._network:
                    raise
                if failures > _MAX_READ_FAILURES:
                    if self._ordinal > 0 and isinstance(error, av.InvalidDataError):
                        return  # what is left of a file that was cut short
                    raise SourceFailed(
                        f"the video can't be read beyond picture {self._ordinal} ({reason(error)})",
                        hint="the file is damaged, or its medium fails: copy it anew",
                    ) from None
                if failures == 1:
                    yield Skipped(f"a part after picture {self._ordinal} can't be read")

    def _decoded(
        self, packet: Packet[av.VideoStream] | None
    ) -> Iterator[av.VideoFrame | Skipped | Notice]:
        try:
            frames = self._video.stream.decode(packet)
        except av.EOFError:
            return  # it was flushed before
        except (av.FFmpegError, ValueError) as error:
            yield self._skipped(reason(error))
            yield from self._mar()
            return
        for frame in frames:
            if frame.is_corrupt:
                yield self._skipped("the decoder marks it as corrupt")
                yield from self._mar()
                continue
            self._failures = 0
            self._ordinal += 1
            if self._marred and frame.key_frame:
                self._marred = False
                yield _whole_again()
            yield from self._deinterlacer.push(frame)

    def _skipped(self, why: str) -> Skipped:
        self._failures += 1
        at_first = self._intra_only and self._failures > self._ordinal
        limit = _MAX_FAILURES_AT_FIRST if at_first else _MAX_FAILURES
        if self._failures > limit:
            raise SourceFailed(
                f"{limit} pictures of the video in a row can't be decoded "
                f"({self._video.codec} in {self._video.format}: {why})",
                hint="check that FFmpeg plays it",
            )
        ordinal = self._ordinal
        self._ordinal += 1
        return Skipped(f"picture {ordinal} of the video is damaged: {why}")

    def _mar(self) -> Iterator[Notice]:
        if not self._intra_only and not self._marred:
            self._marred = True
            yield Notice(
                kind=MARRED,
                text="a picture was lost: those that build on it may show remains of others",
                lasting=True,
            )


def _time_base(video: OpenVideo) -> Fraction:
    return video.stream.time_base or Fraction(1, 90_000)


def _whole_again() -> Notice:
    return Notice(kind=MARRED, text="the pictures are whole again")
