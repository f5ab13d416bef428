"""The program around one receiver session: its sinks, its window, its live figures, its report.

The session itself is `receiver.session`; here is what a person at a terminal gets of it.  Whatever
may fail for want of a folder, a disk or a screen fails before the code is used, and the first
failure is never hidden behind a later one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from receiver.codeentry import CodeEntry
from receiver.journal import ReceiverJournal
from receiver.session import ReceiverSession, ReceiverSettings
from receiver.sessionreport import SessionReport
from receiver.sinks import SessionInfo, ShownFrame, Sink
from receiver.sinks.viewer import Still
from receiver.sinks.window import WindowSink
from shared.errors import PeerGone, VeilscopeError
from shared.telemetry.live import LiveFacts, LivePanel, LiveState
from shared.telemetry.records import DropReason
from shared.telemetry.summary import summary_table
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
        self._window: WindowSink | None = None
        self._session: ReceiverSession
        self._stills: set[asyncio.Task[None]] = set()
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
            await asyncio.to_thread(sink.start)
            await stack.enter_async_context(_finally(_in_thread(sink.close)))
        code = await entry.code()
        if self._settings.confirm_shown:  # not before: it would take the keyboard from the prompt
            self._window = self._new_window()
            await asyncio.to_thread(self._window.start)
            await stack.enter_async_context(_finally(_in_thread(self._window.close)))
        while True:
            session = ReceiverSession(
                code, self._settings, journal=self._journal, on_quality=self._quality_changed
            )
            self._say_in_window("pairing with the sender")
            try:
                await self._unless_left(session.__aenter__())
            except VeilscopeError as error:
                if not entry.again(error):
                    raise
            else:
                break
            self._say_in_window("type the code again, in the terminal")
            code = await self._unless_left(entry.code())
        self._state = "live"
        self._session = session
        await stack.enter_async_context(_finally(partial(session.__aexit__, None, None, None)))
        return session

    async def _show(self, session: ReceiverSession, stack: AsyncExitStack) -> None:
        panel = stack.enter_context(LivePanel())
        sinks = list(self._keeping)
        if self._window is not None:
            self._window.show_session(SessionInfo(session.session_id, session.keystream.family))
            sinks.append(self._window)
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
            if working.done():
                return working.result()
            if self._window is not None:  # which says so if it failed
                await asyncio.to_thread(self._window.close)
            raise _Left
        finally:
            working.cancel()
            leaving.cancel()
            await asyncio.gather(working, leaving, return_exceptions=True)

    def _say_in_window(self, words: str) -> None:
        if self._window is not None:
            self._window.show_waiting(words)

    def _quality_changed(self, reason: str) -> None:
        if self._window is not None:
            self._window.show_quality(reason)

    async def _fetch_still(self, index: int) -> None:
        """Get the frozen picture once more, lossless."""
        shown: ShownFrame | None = None
        with suppress(PeerGone):  # the iteration says so
            shown = await self._session.still(index)
        if self._window is not None:
            self._window.show_still(Still(index, shown, self._session.still_refusal))

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
            for fetching in self._stills:
                fetching.cancel()

        return WindowSink(
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
        except VeilscopeError as later:
            warn(str(later))
        raise
    await work()


def _in_thread(work: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    return partial(asyncio.to_thread, work)
