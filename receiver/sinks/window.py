"""The window: shows the newest frame and its figures, by a process that owns it.

OpenCV's toolkit ends its process where the screen goes away; so that process is `screen`'s, and
here is the receiver's side of it: one drawing under way at a time, its picture in memory that both
have mapped, and a frame that comes meanwhile takes the place of one that waits.  What is seen is
`Viewer`'s to say, and so are the keys: q quit, space freeze, s snapshot, e the sealed bytes as the
network sees them; closing the window is quitting.  A process that ends by itself is told once, and
the window opened anew as soon as there is a screen again; the session goes on in any case.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from receiver.sinks import SessionInfo, ShownFrame
from receiver.sinks.display import display_available
from receiver.sinks.files import encode_png
from receiver.sinks.overlay import OverlayFacts
from receiver.sinks.screen import ENVIRONMENT, Drawing, PictureMemory
from receiver.sinks.viewer import Asked, Still, Viewer
from shared.control import Notice
from shared.errors import OutputFailed
from shared.frame import Image
from shared.privatefile import write_private

__all__ = ["WindowSink"]

REDRAW_S = 0.1  # the age must be seen to run
OPEN_WITHIN_S = 10.0
CLOSE_WITHIN_S = 5.0
REOPEN_AFTER_S = 1.0  # doubled with each window that was lost again soon
REOPEN_AT_MOST_AFTER_S = 60.0

Answer = list[str | int]


class WindowSink:
    """A `Sink` that shows frames on the screen; its process starts at once, and opens nothing yet.

    The callbacks are called from the window's thread: `on_shown(frame_index, monotonic_ns)` once
    a frame is on the screen, `on_replaced(frame_index)` when a frame will never be since a newer
    one came or there is no window, `on_frozen(frame_index)` when it will never be since the person
    had frozen the picture, `on_freeze(frame_index)` when the person freezes a picture that is not
    lossless (answer with `show_still`), `on_unfreeze()` when the person goes on, `on_quit()` when
    the person leaves or this side of the window fails, `on_lost(words)` when the window is gone
    and the session goes on without.  Ask `display_available` before making one.

    The moment of `on_shown` is the other process's: both read one monotonic clock, the machine's.
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
        on_lost: Callable[[str], None] = lambda _words: None,
    ) -> None:
        self._snapshot_dir = snapshot_dir
        self._on_shown = on_shown
        self._on_replaced = on_replaced
        self._on_frozen = on_frozen
        self._on_freeze = on_freeze
        self._on_unfreeze = on_unfreeze
        self._on_quit = on_quit
        self._on_lost = on_lost
        self._changed = threading.Condition()  # guards the next five
        self._next: ShownFrame | None = None
        self._told: list[Callable[[Viewer], object]] = []  # news for the window's thread
        self._answers: deque[tuple[WindowProcess, Answer | None]] = deque()
        self._stop = False
        self._ended = False
        self._opened = threading.Event()
        self._failure: Exception | None = None
        self._thread: threading.Thread | None = None
        # the window thread's own
        self._viewer = Viewer()
        self._process: WindowProcess | None = None
        self._number = 0  # of the last drawing
        self._under_way = False
        self._drawing: ShownFrame | None = None  # the new frame in it
        self._draw_at_s = 0.0
        self._reopen_after_s = REOPEN_AFTER_S
        self._reopen_at_s = 0.0
        self._opened_at_s = 0.0
        self._lost_told = False
        with suppress(OSError):  # `start` says so
            self._process = WindowProcess(self._answered)

    def start(self) -> None:
        """Open the window.

        Raises:
            OutputFailed: its process ends without having opened it, or has not within 10 s.
        """
        self._thread = threading.Thread(target=self._run, name="window", daemon=True)
        self._thread.start()
        opened = self._opened.wait(OPEN_WITHIN_S)
        if not opened or self._failure is not None:
            self._halt()
            self._thread.join(CLOSE_WITHIN_S)
            failure, self._failure = self._failure, None
            raise OutputFailed("the window can't be opened", hint="use --display none") from failure

    def show(self, shown: ShownFrame) -> None:
        with self._changed:
            if self._ended:
                replaced: ShownFrame | None = shown
            else:
                replaced, self._next = self._next, shown
            self._changed.notify()
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
        """Close the window and end its process.

        Raises:
            OutputFailed: this side of it failed while it was open.  The first call only.
        """
        self._halt()
        thread = self._thread
        if thread is None:
            self._end_process()
        elif thread is not threading.current_thread():
            thread.join(2 * CLOSE_WITHIN_S)
        failure, self._failure = self._failure, None
        if failure is not None:
            raise OutputFailed("the window failed", hint="use --display none") from failure

    def _halt(self) -> None:
        with self._changed:
            self._stop = True
            self._changed.notify()

    def _tell(self, news: Callable[[Viewer], object]) -> None:
        with self._changed:
            self._told.append(news)
            self._changed.notify()

    def _answered(self, process: WindowProcess, answer: Answer | None) -> None:
        with self._changed:
            self._answers.append((process, answer))
            self._changed.notify()

    def _passed_over(self, shown: ShownFrame) -> None:
        (self._on_frozen if self._viewer.frozen else self._on_replaced)(shown.frame.index)

    # -- the window's thread ----------------------------------------------------------------------

    def _run(self) -> None:
        quit_asked = False
        try:
            if self._process is None:
                self._process = WindowProcess(self._answered)
            while not quit_asked and self._wait():
                quit_asked = self._turn()
        except Exception as error:  # told by `start` or `close`, in the program's own thread
            self._failure = error
            quit_asked = self._opened.is_set()
            self._opened.set()
        self._end_process()
        with self._changed:
            self._ended = True
            unseen, self._next = [self._drawing, self._next], None
        for shown in filter(None, unseen):
            self._passed_over(shown)
        if quit_asked:
            self._on_quit()

    def _wait(self) -> bool:
        """Wait until there is something to do; False once the window is to be closed."""
        with self._changed:
            if not (self._answers or self._stop or (self._may_draw() and self._has_news())):
                until_s = self._draw_at_s if self._process is not None else self._reopen_at_s
                rest_s = None if self._under_way else max(until_s - time.monotonic(), 0)
                self._changed.wait(rest_s)
            return not self._stop

    def _may_draw(self) -> bool:
        return self._process is None or not self._under_way  # without one, frames are passed over

    def _has_news(self) -> bool:
        return bool(self._told) or self._next is not None

    def _turn(self) -> bool:
        """Hear what the process says, and draw if there is reason to; True to quit."""
        with self._changed:
            answers, self._answers = self._answers, deque()
            told, self._told = self._told, []
            new = None
            if self._may_draw():
                new, self._next = self._next, None
        for process, answer in answers:
            if process is self._process and self._hear(process, answer):
                return True
        for news in told:
            news(self._viewer)
        if told:
            self._draw_at_s = 0.0
        if new is not None and not self._viewer.arrived(new, time.monotonic_ns()):
            self._passed_over(new)
            new = None
        if self._process is None and time.monotonic() >= self._reopen_at_s:
            self._reopen()
        if self._process is None:
            if new is not None:
                self._passed_over(new)
        elif not self._under_way and (new is not None or time.monotonic() >= self._draw_at_s):
            self._draw(self._process, new)
        return False

    def _draw(self, process: WindowProcess, new: ShownFrame | None) -> None:
        self._number += 1
        self._drawing, self._under_way = new, True
        self._draw_at_s = time.monotonic() + REDRAW_S
        process.draw(self._number, self._viewer.picture(), self._viewer.facts(time.monotonic_ns()))

    def _hear(self, process: WindowProcess, answer: Answer | None) -> bool:
        """Take one answer; True to quit."""
        match answer:
            case ["drawn", self._number, int(at_ns)]:
                self._under_way = False
                if not self._opened_at_s:
                    self._opened_at_s = time.monotonic()
                self._opened.set()
                new, self._drawing = self._drawing, None
                if new is not None:
                    self._on_shown(new.frame.index, min(at_ns, time.monotonic_ns()))
            case ["key", int(code)]:
                return self._press(chr(code))
            case ["closed"]:
                return True
            case None:
                self._lose(process)
        return False

    def _press(self, key: str) -> bool:
        """Do what a key asks for; True to quit."""
        asked = self._viewer.press(key)
        current = self._viewer.current
        self._draw_at_s = 0.0
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

    # -- its process ------------------------------------------------------------------------------

    def _lose(self, process: WindowProcess) -> None:
        """The process has ended by itself."""
        how = process.end()
        if not self._opened.is_set():
            raise OutputFailed(how)
        lived_s = time.monotonic() - self._opened_at_s if self._opened_at_s else 0.0
        if lived_s > REOPEN_AT_MOST_AFTER_S:
            self._reopen_after_s = REOPEN_AFTER_S
            self._lost_told = False
        self._process, self._under_way, self._opened_at_s = None, False, 0.0
        self._put_off()
        drawing, self._drawing = self._drawing, None
        if drawing is not None:
            self._passed_over(drawing)
        if not self._lost_told:
            self._lost_told = True
            self._on_lost(
                f"the window is gone ({how}); the session goes on, "
                "and the window opens again as soon as it can"
            )

    def _put_off(self) -> None:
        self._reopen_at_s = time.monotonic() + self._reopen_after_s
        self._reopen_after_s = min(2 * self._reopen_after_s, REOPEN_AT_MOST_AFTER_S)

    def _reopen(self) -> None:
        try:
            if display_available().window:
                self._process = WindowProcess(self._answered)
                return
        except OSError:  # no memory, no process: later perhaps
            pass
        self._put_off()

    def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.end()


class WindowProcess:
    """A running `screen`; `on_answer(process, answer)` is called from a thread, last with None.

    It inherits nothing but its pipes and the picture's memory, and of the environment not what
    is meant for Veilscope.  Raises `OSError` where it can't be started.
    """

    def __init__(self, on_answer: Callable[[WindowProcess, Answer | None], None]) -> None:
        self._on_answer = on_answer
        self._memory = PictureMemory()
        self._written: Image | None = None  # what lies in the memory
        ours = {name: value for name, value in os.environ.items() if "VEILSCOPE" not in name}
        ours["PYTHONPATH"] = os.pathsep.join(str(Path(folder).absolute()) for folder in sys.path)
        if sys.platform.startswith("linux"):
            ours |= ENVIRONMENT
        try:
            self._program = subprocess.Popen(
                [sys.executable, "-P", "-m", "receiver.sinks.screen", self._memory.address],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=self._memory.descriptors,
                env=ours,
            )
        finally:
            self._memory.close()
        threading.Thread(target=self._read, name="window's answers", daemon=True).start()

    def draw(self, number: int, image: Image | None, facts: OverlayFacts) -> None:
        """Have it drawn; the one before must have been.  An end of the process is an answer."""
        if image is not None and image is not self._written:
            self._memory.write(image)
            self._written = image
        assert self._program.stdin is not None  # noqa: S101 -- for the types
        with suppress(OSError):
            line = Drawing(number, None if image is None else image.shape, facts).to_line()
            self._program.stdin.write(line)
            self._program.stdin.flush()

    def end(self) -> str:
        """End it if it has not; returns how it ended."""
        assert self._program.stdin is not None  # noqa: S101 -- for the types
        with suppress(OSError):
            self._program.stdin.close()
        try:
            status = self._program.wait(CLOSE_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._program.kill()
            status = self._program.wait()
        return f"its process ended by signal {-status}" if status < 0 else "its process ended"

    def _read(self) -> None:
        assert self._program.stdout is not None  # noqa: S101 -- for the types
        with self._program.stdout as answers, suppress(ValueError):  # cut off in a line
            for line in answers:
                self._on_answer(self, json.loads(line))
        self._on_answer(self, None)
