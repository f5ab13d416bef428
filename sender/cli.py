"""The command `veilscope send`, which is also `python -m sender`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.text import Text

from sender.console import Console
from sender.journal import SenderJournal, SourceFacts
from sender.playback.play import DEFAULT_TIMEOUT_S, play
from sender.preparation import MaskWishes, Prepared, prepare
from sender.rate import DEFAULT_LATENCY_MS, Preference
from sender.session import SenderSession
from sender.settings import SenderSettings
from sender.sourceoptions import (
    BurnedInOption,
    FpsOption,
    MaskAutoOption,
    MaskOption,
    MaskTextOption,
    SizeOption,
    SourceOption,
)
from sender.streamcodec import AUTO
from shared.codecs import CODECS
from shared.errors import BadInput
from shared.keystream.network import DEFAULT_FAMILY
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
from shared.telemetry.live import LivePanel
from shared.telemetry.log import JsonLinesLog
from shared.terminal import DebugOption, hush_libraries, run_async, stdout, warn

__all__ = ["send"]


def send(
    source: SourceOption = "demo",
    signaling: SignalingOption = "ws://127.0.0.1:8765",
    ca: CaOption = None,
    proxy: ProxyOption = None,
    grace: GraceOption = LOST_AFTER_S,
    codec: Annotated[
        str,
        typer.Option(
            envvar="VEILSCOPE_CODEC",
            help=f"One of: {', '.join(CODECS)}; {AUTO} picks by picture, machine and path.",
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
    fps: FpsOption = None,
    size: SizeOption = None,
    loop: Annotated[bool, typer.Option("--loop", help="Begin again when the source ends.")] = False,
    source_timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=0.0,
            max=1e6,
            envvar="VEILSCOPE_SOURCE_TIMEOUT",
            help="End when a live source has given no new picture for this long; 0 for never.",
        ),
    ] = DEFAULT_TIMEOUT_S,
    frames: Annotated[
        int | None, typer.Option(min=1, help="End after this many frames of the source.")
    ] = None,
    mask: MaskOption = None,
    mask_auto: MaskAutoOption = False,
    mask_text: MaskTextOption = False,
    burned_in_ok: BurnedInOption = False,
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
    until_left: Annotated[
        bool,
        typer.Option(
            "--until-left",
            help="End once the receivers have left, instead of waiting for others in their place.",
        ),
    ] = False,
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
    wishes = MaskWishes(tuple(mask or ()), mask_auto, mask_text)
    hush_libraries()
    prepared = prepare(source, size=size, fps=fps, masks=wishes)
    try:
        prepared.check_leave(burned_in_ok)
        info = prepared.source.info
        settings = SenderSettings(
            signaling=signaling,
            ca=ca,
            proxy=proxy,
            grace_s=grace,
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
            max_receivers=receivers,
            until_left=until_left,
            ice_servers=parse_ice_servers(ice_server),
            host_addresses=parse_addresses(address),
        )
        facts = SourceFacts(info.kind, info.width, info.height, fps or info.fps)
        lines = JsonLinesLog(log, on_failure=warn) if log is not None else None
        journal = SenderJournal(lines, facts)
        for line in prepared.lines:
            stdout.print(Text(line), soft_wrap=True)
        run_async(
            lambda: _run(
                prepared,
                settings,
                journal,
                code_file=code_file,
                fps=fps,
                loop=loop,
                frames=frames,
                timeout_s=source_timeout,
            )
        )
    finally:
        prepared.close()


async def _run(
    prepared: Prepared,
    settings: SenderSettings,
    journal: SenderJournal,
    *,
    code_file: Path | None,
    fps: float | None,
    loop: bool,
    frames: int | None,
    timeout_s: float,
) -> None:
    console = Console(code_file, settings.signaling)
    console.forget_code()  # of a sender that was killed: a receiver must not take it for ours
    source, masking = prepared.source, prepared.masking
    session = SenderSession(
        play(source, fps=fps, loop=loop, frames=frames, masking=masking, timeout_s=timeout_s),
        settings,
        journal=journal,
        on_code=console.code,
        on_notice=console.notice,
    )
    try:
        async with session:
            for line in prepared.told:
                journal.event("source", line)
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
