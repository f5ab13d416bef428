"""The task that frees what a link holds: once, in the background.

A thin shell.  The task is made long before it has to run: an event loop that is being shut down
ends its tasks, and with them the transport, and takes no new ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["Release"]


class Release:
    """Runs `free` when `begin` is called for the first time."""

    def __init__(self, free: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._free = free
        self._told = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def prepare(self) -> asyncio.Task[None]:
        """Make the task, if there is none yet; it waits for `begin`."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
        return self._task

    def begin(self) -> asyncio.Task[None]:
        """Free everything; the task returned ends when that is done."""
        self._told.set()
        return self.prepare()

    async def _run(self) -> None:
        await self._told.wait()
        await self._free()
