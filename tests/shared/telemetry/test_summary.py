from __future__ import annotations

from rich.console import Console

from shared.telemetry.live import summary_table
from shared.telemetry.records import DropReason, LatencyFigures, PsnrFigures, SummaryLine

SUMMARY = SummaryLine(
    at_s=10.0,
    frames_shown=90,
    frames_dropped={DropReason.LATE: 4, DropReason.FROZEN: 6, DropReason.LINK_BUSY: 0},
    auth_failures=2,
    replays=3,
    keystream_mismatches=0,
    freezes=1,
    fps=29.97,
    latency_ms=LatencyFigures(p50=20.04, p95=31.5, p99=40.0, max=55.5),
    psnr_db=PsnrFigures(mean=41.5, min=39.25),
    bytes=100_000,
)


def text_of(summary: SummaryLine) -> str:
    console = Console(width=120, highlight=False)
    with console.capture() as captured:
        console.print(summary_table(summary))
    return captured.get()


def test_the_table_tells_what_was_shown_dropped_and_refused() -> None:
    text = text_of(SUMMARY)
    for words in (
        "90 of 100 (90.0 %)",
        "4 late, 6 frozen",
        "p50 20.0, p95 31.5, p99 40.0, max 55.5 ms",
        "mean 41.5, min 39.2 dB",
        "2 auth failures, 3 replays, 0 keystream mismatches",
    ):
        assert words in text
    assert "link busy" not in text


def test_what_was_not_measured_is_no_figure() -> None:
    nothing = SUMMARY.model_copy(
        update={
            "frames_shown": 0,
            "frames_dropped": {},
            "fps": None,
            "latency_ms": LatencyFigures(),
            "psnr_db": PsnrFigures(),
        }
    )
    text = text_of(nothing)
    assert "0 of 0 (0.0 %)" in text
    assert "p50 -, p95 -, p99 -, max - ms" in text
    assert "none" in text
    assert "lossless" not in text


def test_without_loss_there_is_no_psnr() -> None:
    assert "lossless" in text_of(SUMMARY.model_copy(update={"psnr_db": PsnrFigures()}))
