"""The charts of a session's report, drawn from its log.

Pure: a log in, drawings out.  Where the log holds nothing to draw there is no drawing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shared.telemetry.charts import Chart, Mark, Series, histogram, stage_bars, time_chart
from shared.telemetry.metrics import AMBER_MS, GREEN_MS, FreezeDetector
from shared.telemetry.reader import SessionLog
from shared.telemetry.records import FrameLine, SentFrameLine, SentStages, ShownStages

__all__ = [
    "StageRow",
    "distribution",
    "latency_chart",
    "psnr_chart",
    "size_chart",
    "stage_chart",
    "stage_rows",
]


@dataclass(frozen=True, slots=True)
class StageRow:
    """One stage's times in ms."""

    name: str
    mean: float
    p50: float
    p95: float
    most: float


def _marks(log: SessionLog) -> list[Mark]:
    marks = [Mark(e.at_s, f"epoch {e.epoch}", "epoch") for e in log.epochs]
    return marks + [Mark(e.at_s, e.event.replace("_", " "), "event") for e in log.events]


def latency_chart(log: SessionLog) -> Chart | None:
    """Latency at a receiver; at a sender the time from capture until the frame had left."""
    times, values, margins, labels = [], [], [], []
    for frame in log.frames:
        latency = _latency(frame)
        if latency is None:
            continue
        times.append(frame.at_s)
        values.append(latency)
        label = f"{frame.at_s:.2f} s · frame {frame.frame} · {latency:.1f} ms"
        bound = frame.latency_bound_ms if isinstance(frame, FrameLine) else None
        margins.append(bound or 0.0)
        labels.append(label if bound is None else f"{label} ± {bound:.2f}")
    if not values:
        return None
    receiver = log.session.role == "receiver"
    bands = [
        (0.0, GREEN_MS, "band-green", f"up to {GREEN_MS:.0f} ms"),
        (GREEN_MS, AMBER_MS, "band-amber", f"up to {AMBER_MS:.0f} ms"),
        (AMBER_MS, float("inf"), "band-red", f"above {AMBER_MS:.0f} ms"),
    ]
    drops = [Mark(d.at_s, d.reason.replace("_", " "), "drop") for d in log.drops]
    return time_chart(
        Series(times, values, labels, margins if any(margins) else ()),
        title="Latency" if receiver else "Time at the sender",
        unit="ms",
        until_s=log.duration_s,
        height=290.0,
        bands=bands if receiver else (),
        marks=_marks(log),
        ticks=drops + [Mark(at_s, "freeze", "freeze") for at_s in _freezes(log)],
    )


def _freezes(log: SessionLog) -> list[float]:
    if log.session.role == "sender":
        return []
    detector = FreezeDetector()
    return [f.at_s for f in log.frames if detector.add(round(f.at_s * 1e9))]


def _latency(frame: FrameLine | SentFrameLine) -> float | None:
    if isinstance(frame, FrameLine):
        return frame.latency_ms
    known = [v for v in frame.stages_ms.model_dump().values() if v is not None]
    return sum(known) if known else None


def distribution(log: SessionLog) -> Chart | None:
    """How many frames took how long."""
    latencies = [value for f in log.frames if (value := _latency(f)) is not None]
    if not latencies:
        return None
    p50, p95, p99 = np.percentile(latencies, [50, 95, 99]).tolist()
    receiver = log.session.role == "receiver"
    tiers = [(GREEN_MS, "bar-green"), (AMBER_MS, "bar-amber"), (float("inf"), "bar-red")]
    return histogram(
        latencies,
        title="latency" if receiver else "time at the sender",
        unit="ms",
        marks=[(p50, "median"), (p95, "p95"), (p99, "p99")],
        tiers=tiers if receiver else (),
    )


def stage_rows(log: SessionLog) -> list[StageRow]:
    """The stages that were measured, in the order of a frame's life."""
    kind = SentStages if log.session.role == "sender" else ShownStages
    rows = []
    for name in kind.model_fields:
        known = [v for f in log.frames if (v := getattr(f.stages_ms, name)) is not None]
        if known:
            p50, p95, most = np.percentile(known, [50, 95, 100]).tolist()
            rows.append(StageRow(name, float(np.mean(known)), p50, p95, most))
    return rows


def stage_chart(log: SessionLog) -> Chart | None:
    """Mean and p95 of each stage, end to end."""
    rows = stage_rows(log)
    if not rows:
        return None
    bars = [
        ("mean", [(row.name, max(row.mean, 0.0)) for row in rows]),
        ("p95 each", [(row.name, max(row.p95, 0.0)) for row in rows]),
    ]
    return stage_bars(bars, unit="ms")


def psnr_chart(log: SessionLog) -> Chart | None:
    """PSNR of the frames that are not bit-exact; None where all are."""
    lossy = [(f, f.psnr_db) for f in log.frames if f.psnr_db is not None]
    if not lossy:
        return None
    return time_chart(
        Series(
            [f.at_s for f, _ in lossy],
            [psnr for _, psnr in lossy],
            [f"{f.at_s:.2f} s · frame {f.frame} · {psnr:.2f} dB" for f, psnr in lossy],
        ),
        title="PSNR",
        unit="dB",
        until_s=log.duration_s,
        css="line-psnr",
        from_zero=False,
        marks=_marks(log),
    )


def size_chart(log: SessionLog) -> Chart | None:
    """Bytes of each sealed frame."""
    if not log.frames:
        return None
    sizes = [frame.bytes / 1024 for frame in log.frames]
    return time_chart(
        Series(
            [f.at_s for f in log.frames],
            sizes,
            [
                f"{f.at_s:.2f} s · frame {f.frame} · {size:.1f} KiB"
                for f, size in zip(log.frames, sizes, strict=True)
            ],
        ),
        title="Size of the sealed frame",
        unit="KiB",
        until_s=log.duration_s,
        css="line-size",
        height=200.0,
        marks=_marks(log),
    )
