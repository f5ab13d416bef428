"""What the sender writes down: every frame that left, once, whoever got it first."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sender.journal import SenderJournal, SourceFacts
from sender.pipeline import SealedFrame
from shared.frame import EncodedFrame
from shared.telemetry.log import JsonLinesLog
from shared.telemetry.reader import SessionLog, read_log
from shared.telemetry.records import (
    DropReason,
    KeystreamIdentity,
    SentFrameLine,
    SentStages,
    SentSummaryLine,
)

IDENTITY = KeystreamIdentity(family="bp", digest="ab" * 32, backend="cpu")
MS = 1_000_000


def sealed(
    index: int, *, epoch: int = 1, counter: int | None = None, psnr_db: float | None = 40.0
) -> SealedFrame:
    return SealedFrame(
        index=index,
        epoch=epoch,
        counter=index if counter is None else counter,
        captured_at_ns=0,
        sealed_at_ns=index * 100 * MS,
        encoded=EncodedFrame("jpeg", 640, 480, 3, bytes(900), psnr_db),
        sealed=bytes(1000 + index),
        stages_us={"capture": 1500, "mask": 200, "encode": 3000, "keystream": 40, "seal": 50},
    )


class Written:
    def __init__(self, path: Path, source: SourceFacts | None = None) -> None:
        self._path = path
        self.journal = SenderJournal(JsonLinesLog(path), source)
        self.journal.session_started("7f3a", "jpeg", IDENTITY)

    def frame(self, frame: SealedFrame, *, after_ms: int = 3) -> None:
        self.journal.frame_sent(frame, frame.sealed_at_ns + after_ms * MS)

    def read(self) -> SessionLog:
        self.journal.close()
        return read_log(self._path)


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(tmp_path / "sender.jsonl")


def indices(log: SessionLog) -> list[int]:
    return [line.frame for line in log.frames]


def test_a_frame_sent_to_two_receivers_is_one_line(written: Written) -> None:
    for index in range(3):
        written.frame(sealed(index), after_ms=3)
        written.frame(sealed(index), after_ms=30)
    assert written.journal.frames == 3
    log = written.read()
    assert indices(log) == [0, 1, 2]
    assert all(line.stages_ms.send == 3.0 for line in log.frames), "the first receiver counts"


def test_a_still_that_left_is_an_event_and_no_frame(written: Written) -> None:
    written.frame(sealed(0))
    written.frame(replace(sealed(0, counter=1), still=True))
    assert written.journal.frames == 1
    log = written.read()
    assert indices(log) == [0]
    [event] = log.events
    assert (event.event, event.detail) == ("still sent", "frame 0, 1000 bytes")


def test_a_frame_sent_only_to_the_slower_receiver_is_a_line_too(written: Written) -> None:
    written.frame(sealed(0))
    written.frame(sealed(2))
    written.frame(sealed(1))  # the slower path takes what the quicker one had no room for
    written.frame(sealed(2))
    assert indices(written.read()) == [0, 2, 1]


def test_counters_of_two_epochs_are_not_confused(written: Written) -> None:
    written.frame(sealed(5, epoch=1, counter=0))
    written.frame(sealed(6, epoch=2, counter=0))
    log = written.read()
    assert [(line.frame, line.epoch) for line in log.frames] == [(5, 1), (6, 2)]


def test_a_line_tells_the_frame_and_its_stages(written: Written) -> None:
    written.frame(sealed(7, epoch=3, counter=2), after_ms=12)
    [line] = written.read().frames
    assert isinstance(line, SentFrameLine)
    assert (line.frame, line.epoch, line.codec, line.bytes) == (7, 3, "jpeg", 1007)
    assert (line.width, line.height, line.channels) == (640, 480, 3)
    assert (line.psnr_db, line.lossless) == (40.0, False)
    assert line.stages_ms == SentStages(
        capture=1.5, mask=0.2, encode=3.0, keystream=0.04, seal=0.05, send=12.0
    )


def test_the_session_line_tells_the_source_s_kind_and_no_name(tmp_path: Path) -> None:
    source = SourceFacts("dicom", 640, 480, 25.0)
    log = Written(tmp_path / "log.jsonl", source).read()
    assert log.session.role == "sender"
    assert (log.session.session, log.session.codec, log.session.source) == ("7f3a", "jpeg", "dicom")
    assert (log.session.width, log.session.height, log.session.fps) == (640, 480, 25.0)
    assert log.session.keystream == IDENTITY


def test_the_summary_adds_up_what_was_sent_and_dropped(written: Written) -> None:
    for index, psnr in enumerate((40.0, 44.0, None)):
        written.frame(sealed(index, psnr_db=psnr))
        written.frame(sealed(index, psnr_db=psnr))
    written.journal.dropped(DropReason.LINK_BUSY, 3)
    written.journal.dropped(DropReason.NO_RECEIVER, 4)
    written.journal.dropped(DropReason.NO_RECEIVER, 5)
    assert written.journal.drops == {DropReason.LINK_BUSY: 1, DropReason.NO_RECEIVER: 2}
    log = written.read()
    assert not log.summary_computed
    summary = log.summary
    assert isinstance(summary, SentSummaryLine)
    assert summary.frames_sent == 3
    assert summary.bytes == 1000 + 1001 + 1002
    assert summary.frames_dropped == {DropReason.LINK_BUSY: 1, DropReason.NO_RECEIVER: 2}
    assert (summary.psnr_db.mean, summary.psnr_db.min) == (42.0, 40.0)
    assert summary.fps == pytest.approx(10.0)
    assert [(drop.index, drop.reason) for drop in log.drops] == [
        (3, DropReason.LINK_BUSY),
        (4, DropReason.NO_RECEIVER),
        (5, DropReason.NO_RECEIVER),
    ]


def test_without_a_log_the_figures_are_kept_all_the_same() -> None:
    journal = SenderJournal()
    journal.session_started("7f3a", "jpeg", IDENTITY)
    journal.frame_sent(sealed(0), 5 * MS)
    assert journal.summary().frames_sent == 1
    journal.close()


def test_what_is_wrong_with_a_picture_stands_in_its_line_and_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    journal = SenderJournal(JsonLinesLog(path))
    journal.session_started("7f3a", "jpeg", IDENTITY)
    journal.dropped(DropReason.SOURCE_DAMAGED, 4, "its JPEG data are damaged")
    journal.dropped(DropReason.SOURCE_DAMAGED, 5, "x" * 5000)
    journal.dropped(DropReason.LINK_BUSY, 6)
    journal.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    first, second, third = (line for line in lines if line["type"] == "drop")
    assert (first["index"], first["why"]) == (4, "its JPEG data are damaged")
    assert second["why"] == "x" * 200
    assert "why" not in third
