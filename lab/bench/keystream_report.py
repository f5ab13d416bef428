"""The keystream bench's figures as tables that fit a terminal of 80 columns, and as JSON."""

from __future__ import annotations

from rich.table import Table

from lab.bench import onpath
from lab.bench.keystream_results import AES, CHACHA, Measured
from lab.bench.machine import describe_machine, nominal_mhz
from lab.bench.timing import Spread
from shared.terminal import stdout

__all__ = ["as_json", "print_tables"]

_HOST_DEVICES = ("cpu", "onnx")  # those whose cycles are the processor's
_BUDGETS_MS = (1e3 / 30, 1e3 / 60)


def print_tables(found: Measured) -> None:
    """Print one table for each question, and what was left out."""
    for table in (
        _speeds(found),
        _ratios(found),
        _budgets(found),
        _path_ahead(found),
        _path_without(found),
        _memory(found),
    ):
        stdout.print(table)
    if found.on_device:
        stdout.print(_on_device(found))
    machine = describe_machine()
    stdout.print(f"{machine['processor']}, {machine['openssl']}, medians of {found.rounds}")
    for title, reason in found.skipped.items():
        stdout.print(f"not measured: {title}: {reason}")


def _names(found: Measured) -> list[str]:
    return [*(entry.title for entry in found.entries), AES, CHACHA]


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", padding=(0, 1, 0, 0))
    table.add_column("")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _speeds(found: Measured) -> Table:
    threads = "one thread" if found.threads == 1 else f"{found.threads} threads"
    table = _table(f"MB/s, {threads}, by KiB a call", *(f"{n >> 10:,}" for n in found.sizes))
    for name in _names(found):
        table.add_row(name, *(f"{found.speed(name, nbytes):,.0f}" for nbytes in found.sizes))
    return table


def _ratios(found: Measured) -> Table:
    nbytes, mhz = found.on_path_nbytes, nominal_mhz()
    clock = "clock not known" if mhz is None else f"at the nominal {mhz:,.0f} MHz"
    table = _table(
        f"{nbytes >> 10:,} KiB a call; cycles {clock}",
        *("MB/s", "/ AES-256-CTR", "/ ChaCha20", "cycles a byte"),
    )
    for name in _names(found):
        speed = found.speed(name, nbytes)
        cycles = _cycles_a_byte(found, name)
        table.add_row(
            name,
            f"{speed:,.0f}",
            f"{speed / found.speed(AES, nbytes):.3f}",
            f"{speed / found.speed(CHACHA, nbytes):.3f}",
            "\N{EN DASH}" if cycles is None else f"{cycles:.2f}",
        )
    return table


def _cycles_a_byte(found: Measured, name: str) -> float | None:
    """Nominal clock cycles of one thread; None on a device whose clock is another."""
    on_host = {entry.title: entry.device in _HOST_DEVICES for entry in found.entries}
    mhz = nominal_mhz()
    if mhz is None or not on_host.get(name, True):
        return None
    return mhz * found.threads / found.speed(name, found.on_path_nbytes)


def _budgets(found: Measured) -> Table:
    table = _table(
        "share of a frame's time at 30 / 60 fps, raw pictures, one call",
        *(picture.title for picture in found.pictures),
    )
    for name in _names(found):
        cells = []
        for picture in found.pictures:
            ms = found.making[picture.nbytes][name].median_s * 1e3
            cells.append(" / ".join(f"{ms / budget:.1%}" for budget in _BUDGETS_MS))
        table.add_row(name, *cells)
    return table


def _path_ahead(found: Measured) -> Table:
    return _path(
        found,
        "on the path, keystream ahead",
        (onpath.AES_GCM, onpath.SEAL_AHEAD, onpath.OPEN_AHEAD, onpath.REFILLING),
        ("AES-GCM alone", "seal", "open", "seal, worker busy"),
    )


def _path_without(found: Measured) -> Table:
    return _path(
        found,
        "on the path, keystream on the spot",
        (onpath.AES_GCM, onpath.SEAL_SPOT, onpath.OPEN_SPOT),
        ("AES-GCM alone", "seal", "open"),
    )


def _path(found: Measured, title: str, names: tuple[str, ...], columns: tuple[str, ...]) -> Table:
    table = _table(f"{title}: ms, median / p95, {found.on_path_nbytes >> 10} KiB", *columns)
    for entry in found.entries:
        spreads = found.on_path[entry.title]
        table.add_row(entry.title, *(_median_p95(spreads[name]) for name in names))
    return table


def _median_p95(spread: Spread) -> str:
    return f"{spread.median_s * 1e3:.3f} / {spread.p95_s * 1e3:.3f}"


def _memory(found: Measured) -> Table:
    table = _table(
        "MiB of memory: peaks in a process of its own, 1920x1080 RGB ahead",
        *("before", "opened, more", "running, more", "of it pads"),
    )
    for title, peaks in found.memory.items():
        before, opened, running = (peaks[key] / 2**20 for key in ("before", "opened", "running"))
        table.add_row(
            title,
            f"{before:.0f}",
            f"{opened - before:.0f}",
            f"{running - opened:.0f}",
            f"{peaks['pads'] / 2**20:.0f}",
        )
    return table


def _on_device(found: Measured) -> Table:
    sizes = found.on_device
    table = _table(
        f"{found.gpu}: GB/s onto frames in its memory, by MiB a frame; (share of the bus)",
        *(f"{nbytes / 2**20:,.1f}" for nbytes in sizes),
    )
    for name in next(iter(sizes.values())):
        cells = (
            f"{found.device_gb_per_s(name, n):,.0f} ({found.share_of_bus(name, n):.0%})"
            for n in sizes
        )
        table.add_row(name, *cells)
    return table


def as_json(found: Measured) -> dict[str, object]:
    """Return every figure of the run, for a file; times in seconds."""
    return {
        "machine": describe_machine(),
        "rounds": found.rounds,
        "threads": found.threads,
        "not_measured": found.skipped,
        "making": [
            {
                "name": name,
                "nbytes": nbytes,
                **_spread(found.making[nbytes][name]),
                "mb_per_s": found.speed(name, nbytes),
                "of_aes_256_ctr": found.speed(name, nbytes) / found.speed(AES, nbytes),
                "of_chacha20": found.speed(name, nbytes) / found.speed(CHACHA, nbytes),
            }
            for nbytes in found.sizes
            for name in _names(found)
        ],
        "nominal_cycles_a_byte": {name: _cycles_a_byte(found, name) for name in _names(found)},
        "frame_budget": [
            {
                "name": name,
                "picture": picture.title,
                "nbytes": picture.nbytes,
                **{
                    f"share_of_{budget:.1f}_ms": found.making[picture.nbytes][name].median_s
                    * 1e3
                    / budget
                    for budget in _BUDGETS_MS
                },
            }
            for picture in found.pictures
            for name in _names(found)
        ],
        "on_path": [
            {"name": title, "nbytes": found.on_path_nbytes, "what": what, **_spread(spread)}
            for title, spreads in found.on_path.items()
            for what, spread in spreads.items()
        ],
        "memory_bytes": found.memory,
        "gpu": found.gpu or None,
        "on_device": [
            {
                "name": name,
                "nbytes": nbytes,
                **_spread(spread),
                "gb_per_s": found.device_gb_per_s(name, nbytes),
                "share_of_bus": found.share_of_bus(name, nbytes),
            }
            for nbytes, spreads in found.on_device.items()
            for name, spread in spreads.items()
        ],
    }


def _spread(spread: Spread) -> dict[str, float]:
    return {"count": spread.count, "median_s": spread.median_s, "p95_s": spread.p95_s}
