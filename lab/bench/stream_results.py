"""What a run of `veilscope bench stream` found: as a table for a terminal, and as JSON."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from rich import box
from rich.table import Table

from lab.bench.machine import describe_machine
from lab.bench.rivals.rival import Run
from lab.bench.stream_figures import Figures, Quality, first_showings

__all__ = ["StreamResult", "as_json", "results_tables"]


@dataclass(frozen=True, slots=True, eq=False)
class StreamResult:
    """One rival in one round; `extra` holds figures that only some runs have."""

    name: str
    round: int
    figures: Figures
    run: Run
    extra: dict[str, float | None]


_SEEN = ("p50\nms", "p95\nms", "p99\nms", "shown\n%", "fps", "freezes", "gap\nms", "PSNR\ndB/min")
_COST = ("Mbit/s", "CPU ms\nsending", "CPU ms\nreceiving", "MiB\nsending", "MiB\nreceiving")


def results_tables(results: Sequence[StreamResult], title: str) -> list[Table]:
    """What a person sees of each stream, and what it costs; a row a stream, fit for 80 columns."""
    seen, cost = _table(title, _SEEN), _table("by picture of the source; peak memory", _COST)
    for result in results:
        figures = result.figures
        seen.add_row(
            result.name,
            _number(figures.latency_p50_ms),
            _number(figures.latency_p95_ms),
            _number(figures.latency_p99_ms),
            _number(figures.shown_share * 100),
            _number(figures.shown_fps),
            str(figures.freezes),
            _number(figures.longest_gap_ms, 0),
            _decibels(figures.quality),
        )
        cost.add_row(
            result.name,
            _number(figures.mbit_per_s, 2),
            _number(figures.sender_cpu_ms),
            _number(figures.receiver_cpu_ms),
            _number(figures.sender_peak_mib, 0),
            _number(figures.receiver_peak_mib, 0),
        )
    return [seen, cost]


def _table(title: str, headings: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def _number(value: float | None, decimals: int = 1) -> str:
    if value is None:
        return "-"
    return f"{value:.{decimals if abs(value) < 1000 else 0}f}"


def _decibels(quality: Quality) -> str:
    """Mean and least; "exact" where all are."""
    if quality.mean_db is None:
        return "exact" if quality.exact else "-"
    return f"{quality.mean_db:.1f}/{_number(quality.min_db)}"


def as_json(results: Sequence[StreamResult], case: dict[str, Any]) -> dict[str, Any]:
    """Everything found, with the series from which it can be drawn again."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            **describe_machine(),
            **{package: version(package) for package in ("veilscope", "aiortc", "av")},
            "load": round(os.getloadavg()[0], 2),
        },
        "case": case,
        "results": [_one(result) for result in results],
    }


def _one(result: StreamResult) -> dict[str, Any]:
    run = result.run
    began = run.began_ns

    def at_s(ns: int) -> float:
        return round((ns - began) / 1e9, 4)

    return {
        "name": result.name,
        "round": result.round,
        "figures": {**asdict(result.figures), "shown_share": result.figures.shown_share},
        "extra": result.extra,
        "notes": list(run.record.notes),
        "series": {
            "latency": [
                (at_s(s.captured_at_ns), s.index, round(s.latency_ms, 3))
                for s in first_showings(run.record.shown)
            ],
            "usage": {
                side: [(at_s(u.at_ns), round(u.cpu_s, 3), u.rss_bytes) for u in usage]
                for side, usage in run.usage.items()
            },
            "rates": [] if run.wire is None else run.wire.rates,
            "flows": {} if run.wire is None else run.wire.flows,
        },
        "wire": None if run.wire is None else dict(run.wire.counters),
    }
