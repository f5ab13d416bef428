"""One step of control for one frame: its codec, its plan, whether it is key, and what is told.

Between the pure pieces (`streamcodec`, `rate`, `keyframes`, `pacing`) and the stream: it knows the
receivers and the encoder's facts, and turns changes into notices.  It refuses to touch a frame.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from sender.attendee import Attendee
from sender.keyframes import KeyFrames
from sender.pacing import FrameRate
from sender.pipeline import SealedFrame, scaled_size
from sender.rate import Plan, RateController, StreamFacts, Wishes
from sender.streamcodec import StreamCodec
from shared import control
from shared.capabilities import OUR_FEATURES
from shared.codecs import Codec, Encoder, EncoderTarget, open_encoder
from shared.codecs.choice import CodecChoice
from shared.codecs.machine import cores
from shared.frame import Frame
from shared.link import PathEstimate

__all__ = ["Steering"]

DEFAULT_FPS = 30.0  # until the source's own rate has been measured


class Steering:
    """The rate control of one session's stream.

    `codec` is the name of one, or `auto`: then it may change once the path is known.
    `on_change(notice)` is called for each change of quality.
    """

    def __init__(
        self,
        codec: str,
        wishes: Wishes,
        *,
        fps: float | None,
        on_change: Callable[[control.QualityNotice], None],
    ) -> None:
        self._codec = StreamCodec(codec)
        self._wishes = wishes
        self._on_change = on_change
        self._pace = FrameRate(fps or DEFAULT_FPS)
        self._keys = KeyFrames()
        self._controller: RateController | None = None
        self._shape = (0, 0, 0)  # width, height and channels of the newest frame
        self._changed_quality = False  # as the receivers were told, for pictures of this shape
        self._untold: str | None = None  # why the codec changed, until a frame of it is encoded

    @property
    def inter(self) -> bool:
        """Whether frames build on one another."""
        return self._codec.codec is not None and self._shape[2] in self._codec.codec.inter

    @property
    def begins(self) -> bool:
        """Whether the next frame is the first, or the first for others than those before."""
        return self._controller is None

    def suits(
        self, features: Collection[str], watching: Collection[str], *, alone: bool = False
    ) -> bool:
        """Whether a receiver with `features` can be shown this stream (`StreamCodec.suits`)."""
        return self._codec.suits(features, watching, alone=alone)

    def choose(self, frame: Frame, features: Collection[str] = OUR_FEATURES) -> CodecChoice | None:
        """The codec to encode with from `frame` on, where that is a new one.

        `features` are those that all who watch have.
        """
        self._see_shape(frame)
        self._codec.usable = features
        if self._controller is None:
            return self._codec.begin()
        replaced = self._codec.replace(time.monotonic_ns())
        if replaced is not None:
            self._controller = None  # its facts are the other codec's
            return self._changed(replaced)
        use = self._controller.use
        if use is None:
            return None
        return self._changed(self._codec.review(time.monotonic_ns(), frame.channels, use))

    def _see_shape(self, frame: Frame) -> None:
        """Pictures of another size, or grey and not colour, begin anew: little learned holds."""
        shape = (frame.width, frame.height, frame.channels)
        if shape == self._shape:
            return
        self._shape, self._controller = shape, None
        if self._changed_quality:
            self._untold = f"quality begun anew: the picture is {frame.width}x{frame.height} now"
            self._changed_quality = False

    def failed(self) -> CodecChoice | None:
        """The encoder failed: the codec to go on with, None where there is none."""
        return self._changed(self._codec.failed(time.monotonic_ns()))

    def _changed(self, choice: CodecChoice | None) -> CodecChoice | None:
        if choice is not None:
            self._untold = f"codec changed to {choice.codec}: {choice.reason}"
        return choice

    def deserted(self) -> None:
        """Nobody watches any more: what is known of their paths is not of the next one's."""
        self._controller = None
        self._untold = None
        self._changed_quality = False

    def open_encoder(self, codec: str) -> Encoder:
        """An encoder for what `choose` chose; takes a moment, so not for the event loop."""
        return open_encoder(codec, target=EncoderTarget(quality=self._wishes.quality))

    @property
    def plan(self) -> Plan | None:
        """The newest plan, None before the first frame."""
        return None if self._controller is None else self._controller.plan

    def takes(self, frame: Frame) -> bool:
        """Whether `frame` is one of those that the frame rate of the moment has room for."""
        if frame.repeated:
            return True
        plan = self.plan
        fps = plan.fps if plan is not None and plan.thinned else None
        return self._pace.takes(frame.captured_at_ns, fps)

    def plan_for(self, frame: Frame, attendees: Collection[Attendee]) -> Plan:
        """The plan for `frame`, which is about to be encoded."""
        codec = self._chosen()
        if self._controller is None:
            facts = StreamFacts.of(codec, frame, cores())
            self._controller = RateController(facts, self._wishes, self._pace.source_fps)
        paths = _deciding_paths(attendees)
        plan = self._controller.update(time.monotonic_ns(), paths, self._pace.source_fps)
        for change in plan.changes:
            size = scaled_size(frame.width, frame.height, plan.scale)
            self._on_change(self._notice(change, plan, *size))
            self._changed_quality = True
        return plan

    def needs_key(
        self, index: int | None, epoch: int | None, attendees: Collection[Attendee]
    ) -> bool:
        """Whether the frame after frame `index` must be key, for those who can take it now."""
        if not self.inter:
            return False
        lost = new = 0
        for taker in _takers(epoch, attendees):
            if taker.is_new:
                new += 1
            elif not taker.follows(index):
                lost += 1
        # Also those whose path is busy just now: a key frame that they miss breaks their chain.
        following = sum(attendee.follows(index) for attendee in attendees)
        return self._keys.needed(time.monotonic_ns(), following=following, lost=lost, new=new)

    def serves(self, index: int | None, epoch: int | None, attendees: Collection[Attendee]) -> bool:
        """Whether the frame after frame `index`, encoded now, could be sent to anybody.

        One that builds on a frame which only busy receivers have would be lost to them as well.
        """
        takers = _takers(epoch, attendees)
        if not self.inter:
            return bool(takers)
        following = any(taker.follows(index) for taker in takers)
        return following or self.needs_key(index, epoch, attendees)

    def encoded(self, sealed: SealedFrame) -> None:
        """A frame went through the pipeline: what it came to teaches the next plans."""
        encoded, stages = sealed.encoded, sealed.stages_us
        if encoded.key:
            self._keys.made(time.monotonic_ns())
        if self._controller is None:
            return
        if self._untold is not None:
            reason, self._untold = self._untold, None
            self._changed_quality = True
            plan = self._controller.plan
            self._on_change(self._notice(reason, plan, encoded.width, encoded.height))
        if sealed.repeated:
            return  # what it came to is no measure of those that move
        busy_us = sum(stages[stage] for stage in ("mask", "encode", "keystream", "seal"))
        self._controller.encoded(
            len(encoded.payload),
            encoded.psnr_db,
            busy_us * 1000,
            width=encoded.width,
            height=encoded.height,
        )

    def _notice(self, reason: str, plan: Plan, width: int, height: int) -> control.QualityNotice:
        codec = self._chosen()
        return control.QualityNotice(
            reason=reason[: control.MAX_DETAIL_CHARS],
            codec=codec.name,
            width=width,
            height=height,
            fps=plan.fps,
            bitrate_bps=plan.bitrate_bps,
            quality=None if codec.inter or codec.lossless else plan.target.quality,
        )

    def _chosen(self) -> Codec:
        codec = self._codec.codec
        assert codec is not None  # noqa: S101 -- `choose` comes before every plan
        return codec


def _takers(epoch: int | None, attendees: Collection[Attendee]) -> list[Attendee]:
    """Those who can take a frame of `epoch` now."""
    return [attendee for attendee in attendees if attendee.ready and attendee.holds(epoch)]


def _deciding_paths(attendees: Collection[Attendee]) -> list[PathEstimate]:
    """The paths that decide together; one that has just come or is out only if all are such.

    Its estimate is a guess that begins low: it would take the others' picture down.
    """
    measured = [(attendee, path) for attendee in attendees if (path := attendee.path) is not None]
    deciding = [path for attendee, path in measured if path.proven and not attendee.silent]
    return deciding or [path for _, path in measured]
