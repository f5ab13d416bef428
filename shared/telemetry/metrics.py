"""A session's running figures: counts, rates, percentiles and freezes.

Pure: times are given, nothing is read from a clock and nothing is written.
"""

from __future__ import annotations

from array import array
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from shared.errors import (
    AuthenticationFailed,
    DecodeFailed,
    FrameRejected,
    KeystreamDisagreed,
    Replayed,
    UnknownEpoch,
)
from shared.telemetry.records import (
    DropReason,
    FrameLine,
    LatencyFigures,
    PsnrFigures,
    SentFrameLine,
    SentSummaryLine,
    SummaryLine,
)

__all__ = [
    "AMBER_MS",
    "GREEN_MS",
    "FreezeDetector",
    "Metrics",
    "Snapshot",
    "drop_reason",
    "latency_figures",
    "tier",
]

GREEN_MS = 200.0  # tele-ultrasound guidance works up to here (Bharath 2017)
AMBER_MS = 400.0  # ITU-T G.114: the general limit one way

UNKNOWN_REASON = DropReason.NOT_RECEIVED  # for what another version may tell

WINDOW_NS = 5_000_000_000  # the live figures look back 5 s: steady to read, quick to turn red

# Not frames of the sender's: somebody forged them or sent them again.
NOT_THE_SENDERS = frozenset({DropReason.AUTH_FAILURE, DropReason.REPLAYED})


def tier(latency_ms: float) -> str:
    """`green`, `amber` or `red`."""
    if latency_ms <= GREEN_MS:
        return "green"
    return "amber" if latency_ms <= AMBER_MS else "red"


def drop_reason(error: FrameRejected) -> DropReason:
    """The reason under which a rejected frame is counted."""
    for kind, reason in (
        (AuthenticationFailed, DropReason.AUTH_FAILURE),
        (Replayed, DropReason.REPLAYED),
        (KeystreamDisagreed, DropReason.KEYSTREAM_MISMATCH),
        (UnknownEpoch, DropReason.UNKNOWN_EPOCH),
        (DecodeFailed, DropReason.DECODE_FAILED),
    ):
        if isinstance(error, kind):
            return reason
    return DropReason.MALFORMED


def latency_figures(latencies_ms: Sequence[float]) -> LatencyFigures:
    """Percentiles by linear interpolation between closest ranks; all None where empty."""
    if not len(latencies_ms):
        return LatencyFigures()
    p50, p95, p99, most = np.percentile(latencies_ms, [50, 95, 99, 100]).tolist()
    return LatencyFigures(p50=p50, p95=p95, p99=p99, max=most)


class FreezeDetector:
    """Counts freezes as W3C webrtc-stats `freezeCount` does.

    A gap between two shown frames is a freeze if it is ≥ max(3 δ, δ + 150 ms), δ being the mean
    of the 30 gaps before it.  Fewer than 5 gaps tell nothing yet.
    """

    MEAN_OVER = 30
    AT_LEAST = 5
    MARGIN_NS = 150_000_000

    def __init__(self) -> None:
        self.count = 0
        self._gaps: deque[int] = deque(maxlen=self.MEAN_OVER)
        self._last_ns: int | None = None

    def add(self, shown_at_ns: int) -> bool:
        """Note a frame shown at `shown_at_ns`; True if the gap before it was a freeze."""
        last, self._last_ns = self._last_ns, shown_at_ns
        if last is None:
            return False
        gap = shown_at_ns - last
        frozen = False
        if len(self._gaps) >= self.AT_LEAST:
            mean = sum(self._gaps) / len(self._gaps)
            frozen = gap >= max(3 * mean, mean + self.MARGIN_NS)
        self._gaps.append(gap)
        self.count += frozen
        return frozen

    def pause(self) -> None:
        """The person holds the picture: the gap until the next frame is no freeze."""
        self._last_ns = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The figures of the moment; rates and percentiles over the last 5 s."""

    frames: int = 0
    fps: float = 0.0
    kbit_per_s: float = 0.0
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    latency_bound_ms: float | None = None
    psnr_db: float | None = None
    lossless: bool = False
    drops: dict[DropReason, int] = field(default_factory=dict)
    freezes: int = 0
    epoch: int | None = None
    codec: str | None = None
    width: int | None = None
    height: int | None = None
    path_bps: int | None = None
    rtt_ms: float | None = None
    loss: float | None = None
    age_ms: float | None = None
    """How long ago the newest frame was shown (sender: sent)."""


@dataclass(frozen=True, slots=True)
class _Recent:
    at_ns: int
    nbytes: int
    latency_ms: float | None


class Metrics:
    """Adds up one session; not thread-safe: feed it from the event loop."""

    def __init__(self) -> None:
        self._frames = 0
        self._bytes = 0
        self._first_ns = 0
        self._last_ns: int | None = None
        self._latest: FrameLine | SentFrameLine | None = None
        self._latencies = array("d")
        self._psnr_sum = 0.0
        self._psnr_count = 0
        self._psnr_min: float | None = None
        self._drops: Counter[DropReason] = Counter()
        self._sender_sent = 0
        self._sender_drops: Counter[DropReason] = Counter()
        self._link_drops: Counter[DropReason] = Counter()
        self._indexed_drops = 0
        self._index_range: tuple[int, int] | None = None
        self._freezes = FreezeDetector()
        self._path: tuple[int, float, float] | None = None
        self._recent: deque[_Recent] = deque()

    def add_frame(self, line: FrameLine | SentFrameLine, at_ns: int) -> None:
        """Count a frame shown (at the sender: sent) at `at_ns`, monotonic ns."""
        if self._last_ns is None:
            self._first_ns = at_ns
        self._last_ns = at_ns
        self._latest = line
        self._frames += 1
        self._bytes += line.bytes
        self._freezes.add(at_ns)
        self._see_index(line.frame)
        latency = line.latency_ms if isinstance(line, FrameLine) else None
        if latency is not None:
            self._latencies.append(latency)
        if line.psnr_db is not None:
            self._psnr_sum += line.psnr_db
            self._psnr_count += 1
            low = self._psnr_min
            self._psnr_min = line.psnr_db if low is None else min(low, line.psnr_db)
        self._recent.append(_Recent(at_ns, line.bytes, latency))
        self._forget_before(at_ns - WINDOW_NS)

    def add_drop(self, reason: DropReason, index: int | None = None) -> None:
        """Count a drop; `index` is the frame's index where it is known for certain."""
        self._drops[reason] += 1
        if reason is DropReason.FROZEN:
            self._freezes.pause()
        if index is not None and reason not in NOT_THE_SENDERS:
            self._indexed_drops += 1
            self._see_index(index)

    def set_sender_tally(self, sent: int, dropped: Mapping[str, int]) -> None:
        """At a receiver: how many frames the sender sent here so far, and dropped, by reason.

        Reasons that are not known here count as not received.
        """
        known = {reason.value: reason for reason in DropReason}
        self._sender_sent = sent
        self._sender_drops = Counter({known.get(r, UNKNOWN_REASON): n for r, n in dropped.items()})

    def set_link_drops(self, reason: DropReason, count: int) -> None:
        """At a receiver: frames so far that came whole and were dropped before they were opened."""
        self._link_drops = Counter({reason: count})

    def set_path(self, rate_bps: int, rtt_ms: float, loss: float) -> None:
        """What the path carries now, for `snapshot`."""
        self._path = (rate_bps, rtt_ms, loss)

    @property
    def frames(self) -> int:
        """Frames shown (at the sender: sent) so far."""
        return self._frames

    @property
    def freezes(self) -> int:
        return self._freezes.count

    def snapshot(self, now_ns: int) -> Snapshot:
        """The figures at `now_ns`."""
        self._forget_before(now_ns - WINDOW_NS)
        recent = self._recent
        latencies = latency_figures([r.latency_ms for r in recent if r.latency_ms is not None])
        span_s = self._recent_span_s()
        latest = self._latest
        return Snapshot(
            frames=self._frames,
            fps=_rate(len(recent), span_s),
            # the first frame's bytes belong to the gap before it
            kbit_per_s=sum(r.nbytes for r in list(recent)[1:]) * 8e-3 / span_s if span_s else 0.0,
            latency_p50_ms=latencies.p50,
            latency_p95_ms=latencies.p95,
            latency_bound_ms=latest.latency_bound_ms if isinstance(latest, FrameLine) else None,
            psnr_db=latest.psnr_db if latest else None,
            lossless=latest.lossless if latest else False,
            drops=dict(self._all_drops()),
            freezes=self._freezes.count,
            epoch=latest.epoch if latest else None,
            codec=latest.codec if latest else None,
            width=latest.width if latest else None,
            height=latest.height if latest else None,
            path_bps=self._path[0] if self._path else None,
            rtt_ms=self._path[1] if self._path else None,
            loss=self._path[2] if self._path else None,
            age_ms=None if self._last_ns is None else (now_ns - self._last_ns) / 1e6,
        )

    def fps(self, now_ns: int) -> float:
        """The `fps` of `snapshot` alone: cheap enough for every frame's path."""
        self._forget_before(now_ns - WINDOW_NS)
        return _rate(len(self._recent), self._recent_span_s())

    def _recent_span_s(self) -> float:
        recent = self._recent
        return (recent[-1].at_ns - recent[0].at_ns) / 1e9 if recent else 0.0

    def summary(self, at_s: float) -> SummaryLine:
        """A receiver's summary, `at_s` seconds after the session began."""
        dropped = self._frames_dropped()
        if missing := self._not_received():
            dropped[DropReason.NOT_RECEIVED] = dropped.get(DropReason.NOT_RECEIVED, 0) + missing
        return SummaryLine(
            at_s=at_s,
            frames_shown=self._frames,
            frames_dropped=dropped,
            auth_failures=self._drops[DropReason.AUTH_FAILURE],
            replays=self._drops[DropReason.REPLAYED],
            keystream_mismatches=self._drops[DropReason.KEYSTREAM_MISMATCH],
            freezes=self._freezes.count,
            fps=self._overall_fps(),
            latency_ms=latency_figures(self._latencies),
            psnr_db=self._psnr(),
            bytes=self._bytes,
        )

    def sent_summary(self, at_s: float) -> SentSummaryLine:
        """A sender's summary, `at_s` seconds after the session began."""
        return SentSummaryLine(
            at_s=at_s,
            frames_sent=self._frames,
            frames_dropped=self._frames_dropped(),
            fps=self._overall_fps(),
            psnr_db=self._psnr(),
            bytes=self._bytes,
        )

    def _frames_dropped(self) -> dict[DropReason, int]:
        drops = self._all_drops()
        return {reason: n for reason, n in drops.items() if reason not in NOT_THE_SENDERS}

    def _all_drops(self) -> Counter[DropReason]:
        return self._drops + self._sender_drops + self._link_drops

    def _not_received(self) -> int:
        """Frames that left the sender and never came, by its tally or by the gaps in the indices.

        The tally may be a second old where the sender was killed; gaps don't show what was lost
        before the first frame and after the last.
        """
        came = self._frames + sum(
            count
            for reason, count in (self._drops + self._link_drops).items()
            if reason not in NOT_THE_SENDERS
        )
        in_gaps = 0
        if self._index_range is not None:
            low, high = self._index_range
            told = self._sender_drops.total() + self._link_drops.total()
            in_gaps = high - low + 1 - self._frames - self._indexed_drops - told
        return max(0, self._sender_sent - came, in_gaps)

    def _see_index(self, index: int) -> None:
        low, high = self._index_range or (index, index)
        self._index_range = (min(low, index), max(high, index))

    def _psnr(self) -> PsnrFigures:
        if not self._psnr_count:
            return PsnrFigures()
        return PsnrFigures(mean=self._psnr_sum / self._psnr_count, min=self._psnr_min)

    def _overall_fps(self) -> float | None:
        if self._last_ns is None or self._last_ns == self._first_ns:
            return None
        return _rate(self._frames, (self._last_ns - self._first_ns) / 1e9)

    def _forget_before(self, oldest_ns: int) -> None:
        while self._recent and self._recent[0].at_ns < oldest_ns:
            self._recent.popleft()


def _rate(count: int, span_s: float) -> float:
    """Frames a second of `count` frames whose first and last lie `span_s` apart."""
    return (count - 1) / span_s if span_s > 0 else 0.0
