"""What the receiver writes down: its own drops, the sender's, and what was lost between them."""

from __future__ import annotations

from pathlib import Path

import pytest

from receiver.journal import ReceiverJournal
from shared.control import Notice, PathReport
from shared.telemetry.log import JsonLinesLog
from shared.telemetry.percentiles import RELATIVE_ERROR
from shared.telemetry.reader import SessionLog, read_log
from shared.telemetry.records import (
    DropReason,
    FrameLine,
    KeystreamIdentity,
    ShownStages,
    SummaryLine,
)

IDENTITY = KeystreamIdentity(family="bp", digest="ab" * 32, backend="cpu")


def shown(index: int, *, psnr_db: float | None = 41.0, latency_ms: float = 20.0) -> FrameLine:
    return FrameLine(
        at_s=index / 10,
        frame=index,
        epoch=1,
        codec="jpeg",
        width=64,
        height=48,
        channels=1,
        bytes=500,
        latency_ms=latency_ms,
        latency_bound_ms=0.5,
        psnr_db=psnr_db,
        lossless=psnr_db is None,
        stages_ms=ShownStages(),
    )


def test_who_goes_on_holds_no_picture_any_more(tmp_path: Path) -> None:
    written = Written(tmp_path / "r.jsonl")
    written.frames(0)
    written.journal.dropped(DropReason.FROZEN, 1)
    assert written.journal.snapshot().holding
    written.journal.resumed()
    assert not written.journal.snapshot().holding
    written.journal.close()


class Written:
    def __init__(self, path: Path) -> None:
        self._path = path
        self.journal = ReceiverJournal(JsonLinesLog(path))
        self.journal.session_started("7f3a", IDENTITY)

    def frames(self, *indices: int) -> None:
        for index in indices:
            self.journal.counted(shown(index))
            self.journal.write(shown(index))

    def read(self) -> SessionLog:
        self.journal.close()
        return read_log(self._path)

    def summary(self) -> SummaryLine:
        log = self.read()
        assert not log.summary_computed
        assert isinstance(log.summary, SummaryLine)
        return log.summary


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(tmp_path / "receiver.jsonl")


def test_the_session_line_tells_who_wrote_it_and_nothing_of_the_source(written: Written) -> None:
    session = written.read().session
    assert (session.role, session.session, session.keystream) == ("receiver", "7f3a", IDENTITY)
    assert (session.source, session.width, session.height, session.codec) == (None,) * 4


def test_the_log_s_time_begins_with_the_session(tmp_path: Path) -> None:
    journal = ReceiverJournal()
    made_at_ns = journal.began_at_ns
    journal.session_started("7f3a", IDENTITY)
    assert journal.began_at_ns > made_at_ns


def test_what_the_sender_tells_replaces_what_it_told_before(written: Written) -> None:
    written.frames(0, 1, 2)
    written.journal.sender_told(2, {"link_busy": 1})
    written.journal.sender_told(3, {"link_busy": 4, "sender_busy": 1})
    summary = written.summary()
    assert summary.frames_shown == 3
    assert summary.frames_dropped == {DropReason.LINK_BUSY: 4, DropReason.SENDER_BUSY: 1}


def test_frames_that_were_sent_and_never_came_are_counted(written: Written) -> None:
    written.frames(0, 1)
    written.journal.dropped(DropReason.LATE, 2)
    written.journal.sender_told(8, {})
    assert written.summary().frames_dropped == {DropReason.LATE: 1, DropReason.NOT_RECEIVED: 5}


def test_what_the_link_dropped_is_a_running_total_and_counts_as_superseded(
    written: Written,
) -> None:
    written.frames(0, 9)
    written.journal.dropped(DropReason.SUPERSEDED, 1)
    for total in (1, 2, 3):
        written.journal.link_dropped(total)
    written.journal.sender_told(6, {"link_busy": 4})
    summary = written.summary()
    assert summary.frames_dropped == {DropReason.SUPERSEDED: 4, DropReason.LINK_BUSY: 4}


def test_forgeries_and_replays_are_no_frames_of_the_sender(written: Written) -> None:
    written.frames(0, 1)
    for reason in (DropReason.AUTH_FAILURE, DropReason.REPLAYED, DropReason.REPLAYED):
        written.journal.dropped(reason)
    written.journal.dropped(DropReason.KEYSTREAM_MISMATCH)
    summary = written.summary()
    assert (summary.auth_failures, summary.replays, summary.keystream_mismatches) == (1, 2, 1)
    assert summary.frames_dropped == {DropReason.KEYSTREAM_MISMATCH: 1}


def test_the_summary_holds_the_figures_of_the_frames(written: Written) -> None:
    for index, (psnr, latency) in enumerate([(40.0, 10.0), (44.0, 30.0), (None, 20.0)]):
        written.journal.counted(shown(index, psnr_db=psnr, latency_ms=latency))
    summary = written.summary()
    assert (summary.frames_shown, summary.bytes) == (3, 1500)
    assert summary.latency_ms.p50 == pytest.approx(20.0, rel=RELATIVE_ERROR)
    assert summary.latency_ms.max == 30.0
    assert (summary.psnr_db.mean, summary.psnr_db.min) == (42.0, 40.0)
    assert summary.fps == pytest.approx(10.0)


def test_a_journal_may_be_closed_twice(written: Written) -> None:
    written.journal.close()
    written.journal.close()


# -- what the sender tells ------------------------------------------------------------------------


def test_what_the_sender_tells_is_marked_as_its_words(written: Written) -> None:
    written.journal.noticed(Notice(kind="epoch_entered", text="replays: 0"))
    written.journal.quality_changed("passed over: nothing")
    written.journal.event("still came", "frame 3")
    events = [(event.event, event.told_by) for event in written.read().events]
    assert events == [
        ("epoch entered", "sender"),
        ("passed over", "sender"),
        ("still came", None),
    ]


def test_a_flood_of_what_the_sender_tells_does_not_fill_the_log(written: Written) -> None:
    report = PathReport(rate_bps=1, rtt_ms=1, queue_ms=1, loss=0, target_bps=None)
    for number in range(3000):
        written.journal.noticed(Notice(kind="a", text=f"{number}"))
        written.journal.quality_changed(f"quality lowered: {number}")
        written.journal.path_measured(report)
    log = written.read()
    assert len(log.events) + len(log.paths) < 200
    assert log.events[0].detail == "0"
    (left_out,) = [event for event in log.events if event.event == "left out"]
    assert int(left_out.detail.split()[0]) + len(log.events) - 1 + len(log.paths) == 9000
