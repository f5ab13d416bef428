"""An event loop whose clock jumps: where nothing is ready, it is at once as late as the next timer.

A test double that ships with the code, after trio's `MockClock` with `autojump`.  Ten minutes of
pings, time-outs and outages between two ends in one process (`shared.link.memory`) take as long as
the work in them.  While a job of the loop's threads is under way, time stands still.  It refuses to
be of use where others keep real time: sockets, subprocesses, threads of one's own.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

__all__ = ["JumpingLoop"]

THREAD_PATIENCE_S = 5.0  # a job of a thread that waits for a timer of the loop would never end

_real_monotonic = time.monotonic  # tests may put the loop's in its place

_T = TypeVar("_T")


class _JumpingSelector(selectors.DefaultSelector):
    """Looks once, and lets its loop's clock jump where it would have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.loop: JumpingLoop | None = None

    def select(self, timeout: float | None = None) -> list[Any]:
        ready: list[Any] = super().select(0)
        if ready or self.loop is None or (timeout is not None and timeout <= 0):
            return ready
        if timeout is None or self.loop.jobs:
            ready = super().select(THREAD_PATIENCE_S if timeout is not None else None)
        if not ready and timeout is not None:
            self.loop.jump(timeout)
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """`time` is the clock; it begins at the machine's and goes on by jumps alone."""

    latest: ClassVar[JumpingLoop | None] = None  # that was made and not closed

    def __init__(self) -> None:
        self._now = _real_monotonic()
        self.jobs = 0  # of threads, under way
        selector = _JumpingSelector()
        super().__init__(selector)
        selector.loop = self
        JumpingLoop.latest = self

    def close(self) -> None:
        """Close it; the next one begins at the machine's clock again."""
        super().close()
        JumpingLoop.latest = None

    def time(self) -> float:
        """Seconds by the loop's clock."""
        return self._now

    def time_ns(self) -> int:
        """Nanoseconds by the loop's clock."""
        return round(self._now * 1e9)

    def jump(self, seconds: float) -> None:
        """Let so much time pass at once."""
        self._now += seconds

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., _T], *args: Any
    ) -> asyncio.Future[_T]:
        """As asyncio's, and time stands still meanwhile."""
        future = super().run_in_executor(executor, func, *args)
        self.jobs += 1
        future.add_done_callback(self._job_done)
        return future

    def _job_done(self, _: object) -> None:
        self.jobs -= 1
