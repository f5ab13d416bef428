"""Beginning epochs: every receiver is given the secret before a frame is sealed under it.

The shell between the pure key schedule, the receivers' control channels and the pipeline.  One
epoch begins at a time.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Executor

from sender.audience import Audience
from sender.journal import SenderJournal
from sender.pipeline import SealingPipeline
from shared.crypto.keyschedule import EpochReason, EpochSecret, SenderSchedule
from shared.wire import SENDER_ID

__all__ = ["Epochs"]

ACK_TIMEOUT_S = 5.0  # one reliable message each way; as long as a silent peer is tolerated
LEAVE_ACK_TIMEOUT_S = 1.0  # who has left holds the old key: a slow receiver must not prolong that
CHECK_EVERY_S = 0.1  # how often the age of the epoch is looked at; its limit is a minute


class Epochs:
    """The epochs of one session.

    `audience` are the receivers to give a new secret to.  `worker` is the pipeline's thread: there
    an epoch changes between two frames and never within one.  The `journal` is told of each epoch
    once it is in force, and `begun` is set with the first.
    """

    def __init__(
        self,
        pipeline: SealingPipeline,
        worker: Executor,
        *,
        rekey_after_s: float,
        audience: Audience,
        journal: SenderJournal,
    ) -> None:
        self.begun = asyncio.Event()
        self._pipeline = pipeline
        self._worker = worker
        self._schedule = SenderSchedule(SENDER_ID, rekey_after_s=rekey_after_s)
        self._audience = audience
        self._journal = journal
        self._one_at_a_time = asyncio.Lock()

    async def begin(self, reason: EpochReason) -> None:
        """Begin the next epoch and put it in force.

        A receiver that does not confirm within 5 s (1 s when another has left) is not waited
        for: it gets no frame of the epoch until it has confirmed.
        """
        async with self._one_at_a_time:
            now_ns = time.monotonic_ns()
            if self._pipeline.epoch is None:
                secret = self._schedule.start(now_ns)
            else:
                secret = self._schedule.rotate(now_ns, reason)
            await self._hand_over(
                secret, LEAVE_ACK_TIMEOUT_S if reason == "leave" else ACK_TIMEOUT_S
            )
            await asyncio.get_running_loop().run_in_executor(
                self._worker, self._pipeline.enter_epoch, self._schedule, secret.epoch
            )
            self._journal.epoch_entered(secret.epoch, secret.reason)
            self.begun.set()
            self._audience.changed.set()  # who holds its key may take frames from now on

    async def _hand_over(self, secret: EpochSecret, limit_s: float) -> None:
        """Give `secret` to all; wait until each has confirmed it, `limit_s` at most."""
        waiting = [
            asyncio.create_task(attendee.hand_over(secret, SENDER_ID))
            for attendee in self._audience
        ]
        try:
            if waiting:
                await asyncio.wait(waiting, timeout=limit_s)
        finally:
            for task in waiting:
                task.cancel()

    async def keep(self) -> None:
        """Once the first has begun: begin a new one whenever the last is old enough, for ever."""
        await self.begun.wait()
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            if self._schedule.due(time.monotonic_ns()):
                await self.begin("time")
