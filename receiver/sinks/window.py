"""The window: shows the newest frame and its figures.

All of OpenCV's window calls are made by one thread of its own.  A frame that comes while another
waits takes its place.  What is seen is `Viewer`'s to say; here are the thread, the toolkit and the
keys: q quit, space freeze, s snapshot, e the sealed bytes as the network sees them; closing the
window is quitting.  A window that was taken away is a failure, but ends no more than the session.
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

from receiver.sinks import SessionInfo, ShownFrame
from receiver.sinks.files import encode_png
from receiver.sinks.overlay import bar_height, compose
from receiver.sinks.viewer import Asked, Still, Viewer
from receiver.sinks.windowguard import WindowGuard
from shared.control import Notice
from shared.errors import OutputFailed
from shared.privatefile import write_private

__all__ = ["WindowSink"]

TITLE = "Veilscope"
FIRST_SIZE = (1024, 768)  # until the first picture tells
LARGEST = (1600, 900)  # pixels; leaves room for a desktop's own bars on a full-HD screen
REDRAW_NS = 100_000_000  # the age must be seen to run
KEYS_S = 0.02  # OpenCV keeps only the last key pressed, so it is asked often
OPEN_WITHIN_S = 10.0
CLOSE_WITHIN_S = 5.0


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
        *,
        snapshot_dir: Path = Path(),
        on_shown: Callable[[int, int], None] = lambda _index, _at_ns: None,
        on_replaced: Callable[[int], None] = lambda _index: None,
        on_frozen: Callable[[int], None] = lambda _index: None,
        on_freeze: Callable[[int], None] = lambda _index: None,
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
        self._lock = threading.Lock()
        self._next: ShownFrame | None = None
        self._told: list[Callable[[Viewer], object]] = []  # news for the window's thread
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._opened = threading.Event()
        self._ended = False
        self._held = False  # the toolkit, for good, and the thread with it
        self._failure: Exception | None = None
        self._thread: threading.Thread | None = None
        # the window thread's own
        self._viewer = Viewer()
        self._drawing: ShownFrame | None = None
        self._drawn_at_ns = 0
        self._guard: WindowGuard | None = None  # on Linux

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

    def show_waiting(self, words: str) -> None:
        """Say what is waited for, until the first picture comes; never blocks."""

        def wait(viewer: Viewer) -> None:
            viewer.waiting = words

        self._tell(wait)

    def show_session(self, info: SessionInfo) -> None:
        """The two ends have paired, and agreed on this; never blocks."""
        self._tell(lambda viewer: viewer.paired(info))

    def show_still(self, still: Still) -> None:
        """The lossless copy of a frozen frame has come, or will not; never blocks."""
        self._tell(lambda viewer: viewer.still_arrived(still))

    def show_quality(self, reason: str) -> None:
        """Say beside the picture why its quality changed; never blocks."""

        def change(viewer: Viewer) -> None:
            viewer.quality_reason = reason

        self._tell(change)

    def show_notice(self, notice: Notice) -> None:
        """Say what the sender told, while it lasts or for a moment; never blocks."""
        self._tell(lambda viewer: viewer.noticed(notice, time.monotonic_ns()))

    def close(self) -> None:
        """Close the window.

        Raises:
            OutputFailed: it failed while it was open.  The first call only.
        """
        self._stop.set()
        self._wake.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread() and not self._held:
            thread.join(CLOSE_WITHIN_S)
        failure, self._failure = self._failure, None
        if isinstance(failure, OutputFailed):
            raise failure
        if failure is not None:
            raise OutputFailed("the window failed", hint="use --display none") from failure

    def _tell(self, news: Callable[[Viewer], object]) -> None:
        with self._lock:
            self._told.append(news)
        self._wake.set()

    def _passed_over(self, shown: ShownFrame) -> None:
        (self._on_frozen if self._viewer.frozen else self._on_replaced)(shown.frame.index)

    # -- the window's thread ----------------------------------------------------------------------

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
        self._destroy()
        self._end(quit_asked)

    def _end(self, quit_asked: bool) -> None:
        """Nothing is shown any more."""
        with self._lock:
            self._ended = True
            unseen, self._next = [self._drawing, self._next], None
        for shown in filter(None, unseen):
            self._passed_over(shown)
        if quit_asked:
            self._on_quit()

    def _toolkit_held(self) -> None:
        """This thread will not come back from the toolkit, which has found its window gone."""
        self._failure = _gone()
        self._held = True
        self._end(quit_asked=True)

    def _open(self) -> None:
        if sys.platform.startswith("linux"):
            os.environ["QT_QPA_PLATFORM"] = "xcb"  # the only one that OpenCV's wheel ships
        cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_FREERATIO | cv2.WINDOW_GUI_NORMAL)
        cv2.resizeWindow(TITLE, *FIRST_SIZE)
        self._draw()
        cv2.waitKey(1)
        if sys.platform.startswith("linux"):
            self._guard = WindowGuard(TITLE, on_held=self._toolkit_held)

    def _destroy(self) -> None:
        guard = self._guard
        if guard is None or guard.there:
            if guard is not None:
                guard.release()
            with contextlib.suppress(cv2.error):  # the person closed it already
                cv2.destroyAllWindows()
                cv2.waitKey(1)
        if guard is not None:
            guard.close()

    def _turn(self) -> bool:
        """Draw if there is reason to, and do what the person asks; True to quit."""
        if self._guard is not None and not self._guard.there:
            raise _gone()
        with self._lock:
            told, self._told = self._told, []
            new, self._next = self._next, None
        for news in told:
            news(self._viewer)
        if new is not None:
            new = self._look_at(new)
        self._drawing = new
        try:
            if new is not None or told or time.monotonic_ns() - self._drawn_at_ns >= REDRAW_NS:
                self._draw()
            key = cv2.waitKey(1)  # lets the toolkit paint
            is_open = cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) >= 1
        except cv2.error:  # OpenCV no longer knows the window: it was closed
            key, is_open = -1, False
        self._drawing = None
        if new is not None:
            if is_open:
                self._on_shown(new.frame.index, time.monotonic_ns())
            else:
                self._on_replaced(new.frame.index)
        return self._press(key) or not is_open

    def _look_at(self, new: ShownFrame) -> ShownFrame | None:
        """Make it the current picture; None if the person holds another one."""
        first = self._viewer.current is None
        if not self._viewer.arrived(new, time.monotonic_ns()):
            self._passed_over(new)
            return None
        if first:
            cv2.resizeWindow(TITLE, *_fitting_size(new.frame.width, new.frame.height))
        return new

    def _draw(self) -> None:
        self._drawn_at_ns = now_ns = time.monotonic_ns()
        canvas = compose(self._viewer.picture(), self._viewer.facts(now_ns), _window_size())
        cv2.imshow(TITLE, cv2.cvtColor(canvas, cv2.COLOR_RGB2BGR))

    def _press(self, key: int) -> bool:
        """Do what a key asks for; True to quit."""
        asked = self._viewer.press(chr(key & 0xFF)) if key >= 0 else None
        current = self._viewer.current
        if asked is Asked.GO_ON:
            self._on_unfreeze()
        elif asked is Asked.STILL and current is not None:
            self._on_freeze(current.frame.index)
        elif asked is Asked.SNAPSHOT and current is not None:
            self._snapshot(current)
        return asked is Asked.QUIT

    def _snapshot(self, shown: ShownFrame) -> None:
        info = self._viewer.info
        session = "" if info is None else f"{info.session_id}-"
        name = f"veilscope-{session}frame-{shown.frame.index:06d}.png"
        try:
            write_private(self._snapshot_dir / name, encode_png(shown.frame.image))
        except OSError as error:
            said = f"the snapshot can't be saved: {error.strerror}"
        else:
            said = f"frame {shown.frame.index} saved"
        self._viewer.say(said, time.monotonic_ns())


def _gone() -> OutputFailed:
    return OutputFailed(
        "the window is gone: its screen has ended, or another program closed it",
        hint="ask for a new code; without a screen use --display none",
    )


def _window_size() -> tuple[int, int]:
    _, _, width, height = cv2.getWindowImageRect(TITLE)
    return (width, height) if width >= 64 and height >= 64 else FIRST_SIZE


def _fitting_size(width: int, height: int) -> tuple[int, int]:
    """The size of a window for pictures of that size: as they are, or smaller, or up to twice."""
    scale = min(1.0, LARGEST[0] / width, LARGEST[1] / height)
    scale = max(scale, min(2.0, FIRST_SIZE[0] / width, FIRST_SIZE[1] / height))
    across = round(width * scale)
    return across, round(height * scale) + bar_height(across)
