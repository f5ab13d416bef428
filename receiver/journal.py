"""What a receiver session writes down: the session, each frame shown, what was not and why."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from importlib.metadata import version

from receiver.linelimit import LineLimit
from shared.telemetry.journal import Journal, now_utc
from shared.telemetry.log import JsonLinesLog
from shared.telemetry.records import (
    DropReason,
    EventLine,
    KeystreamIdentity,
    PathLine,
    SessionLine,
    SummaryLine,
)
from shared.wire import SUITE_NAME

__all__ = ["ReceiverJournal"]

EVENTS_AT_ONCE, EVENT_EVERY_NS = 30, 1_000_000_000
PATHS_AT_ONCE, PATH_EVERY_NS = 10, 500_000_000  # a sender tells it once a second


class ReceiverJournal(Journal):
    """The receiver's figures and log.

    What the sender tells is marked as its words, and written as often as a sender of this version
    may have reason to tell it; the rest is counted.
    """

    def __init__(
        self,
        log: JsonLinesLog | None = None,
        *,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        super().__init__(log, clock_ns=clock_ns)
        self._events = LineLimit(EVENTS_AT_ONCE, EVENT_EVERY_NS)
        self._paths = LineLimit(PATHS_AT_ONCE, PATH_EVERY_NS)
        self._left_out = 0

    def session_started(self, session_id: str, keystream: KeystreamIdentity) -> None:
        """Paired: frames are awaited, and the log's time begins."""
        self.begin()
        self.write(
            SessionLine(
                role="receiver",
                session=session_id,
                version=version("veilscope"),
                codec=None,
                keystream=keystream,
                suite=SUITE_NAME,
                source=None,
                width=None,
                height=None,
                started_at=now_utc(),
            )
        )

    def sender_told(self, sent: int, dropped: Mapping[str, int]) -> None:
        """The sender tells how many frames it has sent here so far, and how many not and why."""
        self._metrics.set_sender_tally(sent, dropped)

    def resumed(self) -> None:
        """The person lets go of the picture that they held: what comes next is shown."""
        self._metrics.resume()

    def link_dropped(self, consumer_slow: int) -> None:
        """The link had to drop so many frames, since this end was still busy with others."""
        self._metrics.set_link_drops(DropReason.SUPERSEDED, consumer_slow)

    def _tell(self, line: EventLine | PathLine) -> None:
        limit = self._paths if isinstance(line, PathLine) else self._events
        if not limit.allowed(self._clock_ns()):
            self._left_out += 1
            return
        if isinstance(line, EventLine):
            line = line.model_copy(update={"told_by": "sender"})
        self.write(line)

    def close(self) -> None:
        left_out, self._left_out = self._left_out, 0
        if left_out:
            self.event("left out", f"{left_out} lines of what the sender told, too many to write")
        super().close()

    def summary(self) -> SummaryLine:
        return self._metrics.summary(self._at_s())
