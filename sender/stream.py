"""The stream: the newest frame of the source, whenever somebody's path can carry one.

The loop from the source through the pipeline to the audience.  It refuses to queue: one frame
waits, the newest, and it is taken up only when a frame that is encoded now is of use to somebody.
What gave way is counted with its reason.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial

from sender.audience import Audience
from sender.journal import SenderJournal
from sender.pipeline import Pipeline, SealedFrame
from sender.sourcestory import SourceStory
from sender.steering import Steering
from shared.control import Notice
from shared.errors import BadInput, DecodeFailed
from shared.frame import Frame, Gap
from shared.newest import Newest, SlotClosed
from shared.telemetry.records import DropReason

__all__ = ["Stream"]

# With an inter codec a frame that a receiver misses costs it all up to the next key frame: those
# that follow are waited for, but not so long that a person would notice.
TOGETHER_S = 0.05
LOOK_EVERY_S = 0.05  # while a frame would be of no use: key frames fall due by time alone


class Stream:
    """The stream of one session.

    `worker` is the pipeline's thread.  `on_codec(told)` is called with the codec that the stream
    begins with, and why, where it was not asked for; `on_notice(notice)` with what both ends are
    to be told of the source.
    """

    def __init__(
        self,
        frames: AsyncIterator[Frame | Gap | Notice],
        pipeline: Pipeline,
        worker: Executor,
        *,
        steering: Steering,
        audience: Audience,
        journal: SenderJournal,
        on_codec: Callable[[str], None],
        on_notice: Callable[[Notice], None],
    ) -> None:
        self._frames = frames
        self._pipeline = pipeline
        self._worker = worker
        self._steering = steering
        self._audience = audience
        self._journal = journal
        self._on_codec = on_codec
        self._on_notice = on_notice
        self._story = SourceStory()
        self._slot: Newest[Frame] = Newest()
        self._processing = False

    async def run(self) -> None:
        """Stream until the frames end; raises what ended them, after those before it are sent."""
        intake = asyncio.create_task(self._take_in())
        try:
            while True:
                await self._until_of_use()
                if self._steering.inter:
                    await self._until_all_that_follow_are_ready()
                await self._send(await self._slot.get())
        except SlotClosed:
            return
        finally:
            intake.cancel()
            await asyncio.gather(intake, return_exceptions=True)
            close = getattr(self._frames, "aclose", None)  # an async generator holds its source
            if close is not None:
                await close()

    def discard(self) -> None:
        """Nobody watches any more: the frame that waits is not for whoever comes next."""
        if (waiting := self._slot.take()) is not None:
            self._journal.dropped(DropReason.NO_RECEIVER, waiting.index)

    async def _take_in(self) -> None:
        try:
            async for event in self._frames:
                for notice in self._story.of(event, time.monotonic_ns()):
                    self._on_notice(notice)
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
            self._on_notice(notice)

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
        while not self._steering.serves(
            self._pipeline.encoded_index, self._pipeline.epoch, self._audience
        ):
            if self._slot.closed and not self._audience:
                return  # nothing more will come, and there is nobody to wait for
            self._audience.changed.clear()
            with suppress(TimeoutError):  # a key frame may be due by then
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._audience.changed.wait()

    async def _until_all_that_follow_are_ready(self) -> None:
        """Give receivers that could decode the next frame a moment to become able to take it."""
        index = self._pipeline.encoded_index
        with suppress(TimeoutError):
            async with asyncio.timeout(TOGETHER_S):
                while any(
                    attendee.follows(index) and not attendee.ready for attendee in self._audience
                ):
                    self._audience.changed.clear()
                    await self._audience.changed.wait()

    async def _send(self, frame: Frame) -> None:
        self._processing = True
        try:
            await self._choose_codec(frame)
            sealed = await self._sealed(frame)
        finally:
            self._processing = False
        self._steering.encoded(sealed)
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
            self._on_codec(f"{choice.codec}: {choice.reason}")

    async def _encode_in(self, codec: str) -> None:
        encoder = await asyncio.to_thread(self._steering.open_encoder, codec)
        self._pipeline.encode_with(encoder)

    async def _sealed(self, frame: Frame) -> SealedFrame:
        """`frame`, encoded and sealed; in the codec before where a better one does not work."""
        try:
            return await self._process(frame)
        except (BadInput, DecodeFailed):
            choice = self._steering.failed()
            if choice is None:
                raise
        await self._encode_in(choice.codec)
        return await self._process(frame)

    async def _process(self, frame: Frame) -> SealedFrame:
        plan = self._steering.plan_for(frame, self._audience)
        work = partial(
            self._pipeline.process,
            frame,
            key=self._steering.needs_key(
                self._pipeline.encoded_index, self._pipeline.epoch, self._audience
            ),
            target=plan.target,
            scale=plan.scale,
        )
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)
