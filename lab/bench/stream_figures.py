"""The figures of one stream, worked out from what its two ends wrote down.

Pure: records in, numbers out.  The same rules hold for everybody:

- a picture counts if it was captured after the warm-up and before the end, and as shown whenever it
  came, however late;
- latency is that of each picture's first showing, from its capture to its being handed over;
- freezes follow W3C webrtc-stats (`freezeCount`), over the moments at which pictures were handed
  over;
- a gap that begins inside what is evaluated and does not end there is counted up to its end;
- processor time is all that a side's programs spent, by picture of the source, not by picture
  shown.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from lab.bench.rivals.records import Picture, Shown, StreamRecord
from lab.bench.rivals.rival import Run
from lab.bench.rivals.usage import Usage, cpu_seconds
from shared.frame import Image
from shared.quality import psnr_db
from shared.strip import strip_height
from shared.telemetry.metrics import FreezeDetector
from shared.telemetry.percentiles import latency_figures

__all__ = [
    "Figures",
    "Quality",
    "clock_error",
    "figures_of",
    "first_showings",
    "gaps_ms",
    "quality_of",
    "recovery_ms",
    "steadiness",
    "wanted_pictures",
]


@dataclass(frozen=True, slots=True)
class Quality:
    """PSNR in dB over the pictures looked at; those equal bit for bit are counted apart.

    `measured_by`: "pictures" that came out, against the source's, without the rows of the strip; or
    the "sender", which measures each picture as it encodes it, strip included.
    """

    mean_db: float | None
    min_db: float | None
    exact: int
    pictures: int
    measured_by: str


@dataclass(frozen=True, slots=True)
class Figures:
    """One stream in numbers; None where a figure does not exist."""

    offered: int
    shown: int
    unreadable: int
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    latency_p99_ms: float | None
    latency_max_ms: float | None
    freezes: int
    longest_gap_ms: float | None
    shown_fps: float
    quality: Quality
    mbit_per_s: float | None
    sender_cpu_ms: float | None
    receiver_cpu_ms: float | None
    sender_peak_mib: float | None
    receiver_peak_mib: float | None

    @property
    def shown_share(self) -> float:
        return min(1.0, self.shown / self.offered) if self.offered else 0.0


def figures_of(run: Run, quality: Quality, *, warmup_s: float) -> Figures:
    """The figures of a stream, its first `warmup_s` seconds left out."""
    record = run.record
    began_ns = run.began_ns + round(warmup_s * 1e9)
    counted = {o.index for o in record.offered if began_ns <= o.captured_at_ns < run.ended_ns}
    shown = [s for s in first_showings(record.shown) if s.index in counted]
    unreadable = [at for at in record.unreadable_ns if began_ns <= at < run.ended_ns]
    latency = latency_figures([picture.latency_ms for picture in shown])
    moments = sorted([*(s.shown_at_ns for s in record.shown), *record.unreadable_ns])
    gaps = gaps_ms(moments, began_ns, run.ended_ns)
    seconds = (run.ended_ns - began_ns) / 1e9
    return Figures(
        offered=len(counted),
        shown=len(shown) + len(unreadable),
        unreadable=len(unreadable),
        latency_p50_ms=latency.p50,
        latency_p95_ms=latency.p95,
        latency_p99_ms=latency.p99,
        latency_max_ms=latency.max,
        freezes=_freezes(moments, began_ns, run.ended_ns),
        longest_gap_ms=max(gaps, default=None),
        shown_fps=sum(began_ns <= at < run.ended_ns for at in moments) / max(seconds, 1e-9),
        quality=quality,
        mbit_per_s=None if run.wire is None else run.wire.forward_bytes * 8e-6 / run.wire.seconds,
        sender_cpu_ms=_cpu_ms(run, "sender", began_ns, len(counted)),
        receiver_cpu_ms=_cpu_ms(run, "receiver", began_ns, len(counted)),
        sender_peak_mib=_peak_mib(run.usage, "sender"),
        receiver_peak_mib=_peak_mib(run.usage, "receiver"),
    )


def first_showings(shown: Iterable[Shown]) -> list[Shown]:
    """Of each picture the first showing, in the order of showing."""
    first: dict[int, Shown] = {}
    for picture in sorted(shown, key=lambda picture: picture.shown_at_ns):
        first.setdefault(picture.index, picture)
    return list(first.values())


def gaps_ms(moments: Sequence[int], began_ns: int, ended_ns: int) -> list[float]:
    """The gaps between showings that overlap the time from `began_ns` to `ended_ns`.

    `moments` is in order.  A gap that never ends is counted up to `ended_ns`; without any showing
    there is one gap, from beginning to end.
    """
    if not moments:
        return [(ended_ns - began_ns) / 1e6]
    found = [
        (after - before) / 1e6
        for before, after in pairwise(moments)
        if after > began_ns and before < ended_ns
    ]
    if moments[-1] < ended_ns:
        found.append((ended_ns - max(moments[-1], began_ns)) / 1e6)
    if moments[0] > began_ns:
        found.append((min(moments[0], ended_ns) - began_ns) / 1e6)
    return found


def _freezes(moments: Sequence[int], began_ns: int, ended_ns: int) -> int:
    detector = FreezeDetector()
    count = 0
    for at_ns in moments:
        frozen = detector.add(at_ns)
        count += frozen and began_ns <= at_ns < ended_ns
    return count


def quality_of(
    run: Run, references: Mapping[int, Image], clip_count: int, *, warmup_s: float
) -> Quality:
    """The quality of the pictures kept, or else what the sender measured.

    `references` are the source's pictures by their number in the clip of `clip_count` pictures,
    without strip; those of `wanted_pictures` suffice.
    """
    began_ns = run.began_ns + round(warmup_s * 1e9)
    captured = {o.index: o.captured_at_ns for o in run.record.offered}
    inside = {i for i, at in captured.items() if began_ns <= at < run.ended_ns}
    if run.record.pictures:
        values = [
            _psnr(references[picture.index % clip_count], picture.image)
            for picture in run.record.pictures
            if picture.index in inside
        ]
        return _quality(values, "pictures")
    shown = [s for s in first_showings(run.record.shown) if s.index in inside]
    return _quality([picture.psnr_db for picture in shown], "sender")


def _quality(values: Sequence[float | None], measured_by: str) -> Quality:
    lossy = [value for value in values if value is not None]
    return Quality(
        mean_db=statistics.fmean(lossy) if lossy else None,
        min_db=min(lossy, default=None),
        exact=len(values) - len(lossy),
        pictures=len(values),
        measured_by=measured_by,
    )


def _psnr(reference: Image, shown: Image) -> float | None:
    """Below the strip, at the size of the source: what arrives smaller was made smaller."""
    height, width = reference.shape[:2]
    if shown.shape[:2] != (height, width):
        resized = cv2.resize(shown, (width, height), interpolation=cv2.INTER_LINEAR)
        shown = np.asarray(resized, np.uint8)
    below = strip_height(width)
    return psnr_db(reference[below:], shown[below:])


def recovery_ms(record: StreamRecord, at_ns: int) -> float | None:
    """How long after `at_ns` (an outage's end) the first picture captured since then was shown."""
    after = [s.shown_at_ns for s in record.shown if s.captured_at_ns >= at_ns]
    return (min(after) - at_ns) / 1e6 if after else None


def clock_error(record: StreamRecord) -> dict[str, float | None]:
    """How far the latency that the product tells is from the strip's, which is the truth.

    The error is that of its estimate of the other end's clock; empty where it tells nothing.
    """
    errors = [
        (abs(shown.told_ms - shown.latency_ms), shown.bound_ms)
        for shown in record.shown
        if shown.told_ms is not None and shown.bound_ms is not None
    ]
    if not errors:
        return {}
    return {
        "clock_error_p50_ms": statistics.median(error for error, _ in errors),
        "clock_error_max_ms": max(error for error, _ in errors),
        "clock_bound_max_ms": max(bound for _, bound in errors),
        "clock_error_within_bound": statistics.fmean(error <= bound for error, bound in errors),
    }


def steadiness(run: Run, *, warmup_s: float) -> dict[str, float | None]:
    """How a long stream changed: its last tenth against its first, in latency and memory."""
    began_ns = run.began_ns + round(warmup_s * 1e9)
    tenth = (run.ended_ns - began_ns) // 10
    shown = first_showings(run.record.shown)

    def latency(low: int, high: int) -> float | None:
        inside = [s.latency_ms for s in shown if low <= s.captured_at_ns < high]
        return statistics.median(inside) if inside else None

    changes: dict[str, float | None] = {
        "latency_p50_change_ms": _difference(
            latency(began_ns, began_ns + tenth), latency(run.ended_ns - tenth, run.ended_ns)
        )
    }
    for side, series in run.usage.items():
        changes[f"{side}_rss_change_mib"] = _difference(
            _rss_mib(series, began_ns, began_ns + tenth),
            _rss_mib(series, run.ended_ns - tenth, run.ended_ns),
        )
    return changes


def _difference(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before


def _rss_mib(series: Sequence[Usage], low: int, high: int) -> float | None:
    inside = [usage.rss_bytes / 2**20 for usage in series if low <= usage.at_ns < high]
    return statistics.median(inside) if inside else None


def _cpu_ms(run: Run, side: str, began_ns: int, pictures: int) -> float | None:
    spent = cpu_seconds(run.usage.get(side, []), began_ns, run.ended_ns)
    return None if spent is None or not pictures else spent * 1e3 / pictures


def _peak_mib(usage: Mapping[str, Sequence[Usage]], side: str) -> float | None:
    return max((u.rss_bytes / 2**20 for u in usage.get(side, ())), default=None)


def wanted_pictures(kept: Iterable[Picture], clip_count: int) -> set[int]:
    """Which pictures of the clip `quality_of` needs."""
    return {picture.index % clip_count for picture in kept}
