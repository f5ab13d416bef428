"""What a receiver session writes down: the session, each frame shown, what was not and why."""

from __future__ import annotations

from collections.abc import Mapping
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

    def sender_told(self, sent: int, dropped: Mapping[str, int]) -> None:
        """The sender tells how many frames it has sent here so far, and how many not and why."""
        self._metrics.set_sender_tally(sent, dropped)

    def resumed(self) -> None:
        """The person lets go of the picture that they held: what comes next is shown."""
        self._metrics.resume()

    def link_dropped(self, consumer_slow: int) -> None:
        """The link had to drop so many frames, since this end was still busy with others."""
        self._metrics.set_link_drops(DropReason.SUPERSEDED, consumer_slow)

    def summary(self) -> SummaryLine:
        return self._metrics.summary(self._at_s())
