"""What a journal writes of the sender's notices."""

from __future__ import annotations

from pathlib import Path

import pytest

from sender.journal import SenderJournal
from shared.control import Notice
from shared.telemetry.log import JsonLinesLog
from shared.telemetry.reader import read_log
from shared.telemetry.records import KeystreamIdentity

IDENTITY = KeystreamIdentity(family="bp", digest="ab" * 32, backend="cpu")


def test_a_notice_is_an_event_with_its_words_and_the_time_since_when_it_holds(
    tmp_path: Path,
) -> None:
    journal = SenderJournal(JsonLinesLog(tmp_path / "s.jsonl"))
    journal.session_started("7f3a", "h264", IDENTITY)
    since_ns = journal.began_at_ns + 1_500_000_000
    still = Notice(kind="source_still", text="stands still", lasting=True, since_ns=since_ns)
    journal.noticed(still)
    journal.noticed(Notice(kind="source_still", text="goes on"), ends=True)
    journal.noticed(Notice(kind="picture_changed", text="the picture is 800x600 colour now"))
    journal.close()
    events = read_log(tmp_path / "s.jsonl").events
    assert [(event.event, event.detail) for event in events] == [
        ("source still", "stands still"),
        ("source still ended", "goes on"),
        ("picture changed", "the picture is 800x600 colour now"),
    ]
    assert events[0].since_s == pytest.approx(1.5)
    assert events[1].since_s is None
