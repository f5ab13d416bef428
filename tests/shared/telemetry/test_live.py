from __future__ import annotations

import io
import os
import re
import threading
from dataclasses import replace

import pytest
from rich.console import Console

from shared.telemetry import live
from shared.telemetry.live import LiveFacts, LivePanel, render, status_line
from shared.telemetry.metrics import Snapshot
from shared.telemetry.records import DropReason

FIGURES = Snapshot(
    frames=300,
    fps=29.97,
    kbit_per_s=12_345.0,
    latency_p50_ms=33.2,
    latency_p95_ms=250.0,
    latency_bound_ms=0.4,
    psnr_db=41.2,
    codec="h264",
    width=640,
    height=480,
    path_bps=8_000_000,
    rtt_ms=40.0,
    loss=0.015,
    drops={DropReason.LATE: 3},
    epoch=2,
    silence_ms=12.0,
)
LIVE = LiveFacts("receiver", "live", "ab12", "bp", "demo", FIGURES)


def text_of(facts: LiveFacts) -> str:
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    console.print(render(facts))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def coloured(facts: LiveFacts) -> str:
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system="standard")
    console.print(render(facts))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_panel_shows_what_a_viewer_must_know() -> None:
    text = text_of(LIVE)
    for words in (
        "live",
        "AES-256-GCM + learned keystream bp",
        "300 at 30.0 fps",
        "33 ms (p95 250 ms) ± 0.4 ms",
        "h264 640×480, PSNR 41.2 dB",  # noqa: RUF001
        "8.0 Mbit/s, round trip 40 ms, loss 1.5 %",
        "12.35 Mbit/s",
        "3 late",
    ):
        assert words in text


def test_a_picture_that_stops_is_called_stale() -> None:
    text = text_of(replace(LIVE, figures=replace(FIGURES, silence_ms=4000.0)))
    assert "STALE" in text
    assert "no new frame for 4 s" in text


def test_a_picture_that_the_viewer_holds_is_called_frozen_and_not_stale() -> None:
    held = replace(FIGURES, holding=True, frozen=120)
    text = text_of(replace(LIVE, figures=held))
    assert "STALE" not in text
    assert "no new frame" not in text
    assert "frozen by the viewer" in text
    assert "120 came while the picture was frozen" in text
    assert "3 late" in text, "which is something else"
    assert "AES-256-GCM" in text


def test_that_nothing_comes_is_said_while_the_viewer_holds_the_picture_too() -> None:
    held = replace(FIGURES, silence_ms=12_000.0, holding=True)
    text = text_of(replace(LIVE, figures=held))
    assert "frozen by the viewer  no new frame for 12 s" in text
    assert "no new frame" not in text_of(replace(LIVE, state="ended", figures=held))


def test_nothing_is_called_encrypted_before_the_ends_are_paired() -> None:
    waiting = text_of(LiveFacts("sender", "waiting", keystream="bp"))
    assert "waiting for the other end" in waiting
    assert "AES" not in waiting


@pytest.mark.parametrize(("latency_ms", "code"), [(200.0, "32"), (400.0, "33"), (401.0, "1;31")])
def test_latency_wears_its_tiers_colour(latency_ms: float, code: str) -> None:
    figures = replace(FIGURES, latency_p50_ms=latency_ms, latency_p95_ms=latency_ms)
    assert f"\x1b[{code}m{latency_ms:.0f} ms" in coloured(replace(LIVE, figures=figures))


def test_an_uncompared_clock_is_admitted() -> None:
    assert "clock not yet compared" in text_of(
        replace(LIVE, figures=replace(FIGURES, latency_bound_ms=None))
    )


def test_a_pipe_gets_plain_lines_and_no_line_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "REFRESH_S", 0.01)
    monkeypatch.setattr(live, "LINE_EVERY_S", 0.01)
    written = threading.Event()

    class Pipe(io.StringIO):
        def write(self, text: str) -> int:
            written.set()
            return super().write(text)

    pipe = Pipe()
    with LivePanel(Console(file=pipe, force_terminal=False)) as panel:
        panel.update(LIVE)
        assert written.wait(10)
        panel.update(LiveFacts("receiver", "ended", note="the sender ended the session"))
    text = pipe.getvalue()
    assert text.splitlines() == [
        status_line(LIVE),
        "receiver: ended, the sender ended the session",
    ]
    assert "\x1b" not in text


def test_a_terminal_that_closes_ends_the_panel_quietly() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    file = os.fdopen(writing, "w")
    with LivePanel(Console(file=file, force_terminal=True)) as panel:
        panel.update(LIVE)
    with pytest.raises(BrokenPipeError):
        file.close()


def test_a_terminal_gets_its_cursor_back() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with LivePanel(console) as panel:
        panel.update(LIVE)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert re.findall(r"\x1b\[\?25[hl]", text)[-1] == "\x1b[?25h"
    assert "300 at 30.0 fps" in text


def test_a_source_that_stands_still_is_called_that_and_not_stale_between_its_pictures() -> None:
    still = replace(FIGURES, repeated=True, silence_ms=1400.0)
    text = text_of(replace(LIVE, figures=still))
    assert "the source stands still" in text
    assert "STALE" not in text
    text = text_of(replace(LIVE, figures=replace(still, silence_ms=2600.0)))
    assert "STALE" in text, "then nothing of it arrives either"
