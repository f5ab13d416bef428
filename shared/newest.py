"""A slot that holds one item, the newest: the place where "newest frame wins" is kept.

Putting into a full slot replaces what lies there and hands the loser back, so that its owner can
count it.  Not a queue: nothing waits behind anything.
"""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

__all__ = ["Newest", "SlotClosed"]

T = TypeVar("T")


class SlotClosed(Exception):
    """The slot was closed and is empty: nothing more will come."""


class Newest(Generic[T]):
    """An asyncio slot for one producer and one consumer on the same loop."""

    def __init__(self) -> None:
        self._item: T | None = None
        self._closed = False
        self._error: BaseException | None = None
        self._changed = asyncio.Event()

    @property
    def closed(self) -> bool:
        """Whether nothing more will be put in."""
        return self._closed

    def put(self, item: T) -> T | None:
        """Lay `item` into the slot; return the item that it replaced, if any."""
        replaced, self._item = self._item, item
        self._changed.set()
        return replaced

    def take(self) -> T | None:
        """Take the item out if there is one."""
        item, self._item = self._item, None
        return item

    def close(self, error: BaseException | None = None) -> None:
        """Nothing more will come; `get` gives what is left, then raises `error` or `SlotClosed`."""
        self._closed = True
        self._error = error
        self._changed.set()

    async def get(self) -> T:
        """Wait for an item and take it out."""
        while (item := self.take()) is None:
            if self._closed:
                raise self._error if self._error is not None else SlotClosed
            self._changed.clear()
            await self._changed.wait()
        return item
