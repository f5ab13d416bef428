"""Frames from the link through the pipeline, one by one, in a thread of their own.

The shell around the pipeline: it waits for what arrives, and for the moment when a frame that is
held for its reference is given up, and sees to what comes of each.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Executor
from contextlib import suppress

from receiver.journal import ReceiverJournal
from receiver.pipeline import FrameOutcome, OpeningPipeline
from receiver.showing import Showing
from receiver.stills import Stills
from shared import control
from shared.association import Association
from shared.errors import FrameRejected, PeerGone
from shared.telemetry.tally import drop_reason

__all__ = ["KeyFrameWish", "Reception", "patience_ns"]

# Asked for and sent again, one round trip, half of one for jitter, and what the two ends take; a
# person sees a freeze from about 250 ms.
MIN_PATIENCE_NS, MAX_PATIENCE_NS = 40_000_000, 250_000_000
WORK_NS = 20_000_000
MIN_ASK_NS = 100_000_000  # a key frame is large: one is asked for again after a round trip at least


def patience_ns(rtt_ns: int) -> int:
    """How long a frame that is ahead of its reference is held, by the round trip to the sender."""
    return min(max(WORK_NS + 3 * rtt_ns // 2, MIN_PATIENCE_NS), MAX_PATIENCE_NS)


class KeyFrameWish:
    """Remembers when a key frame was asked for last."""

    def __init__(self) -> None:
        self._asked_at_ns: int | None = None

    def ask(self, now_ns: int, rtt_ns: int) -> bool:
        """Whether to ask now; if so, that is remembered."""
        if self._asked_at_ns is not None and now_ns - self._asked_at_ns < max(rtt_ns, MIN_ASK_NS):
            return False
        self._asked_at_ns = now_ns
        return True


class Reception:
    """The frames of one session: what is decoded goes to `showing`, or is the still waited for.

    The `journal` is told of what is not, and the sender is asked for a key frame where the chain is
    broken.
    """

    def __init__(
        self,
        association: Association,
        pipeline: OpeningPipeline,
        worker: Executor,
        *,
        journal: ReceiverJournal,
        showing: Showing,
        stills: Stills,
    ) -> None:
        self._association = association
        self._link = association.link
        self._pipeline = pipeline
        self._worker = worker
        self._journal = journal
        self._showing = showing
        self._stills = stills
        self._key_frame = KeyFrameWish()
        self._held_until_ns: int | None = None
        self._expiry: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Take frames until the link ends; raises `PeerGone` if it ended badly."""
        loop = asyncio.get_running_loop()
        async for received in self._link.frames():
            self._pipeline.awaited_still = self._stills.awaited
            try:
                outcome = await loop.run_in_executor(
                    self._worker, self._pipeline.process, received, patience_ns(self._rtt_ns)
                )
            except FrameRejected as error:
                self._journal.dropped(drop_reason(error))
            else:
                self._take(outcome)

    async def emptied(self) -> None:
        """Wait until no frame is held for another one any more."""
        if self._expiry is not None and self._held_until_ns is not None:
            await asyncio.wait({self._expiry})

    async def stop(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            await asyncio.gather(self._expiry, return_exceptions=True)

    def _take(self, outcome: FrameOutcome) -> None:
        self._held_until_ns = outcome.held_until_ns
        if self._held_until_ns is not None and self._expiry is None:
            self._expiry = asyncio.create_task(self._expire())
        for reason, index in outcome.dropped:
            self._journal.dropped(reason, index)
        if outcome.still_index is not None:
            self._stills.came(outcome.still_index, outcome.still)
        for decoded in outcome.shown:
            self._showing.hand_over(decoded)
        if outcome.wants_key is not None and self._key_frame.ask(time.monotonic_ns(), self._rtt_ns):
            with suppress(PeerGone):  # then `run` says so
                self._association.send(control.KeyFrameRequest(index=outcome.wants_key))

    @property
    def _rtt_ns(self) -> int:
        clock = self._link.clock.estimate
        return clock.rtt_ns if clock else 0

    async def _expire(self) -> None:
        """Give up the frames held once their time is over, until none is held."""
        loop = asyncio.get_running_loop()
        try:
            while (until_ns := self._held_until_ns) is not None:
                await asyncio.sleep(max(0, until_ns - time.monotonic_ns()) / 1e9)
                self._take(await loop.run_in_executor(self._worker, self._pipeline.expire))
        finally:
            self._expiry = None
