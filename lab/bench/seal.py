"""What sealing and opening a frame costs on its path, beside AES-256-GCM alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer
from rich.table import Column, Table

from lab.bench.onpath import AES_GCM, OPEN_AHEAD, REFILLING, SEAL_AHEAD, SEAL_SPOT, on_path
from lab.bench.timing import Spread
from shared.keystream.backend import open_backend
from shared.keystream.network import DEFAULT_FAMILY, load_network
from shared.terminal import stdout

__all__ = ["main"]

_SIZES = (16 << 10, 64 << 10, 307_200, 921_600)  # JPEG frames; raw 640x480 grey and RGB
_PAUSE_S = 1 / 60
_SHOWN = {
    "AES-GCM": AES_GCM,
    "seal": SEAL_AHEAD,
    "open": OPEN_AHEAD,
    "seal, busy": REFILLING,  # while the worker is making pads
    "seal, spot": SEAL_SPOT,
}


def main(
    frames: Annotated[int, typer.Option(min=1, help="Medians are over this many.")] = 60,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, …")] = "auto",
    network: Annotated[
        str, typer.Option("--network", "--family", help="A shipped family or a network file.")
    ] = DEFAULT_FAMILY,
) -> None:
    """Seal and open frames, with the keystream made ahead and on the spot."""
    backend = open_backend(load_network(network), device)
    found = {nbytes: on_path(backend.keyed, nbytes, frames, _PAUSE_S) for nbytes in _SIZES}
    title = f"one frame, ms; {network} on {backend.name}"
    stdout.print(_table(f"{title}; median", found, lambda spread: spread.median_s))
    stdout.print(_table("the same; 95 % took at most", found, lambda spread: spread.p95_s))


def _table(
    title: str, found: dict[int, dict[str, Spread]], pick: Callable[[Spread], float]
) -> Table:
    table = Table(
        "KiB",
        *(Column(name, justify="right") for name in (*_SHOWN, "seal / AES-GCM")),
        title=title,
        title_justify="left",
    )
    for nbytes, spreads in found.items():
        seconds = [pick(spreads[name]) for name in _SHOWN.values()]
        ratio = pick(spreads[SEAL_AHEAD]) / pick(spreads[AES_GCM])
        table.add_row(f"{nbytes / 1024:,.0f}", *(f"{s * 1e3:.3f}" for s in seconds), f"{ratio:.1f}")
    return table
