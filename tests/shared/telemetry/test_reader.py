from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from shared.errors import BadInput
from shared.telemetry.reader import read_log
from shared.telemetry.records import (
    DropLine,
    DropReason,
    EventLine,
    FrameLine,
    KeystreamIdentity,
    Line,
    SessionLine,
    ShownStages,
    SummaryLine,
)

WriteLog = Callable[..., Path]

SESSION = SessionLine(
    role="receiver",
    session="7f3a91c2",
    version="0.1.0",
    codec=None,
    keystream=KeystreamIdentity(family="bp", digest="ab" * 32, backend="cpu"),
    suite="AES-256-GCM",
    source=None,
    width=None,
    height=None,
    started_at="2026-03-14T09:26:53+00:00",
)


def frame(index: int) -> FrameLine:
    return FrameLine(
        at_s=index / 30,
        frame=index,
        epoch=1,
        codec="jpeg",
        width=640,
        height=480,
        channels=3,
        bytes=4000,
        latency_ms=20.0,
        latency_bound_ms=0.5,
        psnr_db=41.5,
        lossless=False,
        stages_ms=ShownStages(),
    )


def held(index: int) -> DropLine:
    return DropLine(at_s=index / 30, index=index, reason=DropReason.FROZEN)


def log_of(folder: Path, *lines: Line) -> Path:
    path = folder / "session.jsonl"
    path.write_text("".join(f"{line.model_dump_json()}\n" for line in (SESSION, *lines)))
    return path


def summary_of(path: Path) -> SummaryLine:
    log = read_log(path)
    assert log.summary_computed
    assert isinstance(log.summary, SummaryLine)
    return log.summary


def test_without_a_summary_a_hold_is_no_freeze_and_takes_no_part_in_the_frame_rate(
    tmp_path: Path,
) -> None:
    before = [frame(index) for index in range(60)]
    hold = [held(index) for index in range(60, 180)]
    after = [frame(index) for index in range(180, 240)]
    summary = summary_of(log_of(tmp_path, *before, *hold, *after))
    assert (summary.frames_shown, summary.frames_frozen, summary.freezes) == (120, 120, 0)
    assert summary.fps == pytest.approx(30.0, rel=1e-3)
    assert summary.frames_dropped == {}
    assert summary.at_s == pytest.approx(239 / 30, abs=1e-3)
    still = summary_of(log_of(tmp_path, *before, *after))
    assert still.freezes == 1, "nobody held the picture"


def test_frames_whose_lines_came_late_count_when_they_were_shown(tmp_path: Path) -> None:
    frames = [frame(index) for index in range(60)]
    late = [*frames[:10], *frames[20:], *frames[10:20]]
    in_order, out_of_order = (summary_of(log_of(tmp_path, *lines)) for lines in (frames, late))
    assert in_order == out_of_order
    assert in_order.freezes == 0


def test_lines_are_sorted_by_kind_and_what_is_no_line_is_counted(write_log: WriteLog) -> None:
    path = write_log()
    with path.open("a") as file:
        file.write('{"type":"sunspots"}\nnonsense\n{"type":"drop"}\n')
    log = read_log(path)
    assert [len(kind) for kind in (log.frames, log.drops, log.epochs, log.events, log.paths)] == [
        88,
        2,
        1,
        1,
        3,
    ]
    assert (log.unreadable, log.cut_short, log.summary_computed) == (3, False, False)
    assert log.streamed_s == pytest.approx(89 / 30, abs=1e-3)
    assert log.duration_s == pytest.approx(3.0)


def test_changes_of_quality_and_codec_are_told_apart_from_other_events(tmp_path: Path) -> None:
    events = (
        "a receiver joined",
        "quality lowered",
        "frame rate raised",
        "codec changed to h264-444",
    )
    path = log_of(tmp_path, *(EventLine(at_s=0.0, event=event) for event in events))
    assert [change.event for change in read_log(path).quality_changes] == list(events[1:])


def test_a_log_of_a_session_alone_has_a_summary_of_nothing(tmp_path: Path) -> None:
    log = read_log(log_of(tmp_path))
    assert log.summary_computed
    assert (log.summary.at_s, log.streamed_s, log.duration_s) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"hello\n", b"{}\n", b'{"type":"frame"}\n', b"\x89PNG\r\n", b'{"type":"session"'],
)
def test_what_is_no_log_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    with pytest.raises(BadInput):
        read_log(path)
