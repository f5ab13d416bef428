"""The notices in force: what lasts, of each kind the newest, until one comes that does not last.

Both ends keep one: the sender for who joins later, the receiver for its window.  Pure, and bounded
whatever the other end says.
"""

from __future__ import annotations

from collections.abc import Iterator

from shared.control import Notice

__all__ = ["MAX_KINDS", "NoticeBoard"]

MAX_KINDS = 8  # more than a person reads at once


class NoticeBoard:
    """Iterates over the notices in force, the one that began to last first before the others."""

    def __init__(self) -> None:
        self._lasting: dict[str, Notice] = {}

    def __iter__(self) -> Iterator[Notice]:
        return iter(tuple(self._lasting.values()))

    def take(self, notice: Notice) -> bool:
        """Put `notice` up if it lasts; otherwise return whether it ends one that was up."""
        if not notice.lasting:
            return self._lasting.pop(notice.kind, None) is not None
        self._lasting[notice.kind] = notice
        if len(self._lasting) > MAX_KINDS:
            del self._lasting[next(iter(self._lasting))]
        return False
