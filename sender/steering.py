"""One step of control for one frame: its codec, its plan, whether it is key, and what is told.

Between the pure pieces (`streamcodec`, `rate`, `keyframes`, `pacing`) and the stream: it knows the
receivers and the encoder's facts, and turns changes into notices.  It refuses to touch a frame.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection

from sender.attendee import Attendee
from sender.keyframes import KeyFrames
from sender.pacing import FrameRate
from sender.pipeline import SealedFrame
from sender.rate import Plan, RateController, StreamFacts, Wishes
from sender.streamcodec import StreamCodec
from shared import control
from shared.codecs import Codec, Encoder, EncoderTarget, open_encoder
from shared.codecs.choice import CodecChoice
from shared.frame import Frame
from shared.link import PathEstimate

__all__ = ["Steering"]

DEFAULT_FPS = 30.0  # until the source's own rate has been measured


class Steering:
    """The rate control of one session's stream.

    `codec` is the name of one, or `auto`: then it is chosen when the first frame is known, and
    perhaps again when the path is.  `on_change(notice)` is called for each change of quality.
    """

    def __init__(
        self,
        codec: str,
        wishes: Wishes,
        *,
        fps: float | None,
        on_change: Callable[[control.QualityNotice], None],
    ) -> None:
        self._codec = StreamCodec(codec, cores=os.cpu_count() or 1)
        self._wishes = wishes
        self._on_change = on_change
        self._pace = FrameRate(fps or DEFAULT_FPS)
        self._keys = KeyFrames()
        self._controller: RateController | None = None

    @property
    def chosen(self) -> bool:
        """Whether there is a codec already."""
        return self._codec.codec is not None

    @property
    def inter(self) -> bool:
        """Whether frames build on one another."""
        return self._codec.codec is not None and self._codec.codec.inter

    def choose(self, frame: Frame) -> CodecChoice | None:
        """The codec to encode with from `frame` on, where that is a new one."""
        if not self.chosen:
            return self._codec.choose(frame, self._pace.source_fps)
        controller = self._controller
        if controller is None or controller.allowed_bps is None:
            return None
        choice = self._codec.review(
            time.monotonic_ns(),
            frame,
            self._pace.source_fps,
            used_bps=controller.used_bps,
            allowed_bps=controller.allowed_bps,
        )
        if choice is not None:
            reason = f"codec changed to {choice.codec}: {choice.reason}"
            self._on_change(self._notice(reason, controller.plan, frame))
        return choice

    def open_encoder(self, codec: str) -> Encoder:
        """An encoder for what `choose` chose; takes a moment, so not for the event loop."""
        return open_encoder(codec, target=EncoderTarget(quality=self._wishes.quality))

    @property
    def plan(self) -> Plan | None:
        """The newest plan, None before the first frame."""
        return None if self._controller is None else self._controller.plan

    def takes(self, frame: Frame) -> bool:
        """Whether `frame` is one of those that the frame rate of the moment has room for."""
        plan = self.plan
        fps = plan.fps if plan is not None and plan.thinned else None
        return self._pace.takes(frame.captured_at_ns, fps)

    def plan_for(self, frame: Frame, attendees: Collection[Attendee]) -> Plan:
        """The plan for `frame`, which is about to be encoded."""
        codec = self._chosen()
        if self._controller is None:
            facts = StreamFacts(codec.name, codec.inter, codec.lossless, frame.width, frame.height)
            self._controller = RateController(facts, self._wishes, self._pace.source_fps)
        paths = _deciding_paths(attendees)
        plan = self._controller.update(time.monotonic_ns(), paths, self._pace.source_fps)
        for change in plan.changes:
            self._on_change(self._notice(change, plan, frame))
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
        if self._controller is not None:
            busy_us = sum(stages[stage] for stage in ("mask", "encode", "keystream", "seal"))
            self._controller.encoded(
                len(encoded.payload),
                encoded.psnr_db,
                busy_us * 1000,
                width=encoded.width,
                height=encoded.height,
            )

    def _notice(self, reason: str, plan: Plan, frame: Frame) -> control.QualityNotice:
        codec = self._chosen()
        return control.QualityNotice(
            reason=reason[: control.MAX_DETAIL_CHARS],
            codec=codec.name,
            width=max(16, round(frame.width * plan.scale)),
            height=max(16, round(frame.height * plan.scale)),
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
