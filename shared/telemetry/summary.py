"""A receiver's session in figures, as a table for the terminal.

Pure: a summary line in, a table out.
"""

from __future__ import annotations

from rich.table import Table

from shared.telemetry.records import SummaryLine

__all__ = ["summary_table"]


def summary_table(summary: SummaryLine) -> Table:
    """What a person wants to know of a session that ended."""
    dropped = summary.frames_dropped
    total = summary.frames_shown + sum(dropped.values())
    share = 100 * summary.frames_shown / total if total else 0.0
    latency, psnr = summary.latency_ms, summary.psnr_db
    table = Table(title="summary", title_justify="left", show_header=False)
    table.add_row("frames shown", f"{summary.frames_shown} of {total} ({share:.1f} %)")
    reasons = [f"{count} {reason.replace('_', ' ')}" for reason, count in dropped.items() if count]
    table.add_row("frames dropped", ", ".join(reasons) or "none")
    if summary.frames_frozen:
        table.add_row("came while frozen", f"{summary.frames_frozen}, which is no loss")
    table.add_row("frames a second", _figure(summary.fps))
    table.add_row(
        "latency, capture to shown",
        f"p50 {_figure(latency.p50)}, p95 {_figure(latency.p95)}, p99 {_figure(latency.p99)}, "
        f"max {_figure(latency.max)} ms",
    )
    if psnr.mean is not None:
        table.add_row("PSNR", f"mean {psnr.mean:.1f}, min {_figure(psnr.min)} dB")
    else:
        table.add_row("PSNR", "lossless" if summary.frames_shown else "-")
    table.add_row(
        "refused",
        f"{summary.auth_failures} auth failures, {summary.replays} replays, "
        f"{summary.keystream_mismatches} keystream mismatches",
    )
    table.add_row("freezes", str(summary.freezes))
    return table


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
