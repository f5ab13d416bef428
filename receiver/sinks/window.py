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
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from receiver.sinks import SessionInfo, ShownFrame
from receiver.sinks.display import display_available
from receiver.sinks.files import encode_png
from receiver.sinks.overlay import OverlayFacts
from receiver.sinks.screen import ENVIRONMENT, PictureMemory
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
        self._changed = threading.Condition()  # guards the next four
        self._next: ShownFrame | None = None
        self._news: list[Callable[[], bool]] = []  # for the window's thread; True is to quit
        self._stop = False
        self._ended = False
        self._opened = threading.Event()
        self._failure: Exception | None = None
        self._thread: threading.Thread | None = None
        # the window thread's own
        self._viewer = Viewer()
        self._process: WindowProcess | None = None
        self._under_way = False
        self._drawing: ShownFrame | None = None  # the new frame in it
        self._draw_at_s = 0.0
        self._reopen_after_s = REOPEN_AFTER_S
        self._reopen_at_s = 0.0
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
        self._tell(lambda viewer: setattr(viewer, "waiting", words))

    def show_session(self, info: SessionInfo) -> None:
        """The two ends have paired, and agreed on this; never blocks."""
        self._tell(lambda viewer: viewer.paired(info))

    def show_still(self, still: Still) -> None:
        """The lossless copy of a frozen frame has come, or will not; never blocks."""
        self._tell(lambda viewer: viewer.still_arrived(still))

    def show_quality(self, reason: str) -> None:
        """Say beside the picture why its quality changed; never blocks."""
        self._tell(lambda viewer: setattr(viewer, "quality_reason", reason))

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

    def _tell(self, change: Callable[[Viewer], object]) -> None:
        def told() -> bool:
            change(self._viewer)
            self._draw_at_s = 0.0
            return False

        self._wake_with(told)

    def _answered(self, process: WindowProcess, answer: Answer | None) -> None:
        self._wake_with(lambda: process is self._process and self._hear(process, answer))

    def _wake_with(self, news: Callable[[], bool]) -> None:
        with self._changed:
            self._news.append(news)
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
            if not (self._news or self._stop or (self._next is not None and not self._under_way)):
                until_s = self._draw_at_s if self._process is not None else self._reopen_at_s
                rest_s = None if self._under_way else max(until_s - time.monotonic(), 0)
                self._changed.wait(rest_s)
            return not self._stop

    def _turn(self) -> bool:
        """Hear the news, and draw if there is reason to; True to quit."""
        with self._changed:
            all_news, self._news = self._news, []
        if any(news() for news in all_news):
            return True
        if self._under_way:
            return False
        if self._process is None and time.monotonic() >= self._reopen_at_s:
            self._reopen()
        with self._changed:
            new, self._next = self._next, None
        if new is not None:
            is_current = self._viewer.arrived(new, time.monotonic_ns())
            if self._process is None or not is_current:
                self._passed_over(new)
                new = None
        if self._process is not None and (new is not None or time.monotonic() >= self._draw_at_s):
            self._draw(self._process, new)
        return False

    def _draw(self, process: WindowProcess, new: ShownFrame | None) -> None:
        self._drawing, self._under_way = new, True
        self._draw_at_s = time.monotonic() + REDRAW_S
        process.draw(self._viewer.picture(), self._viewer.facts(time.monotonic_ns()))

    def _hear(self, process: WindowProcess, answer: Answer | None) -> bool:
        """Take one answer; True to quit."""
        match answer:
            case ["drawn", int(at_ns)]:
                self._under_way = False
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
        if time.monotonic() - process.started_at_s > REOPEN_AT_MOST_AFTER_S:
            self._reopen_after_s = REOPEN_AFTER_S
        if self._reopen_after_s == REOPEN_AFTER_S:  # else it was told a moment ago
            self._on_lost(
                f"the window is gone ({how}); the session goes on, "
                "and the window opens again as soon as it can"
            )
        self._process, self._under_way = None, False
        self._put_off()
        drawing, self._drawing = self._drawing, None
        if drawing is not None:
            self._passed_over(drawing)

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
        self.started_at_s = time.monotonic()
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
        assert self._program.stdin and self._program.stdout  # noqa: S101, PT018 -- for the types
        self._requests, self._answers = self._program.stdin, self._program.stdout
        threading.Thread(target=self._read, name="window's answers", daemon=True).start()

    def draw(self, image: Image | None, facts: OverlayFacts) -> None:
        """Have it drawn; the one before must have been.  An end of the process is an answer."""
        if image is not None and image is not self._written:
            self._memory.write(image)
            self._written = image
        drawing = None if image is None else image.shape, asdict(facts)
        with suppress(OSError):
            self._requests.write(json.dumps(drawing).encode() + b"\n")
            self._requests.flush()

    def end(self) -> str:
        """End it if it has not; returns how it ended."""
        with suppress(OSError):
            self._requests.close()
        try:
            status = self._program.wait(CLOSE_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._program.kill()
            status = self._program.wait()
        return f"its process ended by signal {-status}" if status < 0 else "its process ended"

    def _read(self) -> None:
        with self._answers as answers, suppress(ValueError):  # cut off in a line
            for line in answers:
                self._on_answer(self, json.loads(line))
        self._on_answer(self, None)
