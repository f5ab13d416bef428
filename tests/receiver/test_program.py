"""The receiver's program around a session that hands out frames as told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Self

import numpy as np
import pytest

from receiver import program as program_module
from receiver import sessionreport as report_module
from receiver.codeentry import CodeEntry
from receiver.journal import ReceiverJournal
from receiver.program import ReceiverProgram
from receiver.sessionreport import SessionReport
from receiver.settings import ReceiverSettings
from receiver.sinks import SessionInfo, ShownFrame, Sink
from receiver.sinks.viewer import Still
from shared.control import Notice
from shared.crypto.pairing import PairingCode
from shared.errors import BadInput, OutputFailed, PeerGone, WrongCode
from shared.frame import Frame
from shared.telemetry.live import LivePanel
from shared.telemetry.log import JsonLinesLog
from shared.telemetry.reader import read_log
from shared.telemetry.records import (
    DropReason,
    FrameLine,
    KeystreamIdentity,
    ShownStages,
    SummaryLine,
)
from tests.doubles import turns

CODE = PairingCode.parse("7-abandon-abandon-zoo")


class FakeSession:
    """Hands out 20 frames, then ends, or fails with `failure`."""

    failure: Exception | None = None

    def __init__(
        self,
        code: PairingCode,
        settings: ReceiverSettings,
        *,
        journal: ReceiverJournal,
        on_quality: Callable[[str], None],
        on_notice: Callable[[Notice], None],
    ) -> None:
        self.tell = on_notice
        self.lasting: tuple[Notice, ...] = ()
        self.journal = journal
        self.session_id = "ab12"
        self.keystream = KeystreamIdentity(family="bp", digest="ab" * 32, backend="cpu")
        self.goodbye = None
        self.still_refusal = ""
        self.left = False
        self.fates: list[tuple[int, str]] = []
        sessions.append(self)

    async def __aenter__(self) -> Self:
        self.journal.session_started(self.session_id, self.keystream)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.left = True
        await asyncio.to_thread(self.journal.close)

    async def __aiter__(self) -> AsyncIterator[ShownFrame]:
        for index in range(20):
            await asyncio.sleep(0)
            frame = Frame(index, 0, np.zeros((4, 4), np.uint8))
            yield ShownFrame(frame, b"", 20.0, 0.5, 41.0, 1, "jpeg", 30.0)
        if self.failure is not None:
            raise self.failure

    def shown(self, index: int, at_ns: int) -> None:
        self.fates.append((index, "shown"))
        self.journal.counted(line(index))
        self.journal.write(line(index))

    async def still(self, index: int) -> ShownFrame | None:
        raise NotImplementedError

    def replaced(self, index: int, reason: DropReason = DropReason.SUPERSEDED) -> None:
        self.fates.append((index, reason.value))


def line(index: int) -> FrameLine:
    return FrameLine(
        at_s=index / 10,
        frame=index,
        epoch=1,
        codec="jpeg",
        width=4,
        height=4,
        channels=1,
        bytes=500,
        latency_ms=20.0,
        latency_bound_ms=0.5,
        psnr_db=41.0,
        lossless=False,
        stages_ms=ShownStages(),
    )


sessions: list[FakeSession] = []


class Keeper:
    """A sink that notes what it gets; `broken` by its end."""

    def __init__(self, *, broken: str = "") -> None:
        self.indices: list[int] = []
        self.closed = False
        self._broken = broken

    def start(self) -> None:
        pass

    def show(self, shown: ShownFrame) -> None:
        self.indices.append(shown.frame.index)

    def close(self) -> None:
        self.closed = True
        if self._broken:
            raise OutputFailed(self._broken)


@pytest.fixture(autouse=True)
def fake_session(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions.clear()
    monkeypatch.setattr(program_module, "ReceiverSession", FakeSession)
    monkeypatch.setattr(FakeSession, "failure", None)


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(program_module, "warn", said.append)
    return said


async def run(
    *keeping: Sink,
    window: bool = False,
    limit: int | None = None,
    report: SessionReport | None = None,
    log: JsonLinesLog | None = None,
    entry: CodeEntry | None = None,
    snapshots: Path | None = None,
) -> None:
    program = ReceiverProgram(
        ReceiverSettings(confirm_shown=window),
        ReceiverJournal(log),
        list(keeping),
        report or SessionReport(None, log=None, frames=None),
        snapshots=snapshots,
        limit=limit,
    )
    async with asyncio.timeout(30):
        await program.run(entry or CodeEntry(CODE))


async def test_exactly_as_many_frames_as_asked_for_are_kept() -> None:
    keeper = Keeper()
    await run(keeper, limit=7)
    assert keeper.indices == list(range(7))
    assert keeper.closed


@pytest.fixture
def window(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window that passes over every third frame, and was frozen at frame 4."""

    def sink(*, snapshot_dir: Path, **on: Callable[..., None]) -> SimpleNamespace:
        def show(shown: ShownFrame) -> None:
            index = shown.frame.index
            if index == 4:
                on["on_frozen"](index)
            elif index % 3 == 0:
                on["on_replaced"](index)
            else:
                on["on_shown"](index, 0)

        return SimpleNamespace(
            start=lambda: None,
            show=show,
            close=lambda: None,
            show_waiting=lambda _: None,
            show_session=lambda _: None,
        )

    monkeypatch.setattr(program_module, "WindowSink", sink)


async def test_exactly_as_many_frames_as_asked_for_reach_the_window(window: None) -> None:
    await run(window=True, limit=5)
    assert sessions[0].fates == [
        (0, "superseded"),
        (1, "shown"),
        (2, "shown"),
        (3, "superseded"),
        (4, "frozen"),
        (5, "shown"),
        (6, "superseded"),
        (7, "shown"),
        (8, "shown"),
    ]


async def test_a_sink_that_fails_in_the_end_fails_a_session_that_went_well(
    warnings: list[str],
) -> None:
    whole, first, second = Keeper(), Keeper(broken="one"), Keeper(broken="two")
    with pytest.raises(OutputFailed, match="two"):
        await run(first, whole, second)
    assert warnings == ["one"]
    assert whole.closed and first.closed and second.closed


async def test_a_later_failure_never_hides_the_one_that_ended_the_session(
    warnings: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(FakeSession, "failure", PeerGone("the sender is gone"))
    report = SessionReport(tmp_path / "r.html", log=Path("/dev/full"), frames=None)
    log = JsonLinesLog(Path("/dev/full"))
    with pytest.raises(PeerGone, match="the sender is gone"):
        await run(Keeper(broken="one"), Keeper(broken="two"), report=report, log=log)
    assert [words.partition(" ")[0] for words in warnings] == ["the", "two", "one", "there"]
    assert "/dev/full" in warnings[0]
    assert "no report" in warnings[3]


async def test_the_session_is_summed_up_and_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with SessionReport(tmp_path / "r.html", log=None, frames=None) as report:
        assert report.log is not None
        await run(report=report, log=JsonLinesLog(report.log))
    assert "<html" in (tmp_path / "r.html").read_text()
    assert not report.log.parent.exists()
    said = capsys.readouterr().out
    assert "frames shown" in said
    assert "session ended here" in said


async def test_a_report_that_fails_leaves_its_log_and_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError

    monkeypatch.setattr(report_module, "write_report", fail)
    with SessionReport(tmp_path / "r.html", log=None, frames=None) as report:
        assert report.log is not None
        with pytest.raises(OutputFailed, match="no report") as failed:
            await run(report=report, log=JsonLinesLog(report.log))
    assert str(report.log) in str(failed.value)
    assert report.log.read_text().count("\n") == 2
    report.log.unlink()
    report.log.parent.rmdir()


async def test_without_a_session_there_is_neither_summary_nor_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def refuse(_: FakeSession) -> None:
        raise BadInput("no")

    monkeypatch.setattr(FakeSession, "__aenter__", refuse)
    keeper = Keeper()
    log = tmp_path / "r.jsonl"
    with pytest.raises(BadInput):
        await run(
            keeper,
            report=SessionReport(tmp_path / "r.html", log=log, frames=None),
            log=JsonLinesLog(log),
        )
    assert keeper.closed
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out == ""


class WindowDouble:
    """Notes what happens; the person leaves at `leave_at`, or it fails when it is opened."""

    events: list[object]
    leave_at: str = ""
    failure: OutputFailed | None = None

    def __init__(self, *, on_quit: Callable[[], None], **_: object) -> None:
        self._on_quit = on_quit

    def _note(self, event: object) -> None:
        self.events.append(event)
        if event == self.leave_at:
            self._on_quit()

    def start(self) -> None:
        if self.failure is not None:
            raise self.failure
        self._note("opened")

    def show_waiting(self, words: str) -> None:
        self._note(words)

    def show_session(self, info: SessionInfo) -> None:
        self._note(info)
        self._on_quit()

    def show(self, shown: ShownFrame) -> None:
        pass

    def close(self) -> None:
        if "closed" not in self.events:
            self.events.append("closed")


@pytest.fixture
def window_double(monkeypatch: pytest.MonkeyPatch) -> type[WindowDouble]:
    WindowDouble.events = []
    monkeypatch.setattr(WindowDouble, "leave_at", "")
    monkeypatch.setattr(WindowDouble, "failure", None)
    monkeypatch.setattr(program_module, "WindowSink", WindowDouble)
    return WindowDouble


async def test_the_window_is_open_before_the_code_is_used(
    window_double: type[WindowDouble], monkeypatch: pytest.MonkeyPatch
) -> None:
    paired = FakeSession.__aenter__

    async def enter(session: FakeSession) -> FakeSession:
        window_double.events.append("code used")
        return await paired(session)

    monkeypatch.setattr(FakeSession, "__aenter__", enter)
    await run(window=True)
    assert window_double.events == [
        "opened",
        "pairing with the sender",
        "code used",
        SessionInfo("ab12", "bp"),
        "closed",
    ]


async def test_a_window_that_cannot_be_opened_costs_no_code(
    window_double: type[WindowDouble], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window_double, "failure", OutputFailed("the window can't be opened"))
    with pytest.raises(OutputFailed, match="can't be opened"):
        await run(window=True)
    assert sessions == []


async def test_who_closes_the_window_while_the_ends_pair_ends_the_program(
    window_double: type[WindowDouble],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cancelled = asyncio.Event()

    async def pair(_: FakeSession) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()

    monkeypatch.setattr(FakeSession, "__aenter__", pair)
    monkeypatch.setattr(window_double, "leave_at", "pairing with the sender")
    await run(window=True)
    assert cancelled.is_set()
    assert window_double.events[-1] == "closed"
    assert capsys.readouterr().out == "left before there was a session\n"


async def test_a_code_that_did_not_fit_is_asked_for_again_and_the_log_begins_with_the_session(
    window_double: type[WindowDouble], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    paired, asked = FakeSession.__aenter__, 0

    async def enter(session: FakeSession) -> FakeSession:
        if len(sessions) == 1:
            raise WrongCode("the two codes differ")
        return await paired(session)

    class Entry(CodeEntry):
        async def code(self) -> PairingCode:
            nonlocal asked
            asked += 1
            return CODE

        def again(self, error: Exception) -> bool:
            return isinstance(error, WrongCode)

    monkeypatch.setattr(FakeSession, "__aenter__", enter)
    await run(window=True, entry=Entry(), log=JsonLinesLog(tmp_path / "r.jsonl"))
    assert asked == len(sessions) == 2
    assert "type the code again, in the terminal" in window_double.events
    assert (tmp_path / "r.jsonl").read_text().startswith('{"type":"session"')


async def test_a_pairing_that_is_through_as_the_window_is_closed_is_a_session_and_is_left(
    window_double: type[WindowDouble],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    paired = FakeSession.__aenter__

    async def pair(session: FakeSession) -> FakeSession:
        with suppress(asyncio.CancelledError):  # too late: it comes to a session all the same
            await asyncio.sleep(60)
        return await paired(session)

    monkeypatch.setattr(FakeSession, "__aenter__", pair)
    monkeypatch.setattr(window_double, "leave_at", "pairing with the sender")
    await run(window=True)
    assert sessions[0].left
    assert "session ended here" in capsys.readouterr().out


async def test_ctrl_c_in_the_very_turn_in_which_the_ends_have_paired_leaves_the_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paired = FakeSession.__aenter__

    async def pair(session: FakeSession) -> FakeSession:
        running.cancel()
        return await paired(session)

    monkeypatch.setattr(FakeSession, "__aenter__", pair)
    running = asyncio.create_task(run())
    with pytest.raises(asyncio.CancelledError):
        await running
    assert sessions[0].left


async def test_ctrl_c_while_a_sink_starts_closes_it_once_it_has() -> None:
    begun, go_on = threading.Event(), threading.Event()
    events: list[str] = []

    class Slow(Keeper):
        def start(self) -> None:
            begun.set()
            go_on.wait(30)
            events.append("started")

        def close(self) -> None:
            events.append("closed")

    running = asyncio.create_task(run(Slow()))
    assert await asyncio.to_thread(begun.wait, 30)
    running.cancel()
    await turns()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert events == ["started", "closed"]
    assert sessions == []


class LateWindow(WindowDouble):
    """Tells of its frames only as it is closed, and of a key pressed meanwhile."""

    def __init__(
        self, *, on_shown: Callable[[int, int], None], on_freeze: Callable[[int], None], **_: object
    ) -> None:
        self._on_shown = on_shown
        self._on_freeze = on_freeze
        self._unseen: list[int] = []

    def show_session(self, info: SessionInfo) -> None:
        pass

    def show(self, shown: ShownFrame) -> None:
        self._unseen.append(shown.frame.index)

    def close(self) -> None:
        if self._unseen:
            self._on_freeze(self._unseen[-1])
        while self._unseen:
            self._on_shown(self._unseen.pop(0), 0)


async def test_what_the_window_tells_as_it_is_closed_is_in_the_log_and_its_summary(
    window_double: type[WindowDouble],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    waiting: set[int] = set()

    async def still(_: FakeSession, index: int) -> None:
        waiting.add(index)
        try:
            await asyncio.sleep(60)
        finally:
            waiting.remove(index)

    monkeypatch.setattr(FakeSession, "still", still)
    monkeypatch.setattr(program_module, "WindowSink", LateWindow)
    path = tmp_path / "r.jsonl"
    await run(window=True, log=JsonLinesLog(path))
    log = read_log(path)
    assert isinstance(log.summary, SummaryLine)
    assert len(log.frames) == log.summary.frames_shown == 20
    assert "20 of 20" in capsys.readouterr().out
    assert waiting == set()
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize("failure", [PeerGone("gone"), RuntimeError("a flaw")])
async def test_a_lossless_picture_that_cannot_be_had_is_said_in_the_window_and_the_stream_goes_on(
    window_double: type[WindowDouble],
    monkeypatch: pytest.MonkeyPatch,
    warnings: list[str],
    failure: Exception,
) -> None:
    said: list[Still] = []

    class Freezing(WindowDouble):
        def __init__(
            self, *, on_freeze: Callable[[int], None], on_quit: Callable[[], None], **_: object
        ) -> None:
            super().__init__(on_quit=on_quit)
            self._on_freeze = on_freeze

        def show_session(self, info: SessionInfo) -> None:
            self._on_freeze(3)

        def show_still(self, still: Still) -> None:
            said.append(still)
            self._on_quit()

    async def still(_: FakeSession, index: int) -> None:
        raise failure

    async def frames(_: FakeSession) -> AsyncIterator[ShownFrame]:
        await asyncio.sleep(60)
        yield ShownFrame(Frame(0, 0, np.zeros((4, 4), np.uint8)), b"", 1.0, 0.5, None, 1, "x", 1.0)

    monkeypatch.setattr(FakeSession, "still", still)
    monkeypatch.setattr(FakeSession, "__aiter__", frames)
    monkeypatch.setattr(program_module, "WindowSink", Freezing)
    await run(window=True)
    assert said == [Still(3, None)]
    expected = "the lossless picture can't be had: RuntimeError: a flaw"
    assert warnings == ([] if isinstance(failure, PeerGone) else [expected])


async def test_the_journal_hears_that_the_person_goes_on(
    window_double: type[WindowDouble], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unfreezing(WindowDouble):
        def __init__(
            self, *, on_unfreeze: Callable[[], None], on_quit: Callable[[], None], **_: object
        ) -> None:
            super().__init__(on_quit=on_quit)
            self._on_unfreeze = on_unfreeze

        def show_session(self, info: SessionInfo) -> None:
            self._on_unfreeze()
            super().show_session(info)

    heard: list[ReceiverJournal] = []
    monkeypatch.setattr(ReceiverJournal, "resumed", lambda journal: heard.append(journal))
    monkeypatch.setattr(program_module, "WindowSink", Unfreezing)
    await run(window=True)
    assert heard == [sessions[0].journal]


async def test_live_figures_that_fail_are_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise ZeroDivisionError

    async def frames(_: FakeSession) -> AsyncIterator[ShownFrame]:
        await asyncio.sleep(60)
        yield ShownFrame(Frame(0, 0, np.zeros((4, 4), np.uint8)), b"", 1.0, 0.5, None, 1, "x", 1.0)

    monkeypatch.setattr(LivePanel, "follow", fail)
    monkeypatch.setattr(FakeSession, "__aiter__", frames)
    with pytest.raises(ZeroDivisionError):
        await run()
    assert sessions[0].left


async def test_a_flaw_in_closing_never_hides_the_failure_that_ended_the_session(
    warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Flawed(Keeper):
        def close(self) -> None:
            raise RuntimeError("a flaw")

    monkeypatch.setattr(FakeSession, "failure", PeerGone("the sender is gone"))
    with pytest.raises(PeerGone, match="the sender is gone"):
        await run(Flawed())
    assert warnings == ["RuntimeError: a flaw"]


async def test_a_folder_for_snapshots_is_made_before_the_code_is_used(
    window_double: type[WindowDouble], tmp_path: Path
) -> None:
    await run(window=True, snapshots=tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    await run(snapshots=tmp_path / "never needed")
    assert not (tmp_path / "never needed").exists()
    sessions.clear()
    (tmp_path / "file").touch()
    with pytest.raises(OutputFailed, match="snapshots can't be saved") as failed:
        await run(window=True, snapshots=tmp_path / "file" / "folder")
    assert "--snapshots" in failed.value.hint
    assert sessions == []


async def test_what_the_sender_tells_is_printed_and_a_flood_of_it_is_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Telling(Keeper):
        def show(self, shown: ShownFrame) -> None:
            if shown.frame.index == 3:
                for number in range(500):
                    text = f"the source :skull: stands still, {number}"
                    sessions[0].tell(Notice(kind="source_still", text=text))

    await run(Telling())
    lines = [line for line in capsys.readouterr().out.splitlines() if "stands still" in line]
    assert lines[0] == "the sender: the source :skull: stands still, 0", "as it was written"
    assert 5 <= len(lines) <= 20
