"""Reads a session's log back, whole or cut short.

A log whose program was killed may end in half a line and lacks its summary: both are noted, and
the summary is then worked out from the frames.  Anything that is no log is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from shared.errors import BadInput
from shared.telemetry.metrics import Metrics
from shared.telemetry.records import (
    DropLine,
    EpochLine,
    EventLine,
    FrameLine,
    PathLine,
    SentFrameLine,
    SentSummaryLine,
    SessionLine,
    SummaryLine,
)

__all__ = ["SessionLog", "read_log"]


@dataclass(frozen=True, slots=True)
class SessionLog:
    """One session's lines by kind, in the order written."""

    session: SessionLine
    frames: tuple[FrameLine | SentFrameLine, ...]
    drops: tuple[DropLine, ...]
    epochs: tuple[EpochLine, ...]
    events: tuple[EventLine, ...]
    paths: tuple[PathLine, ...]
    summary: SummaryLine | SentSummaryLine
    summary_computed: bool
    """The log has no summary line (its program was killed): worked out from the frames."""
    cut_short: bool
    """The last line is not whole."""
    unreadable: int
    """Lines elsewhere that are no log lines, passed over."""

    @property
    def quality_changes(self) -> tuple[EventLine, ...]:
        """The events that tell of quality lowered or raised, or of another codec."""
        return tuple(
            e
            for e in self.events
            if e.event.endswith((" lowered", " raised")) or e.event.startswith("codec ")
        )

    @property
    def streamed_s(self) -> float:
        """From the first frame to the last."""
        return self.frames[-1].at_s - self.frames[0].at_s if self.frames else 0.0

    @property
    def duration_s(self) -> float:
        return max([self.summary.at_s, *(f.at_s for f in self.frames[-1:])])


class _Kind(BaseModel):
    model_config = ConfigDict(extra="ignore")
    type: str


_Other = DropLine | EpochLine | EventLine | PathLine


def read_log(path: Path) -> SessionLog:
    """Read the JSON-lines log at `path`.

    Raises:
        BadInput: there is no such file, it is empty, or it is not a session's log.
    """
    if path.is_char_device():  # /dev/full would be read for ever
        raise BadInput(
            f"{path} is not a session's log", hint="a log is written by --log on either end"
        )
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise BadInput(
            f"the log {path} can't be read: {error.strerror}",
            hint="give a file that --log wrote at either end",
        ) from error
    whole, rest = lines[:-1], lines[-1]
    if not whole:
        raise BadInput(
            f"{path} is empty" if not rest else f"{path} is not a session's log",
            hint="a log is written by --log on either end",
        )
    try:
        session = SessionLine.model_validate_json(whole[0])
    except ValidationError as error:
        raise BadInput(
            f"{path} is not a session's log: it does not begin with a session line",
            hint="a log is written by --log on either end",
        ) from error
    return _sorted_by_kind(session, whole[1:], cut_short=bool(rest))


def _sorted_by_kind(session: SessionLine, lines: list[bytes], *, cut_short: bool) -> SessionLog:
    sent = session.role == "sender"
    frame_model: type[FrameLine | SentFrameLine] = SentFrameLine if sent else FrameLine
    summary_model: type[SummaryLine | SentSummaryLine] = SentSummaryLine if sent else SummaryLine
    other = TypeAdapter[_Other](_Other)
    frames: list[FrameLine | SentFrameLine] = []
    others: list[_Other] = []
    summary: SummaryLine | SentSummaryLine | None = None
    unreadable = 0
    for line in lines:
        try:
            kind = _Kind.model_validate_json(line).type
            if kind == "frame":
                frames.append(frame_model.model_validate_json(line))
            elif kind == "summary":
                summary = summary_model.model_validate_json(line)
            else:
                others.append(other.validate_json(line))
        except ValidationError:
            unreadable += 1
    drops = tuple(o for o in others if isinstance(o, DropLine))
    return SessionLog(
        session=session,
        frames=tuple(frames),
        drops=drops,
        epochs=tuple(o for o in others if isinstance(o, EpochLine)),
        events=tuple(o for o in others if isinstance(o, EventLine)),
        paths=tuple(o for o in others if isinstance(o, PathLine)),
        summary=summary or _computed_summary(sent, frames, drops),
        summary_computed=summary is None,
        cut_short=cut_short,
        unreadable=unreadable,
    )


def _computed_summary(
    sent: bool, frames: list[FrameLine | SentFrameLine], drops: tuple[DropLine, ...]
) -> SummaryLine | SentSummaryLine:
    metrics = Metrics()
    lines = sorted((*frames, *drops), key=lambda line: line.at_s)
    for line in lines:  # as they happened: what was frozen over tells of the gap that it is in
        at_ns = round(line.at_s * 1e9)
        if isinstance(line, DropLine):
            metrics.add_drop(line.reason, at_ns, line.index)
        else:
            metrics.add_frame(line, at_ns)
    at_s = max([0.0, *(line.at_s for line in lines[-1:])])
    return metrics.sent_summary(at_s) if sent else metrics.summary(at_s)
