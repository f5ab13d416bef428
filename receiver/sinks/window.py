"""The window: shows the newest frame and its figures.

All of OpenCV's window calls are made by one thread of its own.  A frame that comes while another
waits takes its place.  Keys: q quit, space freeze, s snapshot, e the sealed bytes as the network
sees them; closing the window is quitting.  A frozen picture is replaced by its lossless copy, if
the program can get one.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from receiver.sinks import SessionInfo, ShownFrame
from receiver.sinks.files import encode_png
from receiver.sinks.overlay import OverlayFacts, compose
from receiver.sinks.sealed_view import sealed_picture
from shared.errors import OutputFailed

__all__ = ["WindowSink"]

TITLE = "Veilscope"
FIRST_SIZE = (1024, 768)  # until the first picture tells
LARGEST = (1600, 900)  # pixels; leaves room for a desktop's own bars on a full-HD screen
BAR_ROOM = 30
REDRAW_NS = 100_000_000  # the age must be seen to run
KEYS_S = 0.02  # OpenCV keeps only the last key pressed, so it is asked often
MESSAGE_S = 2.5
OPEN_WITHIN_S = 10.0


class WindowSink:
    """A `Sink` that shows frames on the screen.

    The callbacks are called from the window's thread: `on_shown(frame_index, monotonic_ns)` once
    a frame is on the screen, `on_replaced(frame_index)` when a frame will never be since a newer
    one came, `on_frozen(frame_index)` when it will never be since the person had frozen the
    picture, `on_freeze(frame_index)` when the person freezes a picture that is not lossless (answer
    with `show_still`), `on_unfreeze()` when the person goes on, `on_quit()` when the person leaves
    or the window fails.  Ask `display_available` before making one.
    """

    def __init__(
        self,
        info: SessionInfo,
        *,
        snapshot_dir: Path = Path(),
        on_shown: Callable[[int, int], None] = lambda _index, _at_ns: None,
        on_replaced: Callable[[int], None] = lambda _index: None,
        on_frozen: Callable[[int], None] = lambda _index: None,
        on_freeze: Callable[[int], None] | None = None,
        on_unfreeze: Callable[[], None] = lambda: None,
        on_quit: Callable[[], None] = lambda: None,
    ) -> None:
        self._snapshot_dir = snapshot_dir
        self._on_shown = on_shown
        self._on_replaced = on_replaced
        self._on_frozen = on_frozen
        self._on_freeze = on_freeze
        self._on_unfreeze = on_unfreeze
        self._on_quit = on_quit
        self._info = info
        self._lock = threading.Lock()
        self._next: ShownFrame | None = None
        self._still: tuple[int, ShownFrame | None] | None = None
        self._quality_reason = ""
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._opened = threading.Event()
        self._ended = False
        self._failure: Exception | None = None
        self._thread: threading.Thread | None = None
        # the window thread's own
        self._current: ShownFrame | None = None
        self._arrived_at_ns = 0
        self._drawn_at_ns = 0
        self._frozen = False
        self._still_state = ""
        self._sealed_view = False
        self._message = ""
        self._message_until_ns = 0

    def start(self) -> None:
        """Open the window.

        Raises:
            OutputFailed: OpenCV can't open it, or does not within 10 s.
        """
        self._thread = threading.Thread(target=self._run, name="window", daemon=True)
        self._thread.start()
        opened = self._opened.wait(OPEN_WITHIN_S)
        if not opened or self._failure is not None:
            self._stop.set()
            failure, self._failure = self._failure, None
            raise OutputFailed(
                "the window can't be opened",
                hint="use --display none; a program of your own must import cv2 before av",
            ) from failure

    def show(self, shown: ShownFrame) -> None:
        with self._lock:
            if self._ended:
                replaced: ShownFrame | None = shown
            else:
                replaced, self._next = self._next, shown
        self._wake.set()
        if replaced is not None:
            self._passed_over(replaced)

    def show_still(self, index: int, still: ShownFrame | None) -> None:
        """The lossless copy of frame `index`, or None where there is none; never blocks."""
        with self._lock:
            self._still = index, still
        self._wake.set()

    def tell_quality(self, reason: str) -> None:
        """Say beside the picture why its quality changed; never blocks."""
        self._quality_reason = reason

    def close(self) -> None:
        """Close the window.

        Raises:
            OutputFailed: it failed while it was open.  The first call only.
        """
        self._stop.set()
        self._wake.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(5.0)
        failure, self._failure = self._failure, None
        if failure is not None:
            raise OutputFailed("the window failed", hint="use --display none") from failure

    def _run(self) -> None:
        quit_asked = False
        try:
            self._open()
            self._opened.set()
            while not self._stop.is_set() and not quit_asked:
                self._wake.wait(KEYS_S)
                self._wake.clear()
                quit_asked = self._turn()
        except Exception as error:  # told by `start` or `close`, in the program's own thread
            self._failure = error
            quit_asked = self._opened.is_set()
            self._opened.set()
        with contextlib.suppress(cv2.error):  # the person closed it already
            cv2.destroyAllWindows()
            cv2.waitKey(1)
        with self._lock:
            self._ended = True
            unseen, self._next = self._next, None
        if unseen is not None:
            self._passed_over(unseen)
        if quit_asked:
            self._on_quit()

    def _turn(self) -> bool:
        """Draw if there is reason to, and do what the person asks; True to quit."""
        new = self._take()
        replaced = self._take_still()
        try:
            if new is not None or replaced or time.monotonic_ns() - self._drawn_at_ns >= REDRAW_NS:
                cv2.imshow(TITLE, cv2.cvtColor(self._canvas(), cv2.COLOR_RGB2BGR))
                self._drawn_at_ns = time.monotonic_ns()
            key = cv2.waitKey(1)  # lets the toolkit paint
            is_open = cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) >= 1
        except cv2.error:  # OpenCV no longer knows the window: it was closed
            key, is_open = -1, False
        if new is not None:
            if is_open:
                self._on_shown(new.frame.index, time.monotonic_ns())
            else:
                self._on_replaced(new.frame.index)
        return self._press(key) or not is_open

    def _open(self) -> None:
        if sys.platform.startswith("linux"):
            os.environ["QT_QPA_PLATFORM"] = "xcb"  # the only one that OpenCV's wheel ships
        cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_FREERATIO | cv2.WINDOW_GUI_NORMAL)
        cv2.resizeWindow(TITLE, *FIRST_SIZE)
        cv2.imshow(TITLE, cv2.cvtColor(self._canvas(), cv2.COLOR_RGB2BGR))
        cv2.waitKey(1)

    def _take(self) -> ShownFrame | None:
        """Make the waiting frame the current one; None if there is none or the person froze."""
        with self._lock:
            new, self._next = self._next, None
        if new is None:
            return None
        self._arrived_at_ns = time.monotonic_ns()
        if self._frozen:
            self._passed_over(new)
            return None
        if self._current is None:
            self._fit_window(new)
        self._current = new
        return new

    def _take_still(self) -> bool:
        """Put the lossless copy in the place of the frozen picture; whether that was done."""
        with self._lock:
            arrived, self._still = self._still, None
        current = self._current
        if arrived is None or not self._frozen or current is None:
            return False  # the person has gone on meanwhile
        index, still = arrived
        if index != current.frame.index:
            return False
        self._still_state = "lossless" if still is not None else "no lossless copy to be had"
        if still is not None:
            self._current = still
        return True

    def _passed_over(self, shown: ShownFrame) -> None:
        (self._on_frozen if self._frozen else self._on_replaced)(shown.frame.index)

    def _fit_window(self, shown: ShownFrame) -> None:
        width, height = shown.frame.width, shown.frame.height
        scale = min(1.0, LARGEST[0] / width, LARGEST[1] / height)
        scale = max(scale, min(2.0, FIRST_SIZE[0] / width, FIRST_SIZE[1] / height))
        cv2.resizeWindow(TITLE, round(width * scale), round(height * scale) + BAR_ROOM)

    def _canvas(self) -> NDArray[np.uint8]:
        shown = self._current
        size = _window_size()
        now_ns = time.monotonic_ns()
        message = self._message if now_ns < self._message_until_ns else ""
        if shown is None:
            return compose(None, OverlayFacts(self._info.keystream, message=message), size)
        frame = shown.frame
        image = frame.image
        if self._sealed_view:
            image = sealed_picture(shown.sealed, frame.width, frame.height)
        facts = OverlayFacts(
            keystream=self._info.keystream,
            age_ms=None if shown.latency_ms is None else (now_ns - frame.captured_at_ns) / 1e6,
            silence_ms=(now_ns - self._arrived_at_ns) / 1e6,
            latency_ms=shown.latency_ms,
            latency_bound_ms=shown.latency_bound_ms,
            fps=shown.fps,
            psnr_db=shown.psnr_db,
            epoch=shown.epoch,
            codec=shown.codec,
            quality_reason=self._quality_reason,
            frozen=self._frozen,
            still=self._still_state,
            sealed_view=self._sealed_view,
            message=message,
        )
        return compose(image, facts, size)

    def _press(self, key: int) -> bool:
        """Do what a key asks for; True to quit."""
        match chr(key & 0xFF) if key >= 0 else "":
            case "q":
                return True
            case " ":
                self._freeze()
            case "e":
                self._sealed_view = not self._sealed_view
            case "s":
                self._snapshot()
        return False

    def _freeze(self) -> None:
        self._frozen = not self._frozen
        self._still_state = ""
        shown = self._current
        if not self._frozen:
            self._on_unfreeze()
            return
        if shown is None:
            return
        if shown.psnr_db is None:
            self._still_state = "lossless"
        elif self._on_freeze is not None:
            self._still_state = "fetching it lossless"
            self._on_freeze(shown.frame.index)

    def _snapshot(self) -> None:
        shown = self._current
        if shown is None:
            return
        name = f"veilscope-{self._info.session_id}-frame-{shown.frame.index:06d}.png"
        image = shown.frame.image
        try:
            (self._snapshot_dir / name).write_bytes(encode_png(image))
        except OSError as error:
            self._say(f"the snapshot can't be saved: {error.strerror}")
        else:
            self._say(f"saved {name}")

    def _say(self, message: str) -> None:
        self._message = message
        self._message_until_ns = time.monotonic_ns() + round(MESSAGE_S * 1e9)


def _window_size() -> tuple[int, int]:
    _, _, width, height = cv2.getWindowImageRect(TITLE)
    return (width, height) if width >= 64 and height >= 64 else FIRST_SIZE
