"""The relays of one client, numbered and kept until the server can be sure to have them.

Pure: it neither writes nor waits.
"""

from __future__ import annotations

from collections import deque

__all__ = ["Outbox"]

MAX_KEPT = 64  # written relays kept in case the server did not get them


class Outbox:
    """Relays in order: the older ones written to the present connection, the newer ones waiting."""

    def __init__(self) -> None:
        self._kept: deque[str] = deque()  # the newest last
        self._added = 0
        self._written = 0

    @property
    def waiting(self) -> int:
        """How many are not yet written."""
        return self._added - self._written

    def add(self, text: str) -> None:
        self._kept.append(text)
        self._added += 1

    def take(self) -> str | None:
        """The next one to write, or None; counted as written from now on."""
        if not self.waiting:
            return None
        text = self._kept[-self.waiting]
        self._written += 1
        while len(self._kept) - self.waiting > MAX_KEPT:
            self._kept.popleft()
        return text

    def rewind(self, received: int) -> None:
        """Go on, on a new connection, after the first `received` relays.

        Raises:
            ValueError: not so many were written, or the next one is not kept any more.
        """
        oldest = self._added - len(self._kept)
        if not oldest <= received <= self._written:
            raise ValueError("no such place to go on from")
        for _ in range(received - oldest):
            self._kept.popleft()
        self._written = received
