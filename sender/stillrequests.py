"""Answers to receivers that froze their picture and ask for it once more, lossless.

One at a time, beside the stream.  It refuses what would hold up that receiver's stream for long:
while a still leaves, frames wait.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor

from sender.attendee import Attendee
from sender.journal import SenderJournal
from sender.pipeline import SealingPipeline

__all__ = ["STILL_MOST_S", "StillRequests"]

STILL_MOST_S = 3.0  # a still may take so long on its path: a frozen picture is looked at for longer


class StillRequests:
    """The requests of one session's receivers, as they come through `asked`.

    `worker` is the pipeline's thread: stills are sealed there, between two frames.
    """

    def __init__(
        self,
        asked: asyncio.Queue[tuple[Attendee, int]],
        pipeline: SealingPipeline,
        worker: Executor,
        journal: SenderJournal,
    ) -> None:
        self._asked = asked
        self._pipeline = pipeline
        self._worker = worker
        self._journal = journal

    async def run(self) -> None:
        """Answer one after the other, for ever: the encoder is one, and its pictures are large."""
        while True:
            await self._answer(*await self._asked.get())

    async def _answer(self, attendee: Attendee, index: int) -> None:
        outbox = attendee.outbox
        if not outbox.wish.wants(index):
            return
        made = await asyncio.to_thread(self._pipeline.encode_still, index)
        if made is None:
            attendee.still_unavailable(index)
            return
        takes_s = attendee.still_takes_s(len(made[1].payload))
        if takes_s > STILL_MOST_S:
            why = f"it would hold up the stream for {takes_s:.0f} s on this path"
            attendee.still_unavailable(index, f"no exact picture: {why}")
            self._journal.event("still refused", f"frame {index}: {why}")
            return
        sealed = await asyncio.get_running_loop().run_in_executor(
            self._worker, self._pipeline.seal_still, *made
        )
        if outbox.holds(sealed.epoch):
            outbox.offer_still(sealed)
        else:
            attendee.still_unavailable(index)
