"""What a receiver session writes down: the session, each frame shown, what was not and why."""

from __future__ import annotations

from importlib.metadata import version

from shared.telemetry.journal import Journal, now_utc
from shared.telemetry.records import DropReason, KeystreamIdentity, SessionLine, SummaryLine
from shared.wire import SUITE_NAME

__all__ = ["ReceiverJournal"]


class ReceiverJournal(Journal):
    """The receiver's figures and log."""

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

    def sender_dropped(self, totals: dict[str, int]) -> None:
        """The sender tells how many frames never left it, by reason."""
        self._metrics.set_told_drops("sender", totals)

    def link_dropped(self, consumer_slow: int) -> None:
        """The link had to drop so many frames, since this end was still busy with others."""
        self._metrics.set_told_drops("link", {DropReason.SUPERSEDED: consumer_slow})

    def summary(self) -> SummaryLine:
        return self._metrics.summary(self._at_s())
