"""What a session writes down as it goes: its figures, and the log if one was asked for.

The one place where an event becomes both a number and a log line, so that the two can't disagree.
It is told what happened and when; it never looks into a frame.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

from shared.control import MAX_DETAIL_CHARS, Notice, PathReport
from shared.telemetry.log import JsonLinesLog
from shared.telemetry.metrics import Counted, Metrics, Snapshot
from shared.telemetry.records import (
    DropLine,
    DropReason,
    EpochLine,
    EventLine,
    Line,
    PathLine,
    SentSummaryLine,
    SessionLine,
    SummaryLine,
)

__all__ = ["Journal", "now_utc"]


def now_utc() -> str:
    """The wall-clock time for a log's head, ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Journal:
    """Figures and log of one end of a session; belongs to the event loop.

    `close` blocks until the log is on the disk, and raises `OutputFailed` where lines are missing.
    """

    def __init__(
        self,
        log: JsonLinesLog | None = None,
        *,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.began_at_ns = clock_ns()
        self._clock_ns = clock_ns
        self._log = log
        self._metrics = Metrics()
        self._drops: Counter[DropReason] = Counter()
        self._begun = False
        self._reason = ""

    def begin(self) -> None:
        """From now on the log's time is counted."""
        self.began_at_ns = self._clock_ns()

    def snapshot(self) -> Snapshot:
        """The figures of the moment."""
        return self._metrics.snapshot(self._clock_ns())

    @property
    def fps(self) -> float:
        """Frames a second, as in `snapshot`."""
        return self._metrics.fps(self._clock_ns())

    @property
    def drops(self) -> dict[str, int]:
        """What was dropped at this end so far, by reason."""
        return {reason.value: count for reason, count in self._drops.items()}

    @property
    def frames(self) -> int:
        """How many frames were shown (at the sender: sent) so far."""
        return self._metrics.frames

    def dropped(self, reason: DropReason, index: int | None = None, why: str = "") -> None:
        """A frame (of that source index, where it is known) will not be shown, and `why`."""
        self._drops[reason] += 1
        now_ns = self._clock_ns()
        self._metrics.add_drop(reason, now_ns, index)
        said = why[:MAX_DETAIL_CHARS] or None
        self.write(DropLine(at_s=self.seconds(now_ns), index=index, reason=reason, why=said))

    def epoch_entered(self, epoch: int, reason: str) -> None:
        """A new epoch is in force."""
        self.write(EpochLine(at_s=self._at_s(), epoch=epoch, reason=reason))

    def event(self, event: str, detail: str = "") -> None:
        """Something that a person would want to know of; may be told from any thread."""
        self.write(EventLine(at_s=self._at_s(), event=event, detail=detail))

    def noticed(self, notice: Notice, *, ends: bool = False) -> None:
        """The sender told both ends; its `since_ns` is on this machine's clock.

        `ends`: it ends one that lasted.
        """
        since_s = None if notice.since_ns is None else self.seconds(notice.since_ns)
        event = notice.kind.replace("_", " ") + (" ended" if ends else "")
        self._tell(EventLine(at_s=self._at_s(), event=event, detail=notice.text, since_s=since_s))

    def quality_changed(self, reason: str) -> None:
        """Quality was lowered or raised: "quality lowered: path 2.1 Mbit/s"."""
        event, _, why = reason.partition(": ")
        self._tell(EventLine(at_s=self._at_s(), event=event, detail=why))
        self._reason = reason

    @property
    def quality_reason(self) -> str:
        """Why quality is what it is: the last change, empty before the first."""
        return self._reason

    def path_measured(self, report: PathReport, receiver: int | None = None) -> None:
        """The sender has measured the path to a receiver (a number at the sender, else None)."""
        self._metrics.set_path(report.rate_bps, report.rtt_ms, report.loss)
        figures = report.model_dump(exclude={"type"})
        self._tell(PathLine(at_s=self._at_s(), receiver=receiver, **figures))

    def _tell(self, line: EventLine | PathLine) -> None:
        """Write what the sender told."""
        self.write(line)

    def counted(self, line: Counted) -> None:
        """A frame was shown (at the sender: sent) at `line.at_s`; its line is written apart."""
        self._metrics.add_frame(line, self.began_at_ns + round(line.at_s * 1e9))

    def write(self, line: Line) -> None:
        """Put `line` into the log, once a `session` line has begun it."""
        self._begun = self._begun or isinstance(line, SessionLine)
        if self._log is not None and self._begun:
            self._log.write(line)

    def close(self) -> None:
        """Write the summary and close the log; may be called again."""
        if self._log is not None:
            self.write(self.summary())
            log, self._log = self._log, None
            log.close()

    def summary(self) -> SummaryLine | SentSummaryLine:
        """The session's figures so far."""
        raise NotImplementedError

    def _at_s(self) -> float:
        return self.seconds(self._clock_ns())

    def seconds(self, at_ns: int) -> float:
        """`at_ns` (monotonic) on the log's time scale."""
        return (at_ns - self.began_at_ns) / 1e9
