"""What stands in the sender's panel, and for how long."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sender.console import NOTE_S, Console
from sender.journal import SenderJournal
from shared.crypto.pairing import PairingCode
from shared.errors import OutputFailed

CODE = PairingCode("7", "abandon-crystal-zebra")


@dataclass
class Session:
    """What the console looks at of a session."""

    receivers: int = 1
    session_id: str = "ab" * 16
    lasting: tuple[Any, ...] = ()
    journal: SenderJournal = field(default_factory=SenderJournal)
    keystream: Any = field(default_factory=lambda: type("Identity", (), {"family": "bp"}))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def note(console: Console, session: Any) -> str:
    return console.facts(session, "demo").note


def test_a_notice_stands_in_the_panel_for_a_while_and_then_the_reason_of_the_quality() -> None:
    clock, session = Clock(), Session()
    console = Console(None, "ws://127.0.0.1:8765", clock=clock)
    console.notice("codec: h264: at a rate that follows the path (not yet known)")
    assert note(console, session).startswith("codec: h264")
    clock.now += NOTE_S
    assert note(console, session) == ""
    session.journal.quality_changed("quality lowered: path 2.1 Mbit/s")
    assert note(console, session) == "quality lowered: path 2.1 Mbit/s"
    console.notice("a receiver left")
    assert note(console, session) == "a receiver left"


def test_it_is_live_while_somebody_watches() -> None:
    console, session = Console(None, ""), Session(receivers=0)
    waiting: Any = session
    assert console.facts(waiting, "demo").state == "waiting"
    session.receivers = 1
    assert console.facts(waiting, "demo").state == "live"
    assert console.facts(waiting, "demo", ended=True).state == "ended"


def test_a_code_file_is_for_this_user_alone_and_goes_with_the_code(tmp_path: Path) -> None:
    path = tmp_path / "code"
    path.touch(0o644)  # of an earlier session, or laid by somebody else
    console = Console(path, "")
    console.code(CODE)
    assert path.read_text() == f"{CODE}\n"
    assert path.stat().st_mode & 0o777 == 0o600
    console.forget_code()
    assert not path.exists()


def test_a_file_of_another_kind_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("not a code")
    Console(path, "").forget_code()
    assert path.exists()


def test_a_code_that_can_t_be_written_is_an_error_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(OutputFailed) as failed:
        Console(tmp_path / "missing" / "code", "").code(CODE)
    assert "--code-file" in failed.value.hint
