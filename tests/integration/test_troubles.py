"""A camera that has every trouble: both sessions live, and both logs tell the story."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from receiver.journal import ReceiverJournal
from receiver.sinks import ShownFrame
from receiver.sinks.files import FilesSink
from receiver.sinks.record import RecordSink
from sender.journal import SenderJournal
from sender.playback.play import play
from sender.settings import SenderSettings
from shared.telemetry.log import JsonLinesLog
from shared.telemetry.reader import SessionLog, read_log
from shared.telemetry.records import DropReason, FrameLine
from shared.telemetry.report import write_report
from tests.integration.test_streams import in_memory
from tests.integration.troubledcamera import GREY, LARGER, ODD, Act, TroubledCamera

STORY = (
    Act("runs", 0.4),
    Act("freezes", 0.6),
    Act("stutters", 0.4),
    Act("runs", 0.3, LARGER),
    Act("runs", 0.3, GREY),
    Act("breaks", 0.5),
    Act("stalls", 0.6),
    Act("runs", 0.3, ODD),
    Act("gone", 0.6, ODD),
    Act("runs", 0.4),
)
TOLD = [
    ("source still", "the source stands still"),
    ("source still ended", "the source gives new pictures again, after"),
    ("picture changed", "the picture is 800x600 colour now"),
    ("picture changed", "the picture is 640x480 grey now"),
    ("picture changed", "the picture is 640x480 colour now"),
    ("picture skipped", "a picture of the source is left out: the frame is cut short"),
    ("source still", "the source delivers no picture"),
    ("source still ended", "the source gives new pictures again, after"),
    ("picture changed", "the picture is 391x517 colour now"),
    ("source lost", "the camera is gone; it is tried again"),
    ("source lost ended", "the camera is back"),
    ("picture changed", "the picture is 640x480 colour now"),
]


def story(log: SessionLog) -> list[tuple[str, str]]:
    kinds = ("source ", "picture ")
    return [(e.event, e.detail) for e in log.events if e.event.startswith(kinds)]


def tells(log: SessionLog) -> bool:
    """Whether `log` tells all of `TOLD` in order; a machine under load may add a standing still."""
    rest = iter(story(log))
    return all(any(e == event and d.startswith(detail) for e, d in rest) for event, detail in TOLD)


@pytest.mark.parametrize("codec", ["auto", "lossless"])
async def test_both_ends_outlive_a_camera_s_troubles_and_both_logs_tell_of_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, codec: str
) -> None:
    monkeypatch.setattr("sender.playback.standstill.STILL_AFTER_NS", 250_000_000)
    monkeypatch.setattr("sender.playback.standstill.REPEAT_EVERY_NS", 100_000_000)
    logs = tmp_path / "sender.jsonl", tmp_path / "receiver.jsonl"
    journals = SenderJournal(JsonLinesLog(logs[0])), ReceiverJournal(JsonLinesLog(logs[1]))
    recording, saved = RecordSink(tmp_path / "session.mp4"), FilesSink(tmp_path / "frames")
    came = list[ShownFrame]()
    for sink in (recording, saved):
        sink.start()
    async with in_memory(
        monkeypatch,
        play(TroubledCamera(STORY, fps=50.0)),
        SenderSettings(codec=codec, device="cpu", strip=True),
        journals=journals,
    ) as (sender, receiver):
        async for shown in receiver:
            came.append(shown)
            for sink in (recording, saved):
                sink.show(shown)
        assert receiver.goodbye is not None
        assert receiver.goodbye.reason == "ended"
        await sender.finished()
    for sink in (recording, saved):
        sink.close()

    sent, seen = (read_log(path) for path in logs)
    assert tells(sent), story(sent)
    assert tells(seen), story(seen)
    assert story(sent)[-len(story(seen)) :] == story(seen)
    damaged = [log.summary.frames_dropped.get(DropReason.SOURCE_DAMAGED) for log in (sent, seen)]
    assert damaged[0] == damaged[1] == 2
    shapes = {(shown.frame.height, shown.frame.width, shown.frame.channels) for shown in came}
    assert shapes == {(480, 640, 3), (600, 800, 3), (480, 640, 1), (517, 391, 3)}

    repeated = [shown for shown in came if shown.frame.repeated]
    assert repeated
    for earlier, later in pairwise(repeated):
        if earlier.frame.captured_at_ns == later.frame.captured_at_ns:
            assert (later.latency_ms or 0) > (earlier.latency_ms or 0), "its age was renewed"
    lines = [line for line in seen.frames if isinstance(line, FrameLine)]
    assert sum(line.repeated for line in lines) == len(repeated)
    assert seen.summary.model_dump()["frames_shown"] == len(came) - len(repeated)
    assert len(list((tmp_path / "frames").glob("*.png"))) == len(came)
    assert [path.name for path in sorted(tmp_path.glob("*.mp4"))] == [
        "session-2.mp4", "session-3.mp4", "session-4.mp4", "session.mp4"
    ]  # fmt: skip
    write_report(logs[1], tmp_path / "report.html", frames_dir=tmp_path / "frames")
    assert "damaged in the source" in (tmp_path / "report.html").read_text()
