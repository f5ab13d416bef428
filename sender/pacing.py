"""Leaving frames out so evenly that those that stay are a lower frame rate.

Pure: capture times in, a decision for each frame out.
"""

from __future__ import annotations

__all__ = ["MAX_FPS", "FrameRate"]

MAX_FPS = 240.0  # no source here is faster; stamps closer together are a burst and no rate

ALMOST = 0.1  # of the wished-for interval: capture times waver, and a third must stay a third


class FrameRate:
    """Decides frame by frame which are taken at the rate of the moment, and measures the source's.

    A source that gives no more than that keeps all its frames.
    """

    def __init__(self, fps: float) -> None:
        self._source_fps = min(fps, MAX_FPS)
        self._last_ns: int | None = None
        self._due_ns: float | None = None

    @property
    def source_fps(self) -> float:
        """Frames a second that the source gives, smoothed over about twenty; `MAX_FPS` at most."""
        return self._source_fps

    def takes(self, captured_at_ns: int, fps: float | None) -> bool:
        """Whether the frame captured then is one of `fps` a second (None: all are)."""
        self._measure(captured_at_ns)
        if fps is None:
            self._due_ns = None
            return True
        interval_ns = 1e9 / fps
        due_ns = self._due_ns
        if due_ns is not None and captured_at_ns < due_ns - ALMOST * interval_ns:
            return False
        # After a pause nothing is caught up with.
        late = due_ns is None or captured_at_ns - due_ns > interval_ns
        self._due_ns = (captured_at_ns if due_ns is None or late else due_ns) + interval_ns
        return True

    def _measure(self, captured_at_ns: int) -> None:
        last, self._last_ns = self._last_ns, captured_at_ns
        if last is None or captured_at_ns <= last:
            return
        interval_s = min((captured_at_ns - last) / 1e9, 3 / self._source_fps)  # it may be a pause
        smoothed_s = 0.95 / self._source_fps + 0.05 * max(interval_s, 1 / MAX_FPS)
        self._source_fps = min(1 / smoothed_s, MAX_FPS)
