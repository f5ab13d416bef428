"""The command `veilscope send`, which is also `python -m sender`."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.text import Text

from sender.journal import SenderJournal, SourceFacts
from sender.playback import play
from sender.privacy import fit_masks, parse_rect
from sender.rate import DEFAULT_LATENCY_MS, Preference
from sender.session import SenderSession, SenderSettings
from sender.sources import Source, open_source
from sender.steering import AUTO
from shared.codecs import CODECS
from shared.crypto.pairing import PairingCode
from shared.errors import BadInput, OutputFailed
from shared.keystream.network import DEFAULT_FAMILY
from shared.options import (
    AddressOption,
    CaOption,
    DeviceOption,
    IceServerOption,
    LogOption,
    SignalingOption,
    parse_addresses,
    parse_ice_servers,
    parse_size,
)
from shared.telemetry.live import LiveFacts, LivePanel, LiveState
from shared.telemetry.log import JsonLinesLog
from shared.terminal import DebugOption, run_async, stdout, warn

__all__ = ["send"]


def send(
    source: Annotated[
        str,
        typer.Option(
            envvar="VEILSCOPE_SOURCE",
            help="What to show: demo, phantom:ultrasound, phantom:endoscopy, camera:0, a DICOM "
            "file, a video file or stream, or a folder of images.",
        ),
    ] = "demo",
    signaling: SignalingOption = "ws://127.0.0.1:8765",
    ca: CaOption = None,
    codec: Annotated[
        str,
        typer.Option(
            envvar="VEILSCOPE_CODEC",
            help=f"One of: {', '.join(CODECS)}; {AUTO} picks by the picture and the machine.",
        ),
    ] = AUTO,
    quality: Annotated[
        int,
        typer.Option(
            min=1,
            max=100,
            envvar="VEILSCOPE_QUALITY",
            help="The best quality of a lossy picture; the path may force a lower one.",
        ),
    ] = 90,
    bitrate: Annotated[
        float | None,
        typer.Option(
            metavar="MBIT",
            min=0.05,
            max=1000.0,
            envvar="VEILSCOPE_BITRATE",
            help="Send no more than this many Mbit/s of pictures; by default what the path "
            "carries.",
        ),
    ] = None,
    min_psnr: Annotated[
        float | None,
        typer.Option(
            metavar="DB",
            min=20.0,
            max=60.0,
            envvar="VEILSCOPE_MIN_PSNR",
            help="Keep pictures at this PSNR or better, and send fewer of them instead.",
        ),
    ] = None,
    max_latency: Annotated[
        float,
        typer.Option(
            metavar="MS",
            min=20.0,
            max=2000.0,
            envvar="VEILSCOPE_MAX_LATENCY",
            help="Make no picture so large that it would be older than this when it is shown.",
        ),
    ] = DEFAULT_LATENCY_MS,
    prefer: Annotated[
        str,
        typer.Option(
            metavar="smooth|sharp",
            envvar="VEILSCOPE_PREFER",
            help="On a narrow path keep the frame rate, or keep the picture.",
        ),
    ] = "smooth",
    fps: Annotated[
        float | None,
        typer.Option(min=0.1, max=240.0, help="Frames a second; by default the source's own."),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="WIDTHxHEIGHT", help="Size of a phantom's or a camera's picture."),
    ] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Begin again when the source ends.")] = False,
    frames: Annotated[
        int | None, typer.Option(min=1, help="End after this many frames of the source.")
    ] = None,
    mask: Annotated[
        list[str] | None,
        typer.Option(
            metavar="X,Y,W,H",
            help="Black out this rectangle of the picture before it is encoded; repeatable.",
        ),
    ] = None,
    mask_auto: Annotated[
        bool,
        typer.Option(
            "--mask-auto",
            help="DICOM: keep only the ultrasound regions that the file declares.",
        ),
    ] = False,
    keystream: Annotated[
        str,
        typer.Option(
            envvar="VEILSCOPE_KEYSTREAM", help="A shipped network's family, or a network file."
        ),
    ] = DEFAULT_FAMILY,
    device: DeviceOption = "auto",
    strip: Annotated[
        bool,
        typer.Option(
            "--strip",
            help="Draw each frame's index and time into its top rows, for measurements.",
        ),
    ] = False,
    receivers: Annotated[
        int,
        typer.Option(min=1, max=16, help="How many receivers may join, each with its own code."),
    ] = 1,
    code_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            dir_okay=False,
            help="Also write the pairing code to this file (mode 0600), for scripts.",
        ),
    ] = None,
    ice_server: IceServerOption = None,
    address: AddressOption = None,
    log: LogOption = None,
    debug: DebugOption = False,  # noqa: ARG001 -- acted on where it is parsed
) -> None:
    """Show a source to the receivers that pair with the code printed here."""
    if prefer not in ("smooth", "sharp"):
        raise BadInput(f"--prefer takes smooth or sharp, not {prefer!r}")
    opened = open_source(source, size=parse_size(size), fps=fps, mask_auto=mask_auto)
    try:
        info = opened.info
        masks = (*opened.masks, *(parse_rect(text) for text in mask or ()))
        settings = SenderSettings(
            signaling=signaling,
            ca=ca,
            codec=codec,
            quality=quality,
            bitrate_bps=None if bitrate is None else round(bitrate * 1e6),
            min_psnr_db=min_psnr,
            max_latency_ms=max_latency,
            prefer=cast(Preference, prefer),
            fps=fps or info.fps,
            strip=strip,
            keystream=keystream,
            device=device,
            masks=fit_masks(masks, info.width, info.height),
            max_receivers=receivers,
            ice_servers=parse_ice_servers(ice_server),
            host_addresses=parse_addresses(address),
        )
        facts = SourceFacts(info.kind, info.width, info.height, fps or info.fps)
        lines = JsonLinesLog(log, on_failure=warn) if log is not None else None
        journal = SenderJournal(lines, facts)
        run_async(
            lambda: _run(
                opened, settings, journal, code_file=code_file, fps=fps, loop=loop, frames=frames
            )
        )
    finally:
        opened.close()


async def _run(
    source: Source,
    settings: SenderSettings,
    journal: SenderJournal,
    *,
    code_file: Path | None,
    fps: float | None,
    loop: bool,
    frames: int | None,
) -> None:
    console = _Console(code_file, settings.signaling)
    console.forget_code()  # of a sender that was killed: a receiver must not take it for ours
    session = SenderSession(
        play(source, fps=fps, loop=loop, frames=frames),
        settings,
        journal=journal,
        on_code=console.code,
        on_notice=console.notice,
    )
    try:
        async with session:
            with LivePanel() as panel:
                showing = asyncio.create_task(
                    panel.follow(lambda: console.facts(session, source.info.kind))
                )
                try:
                    await session.finished()
                finally:
                    showing.cancel()
                    panel.update(console.facts(session, source.info.kind, ended=True))
    finally:
        console.forget_code()


class _Console:
    """What the person at the sender sees: the code, notices, and the live figures."""

    def __init__(self, code_file: Path | None, signaling: str) -> None:
        self._code_file = code_file
        default = SenderSettings().signaling
        self._receive = "veilscope receive"
        if signaling != default:
            self._receive += f" --signaling {signaling}"
        self._note = ""

    def code(self, code: PairingCode) -> None:
        if self._code_file is not None:
            _write_secret(self._code_file, f"{code}\n")
        stdout.print(Text.assemble("\npairing code:  ", (str(code), "bold green")), soft_wrap=True)
        stdout.print(
            f"Read it to the person at the receiver, who starts: {self._receive}\n"
            "It pairs one receiver, once.\n",
            soft_wrap=True,
        )

    def notice(self, text: str) -> None:
        self._note = text
        stdout.print(Text(text), soft_wrap=True)

    def facts(self, session: SenderSession, kind: str, *, ended: bool = False) -> LiveFacts:
        state: LiveState = "ended" if ended else "live" if session.receivers else "waiting"
        return LiveFacts(
            role="sender",
            state=state,
            session=session.session_id,
            keystream=session.keystream.family if session.receivers else None,
            source=kind,
            figures=session.journal.snapshot(),
            note=self._note,
        )

    def forget_code(self) -> None:
        """Remove the file: nothing pairs with a code in it."""
        if self._code_file is not None:
            with suppress(OSError, UnicodeDecodeError, BadInput):
                PairingCode.parse(self._code_file.read_text())  # a file of another kind stays
                self._code_file.unlink(missing_ok=True)


def _write_secret(path: Path, text: str) -> None:
    """Write `text` to a file that only this user can read, and that appears whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    try:
        part.unlink(missing_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        part.replace(path)
    except OSError as error:
        raise OutputFailed(
            f"the pairing code can't be written to {path}: {error.strerror}",
            hint="give another path with --code-file",
        ) from error
