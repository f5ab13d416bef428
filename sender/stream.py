"""The stream: the newest frame of the source, whenever somebody's path can carry one.

The loop from the source through the pipeline to the audience.  It refuses to queue: one frame
waits, the newest, and it is taken up only when a frame that is encoded now is of use to somebody.
What gave way is counted with its reason.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial

from sender.audience import Audience, Readiness
from sender.journal import SenderJournal
from sender.notices import Notices
from sender.pipeline import SealedFrame, SealingPipeline
from sender.steering import Steering
from shared.control import MAX_DETAIL_CHARS, Notice, QualityNotice
from shared.errors import BadInput, DecodeFailed
from shared.frame import Frame, Gap
from shared.newest import Newest, SlotClosed
from shared.telemetry.records import DropReason

__all__ = ["TELL_EVERY_NS", "SourceStory", "Stream"]

TELL_EVERY_NS = 5_000_000_000  # a person reads no more; the figures count each picture at once


class SourceStory:
    """The story of one source."""

    def __init__(self) -> None:
        self._skipped = 0
        self._untold = 0  # of those
        self._why = ""
        self._told_at_ns: int | None = None
        self._shape: tuple[int, ...] | None = None

    def of(self, event: Frame | Gap | Notice, now_ns: int) -> list[Notice]:
        """What is to be told as `event` comes."""
        notices = []
        if isinstance(event, Notice):
            notices.append(event)
        elif isinstance(event, Gap):
            self._skipped += 1
            self._untold += 1
            self._why = event.why
        else:
            notices += self._changed(event)
        told_at_ns = self._told_at_ns
        if self._untold and (told_at_ns is None or now_ns - told_at_ns >= TELL_EVERY_NS):
            notices.append(self._skips())
            self._told_at_ns = now_ns
        return notices

    def rest(self) -> list[Notice]:
        """What is still to be told once the source has ended."""
        return [self._skips()] if self._untold else []

    def _skips(self) -> Notice:
        self._untold = 0
        # It may be damaged, of no use here, or not to be masked as was asked for: the reason says.
        number = (
            "a picture of the source is left out"
            if self._skipped == 1
            else f"{self._skipped} pictures of the source so far are left out, the last"
        )
        return Notice(kind="picture_skipped", text=f"{number}: {self._why}"[:MAX_DETAIL_CHARS])

    def _changed(self, frame: Frame) -> list[Notice]:
        before, self._shape = self._shape, frame.image.shape
        if before is None or frame.image.shape == before:
            return []
        colours = "colour" if frame.channels == 3 else "grey"
        text = f"the picture is {frame.width}x{frame.height} {colours} now"
        return [Notice(kind="picture_changed", text=text)]


# With an inter codec a frame that a receiver misses costs it all up to the next key frame: those
# that follow are waited for, but not so long that a person would notice.
TOGETHER_S = 0.05
LOOK_EVERY_S = 0.05  # while a frame would be of no use: key frames fall due by time alone


class Stream:
    """The stream of one session.

    `worker` is the pipeline's thread, and `begun` is set once its first epoch is in force: before
    that the source is left alone.
    """

    def __init__(
        self,
        frames: AsyncIterator[Frame | Gap | Notice],
        pipeline: SealingPipeline,
        worker: Executor,
        *,
        steering: Steering,
        audience: Audience,
        journal: SenderJournal,
        notices: Notices,
        begun: asyncio.Event,
    ) -> None:
        self._frames = frames
        self._pipeline = pipeline
        self._worker = worker
        self._steering = steering
        self._audience = audience
        self._journal = journal
        self._notices = notices
        self._begun = begun
        self._deserted = 0
        self._story = SourceStory()
        self._slot: Newest[Frame] = Newest()
        self._processing = False

    async def run(self) -> None:
        """Stream until the frames end; raises what ended them, after those before it are sent."""
        await self._begun.wait()
        intake = asyncio.create_task(self._take_in())
        try:
            while True:
                await self._until_of_use()
                await self._send(await self._slot.get())
        except SlotClosed:
            return
        finally:
            intake.cancel()
            await asyncio.gather(intake, return_exceptions=True)
            close = getattr(self._frames, "aclose", None)  # an async generator holds its source
            if close is not None:
                await close()

    def _readiness(self, *, measured: bool = False) -> Readiness:
        """What the audience is ready for; where all have left, what was theirs is forgotten."""
        if self._deserted != self._audience.deserted:
            self._deserted = self._audience.deserted
            self._steering.deserted()
            if (waiting := self._slot.take()) is not None:  # not for whoever comes next
                self._journal.dropped(DropReason.NO_RECEIVER, waiting.index)
        pipeline = self._pipeline
        return self._audience.readiness(pipeline.encoded_index, pipeline.epoch, measured=measured)

    async def _take_in(self) -> None:
        try:
            async for event in self._frames:
                for notice in self._story.of(event, time.monotonic_ns()):
                    self._tell(notice)
                if isinstance(event, Gap):
                    self._journal.dropped(DropReason.SOURCE_DAMAGED, event.index, event.why)
                elif isinstance(event, Frame):
                    self._take_up(event)
        except Exception as error:  # the frames before it still go out; then `run` raises it
            self._tell_rest()
            self._slot.close(error)
        else:
            self._tell_rest()
            self._slot.close()
        self._audience.changed.set()

    def _tell_rest(self) -> None:
        for notice in self._story.rest():
            self._tell(notice)

    def _tell(self, notice: Notice) -> None:
        self._notices.source(notice, ends=self._audience.tell_notice(notice))

    def _tell_quality(self, notice: QualityNotice) -> None:
        self._notices.quality(notice.reason)
        self._audience.tell_quality(notice)

    def _take_up(self, frame: Frame) -> None:
        if not self._audience:
            self._journal.dropped(DropReason.NO_RECEIVER, frame.index)
        elif not self._steering.takes(frame):
            self._journal.dropped(DropReason.RATE_LIMITED, frame.index)
        elif (replaced := self._slot.put(frame)) is not None:
            self._journal.dropped(self._why_replaced(), replaced.index)

    def _why_replaced(self) -> DropReason:
        """Why a frame was not taken up before the next one came."""
        if self._processing:
            return DropReason.SENDER_BUSY
        return DropReason.RECEIVER_SILENT if self._audience.silent else DropReason.LINK_BUSY

    async def _until_of_use(self) -> None:
        """Wait until a frame that is encoded now can be sent to somebody."""
        while not self._steering.serves(readiness := self._readiness()):
            if self._slot.closed and not self._audience:
                return  # nothing more will come, and there is nobody to wait for
            self._audience.changed.clear()
            with suppress(TimeoutError):  # a key frame may be due by then
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._audience.changed.wait()
        if not self._steering.inter or not readiness.awaited:
            return
        # Those that could decode the next frame get a moment to become able to take it.
        with suppress(TimeoutError):
            async with asyncio.timeout(TOGETHER_S):
                while self._readiness().awaited:
                    self._audience.changed.clear()
                    await self._audience.changed.wait()

    async def _send(self, frame: Frame) -> None:
        self._processing = True
        try:
            readiness = self._readiness(measured=True)
            await self._choose_codec(frame)
            sealed = await self._sealed(frame, readiness)
        finally:
            self._processing = False
        told = self._steering.encoded(sealed)
        if told is not None:
            self._tell_quality(told)
        if not self._audience.offer(sealed):  # whoever was ready has left meanwhile
            reason = DropReason.LINK_BUSY if self._audience else DropReason.NO_RECEIVER
            self._journal.dropped(reason, frame.index)

    async def _choose_codec(self, frame: Frame) -> None:
        """See to it that the pipeline has the encoder for `frame`."""
        begins = self._steering.begins
        choice = self._steering.choose(frame, self._audience.features)
        if choice is None:
            return
        await self._encode_in(choice.codec)
        if begins and choice.reason:
            self._notices.event("codec", f"{choice.codec}: {choice.reason}")

    async def _encode_in(self, codec: str) -> None:
        encoder = await asyncio.to_thread(self._steering.open_encoder, codec)
        self._pipeline.encode_with(encoder)

    async def _sealed(self, frame: Frame, readiness: Readiness) -> SealedFrame:
        """`frame`, encoded and sealed; in the codec before where a better one does not work."""
        try:
            return await self._process(frame, readiness)
        except (BadInput, DecodeFailed):
            choice = self._steering.failed()
            if choice is None:
                raise
        await self._encode_in(choice.codec)
        return await self._process(frame, readiness)

    async def _process(self, frame: Frame, readiness: Readiness) -> SealedFrame:
        plan, told = self._steering.plan_for(frame, readiness)
        for notice in told:
            self._tell_quality(notice)
        work = partial(
            self._pipeline.process,
            frame,
            key=self._steering.needs_key(readiness),
            target=plan.target,
            scale=plan.scale,
        )
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)
