"""The command `veilscope receive`, which is also `python -m receiver`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, ParamSpec, cast

import typer

from receiver.journal import ReceiverJournal
from receiver.session import ReceiverSession, ReceiverSettings
from receiver.sinks import SessionInfo, Sink
from receiver.sinks.display import DisplayChoice, resolve_display
from receiver.sinks.files import FilesSink
from receiver.sinks.record import RecordSink
from receiver.sinks.window import WindowSink
from shared.crypto.pairing import PairingCode
from shared.errors import BadInput, OutputFailed
from shared.options import (
    AddressOption,
    CaOption,
    DeviceOption,
    IceServerOption,
    LogOption,
    SignalingOption,
    parse_addresses,
    parse_ice_servers,
)
from shared.telemetry.live import LiveFacts, LivePanel, LiveState
from shared.telemetry.log import JsonLinesLog
from shared.telemetry.report import write_report
from shared.terminal import DebugOption, ask, run_async, stdout, warn

__all__ = ["receive"]

CODE_FILE_POLL_S = 0.1


def receive(
    signaling: SignalingOption = "ws://127.0.0.1:8765",
    ca: CaOption = None,
    code: Annotated[
        str | None,
        typer.Option(
            envvar="VEILSCOPE_CODE",
            help="The pairing code. Others on this machine can see it here: without this option "
            "you are asked for it.",
        ),
    ] = None,
    code_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            dir_okay=False,
            help="Read the pairing code from this file, and wait for it to appear.",
        ),
    ] = None,
    display: Annotated[
        str,
        typer.Option(
            metavar="auto|window|none",
            envvar="VEILSCOPE_DISPLAY",
            help="Show a window: where there is a screen, always, or never.",
        ),
    ] = "auto",
    save_frames: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            file_okay=False,
            help="Save every frame shown as frame-000123.png, by the source's frame index.",
        ),
    ] = None,
    save_sealed: Annotated[
        bool,
        typer.Option(
            "--save-sealed",
            help="With --save-frames: also save each frame as the network saw it (.sealed).",
        ),
    ] = False,
    snapshots: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER", file_okay=False, help="Where the window's key s puts its snapshots."
        ),
    ] = Path(),
    record: Annotated[
        Path | None,
        typer.Option(metavar="FILE", dir_okay=False, help="Record a video (.mp4 or .mkv)."),
    ] = None,
    frames: Annotated[
        int | None, typer.Option(min=1, help="End after this many frames were shown.")
    ] = None,
    keystream: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            envvar="VEILSCOPE_KEYSTREAM",
            help="A network file, for a sender that uses one that is not shipped.",
        ),
    ] = None,
    device: DeviceOption = "auto",
    ice_server: IceServerOption = None,
    address: AddressOption = None,
    log: LogOption = None,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", dir_okay=False, help="Write an HTML report of the session at the end."
        ),
    ] = None,
    debug: DebugOption = False,  # noqa: ARG001 -- acted on where it is parsed
) -> None:
    """Show what a sender shows, after pairing with the code that its person reads out."""
    if code is not None and code_file is not None:
        raise BadInput("both --code and --code-file were given", hint="give one of them")
    if save_sealed and save_frames is None:
        raise BadInput("--save-sealed saves beside --save-frames", hint="add --save-frames FOLDER")
    settings = ReceiverSettings(
        signaling=signaling,
        ca=ca,
        keystream=keystream,
        device=device,
        ice_servers=parse_ice_servers(ice_server),
        host_addresses=parse_addresses(address),
        confirm_shown=_shows_window(display),
    )
    known_code = None if code is None else PairingCode.parse(code)
    keeping: list[Sink] = []
    if save_frames is not None:
        sealed_folder = save_frames if save_sealed else None
        keeping.append(FilesSink(save_frames, sealed_folder=sealed_folder, on_failure=_warn_of))
    if record is not None:
        keeping.append(RecordSink(record, on_failure=_warn_of))
    with _log_for(log, report) as log_path:
        lines = None if log_path is None else JsonLinesLog(log_path, on_failure=_warn_of)
        app = _Receiver(
            settings, ReceiverJournal(lines), keeping, snapshots=snapshots, frames=frames
        )
        try:
            run_async(lambda: app.run(known_code, code_file))
        finally:
            if report is not None and log_path is not None and app.paired:
                write_report(log_path, report, frames_dir=save_frames)
                stdout.print(f"report: {report}", soft_wrap=True, markup=False)


class _Receiver:
    """The program around one session: its sinks, its window and its live figures."""

    def __init__(
        self,
        settings: ReceiverSettings,
        journal: ReceiverJournal,
        keeping: list[Sink],
        *,
        snapshots: Path,
        frames: int | None,
    ) -> None:
        self.paired = False
        self._settings = settings
        self._journal = journal
        self._keeping = keeping
        self._snapshots = snapshots
        self._frames = frames
        self._state: LiveState = "pairing"
        self._enough = asyncio.Event()

    async def run(self, code: PairingCode | None, code_file: Path | None) -> None:
        async with AsyncExitStack() as stack:
            # What may fail for want of a folder or a disk fails before the code is spent.
            for sink in self._keeping:
                await asyncio.to_thread(sink.start)
                stack.push_async_callback(asyncio.to_thread, sink.close)
            if code is None:
                code = await _ask_for_code(code_file)
            session = ReceiverSession(code, self._settings, journal=self._journal)
            await stack.enter_async_context(session)
            self.paired = True
            panel = stack.enter_context(LivePanel())
            sinks = list(self._keeping)
            if self._settings.confirm_shown:
                window = self._window(session)
                await asyncio.to_thread(window.start)
                stack.push_async_callback(asyncio.to_thread, window.close)
                sinks.append(window)
            self._state = "live"
            watching = asyncio.create_task(self._watch(session, sinks))
            following = asyncio.create_task(panel.follow(lambda: self._facts(session)))
            enough = asyncio.create_task(self._enough.wait())
            try:
                await asyncio.wait({watching, enough}, return_when=asyncio.FIRST_COMPLETED)
                if watching.done():
                    watching.result()
            finally:
                for task in (watching, following, enough):
                    task.cancel()
                await asyncio.gather(watching, following, enough, return_exceptions=True)
                self._state = "ended"
                panel.update(self._facts(session))
        stdout.print(_ending(session), soft_wrap=True, markup=False)

    async def _watch(self, session: ReceiverSession, sinks: list[Sink]) -> None:
        async for shown in session:
            for sink in sinks:
                sink.show(shown)
            self._count(session)

    def _count(self, session: ReceiverSession) -> None:
        if self._frames is not None and session.journal.frames >= self._frames:
            self._enough.set()

    def _window(self, session: ReceiverSession) -> WindowSink:
        loop = asyncio.get_running_loop()

        def shown(index: int, at_ns: int) -> None:
            session.shown(index, at_ns)
            self._count(session)

        return WindowSink(
            SessionInfo(session.session_id, session.keystream.family),
            snapshot_dir=self._snapshots,
            on_shown=lambda index, at_ns: _soon(loop, shown, index, at_ns),
            on_replaced=lambda index: _soon(loop, session.replaced, index),
            on_quit=lambda: _soon(loop, self._enough.set),
        )

    def _facts(self, session: ReceiverSession) -> LiveFacts:
        return LiveFacts(
            role="receiver",
            state=self._state,
            session=session.session_id,
            keystream=session.keystream.family,
            figures=session.journal.snapshot(),
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


def _shows_window(display: str) -> bool:
    resolved = resolve_display(cast(DisplayChoice, display))
    if not resolved.window and resolved.reason:
        stdout.print(f"no window: {resolved.reason}", soft_wrap=True, markup=False)
    return resolved.window


async def _ask_for_code(code_file: Path | None) -> PairingCode:
    if code_file is None:
        return PairingCode.parse(await ask("pairing code: "))
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


@contextmanager
def _log_for(log: Path | None, report: Path | None) -> Iterator[Path | None]:
    """Where to log: as asked for, or to a file of its own for as long as a report needs it."""
    if log is not None or report is None:
        yield log
        return
    with TemporaryDirectory(prefix="veilscope-") as folder:
        yield Path(folder) / "session.jsonl"


def _warn_of(error: OutputFailed) -> None:
    warn(str(error))
