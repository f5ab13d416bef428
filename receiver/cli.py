"""The command `veilscope receive`, which is also `python -m receiver`."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Annotated, cast

# PyAV's and OpenCV's wheels each bring libraries of the X window system.  Where PyAV's are loaded
# first, the first window that OpenCV opens hangs; so OpenCV comes before everything else here.
import cv2  # noqa: F401
import typer

from receiver.codeentry import CodeEntry
from receiver.journal import ReceiverJournal
from receiver.linelimit import LineLimit
from receiver.program import ReceiverProgram
from receiver.sessionreport import SessionReport
from receiver.settings import DEFAULT_LATENCY_MS, ReceiverSettings
from receiver.sinks import Sink
from receiver.sinks.display import DisplayChoice, resolve_display
from receiver.sinks.files import FilesSink
from receiver.sinks.record import RecordSink
from shared.crypto.pairing import PairingCode
from shared.errors import BadInput
from shared.link import LOST_AFTER_S
from shared.options import (
    AddressOption,
    CaOption,
    DeviceOption,
    GraceOption,
    IceServerOption,
    LogOption,
    ProxyOption,
    SignalingOption,
    parse_addresses,
    parse_ice_servers,
)
from shared.telemetry.log import JsonLinesLog
from shared.terminal import DebugOption, run_async, stdout, warn

__all__ = ["receive"]


def receive(
    signaling: SignalingOption = "ws://127.0.0.1:8765",
    ca: CaOption = None,
    proxy: ProxyOption = None,
    grace: GraceOption = LOST_AFTER_S,
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
            help="Save frames as frame-000123.png, by the source's frame index: every frame that "
            "arrives for showing, also one that a slow screen or a frozen picture passes over.",
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
        Path | None,
        typer.Option(
            metavar="FOLDER",
            file_okay=False,
            help="Where the window's key s puts its snapshots, instead of the current folder.",
        ),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            dir_okay=False,
            help="Record a video (.mp4 or .mkv) of every frame that arrives for showing, also "
            "one that a slow screen or a frozen picture passes over.",
        ),
    ] = None,
    frames: Annotated[
        int | None, typer.Option(min=1, help="End after this many frames were shown.")
    ] = None,
    playout_delay: Annotated[
        float,
        typer.Option(
            metavar="MS",
            min=0.0,
            max=1000.0,
            envvar="VEILSCOPE_PLAYOUT_DELAY",
            help="Show each picture this long after it was taken, for an even pace on a wavering "
            "network; one that comes later than that is shown at once.",
        ),
    ] = 0.0,
    max_latency: Annotated[
        float,
        typer.Option(
            metavar="MS",
            min=20.0,
            max=60_000.0,
            envvar="VEILSCOPE_MAX_LATENCY",
            help="After a pause of this machine or of the network show no picture that is older "
            "than this.",
        ),
    ] = DEFAULT_LATENCY_MS,
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
    known_code = None if code is None else PairingCode.parse(code)
    if save_sealed and save_frames is None:
        raise BadInput("--save-sealed saves beside --save-frames", hint="add --save-frames FOLDER")
    settings = ReceiverSettings(
        signaling=signaling,
        ca=ca,
        proxy=proxy,
        grace_s=grace,
        keystream=keystream,
        device=device,
        ice_servers=parse_ice_servers(ice_server),
        host_addresses=parse_addresses(address),
        confirm_shown=_shows_window(display),
        playout_delay_ms=playout_delay,
        max_latency_ms=max_latency,
    )
    keeping: list[Sink] = []
    recording = None if record is None else RecordSink(record, on_failure=warn)
    if save_frames is not None:
        sealed_folder = save_frames if save_sealed else None
        keeping.append(FilesSink(save_frames, sealed_folder=sealed_folder, on_failure=warn))
    if recording is not None:
        keeping.append(recording)
    with SessionReport(report, log=log, frames=save_frames) as drawing:
        lines = None if drawing.log is None else JsonLinesLog(drawing.log, on_failure=warn)
        journal = ReceiverJournal(lines)
        if recording is not None:
            recording.on_next = partial(_recording_goes_on, journal, LineLimit())
            recording.on_fitted = partial(_recording_fitted, journal)
        app = ReceiverProgram(
            settings,
            journal,
            keeping,
            drawing,
            snapshots=snapshots,
            limit=frames,
        )
        run_async(lambda: app.run(CodeEntry(known_code, code_file)))


def _recording_goes_on(
    journal: ReceiverJournal, lines: LineLimit, path: Path, number: int, size: tuple[int, int]
) -> None:
    """The sender decides how often: the log has each, at most a hundred, the terminal a few."""
    pictures = f"pictures of {size[0]}x{size[1]}"
    journal.event("recording goes on", f"in file {number}: {pictures}")
    if lines.allowed(time.monotonic_ns()):
        line = f"the recording goes on in {path.name}: {pictures}"
        stdout.print(line, soft_wrap=True, markup=False, emoji=False)


def _recording_fitted(journal: ReceiverJournal, count: int, size: tuple[int, int] | None) -> None:
    if size is None:
        why = f"{count} pictures were made to fit its last file"
        journal.event("recording not whole", why)
        warn(f"the recording is not whole: {why}")
        return
    why = f"pictures such as of {size[0]}x{size[1]} are made to fit the last one"
    journal.event("recording full", f"no more files: {why}")
    warn(f"the recording has as many files as it may: {why}")


def _shows_window(display: str) -> bool:
    resolved = resolve_display(cast(DisplayChoice, display))
    if not resolved.window and resolved.reason:
        stdout.print(f"no window: {resolved.reason}", soft_wrap=True, markup=False)
    return resolved.window
