"""What the person is told, and what of it the log keeps."""

from __future__ import annotations

from sender.journal import SenderJournal
from sender.notices import Notices
from shared.errors import LinkFailed
from shared.telemetry.records import EventLine, Line


class Record(SenderJournal):
    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[str, str]] = []

    def write(self, line: Line) -> None:
        assert isinstance(line, EventLine)
        self.events.append((line.event, line.detail))


def test_an_event_goes_to_person_and_log() -> None:
    journal, said = Record(), list[str]()
    notices = Notices(journal, said.append)
    notices.event("a receiver joined")
    notices.event("codec", "h264: the fewest bytes")
    assert said == ["a receiver joined", "codec: h264: the fewest bytes"]
    assert journal.events == [("a receiver joined", ""), ("codec", "h264: the fewest bytes")]


def test_of_an_error_the_log_keeps_the_type_alone() -> None:
    journal, said = Record(), list[str]()
    Notices(journal, said.append).event("a receiver is lost", LinkFailed("192.0.2.7 is gone"))
    assert said == ["a receiver is lost: 192.0.2.7 is gone"]
    assert journal.events == [("a receiver is lost", "LinkFailed")]


def test_a_change_of_quality_is_remembered_as_the_reason() -> None:
    journal, said = Record(), list[str]()
    Notices(journal, said.append).quality("quality lowered: path 2.1 Mbit/s")
    assert said == ["quality lowered: path 2.1 Mbit/s"]
    assert journal.events == [("quality lowered", "path 2.1 Mbit/s")]
    assert journal.quality_reason == said[0]


def test_without_a_person_the_log_is_written_all_the_same() -> None:
    journal = Record()
    Notices(journal, None).event("a receiver left")
    assert journal.events == [("a receiver left", "")]
