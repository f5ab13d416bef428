"""What a sender session writes down: the session, each frame that left, what was dropped."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from importlib.metadata import version

from sender.pipeline import SealedFrame
from shared.telemetry.journal import Journal, now_utc
from shared.telemetry.log import JsonLinesLog
from shared.telemetry.records import (
    KeystreamIdentity,
    SentFrameLine,
    SentStages,
    SentSummaryLine,
    SessionLine,
)
from shared.wire import SUITE_NAME

__all__ = ["SenderJournal", "SourceFacts"]

REMEMBERED = 64  # frames that some receiver's path has taken; no other path is further behind


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What may be told of a source: its kind, never its name."""

    kind: str = "program"
    width: int | None = None
    height: int | None = None
    fps: float | None = None


class SenderJournal(Journal):
    """The sender's figures and log."""

    def __init__(self, log: JsonLinesLog | None = None, source: SourceFacts | None = None) -> None:
        super().__init__(log)
        self._source = source or SourceFacts()
        self._sent: deque[tuple[int, int]] = deque(maxlen=REMEMBERED)

    def session_started(
        self, session_id: str, codec: str | None, keystream: KeystreamIdentity
    ) -> None:
        """The room is open and the first receiver is awaited; the log's time begins.

        `codec` is None where it is chosen later on.
        """
        self.begin()
        source = self._source
        self.write(
            SessionLine(
                role="sender",
                session=session_id,
                version=version("veilscope"),
                codec=codec,
                keystream=keystream,
                suite=SUITE_NAME,
                source=source.kind,
                width=source.width,
                height=source.height,
                fps=source.fps,
                started_at=now_utc(),
            )
        )

    def has_sent(self, frame: SealedFrame) -> bool:
        """Whether some receiver's path has taken `frame`."""
        return (frame.epoch, frame.counter) in self._sent

    def frame_sent(self, frame: SealedFrame, sent_at_ns: int) -> None:
        """A receiver's path has taken `frame`; the first of several receivers is what counts."""
        if frame.still:
            self.event("still sent", f"frame {frame.index}, {len(frame.sealed)} bytes")
            return
        if self.has_sent(frame):
            return
        self._sent.append((frame.epoch, frame.counter))
        encoded = frame.encoded
        stages = {name: us / 1e3 for name, us in frame.stages_us.items()}
        line = SentFrameLine(
            at_s=self.seconds(sent_at_ns),
            frame=frame.index,
            epoch=frame.epoch,
            codec=encoded.codec,
            width=encoded.width,
            height=encoded.height,
            channels=encoded.channels,
            bytes=len(frame.sealed),
            psnr_db=encoded.psnr_db,
            lossless=encoded.lossless,
            stages_ms=SentStages(**stages, send=(sent_at_ns - frame.sealed_at_ns) / 1e6),
            repeated=frame.repeated,
        )
        self.counted(line)
        self.write(line)

    def summary(self) -> SentSummaryLine:
        return self._metrics.sent_summary(self._at_s())
