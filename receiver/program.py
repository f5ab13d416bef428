"""The program around one receiver session: its sinks, its window, its live figures, its report.

The session itself is `receiver.session`; here is what a person at a terminal gets of it.  It never
hides the first failure behind a later one.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import ParamSpec, Self

from receiver.journal import ReceiverJournal
from receiver.session import ReceiverSession, ReceiverSettings
from receiver.sinks import SessionInfo, ShownFrame, Sink
from receiver.sinks.window import WindowSink
from shared.crypto.pairing import PairingCode
from shared.errors import BadInput, OutputFailed, PeerGone, VeilscopeError
from shared.telemetry.live import LiveFacts, LivePanel, LiveState
from shared.telemetry.records import DropReason
from shared.telemetry.report import check_report, write_report
from shared.telemetry.summary import summary_table
from shared.terminal import ask, stdout, warn

__all__ = ["ReceiverProgram", "SessionReport"]

CODE_FILE_POLL_S = 0.1


class ReceiverProgram:
    """The program around one session: its sinks, its window and its live figures."""

    def __init__(
        self,
        settings: ReceiverSettings,
        journal: ReceiverJournal,
        keeping: list[Sink],
        report: SessionReport,
        *,
        snapshots: Path,
        limit: int | None,
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._keeping = keeping
        self._report = report
        self._snapshots = snapshots
        self._limit = limit
        self._state: LiveState = "pairing"
        self._shown = 0
        self._in_window = 0  # frames handed to the window whose end it has not told yet
        self._window_sink: WindowSink | None = None
        self._stills: set[asyncio.Task[None]] = set()
        self._told = asyncio.Event()
        self._enough = asyncio.Event()

    async def run(self, code: PairingCode | None, code_file: Path | None) -> None:
        async with _finally(self._sum_up):
            async with AsyncExitStack() as stack:
                session = await self._open(stack, code, code_file)
                await self._show(session, stack)
            stdout.print(_ending(session), soft_wrap=True, markup=False)

    async def _open(
        self, stack: AsyncExitStack, code: PairingCode | None, code_file: Path | None
    ) -> ReceiverSession:
        await stack.enter_async_context(_finally(_in_thread(self._journal.close)))
        # What may fail for want of a folder or a disk fails before the code is spent.
        for sink in self._keeping:
            await asyncio.to_thread(sink.start)
            await stack.enter_async_context(_finally(_in_thread(sink.close)))
        if code is None:
            code = await _ask_for_code(code_file)
        session = ReceiverSession(
            code, self._settings, journal=self._journal, on_quality=self._quality_changed
        )
        await session.__aenter__()
        self._state = "live"
        await stack.enter_async_context(_finally(partial(session.__aexit__, None, None, None)))
        return session

    async def _show(self, session: ReceiverSession, stack: AsyncExitStack) -> None:
        panel = stack.enter_context(LivePanel())
        sinks = list(self._keeping)
        if self._settings.confirm_shown:
            window = self._window_sink = self._window(session)
            await asyncio.to_thread(window.start)
            await stack.enter_async_context(_finally(_in_thread(window.close)))
            sinks.append(window)
        watching = asyncio.create_task(self._watch(session, sinks))
        following = asyncio.create_task(panel.follow(lambda: self._facts(session)))
        enough = asyncio.create_task(self._enough.wait())
        try:
            await asyncio.wait({watching, enough}, return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                watching.result()
        finally:
            tasks = (watching, following, enough, *self._stills)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._state = "ended"
            panel.update(self._facts(session))

    async def _sum_up(self) -> None:
        if self._state == "pairing":
            return  # there was no session
        stdout.print(summary_table(self._journal.summary()))
        await asyncio.to_thread(self._report.write)

    async def _watch(self, session: ReceiverSession, sinks: list[Sink]) -> None:
        async for shown in session:
            for sink in sinks:
                sink.show(shown)
            if self._settings.confirm_shown:
                self._in_window += 1
                await self._until_more_are_wanted()
            else:
                self._count()
            if self._enough.is_set():
                return

    async def _until_more_are_wanted(self) -> None:
        """Wait while the window may yet show as many as were asked for."""
        while self._limit is not None and self._shown + self._in_window >= self._limit:
            self._told.clear()
            await self._told.wait()

    def _quality_changed(self, reason: str) -> None:
        if self._window_sink is not None:
            self._window_sink.tell_quality(reason)

    async def _fetch_still(self, session: ReceiverSession, index: int) -> None:
        """Get the frozen picture once more, lossless."""
        still: ShownFrame | None = None
        with suppress(PeerGone):  # the iteration says so
            still = await session.still(index)
        if self._window_sink is not None:
            self._window_sink.show_still(index, still)

    def _count(self) -> None:
        self._shown += 1
        if self._limit is not None and self._shown >= self._limit:
            self._enough.set()

    def _window(self, session: ReceiverSession) -> WindowSink:
        loop = asyncio.get_running_loop()

        def shown(index: int, at_ns: int) -> None:
            session.shown(index, at_ns)
            self._in_window -= 1
            self._count()
            self._told.set()

        def passed_over(index: int, reason: DropReason) -> None:
            session.replaced(index, reason)
            self._in_window -= 1
            self._told.set()

        def freeze(index: int) -> None:
            self._stills = {task for task in self._stills if not task.done()}
            self._stills.add(asyncio.create_task(self._fetch_still(session, index)))

        def unfreeze() -> None:
            for fetching in self._stills:
                fetching.cancel()

        return WindowSink(
            SessionInfo(session.session_id, session.keystream.family),
            snapshot_dir=self._snapshots,
            on_shown=lambda index, at_ns: _soon(loop, shown, index, at_ns),
            on_replaced=lambda index: _soon(loop, passed_over, index, DropReason.SUPERSEDED),
            on_frozen=lambda index: _soon(loop, passed_over, index, DropReason.FROZEN),
            on_freeze=lambda index: _soon(loop, freeze, index),
            on_unfreeze=lambda: _soon(loop, unfreeze),
            on_quit=lambda: _soon(loop, self._enough.set),
        )

    def _facts(self, session: ReceiverSession) -> LiveFacts:
        return LiveFacts(
            role="receiver",
            state=self._state,
            session=session.session_id,
            keystream=session.keystream.family,
            figures=session.journal.snapshot(),
            note=session.journal.quality_reason,
        )


P = ParamSpec("P")


def _soon(
    loop: asyncio.AbstractEventLoop,
    work: Callable[P, object],
    *arguments: P.args,
    **named: P.kwargs,
) -> None:
    """Call `work` in the loop's thread; the window may outlive the loop by a moment."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(lambda: work(*arguments, **named))


async def _ask_for_code(code_file: Path | None) -> PairingCode:
    if code_file is None:
        try:
            return PairingCode.parse(await ask("pairing code: "))
        except BadInput as error:
            hint = error.hint or "type it at the prompt, or give --code-file FILE"
            raise BadInput(str(error), hint=hint) from error
    text = await asyncio.to_thread(_read_code, code_file)
    if text is None:
        stdout.print(f"waiting for the code in {code_file}", soft_wrap=True, markup=False)
    while text is None:
        await asyncio.sleep(CODE_FILE_POLL_S)
        text = await asyncio.to_thread(_read_code, code_file)
    return PairingCode.parse(text)


def _read_code(path: Path) -> str | None:
    """The text of the file, None while there is no such file."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError):
        raise BadInput(
            f"the code can't be read from {path}", hint="give the file that the sender wrote"
        ) from None


def _ending(session: ReceiverSession) -> str:
    said = session.goodbye
    if said is None:
        return "session ended here"
    return "the sender's source ended" if said.reason == "ended" else "the sender ended the session"


class SessionReport:
    """The report to draw at the end, and the log that it is drawn from.

    Without `log` the log is a temporary file for as long as the report needs it.

    Raises:
        OutputFailed: there will be no writing of the report to `path`.
    """

    def __init__(self, path: Path | None, *, log: Path | None, frames: Path | None) -> None:
        self.log = log
        self._path = path
        self._frames = frames
        self._temporary: Path | None = None
        if path is None:
            return
        check_report(path)
        if log is None:
            self._temporary = Path(mkdtemp(prefix="veilscope-"))
            self.log = self._temporary / "session.jsonl"

    def write(self) -> None:
        """Draw it, where one was asked for; blocks.

        Raises:
            OutputFailed: it can't be drawn; names the log, which stays.
        """
        if self._path is None or self.log is None:
            return
        try:
            write_report(self.log, self._path, frames_dir=self._frames)
        except Exception as error:
            self._temporary = None
            why = str(error) if isinstance(error, VeilscopeError) else type(error).__name__
            raise OutputFailed(
                f"there is no report ({why}); the log is kept: {self.log}",
                hint=f"try again: veilscope report {self.log}",
            ) from error
        stdout.print(f"report: {self._path}", soft_wrap=True, markup=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)


@asynccontextmanager
async def _finally(work: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """Do `work` at the end.  If it fails after another failure, that other one is what counts."""
    try:
        yield
    except BaseException:
        try:
            await work()
        except VeilscopeError as later:
            warn(str(later))
        raise
    await work()


def _in_thread(work: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    return partial(asyncio.to_thread, work)
