"""The live figures of a session in the terminal.

In a terminal: a panel redrawn four times a second by its own thread, so that a terminal that
stands still (Ctrl-S) never holds up a session.  Elsewhere: one plain line every few seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from shared.telemetry.metrics import Snapshot
from shared.telemetry.records import Role, SummaryLine
from shared.telemetry.tiers import STALE_AFTER_MS, STALE_REPEATING_MS, tier
from shared.terminal import stdout

__all__ = [
    "LiveFacts",
    "LivePanel",
    "LiveState",
    "render",
    "status_line",
    "summary_table",
]

LiveState = Literal["waiting", "live", "still", "frozen", "stale", "ended"]

REFRESH_S = 0.25
LINE_EVERY_S = 5.0

TIER_STYLE = {"green": "green", "amber": "yellow", "red": "bold red"}
STATE_TEXT: dict[LiveState, tuple[str, str]] = {
    "waiting": ("waiting for the other end", "yellow"),
    "live": ("live", "bold green"),
    "still": ("live, the source stands still", "yellow"),
    "frozen": ("frozen by the viewer", "bold cyan"),
    "stale": ("STALE", "bold white on red"),
    "ended": ("ended", "dim"),
}


@dataclass(frozen=True, slots=True)
class LiveFacts:
    """What the panel shows; `note` is one line such as the reason why quality was lowered."""

    role: Role
    state: LiveState
    session: str | None = None
    keystream: str | None = None
    source: str | None = None
    figures: Snapshot = field(default_factory=Snapshot)
    note: str = ""

    @property
    def shown_state(self) -> LiveState:
        """Instead of `live`, what a person must know of it.

        That the viewer has `frozen` it, that it is `stale` for want of a frame for 1 s, or that
        the source stands `still`.
        """
        if self.state == "live" and self.figures.holding:
            return "frozen"
        if self.state == "live" and self.is_silent:
            return "stale"
        if self.state == "live" and self.figures.repeated:
            return "still"
        return self.state

    @property
    def is_silent(self) -> bool:
        """Whether no frame has come for 1 s, or longer than one that is repeated may take."""
        silence_ms = self.figures.silence_ms
        limit_ms = STALE_REPEATING_MS if self.figures.repeated else STALE_AFTER_MS
        return silence_ms is not None and silence_ms > limit_ms


def render(facts: LiveFacts) -> Panel:
    """The panel for `facts`."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name, value in _rows(facts):
        table.add_row(name, value)
    body = Group(table, Text(facts.note, style="yellow")) if facts.note else table
    title = f"Veilscope {facts.role}"
    return Panel(body, title=title, title_align="left", border_style=_border(facts), width=72)


def status_line(facts: LiveFacts) -> str:
    """One plain line for logs and pipes."""
    state = STATE_TEXT[facts.shown_state][0]
    parts = [f"{facts.role}: {state}"]
    figures = facts.figures
    if figures.frames:
        parts += [f"{name} {text.plain}" for name, text in _figure_rows(figures)]
    if facts.note:
        parts.append(facts.note)
    return ", ".join(parts)


class LivePanel:
    """Shows the newest facts given to `update` until closed; a context manager."""

    def __init__(self, console: Console = stdout) -> None:
        self._console = console
        self._facts: LiveFacts | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live panel", daemon=True)

    def update(self, facts: LiveFacts) -> None:
        """Show `facts` from the next redraw on; never blocks."""
        self._facts = facts

    async def follow(self, facts: Callable[[], LiveFacts]) -> None:
        """Ask `facts` for news four times a second, until cancelled."""
        while True:
            self.update(facts())
            await asyncio.sleep(REFRESH_S)

    def __enter__(self) -> LivePanel:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(2.0)  # a terminal that stands still must not keep the program

    def _run(self) -> None:
        # The terminal or pipe was closed; rich makes a SystemExit of it.
        with contextlib.suppress(OSError, ValueError, SystemExit):
            if self._console.is_terminal:
                self._redraw()
            else:
                self._print_lines()

    def _redraw(self) -> None:
        live = Live(console=self._console, auto_refresh=False)
        with live:
            while True:
                ended = self._stop.wait(REFRESH_S)
                if self._facts is not None:
                    live.update(render(self._facts), refresh=True)
                if ended:
                    return

    def _print_lines(self) -> None:
        last = ""
        while True:
            ended = self._stop.wait(LINE_EVERY_S if last else REFRESH_S)
            line = "" if self._facts is None else status_line(self._facts)
            if line != last:
                self._console.print(Text(line), soft_wrap=True)
                last = line
            if ended:
                return


def _rows(facts: LiveFacts) -> list[tuple[str, Text]]:
    rows = [("state", Text(*STATE_TEXT[facts.shown_state]))]
    if facts.is_silent and facts.shown_state in ("stale", "frozen"):
        silence_s = (facts.figures.silence_ms or 0.0) / 1000
        rows[0][1].append(f"  no new frame for {silence_s:.0f} s", style="red")
    if facts.session:
        rows.append(("session", Text(facts.session)))
    if facts.source:
        rows.append(("source", Text(facts.source)))
    if facts.keystream and facts.state in ("live", "ended"):
        mark = f"AES-256-GCM + learned keystream {facts.keystream}"
        rows.append(("encrypted", Text(mark, style="green")))
    if facts.figures.frames:
        rows += _figure_rows(facts.figures)
    return rows


def _figure_rows(figures: Snapshot) -> list[tuple[str, Text]]:
    rows = [("frames", Text(f"{figures.frames} at {figures.fps:.1f} fps"))]
    p50, p95, bound = figures.latency_p50_ms, figures.latency_p95_ms, figures.latency_bound_ms
    if p50 is not None and p95 is not None:
        text = Text(f"{p50:.0f} ms", style=TIER_STYLE[tier(p50)])
        text = Text.assemble(text, " (p95 ", (f"{p95:.0f} ms", TIER_STYLE[tier(p95)]), ")")
        text.append(f" ± {bound:.1f} ms" if bound is not None else " clock not yet compared")
        rows.append(("latency", text))
    if figures.codec is not None:
        picture = f"{figures.codec} {figures.width}×{figures.height}, "  # noqa: RUF001
        exact = figures.lossless or figures.psnr_db is None
        picture += "lossless" if exact else f"PSNR {figures.psnr_db:.1f} dB"
        rows.append(("quality", Text(picture)))
    rows.append(("bitrate", Text(f"{figures.kbit_per_s / 1000:.2f} Mbit/s")))
    if figures.path_bps is not None:
        path = f"{figures.path_bps / 1e6:.1f} Mbit/s, round trip {figures.rtt_ms or 0:.0f} ms, "
        rows.append(("path", Text(f"{path}loss {100 * (figures.loss or 0):.1f} %")))
    if figures.drops:
        counts = "; ".join(f"{n} {r.replace('_', ' ')}" for r, n in figures.drops.items())
        rows.append(("dropped", Text(counts, style="yellow")))
    if figures.frozen:
        rows.append(("held", Text(f"{figures.frozen} came while the picture was frozen")))
    if figures.freezes:
        rows.append(("freezes", Text(str(figures.freezes), style="yellow")))
    if figures.epoch is not None:
        rows.append(("key epoch", Text(str(figures.epoch))))
    return rows


def _border(facts: LiveFacts) -> str:
    state = facts.shown_state
    if state == "live" and facts.figures.latency_p95_ms is not None:
        return TIER_STYLE[tier(facts.figures.latency_p95_ms)]
    return {"live": "green", "stale": "red", "ended": "dim"}.get(state, "yellow")


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
