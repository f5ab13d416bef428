"""Where opened pictures wait for whoever shows them: each until its moment, then only the newest.

The shell around `PlayoutBuffer` and `Newest`.  It refuses to let pictures queue behind a slow
consumer: one that was not taken gives way to the next, and is told of.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

from receiver.playout import PlayoutBuffer
from shared.newest import Newest

__all__ = ["Handover"]

T = TypeVar("T")


class Handover(Generic[T]):
    """`on_passed_over` is called for every picture that will not be taken.

    Pictures that have a moment are let go by `play`, which runs until it is cancelled.
    """

    def __init__(self, on_passed_over: Callable[[T], None]) -> None:
        self._on_passed_over = on_passed_over
        self._slot: Newest[T] = Newest()
        self._waiting: PlayoutBuffer[T] = PlayoutBuffer()
        self._filled = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def put(self, picture: T) -> None:
        """Offer `picture` at once."""
        replaced = self._slot.put(picture)
        if replaced is not None:
            self._on_passed_over(replaced)

    def put_at(self, picture: T, due_ns: int, nbytes: int) -> None:
        """Offer `picture`, of `nbytes` in memory, at `due_ns` (`time.monotonic_ns`)."""
        for early in self._waiting.put(picture, due_ns, nbytes):
            self.put(early)
        self._empty.clear()
        self._filled.set()

    async def get(self) -> T:
        """The newest one offered; raises `SlotClosed` at the end, or what it was closed with."""
        return await self._slot.get()

    async def play(self) -> None:
        """Let each picture go at its moment, for ever."""
        while True:
            self._filled.clear()
            for picture in self._waiting.take(time.monotonic_ns()):
                self.put(picture)
            due_ns = self._waiting.next_due_ns
            if due_ns is None:
                self._empty.set()
            with suppress(TimeoutError):  # another one may be due sooner
                async with asyncio.timeout(_seconds_until(due_ns)):
                    await self._filled.wait()

    async def emptied(self) -> None:
        """Wait until no picture waits for its moment."""
        await self._empty.wait()

    def close(self, error: Exception | None = None) -> None:
        """No more will come: `get` gives what is there, and then ends or raises `error`.

        What waits for its moment is passed over: wait until `emptied` for it to be shown.
        """
        self._slot.close(error)
        for picture in self._waiting.clear():
            self._on_passed_over(picture)
        self._empty.set()

    def discard(self) -> None:
        """Close, and pass over the one that was not taken too."""
        self.close()
        picture = self._slot.take()
        if picture is not None:
            self._on_passed_over(picture)


def _seconds_until(due_ns: int | None) -> float | None:
    return None if due_ns is None else max(0, due_ns - time.monotonic_ns()) / 1e9
