"""What the person at the sender is told as it happens, and what of that the log keeps."""

from __future__ import annotations

from collections.abc import Callable

from sender.journal import SenderJournal
from shared.control import Notice

__all__ = ["Notices"]


class Notices:
    """Tells the log, and the person by `on_notice` where there is one."""

    def __init__(self, journal: SenderJournal, on_notice: Callable[[str], None] | None) -> None:
        self._journal = journal
        self._on_notice = on_notice

    def event(self, event: str, detail: str | Exception = "") -> None:
        """Something happened; of an error the log gets the type alone.

        Its text may name a host, which is the person's business and not the log's.
        """
        told = type(detail).__name__ if isinstance(detail, Exception) else detail
        self._journal.event(event, told)
        self._say(f"{event}: {detail}" if str(detail) else event)

    def note(self, event: str, detail: str) -> None:
        """Something that no person need be told, but who reads the log may ask for."""
        self._journal.event(event, detail)

    def quality(self, reason: str) -> None:
        """Quality was lowered or raised, in one line with its reason."""
        self._journal.quality_changed(reason)
        self._say(reason)

    def source(self, notice: Notice, *, ends: bool) -> None:
        """Something of the source that the receivers are told too; `ends` what lasted until now."""
        self._journal.noticed(notice, ends=ends)
        self._say(notice.text)

    def _say(self, line: str) -> None:
        if self._on_notice is not None:
            self._on_notice(line)
