"""Frames from the link through the pipeline, one by one, in a thread of their own.

The shell around `Pipeline`: it waits for what arrives, and for the moment when a frame that is held
for its reference is given up.  What comes of each is for the session to judge.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor

from receiver.pipeline import Outcome, Pipeline
from receiver.repair import patience_ns
from shared.errors import FrameRejected
from shared.link.link import Link

__all__ = ["Reception"]


class Reception:
    """`on_outcome` is called with what became of each frame, `on_rejected` for those refused."""

    def __init__(
        self,
        link: Link,
        pipeline: Pipeline,
        worker: Executor,
        *,
        on_outcome: Callable[[Outcome], None],
        on_rejected: Callable[[FrameRejected], None],
    ) -> None:
        self._link = link
        self._pipeline = pipeline
        self._worker = worker
        self._on_outcome = on_outcome
        self._on_rejected = on_rejected
        self._held_until_ns: int | None = None
        self._expiry: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Take frames until the link ends; raises `PeerGone` if it ended badly."""
        loop = asyncio.get_running_loop()
        async for received in self._link.frames():
            clock = self._link.clock.estimate
            patience = patience_ns(clock.rtt_ns if clock else 0)
            try:
                outcome = await loop.run_in_executor(
                    self._worker, self._pipeline.process, received, patience
                )
            except FrameRejected as error:
                self._on_rejected(error)
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

    def _take(self, outcome: Outcome) -> None:
        self._held_until_ns = outcome.held_until_ns
        if self._held_until_ns is not None and self._expiry is None:
            self._expiry = asyncio.create_task(self._expire())
        self._on_outcome(outcome)

    async def _expire(self) -> None:
        """Give up the frames held once their time is over, until none is held."""
        loop = asyncio.get_running_loop()
        try:
            while (until_ns := self._held_until_ns) is not None:
                await asyncio.sleep(max(0, until_ns - time.monotonic_ns()) / 1e9)
                self._take(await loop.run_in_executor(self._worker, self._pipeline.expire))
        finally:
            self._expiry = None
