"""How fast this machine makes keystream, beside AES-256-CTR and ChaCha20 in the same run.

Every backend that opens is measured for every family asked for.  Rounds of all of them take turns,
so that what else the machine does falls on each alike; the ratios are worth more than the figures.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from lab.bench.keystream_report import as_json, print_tables
from lab.bench.keystream_results import AES, CHACHA, Entry, Measured, PictureResult
from lab.bench.memory import NotMeasured, measure_memory
from lab.bench.onpath import on_path
from lab.bench.timing import Spread, take_turns
from lab.resultfile import ResultFile
from shared.errors import BadInput, DeviceUnavailable, SelfTestFailed
from shared.keystream.backend import DEVICES, Backend, device_of, open_backend
from shared.keystream.network import DEFAULT_FAMILY, load_network, shipped_families
from shared.terminal import stdout

if TYPE_CHECKING:
    from lab.bench.keystream_device import InPlace

__all__ = ["main"]

_KEY = bytes(range(32))

_PICTURES = (
    PictureResult("640x480 grey", 640 * 480),
    PictureResult("1280x720 RGB", 1280 * 720 * 3),
    PictureResult("1920x1080 RGB", 1920 * 1080 * 3),
)
_SIZES = (64 << 10, 640 * 480, 1 << 20, 1280 * 720 * 3, 1920 * 1080 * 3, 16 << 20)
_ON_PATH_NBYTES = 640 * 480
_MEMORY_NBYTES = 1920 * 1080 * 3
_PAUSE_S = 1 / 60
_FRAMES_A_ROUND = 4  # on the path; they are quick beside a round of long runs


def main(
    network: Annotated[
        str, typer.Option("--network", "--family", help="A shipped family or a network file.")
    ] = DEFAULT_FAMILY,
    every: Annotated[bool, typer.Option("--all", help="All shipped families.")] = False,
    device: Annotated[
        str | None, typer.Option(help="One of its devices; default: each that opens.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Medians are over this many.")] = 25,
    threads: Annotated[int, typer.Option(min=1, help="Calls at once.")] = 1,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write every figure here.")
    ] = None,
) -> None:
    """Measure the keystream on every backend beside AES-256-CTR and ChaCha20."""
    file = ResultFile(json_file)
    networks = shipped_families() if every else (network,)
    found = _measure(_open_all(networks, device, rounds, threads))
    print_tables(found)
    file.write(as_json(found))


def _open_all(networks: tuple[str, ...], device: str | None, rounds: int, threads: int) -> Measured:
    entries, skipped = [], {}
    for network in networks:
        loaded = load_network(network)
        for name in DEVICES[1:] if device is None else (device,):
            try:
                backend = open_backend(loaded, name)
            except (DeviceUnavailable, SelfTestFailed) as error:
                if device is not None:
                    raise
                skipped[f"{network} on {name}"] = str(error)
            else:
                opened = device_of(backend) if name == "auto" else name
                entries.append(Entry(network, opened, backend))
    if not entries:
        reasons = "; ".join(f"{title}: {reason}" for title, reason in skipped.items())
        raise BadInput(f"no backend of the keystream runs here ({reasons})")
    return Measured(rounds, threads, entries, skipped)


def _measure(found: Measured) -> Measured:
    found.pictures, found.sizes = _PICTURES, _SIZES
    makers = {entry.title: _learned(entry.backend) for entry in found.entries}
    makers[AES] = _cipher(algorithms.AES(_KEY), modes.CTR(bytes(16)))
    makers[CHACHA] = _cipher(algorithms.ChaCha20(_KEY, bytes(16)), None)
    with stdout.status("") as status, ThreadPoolExecutor(found.threads) as pool:
        for nbytes in found.sizes:
            status.update(f"{nbytes >> 10:,} KiB a call")
            ways = {
                name: _repeated(make, nbytes, found.threads, pool) for name, make in makers.items()
            }
            found.making[nbytes] = take_turns(ways, found.rounds)
        found.on_path_nbytes = _ON_PATH_NBYTES
        for entry in found.entries:
            status.update(f"on the path: {entry.title}")
            frames = _FRAMES_A_ROUND * found.rounds
            found.on_path[entry.title] = on_path(
                entry.backend.keyed, found.on_path_nbytes, frames, _PAUSE_S
            )
        for entry in found.entries:
            status.update(f"memory: {entry.title}")
            try:
                memory = measure_memory(entry.network, entry.device, _MEMORY_NBYTES)
            except NotMeasured as error:
                found.skipped[f"memory of {entry.title}"] = str(error)
            else:
                found.memory[entry.title] = memory
        status.update("frames in the GPU's memory")
        found.on_device = _on_device(found)
    return found


def _on_device(found: Measured) -> dict[int, dict[str, Spread]]:
    """Measure the backends of a GPU in its own memory; nothing where none was opened."""
    backends = {e.title: e.backend for e in found.entries if e.device in ("cuda", "triton")}
    if not backends:
        return {}
    import torch  # takes a second

    from lab.bench.keystream_device import fitting_sizes, time_in_place

    device = torch.device("cuda", torch.cuda.current_device())
    free_nbytes, _ = torch.cuda.mem_get_info(device)
    generators = {title: cast("InPlace", b.keyed(_KEY)) for title, b in backends.items()}
    found.gpu = torch.cuda.get_device_name(device)
    return {
        nbytes: time_in_place(generators, device, nbytes, found.rounds)
        for nbytes in fitting_sizes(free_nbytes)
    }


def _repeated(
    make: Callable[[int], object], nbytes: int, threads: int, pool: ThreadPoolExecutor
) -> Callable[[], object]:
    if threads == 1:
        return lambda: make(nbytes)
    return lambda: list(pool.map(make, [nbytes] * threads))


def _learned(backend: Backend) -> Callable[[int], object]:
    generator, counter = backend.keyed(_KEY), count()
    return lambda nbytes: generator.generate(next(counter), nbytes)


def _cipher(
    algorithm: algorithms.AES | algorithms.ChaCha20, mode: modes.CTR | None
) -> Callable[[int], object]:
    zeros = memoryview(bytes(max(_SIZES)))
    return lambda nbytes: Cipher(algorithm, mode).encryptor().update(zeros[:nbytes])
