"""One step of control for one frame: its codec, its plan, whether it is key, and what is told.

Between the pure pieces (`streamcodec`, `rate`, and here the frame rate and the key frames) and the
stream.  What it goes by is handed in as values: the frame, what the receivers are ready for, what
came of the last frame; what follows is handed back.  It refuses to touch a frame, and to ask.
"""

from __future__ import annotations

import time
from collections.abc import Collection

from sender.audience import Readiness
from sender.pipeline import SealedFrame, scaled_size
from sender.rate import Plan, RateController, StreamFacts, Wishes
from sender.streamcodec import CodecChoice, StreamCodec
from shared import control
from shared.capabilities import OUR_FEATURES
from shared.codecs import Codec, Encoder, EncoderTarget, open_encoder
from shared.codecs.codec import cores
from shared.frame import Frame

__all__ = ["FOR_SOME_EVERY_NS", "MAX_FPS", "FrameRate", "KeyFrames", "Steering"]

MAX_FPS = 240.0  # no source here is faster; stamps closer together are a burst and no rate

ALMOST = 0.1  # of the wished-for interval: capture times waver, and a third must stay a third


class FrameRate:
    """Decides frame by frame which are taken at the rate of the moment, and measures the source's.

    A source that gives no more than that keeps all its frames.
    """

    def __init__(self, fps: float) -> None:
        self._source_fps = min(fps, MAX_FPS)
        self._last_ns: int | None = None
        self._due_ns: float | None = None

    @property
    def source_fps(self) -> float:
        """Frames a second that the source gives, smoothed over about twenty; `MAX_FPS` at most."""
        return self._source_fps

    def takes(self, captured_at_ns: int, fps: float | None) -> bool:
        """Whether the frame captured then is one of `fps` a second (None: all are)."""
        self._measure(captured_at_ns)
        if fps is None:
            self._due_ns = None
            return True
        interval_ns = 1e9 / fps
        due_ns = self._due_ns
        if due_ns is not None and captured_at_ns < due_ns - ALMOST * interval_ns:
            return False
        # After a pause nothing is caught up with.
        late = due_ns is None or captured_at_ns - due_ns > interval_ns
        self._due_ns = (captured_at_ns if due_ns is None or late else due_ns) + interval_ns
        return True

    def _measure(self, captured_at_ns: int) -> None:
        last, self._last_ns = self._last_ns, captured_at_ns
        if last is None or captured_at_ns <= last:
            return
        interval_s = min((captured_at_ns - last) / 1e9, 3 / self._source_fps)  # it may be a pause
        smoothed_s = 0.95 / self._source_fps + 0.05 * max(interval_s, 1 / MAX_FPS)
        self._source_fps = min(1 / smoothed_s, MAX_FPS)


FOR_SOME_EVERY_NS = 1_000_000_000  # key frames while others follow, as often as in recordings


class KeyFrames:
    """The key frames of one encoder."""

    def __init__(self) -> None:
        self._last_ns: int | None = None

    def needed(self, now_ns: int, *, following: int, lost: int, new: int = 0) -> bool:
        """Whether the next frame must be key: `following` receivers follow, `lost` ones do not.

        `lost` and `new` (those never got any) could take the frame, `following` are all, also
        those whose path is busy.  Where none follows nothing else is of use; otherwise at most one
        a second is made for the lost.
        """
        if not lost and not new:
            return False
        if new or not following or self._last_ns is None:
            return True
        return now_ns - self._last_ns >= FOR_SOME_EVERY_NS

    def made(self, now_ns: int) -> None:
        """A key frame was encoded."""
        self._last_ns = now_ns


DEFAULT_FPS = 30.0  # until the source's own rate has been measured


class Steering:
    """The rate control of one session's stream.

    `codec` is the name of one, or `auto`: then it may change once the path is known.
    """

    def __init__(self, codec: str, wishes: Wishes, *, fps: float | None) -> None:
        self._codec = StreamCodec(codec)
        self._wishes = wishes
        self._pace = FrameRate(fps or DEFAULT_FPS)
        self._keys = KeyFrames()
        self._controller: RateController | None = None
        self._shape: tuple[int, ...] = ()  # of the newest frame's picture
        self.inter = False
        """Whether frames build on one another."""
        self._changed_quality = False  # as the receivers were told, for pictures of this shape
        self._untold: str | None = None  # why the codec changed, until a frame of it is encoded

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
        choice = self._choice(frame)
        self._see_inter()
        return choice

    def _choice(self, frame: Frame) -> CodecChoice | None:
        if self._controller is None:
            return self._codec.begin()
        replaced = self._codec.replace(time.monotonic_ns()) if self._codec.may_change else None
        if replaced is not None:
            self._controller = None  # its facts are the other codec's
            return self._changed(replaced)
        use = self._controller.use if self._codec.may_change else None
        if use is None:
            return None
        return self._changed(self._codec.review(time.monotonic_ns(), frame.channels, use))

    def _see_shape(self, frame: Frame) -> None:
        """Pictures of another size, or grey and not colour, begin anew: little learned holds."""
        if frame.image.shape == self._shape:
            return
        self._shape, self._controller = frame.image.shape, None
        if self._changed_quality:
            self._untold = f"quality begun anew: the picture is {frame.width}x{frame.height} now"
            self._changed_quality = False

    def failed(self) -> CodecChoice | None:
        """The encoder failed: the codec to go on with, None where there is none."""
        choice = self._changed(self._codec.failed(time.monotonic_ns()))
        self._see_inter()
        return choice

    def _see_inter(self) -> None:
        codec = self._codec.codec
        channels = 1 if len(self._shape) == 2 else 3
        self.inter = codec is not None and channels in codec.inter

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

    def plan_for(
        self, frame: Frame, readiness: Readiness
    ) -> tuple[Plan, list[control.QualityNotice]]:
        """The plan for `frame`, which is about to be encoded, and what is to be told of it."""
        codec = self._chosen()
        if self._controller is None:
            facts = StreamFacts.of(codec, frame, cores())
            self._controller = RateController(facts, self._wishes, self._pace.source_fps)
        plan = self._controller.update(time.monotonic_ns(), readiness.paths, self._pace.source_fps)
        if not plan.changes:
            return plan, []
        self._changed_quality = True
        width, height = scaled_size(frame.width, frame.height, plan.scale)
        return plan, [self._notice(change, plan, width, height) for change in plan.changes]

    def needs_key(self, readiness: Readiness) -> bool:
        """Whether the next frame must be key, for those who can take it now."""
        # Also those that follow and are busy: a key frame that they miss breaks their chain.
        return self.inter and self._keys.needed(
            time.monotonic_ns(),
            following=readiness.following,
            lost=readiness.lost,
            new=readiness.new,
        )

    def serves(self, readiness: Readiness) -> bool:
        """Whether the next frame, encoded now, could be sent to anybody.

        One that builds on a frame which only busy receivers have would be lost to them as well.
        """
        if not readiness.takers:
            return False
        return not self.inter or readiness.taking_on > 0 or self.needs_key(readiness)

    def encoded(self, sealed: SealedFrame) -> control.QualityNotice | None:
        """A frame went through the pipeline: what it came to teaches the next plans.

        Returns what is to be told now that a change has proved to work.
        """
        encoded, stages = sealed.encoded, sealed.stages_us
        if encoded.key:
            self._keys.made(time.monotonic_ns())
        if self._controller is None:
            return None
        told: control.QualityNotice | None = None
        if self._untold is not None:
            reason, self._untold = self._untold, None
            self._changed_quality = True
            plan = self._controller.plan
            told = self._notice(reason, plan, encoded.width, encoded.height)
        if sealed.repeated:
            return told  # what it came to is no measure of those that move
        busy_us = sum(stages[stage] for stage in ("mask", "encode", "keystream", "seal"))
        self._controller.encoded(
            len(encoded.payload),
            encoded.psnr_db,
            busy_us * 1000,
            width=encoded.width,
            height=encoded.height,
        )
        return told

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
