"""Answers to receivers that froze their picture and ask for it once more, lossless.

One at a time, beside the stream.  It refuses what would hold up that receiver's stream for long:
while a still leaves, frames wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor

from sender.attendee import Attendee
from sender.journal import SenderJournal
from sender.pipeline import Pipeline

__all__ = ["STILL_MOST_S", "StillRequests"]

STILL_MOST_S = 3.0  # a still may take so long on its path: a frozen picture is looked at for longer


class StillRequests:
    """The requests of one session's receivers.

    `worker` is the pipeline's thread: stills are sealed there, between two frames.  `on_failure` is
    told of errors that no request should bring about.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        worker: Executor,
        journal: SenderJournal,
        *,
        on_failure: Callable[[Exception], None],
    ) -> None:
        self._pipeline = pipeline
        self._worker = worker
        self._journal = journal
        self._on_failure = on_failure
        self._answers: set[asyncio.Task[None]] = set()
        self._one_at_a_time = asyncio.Lock()  # the encoder is one, and its pictures are large

    def asked(self, attendee: Attendee, index: int) -> None:
        """`attendee` asks for the picture of frame `index`."""
        answer = asyncio.create_task(self._answer(attendee, index))
        self._answers.add(answer)
        answer.add_done_callback(self._answered)

    async def close(self) -> None:
        """Leave the rest unanswered."""
        answers = list(self._answers)
        for answer in answers:
            answer.cancel()
        await asyncio.gather(*answers, return_exceptions=True)

    def _answered(self, answer: asyncio.Task[None]) -> None:
        self._answers.discard(answer)
        error = None if answer.cancelled() else answer.exception()
        if isinstance(error, Exception):
            self._on_failure(error)

    async def _answer(self, attendee: Attendee, index: int) -> None:
        async with self._one_at_a_time:
            if not attendee.wants_still(index):
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
        if attendee.holds(sealed.epoch):
            attendee.offer_still(sealed)
        else:
            attendee.still_unavailable(index)
