"""The log that a report is drawn from, and what is left of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from receiver.sessionreport import SessionReport
from shared.errors import OutputFailed


def test_a_log_of_its_own_lasts_as_long_as_the_report_needs_it(tmp_path: Path) -> None:
    with SessionReport(tmp_path / "r.html", log=None, frames=None) as report:
        assert report.log is not None
        assert report.log.parent.is_dir()
    assert not report.log.parent.exists()


def test_a_log_that_was_asked_for_stays(tmp_path: Path) -> None:
    log = tmp_path / "r.jsonl"
    log.touch()
    with SessionReport(tmp_path / "r.html", log=log, frames=None) as report:
        assert report.log == log
    assert log.exists()


def test_without_a_report_nothing_is_drawn_and_no_log_is_made(tmp_path: Path) -> None:
    with SessionReport(None, log=None, frames=None) as report:
        assert report.log is None
        report.write()


@pytest.mark.parametrize("place", ["missing/r.html", "."])
def test_a_report_that_could_not_be_put_there_is_refused_before_the_session(
    tmp_path: Path, place: str
) -> None:
    with pytest.raises(OutputFailed, match="can't be written"):
        SessionReport(tmp_path / place, log=None, frames=None)
    assert list(tmp_path.iterdir()) == []


def test_a_report_that_fails_keeps_its_log_and_names_it(tmp_path: Path) -> None:
    log = tmp_path / "r.jsonl"
    log.write_text("no log\n")
    with SessionReport(tmp_path / "r.html", log=log, frames=None) as report:
        with pytest.raises(OutputFailed, match="there is no report") as failed:
            report.write()
    assert str(log) in str(failed.value)
    assert log.exists()
