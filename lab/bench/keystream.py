"""How fast this machine makes keystream, beside AES-256-CTR and ChaCha20 in the same run.

Rounds of all of them take turns, so that what else the machine does falls on each alike; the ratios
are worth more than the figures.
"""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from rich.console import Console
from rich.table import Table

from shared.keystream.backend import KeyedGenerator, open_backend
from shared.keystream.network import DEFAULT_FAMILY, load_network

__all__ = ["measure"]

_SIZES = (64 << 10, 256 << 10, 1 << 20, 16 << 20)  # JPEG frames, a lossless one, and a long run
_KEY = bytes(range(32))


def measure(rounds: int, device: str, network: str) -> dict[str, dict[int, float]]:
    """Return the median MB/s by what was measured and by bytes a call."""
    generator = open_backend(load_network(network), device).keyed(_KEY)
    makers: dict[str, Callable[[int], object]] = {
        f"learned keystream ({network})": _learned(generator),
        "AES-256-CTR": _cipher(algorithms.AES(_KEY), modes.CTR(bytes(16))),
        "ChaCha20": _cipher(algorithms.ChaCha20(_KEY, bytes(16)), None),
    }
    speeds: dict[str, dict[int, list[float]]] = {name: {} for name in makers}
    for nbytes in _SIZES:
        for make in makers.values():
            make(nbytes)
        for _ in range(rounds):
            for name, make in makers.items():
                start = time.perf_counter()
                make(nbytes)
                seconds = time.perf_counter() - start
                speeds[name].setdefault(nbytes, []).append(nbytes / seconds / 1e6)
    return {
        name: {nbytes: statistics.median(found) for nbytes, found in by_size.items()}
        for name, by_size in speeds.items()
    }


def _learned(generator: KeyedGenerator) -> Callable[[int], object]:
    counter = iter(range(1 << 62))
    return lambda nbytes: generator.generate(next(counter), nbytes)


def _cipher(
    algorithm: algorithms.AES | algorithms.ChaCha20, mode: modes.CTR | None
) -> Callable[[int], object]:
    zeros = {nbytes: bytes(nbytes) for nbytes in _SIZES}
    return lambda nbytes: Cipher(algorithm, mode).encryptor().update(zeros[nbytes])


def main(
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    network: Annotated[str, typer.Option(help="A family or a network file.")] = DEFAULT_FAMILY,
    rounds: Annotated[int, typer.Option(min=1, help="Medians are over this many.")] = 15,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures here.")
    ] = None,
) -> None:
    """Measure the keystream beside AES-256-CTR and ChaCha20."""
    results = measure(rounds, device, network)
    table = Table("one thread, MB/s, median", *(f"{size >> 10:,} KiB" for size in _SIZES))
    for name, by_size in results.items():
        table.add_row(name, *(f"{speed:,.0f}" for speed in by_size.values()))
    Console().print(table)
    typer.echo(f"{platform.machine()}, torch {torch.__version__}")
    if json_file is not None:
        json_file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
