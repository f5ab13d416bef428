"""The program around one receiver session: its sinks, its window, its live figures, its report.

The session itself is `receiver.session`; here is what a person at a terminal gets of it.  Whatever
was asked for and may fail for want of a folder, a disk or a screen fails before the code is used,
and the first failure is never hidden behind a later one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from receiver.codeentry import CodeEntry
from receiver.journal import ReceiverJournal
from receiver.linelimit import LineLimit
from receiver.session import ReceiverSession
from receiver.sessionreport import SessionReport
from receiver.settings import ReceiverSettings
from receiver.sinks import SessionInfo, ShownFrame, Sink
from receiver.sinks.files import prepare_folder
from receiver.sinks.viewer import Still
from receiver.sinks.window import WindowSink
from shared.control import Notice
from shared.errors import PeerGone, VeilscopeError
from shared.telemetry.live import LiveFacts, LivePanel, LiveState, summary_table
from shared.telemetry.records import DropReason
from shared.terminal import stdout, warn

__all__ = ["ReceiverProgram"]

P = ParamSpec("P")
T = TypeVar("T")


class _Left(Exception):
    """The person closed the window before there was a session."""


class ReceiverProgram:
    """The program around one session: its sinks, its window and its live figures."""

    def __init__(
        self,
        settings: ReceiverSettings,
        journal: ReceiverJournal,
        keeping: list[Sink],
        report: SessionReport,
        *,
        snapshots: Path | None,
        limit: int | None,
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._keeping = keeping
        self._report = report
        self._snapshots = snapshots
        self._limit = limit
        self._state: LiveState = "waiting"
        self._shown = 0
        self._in_window = 0  # frames handed to the window whose end it has not told yet
        self._window: WindowSink | None = None
        self._session: ReceiverSession
        self._stills: set[asyncio.Task[None]] = set()
        self._lines = LineLimit()
        self._told = asyncio.Event()
        self._enough = asyncio.Event()

    async def run(self, entry: CodeEntry) -> None:
        async with _finally(self._sum_up):
            try:
                async with AsyncExitStack() as stack:
                    session = await self._open(stack, entry)
                    await self._show(session, stack)
                ending = _ending(session)
            except _Left:
                ending = "left before there was a session"
            stdout.print(ending, soft_wrap=True, markup=False)

    async def _open(self, stack: AsyncExitStack, entry: CodeEntry) -> ReceiverSession:
        await stack.enter_async_context(_finally(_in_thread(self._journal.close)))
        for sink in self._keeping:
            await _start(sink, stack)
        if self._settings.confirm_shown and self._snapshots is not None:
            hint = "give another folder with --snapshots"
            await asyncio.to_thread(prepare_folder, self._snapshots, "snapshots", hint=hint)
        if self._settings.confirm_shown:
            self._window = self._new_window()
            await stack.enter_async_context(_finally(_in_thread(self._window.close)))
        code = await entry.code()
        if self._window is not None:
            # not before: it would take the keyboard from the prompt
            await _start(self._window, stack)
        while True:
            session = ReceiverSession(
                code,
                self._settings,
                journal=self._journal,
                on_quality=self._quality_changed,
                on_notice=self._noticed,
            )
            self._say_in_window("pairing with the sender")
            try:
                await self._unless_left(self._enter(session, stack))
            except VeilscopeError as error:
                if not entry.again(error):
                    raise
            else:
                break
            self._say_in_window("type the code again, in the terminal")
            code = await self._unless_left(entry.code())
        return session

    async def _enter(self, session: ReceiverSession, stack: AsyncExitStack) -> None:
        """Pair.  Nothing can come between having paired and being sure to leave."""
        await session.__aenter__()
        await stack.enter_async_context(_finally(partial(session.__aexit__, None, None, None)))
        self._state = "live"
        self._session = session

    async def _show(self, session: ReceiverSession, stack: AsyncExitStack) -> None:
        panel = stack.enter_context(LivePanel())
        stack.callback(lambda: panel.update(self._facts(session)))
        stack.push_async_callback(self._stop_fetching)
        sinks = list(self._keeping)
        if self._window is not None:
            # Before the session: its log is to hold what became of the last pictures.
            await stack.enter_async_context(_finally(_in_thread(self._window.close)))
            self._window.show_session(SessionInfo(session.session_id, session.keystream.family))
            sinks.append(self._window)
        watching = asyncio.create_task(self._watch(session, sinks))
        following = asyncio.create_task(panel.follow(lambda: self._facts(session)))
        enough = asyncio.create_task(self._enough.wait())
        try:
            await asyncio.wait({watching, following, enough}, return_when=asyncio.FIRST_COMPLETED)
            for task in (watching, following):
                if task.done():
                    task.result()
        finally:
            await _cancelled(watching, following, enough)
            self._state = "ended"

    async def _sum_up(self) -> None:
        if self._state == "waiting":
            return  # there was no session
        stdout.print(summary_table(self._journal.summary()))
        await asyncio.to_thread(self._report.write)

    async def _watch(self, session: ReceiverSession, sinks: list[Sink]) -> None:
        async for shown in session:
            for sink in sinks:
                sink.show(shown)
            if self._window is not None:
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

    def _count(self) -> None:
        self._shown += 1
        if self._limit is not None and self._shown >= self._limit:
            self._enough.set()

    # -- the window -------------------------------------------------------------------------------

    async def _unless_left(self, work: Coroutine[Any, Any, T]) -> T:
        """What comes of `work`; raises `_Left` and cancels it if the window is closed first."""
        working = asyncio.create_task(work)
        leaving = asyncio.create_task(self._enough.wait())
        try:
            await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _cancelled(working, leaving)
        if not working.cancelled():
            return working.result()
        if self._window is not None:  # which says so if it failed
            await asyncio.to_thread(self._window.close)
        raise _Left

    def _say_in_window(self, words: str) -> None:
        if self._window is not None:
            self._window.show_waiting(words)

    def _quality_changed(self, reason: str) -> None:
        if self._window is not None:
            self._window.show_quality(reason)

    def _noticed(self, notice: Notice) -> None:
        if self._window is not None:
            self._window.show_notice(notice)
        if self._lines.allowed(time.monotonic_ns()):
            line = f"the sender: {notice.text}"
            stdout.print(line, soft_wrap=True, markup=False, emoji=False)

    async def _fetch_still(self, index: int) -> None:
        """Get the frozen picture once more, lossless."""
        shown: ShownFrame | None = None
        try:
            with suppress(PeerGone):  # the iteration says so
                shown = await self._session.still(index)
        except Exception as error:  # the stream goes on without
            warn(f"the lossless picture can't be had: {_in_words(error)}")
        if self._window is not None:
            self._window.show_still(Still(index, shown, self._session.still_refusal))

    async def _stop_fetching(self) -> None:
        await _cancelled(*self._stills)

    def _new_window(self) -> WindowSink:
        loop = asyncio.get_running_loop()

        def shown(index: int, at_ns: int) -> None:
            self._session.shown(index, at_ns)
            self._in_window -= 1
            self._count()
            self._told.set()

        def passed_over(index: int, reason: DropReason) -> None:
            self._session.replaced(index, reason)
            self._in_window -= 1
            self._told.set()

        def freeze(index: int) -> None:
            self._stills = {task for task in self._stills if not task.done()}
            self._stills.add(asyncio.create_task(self._fetch_still(index)))

        def unfreeze() -> None:
            self._journal.resumed()
            for fetching in self._stills:
                fetching.cancel()

        def lost(words: str) -> None:
            self._journal.event("window lost", words)
            warn(words)

        return WindowSink(
            snapshot_dir=self._snapshots or Path(),
            on_shown=lambda index, at_ns: _soon(loop, shown, index, at_ns),
            on_replaced=lambda index: _soon(loop, passed_over, index, DropReason.SUPERSEDED),
            on_frozen=lambda index: _soon(loop, passed_over, index, DropReason.FROZEN),
            on_freeze=lambda index: _soon(loop, freeze, index),
            on_unfreeze=lambda: _soon(loop, unfreeze),
            on_quit=lambda: _soon(loop, self._enough.set),
            on_lost=lambda words: _soon(loop, lost, words),
        )

    def _facts(self, session: ReceiverSession) -> LiveFacts:
        lasting = "; ".join(notice.text for notice in session.lasting)
        return LiveFacts(
            role="receiver",
            state=self._state,
            session=session.session_id,
            keystream=session.keystream.family,
            figures=session.journal.snapshot(),
            note=lasting or session.journal.quality_reason,
        )


def _soon(
    loop: asyncio.AbstractEventLoop,
    work: Callable[P, object],
    *arguments: P.args,
    **named: P.kwargs,
) -> None:
    """Call `work` in the loop's thread; the window may outlive the loop by a moment."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(lambda: work(*arguments, **named))


def _ending(session: ReceiverSession) -> str:
    said = session.goodbye
    if said is None:
        return "session ended here"
    return "the sender's source ended" if said.reason == "ended" else "the sender ended the session"


@asynccontextmanager
async def _finally(work: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """Do `work` at the end.  If it fails after another failure, that other one is what counts."""
    try:
        yield
    except BaseException:
        try:
            await work()
        except Exception as later:
            warn(_in_words(later))
        raise
    await work()


async def _start(sink: Sink, stack: AsyncExitStack) -> None:
    """Start `sink`, and close it at the end: also where Ctrl-C comes while it starts."""
    starting = asyncio.ensure_future(asyncio.to_thread(sink.start))

    async def close() -> None:
        await asyncio.wait({starting})  # a thread can't be cancelled
        await asyncio.to_thread(sink.close)

    await stack.enter_async_context(_finally(close))
    await asyncio.shield(starting)


async def _cancelled(*tasks: asyncio.Task[Any]) -> None:
    """Cancel `tasks` and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _in_words(error: Exception) -> str:
    said = str(error)
    if isinstance(error, VeilscopeError):
        return said
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _in_thread(work: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    return partial(asyncio.to_thread, work)
