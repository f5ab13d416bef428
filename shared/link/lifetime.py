"""Whether a link is up or over, and those who wait for something of it.

A thin shell over events of the loop.  It frees nothing and tells the other end nothing
(`shared.link.endpoint` does), and nobody waits here beyond the end of the link.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from shared.errors import LinkFailed
from shared.link.link import LinkEnd

__all__ = ["Lifetime"]


class Lifetime:
    """A link is opened once and ends once, perhaps without having been open."""

    def __init__(self) -> None:
        self._opened = False
        self._end: LinkEnd | None = None
        self._changed = asyncio.Event()
        self._events = [self._changed]

    @property
    def opened(self) -> bool:
        """Whether both channels are open, or were."""
        return self._opened

    @property
    def end(self) -> LinkEnd | None:
        """Why the link is over; None while it is not."""
        return self._end

    @property
    def up(self) -> bool:
        return self._opened and self._end is None

    @property
    def listens(self) -> bool:
        """Whether what the other end says still matters: until it is gone, or we are."""
        return self._end is None or self._end.cause == "local"

    def open(self) -> None:
        """Both channels are open."""
        self._opened = True
        self.wake()

    def finish(self, end: LinkEnd) -> bool:
        """The link is over, for the first reason given; returns whether this is it."""
        if self._end is not None:
            return False
        self._end = end
        for event in self._events:
            event.set()
        return True

    def wake(self) -> None:
        """Something changed that somebody may wait for."""
        self._changed.set()

    def event(self) -> asyncio.Event:
        """An event of one's own, for what changes often, to wait for with `until`."""
        event = asyncio.Event()
        self._events.append(event)
        return event

    async def until(self, ready: Callable[[], bool], changed: asyncio.Event | None = None) -> None:
        """Wait until `ready()`, which `wake` or `changed` announces, or the end of the link."""
        changed = changed or self._changed
        while not ready() and self._end is None:
            changed.clear()
            await changed.wait()

    async def connected(self, timeout_s: float) -> None:
        """Wait until the link is open; raises `LinkFailed`, or `PeerGone` once it is over."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.until(lambda: self._opened)
        except TimeoutError:
            raise _unreachable(f"no connection within {timeout_s:g} s") from None
        if self._end is not None and self._end.cause != "local" and not self._opened:
            raise _unreachable(self._end.detail or "the other end closed the link")
        self.raise_if_over()

    async def over(self) -> LinkEnd:
        """Wait for the end of the link."""
        while self._end is None:
            self._changed.clear()
            await self._changed.wait()
        return self._end

    def raise_if_over(self) -> None:
        """Raises `PeerGone` once the link is over."""
        if self._end is not None:
            raise self._end.error()

    def raise_if_not_up(self) -> None:
        """Raises `LinkFailed` before the link is open, `PeerGone` once it is over."""
        self.raise_if_over()
        if not self._opened:
            raise LinkFailed("the link is not connected yet")


def _unreachable(detail: str) -> LinkFailed:
    return LinkFailed(
        f"the two ends could not be connected: {detail}",
        hint="a firewall may block UDP between them; a TURN server, which the signaling server "
        "hands out (its option --ice-config), gets around it",
    )
