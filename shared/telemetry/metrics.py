"""A session's running figures: counts, rates, percentiles and freezes.

Pure: times are given, nothing is read from a clock and nothing is written.  However long a session
lasts, its figures take no more memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from shared.frame import COUNTED_TO_DB
from shared.telemetry.percentiles import LatencySketch, latency_figures
from shared.telemetry.records import (
    DropReason,
    FrameLine,
    PsnrFigures,
    SentFrameLine,
    SentSummaryLine,
    SummaryLine,
)
from shared.telemetry.tally import DropTally

__all__ = ["Counted", "FrameFigures", "FreezeDetector", "Metrics", "Snapshot"]


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


WINDOW_NS = 5_000_000_000  # the live figures look back 5 s: steady to read, quick to turn red
WINDOW_FRAMES = 2_000  # and no more frames than that: 5 s at 400 fps


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
    frozen: int = 0
    """Frames that came while the person held the picture: no loss."""
    holding: bool = False
    """The person holds the picture at the moment."""
    freezes: int = 0
    epoch: int | None = None
    codec: str | None = None
    width: int | None = None
    height: int | None = None
    path_bps: int | None = None
    rtt_ms: float | None = None
    loss: float | None = None
    silence_ms: float | None = None
    """How long ago the newest frame was shown (sender: sent), or came while the person held one."""
    repeated: bool = False
    """The source stands still: the newest frame was shown (sender: sent) before."""


@dataclass(frozen=True, slots=True)
class _Recent:
    at_ns: int
    nbytes: int
    latency_ms: float | None
    held_gaps: int  # until then
    held_ns: int


@dataclass(frozen=True, slots=True)
class FrameFigures:
    """What is counted of a frame that was shown at `at_s`, before its line is whole."""

    at_s: float
    frame: int
    epoch: int
    codec: str
    width: int
    height: int
    bytes: int
    latency_ms: float | None
    latency_bound_ms: float | None
    psnr_db: float | None
    repeated: bool = False

    @property
    def lossless(self) -> bool:
        """Whether it is bit-exact."""
        return self.psnr_db is None


Counted = FrameFigures | FrameLine | SentFrameLine
"""A frame as it is counted."""


class Metrics:
    """Adds up one session; not thread-safe: feed it from the event loop."""

    def __init__(self) -> None:
        self._frames = 0
        self._bytes = 0
        self._first_ns = 0
        self._last_ns: int | None = None
        self._came_ns: int | None = None
        self._latest: Counted | None = None
        self._latencies = LatencySketch()
        self._psnr_sum = 0.0
        self._psnr_count = 0
        self._psnr_min: float | None = None
        self._tally = DropTally()
        self._freezes = FreezeDetector()
        self._holding = False
        self._paused_since_shown = False
        self._standing = False
        self._held_gaps = 0  # between two frames shown, in which it was held or stood still
        self._held_ns = 0
        self._path: tuple[int, float, float] | None = None
        self._recent: deque[_Recent] = deque(maxlen=WINDOW_FRAMES)

    def add_frame(self, line: Counted, at_ns: int) -> None:
        """Count a frame shown (at the sender: sent) at `at_ns`, monotonic ns.

        Of one that is repeated only the bytes count: the time until the next that is not is one in
        which no frame could be shown.
        """
        if line.repeated:
            self._add_repeated(line, at_ns)
            return
        if self._last_ns is None:
            self._first_ns = at_ns
        elif self._paused_since_shown:
            self._held_gaps += 1
            self._held_ns += at_ns - self._last_ns
        self._holding = self._paused_since_shown = self._standing = False
        self._last_ns = self._came_ns = at_ns
        self._latest = line
        self._frames += 1
        self._bytes += line.bytes
        self._freezes.add(at_ns)
        self._tally.shown(line.frame)
        latency = None if isinstance(line, SentFrameLine) else line.latency_ms
        if latency is not None:
            self._latencies.add(latency)
        if line.psnr_db is not None and line.psnr_db < COUNTED_TO_DB:
            self._psnr_sum += line.psnr_db
            self._psnr_count += 1
            low = self._psnr_min
            self._psnr_min = line.psnr_db if low is None else min(low, line.psnr_db)
        self._recent.append(_Recent(at_ns, line.bytes, latency, self._held_gaps, self._held_ns))
        self._forget_before(at_ns - WINDOW_NS)

    def _add_repeated(self, line: Counted, at_ns: int) -> None:
        self._standing = self._paused_since_shown = True
        self._came_ns = at_ns
        self._latest = line
        self._bytes += line.bytes
        self._tally.shown(line.frame)
        self._freezes.pause()

    def add_drop(self, reason: DropReason, at_ns: int, index: int | None = None) -> None:
        """Count a drop at `at_ns`; `index` is the frame's where that is known for certain."""
        self._tally.dropped(reason, index)
        if reason is DropReason.FROZEN:
            self._holding = self._paused_since_shown = True
            self._came_ns = at_ns
            self._freezes.pause()

    def resume(self) -> None:
        """The person lets go of the picture that they held; the next one may be long in coming."""
        self._holding = False

    def set_sender_tally(self, sent: int, dropped: Mapping[str, int]) -> None:
        """At a receiver: how many frames the sender sent here so far, and dropped, by reason."""
        self._tally.sender_tells(sent, dropped)

    def set_link_drops(self, reason: DropReason, count: int) -> None:
        """At a receiver: frames so far that came whole and were dropped before they were opened."""
        self._tally.link_tells(reason, count)

    def set_path(self, rate_bps: int, rtt_ms: float, loss: float) -> None:
        """What the path carries now, for `snapshot`."""
        self._path = (rate_bps, rtt_ms, loss)

    @property
    def frames(self) -> int:
        """Frames shown (at the sender: sent) so far."""
        return self._frames

    def snapshot(self, now_ns: int) -> Snapshot:
        """The figures at `now_ns`."""
        self._forget_before(now_ns - WINDOW_NS)
        recent = self._recent
        latencies = latency_figures([r.latency_ms for r in recent if r.latency_ms is not None])
        gaps, span_ns = self._recent_gaps()
        latest = self._latest
        return Snapshot(
            frames=self._frames,
            fps=_per_second(gaps, span_ns) or 0.0,
            kbit_per_s=_per_second(8e-3 * self._recent_nbytes(), span_ns) or 0.0,
            latency_p50_ms=latencies.p50,
            latency_p95_ms=latencies.p95,
            latency_bound_ms=None
            if latest is None or isinstance(latest, SentFrameLine)
            else latest.latency_bound_ms,
            psnr_db=latest.psnr_db if latest else None,
            lossless=latest.lossless if latest else False,
            drops=self._tally.refused_and_lost(),
            frozen=self._tally.count(DropReason.FROZEN),
            holding=self._holding,
            freezes=self._freezes.count,
            epoch=latest.epoch if latest else None,
            codec=latest.codec if latest else None,
            width=latest.width if latest else None,
            height=latest.height if latest else None,
            path_bps=self._path[0] if self._path else None,
            rtt_ms=self._path[1] if self._path else None,
            loss=self._path[2] if self._path else None,
            silence_ms=None if self._came_ns is None else (now_ns - self._came_ns) / 1e6,
            repeated=self._standing,
        )

    def fps(self, now_ns: int) -> float:
        """The `fps` of `snapshot` alone: cheap enough for every frame's path."""
        self._forget_before(now_ns - WINDOW_NS)
        return _per_second(*self._recent_gaps()) or 0.0

    def _recent_gaps(self) -> tuple[int, int]:
        """How many gaps lie between the recent frames, and their length; without those held."""
        if not self._recent:
            return 0, 0
        first, last = self._recent[0], self._recent[-1]
        gaps = len(self._recent) - 1 - (last.held_gaps - first.held_gaps)
        return gaps, last.at_ns - first.at_ns - (last.held_ns - first.held_ns)

    def _recent_nbytes(self) -> int:
        """Of the frames at the end of those gaps."""
        return sum(
            later.nbytes
            for earlier, later in pairwise(self._recent)
            if later.held_gaps == earlier.held_gaps
        )

    def summary(self, at_s: float) -> SummaryLine:
        """A receiver's summary, `at_s` seconds after the session began."""
        tally = self._tally
        dropped = tally.lost()
        if missing := tally.not_received():
            dropped[DropReason.NOT_RECEIVED] = dropped.get(DropReason.NOT_RECEIVED, 0) + missing
        return SummaryLine(
            at_s=at_s,
            frames_shown=self._frames,
            frames_dropped=dropped,
            frames_frozen=tally.count(DropReason.FROZEN),
            auth_failures=tally.count(DropReason.AUTH_FAILURE),
            replays=tally.count(DropReason.REPLAYED),
            keystream_mismatches=tally.count(DropReason.KEYSTREAM_MISMATCH),
            freezes=self._freezes.count,
            fps=self._overall_fps(),
            latency_ms=self._latencies.figures(),
            psnr_db=self._psnr(),
            bytes=self._bytes,
        )

    def sent_summary(self, at_s: float) -> SentSummaryLine:
        """A sender's summary, `at_s` seconds after the session began."""
        return SentSummaryLine(
            at_s=at_s,
            frames_sent=self._frames,
            frames_dropped=self._tally.lost(),
            fps=self._overall_fps(),
            psnr_db=self._psnr(),
            bytes=self._bytes,
        )

    def _psnr(self) -> PsnrFigures:
        if not self._psnr_count:
            return PsnrFigures()
        return PsnrFigures(mean=self._psnr_sum / self._psnr_count, min=self._psnr_min)

    def _overall_fps(self) -> float | None:
        """Over the time in which frames could be shown."""
        if self._last_ns is None:
            return None
        span_ns = self._last_ns - self._first_ns - self._held_ns
        return _per_second(self._frames - 1 - self._held_gaps, span_ns)

    def _forget_before(self, oldest_ns: int) -> None:
        while self._recent and self._recent[0].at_ns < oldest_ns:
            self._recent.popleft()


def _per_second(count: float, span_ns: int) -> float | None:
    """None where there was no time."""
    return 1e9 * count / span_ns if span_ns > 0 else None
