"""The window on a real (virtual) screen, with its real process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import ImageGrab

from receiver.sinks import SessionInfo, ShownFrame
from receiver.sinks import window as window_module
from receiver.sinks.overlay import OverlayFacts, compose
from receiver.sinks.screen import PictureMemory, _fitting_size
from receiver.sinks.viewer import Still
from receiver.sinks.window import WindowSink
from shared.errors import OutputFailed
from shared.frame import Frame
from tests.receiver.sinks.conftest import Screen
from tests.receiver.sinks.xserver import XServer

# Two at a time, each with a screen of its own, take ten times as long on two processors.
pytestmark = [
    pytest.mark.xdist_group("window"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="an X server's screen"),
]

RED, GREEN, BLUE = (200, 30, 40), (20, 180, 60), (10, 80, 160)
WAITING = (35, 90, 170)  # the ground of "waiting for the sender"
TITLE = "Veilscope"
LIMIT_S = 30.0
# Where no window manager runs, OpenCV's toolkit now and then never hears that its window is mapped
# (no MapNotify, no Expose), and so never paints it; one window in twenty, on a loaded machine.
ATTEMPTS = 6


class Seat:
    """A person before a screen: what they see and do, and what the sink tells."""

    def __init__(self, display: str, folder: Path) -> None:
        self.display = display
        self.events: list[tuple[object, ...]] = []
        self._changed = threading.Condition()
        self.server = XServer()
        for _ in range(ATTEMPTS):
            self.sink = self._new_sink(folder)
            self.sink.start()
            if self.sees(WAITING, pixels=1_000, within_s=3):
                return
            self.sink.close()
        pytest.skip("this screen paints no windows")

    def _new_sink(self, folder: Path) -> WindowSink:
        def note(name: str) -> Callable[..., None]:
            def noted(*facts: object) -> None:
                with self._changed:
                    self.events.append((name, *facts))
                    self._changed.notify_all()

            return noted

        names = ("shown", "replaced", "frozen", "freeze", "unfreeze", "quit", "lost")
        return WindowSink(snapshot_dir=folder, **{f"on_{name}": note(name) for name in names})

    @property
    def window(self) -> int:
        window = self.server.window(TITLE)
        assert window is not None
        return window

    @property
    def process(self) -> subprocess.Popen[bytes]:
        process = self.sink._process
        assert process is not None
        return process._program

    def wait_for(self, name: str, *facts: object) -> tuple[object, ...]:
        """The first such event."""
        wanted = (name, *facts)

        def found() -> tuple[object, ...] | None:
            return next((event for event in self.events if event[: len(wanted)] == wanted), None)

        with self._changed:
            assert self._changed.wait_for(found, LIMIT_S), (wanted, self.events)
            event = found()
        assert event is not None
        return event

    def sees(
        self, colour: tuple[int, int, int], pixels: int = 10_000, within_s: float = LIMIT_S
    ) -> bool:
        """Whether there come to be so many pixels of it: the toolkit paints in its own time."""
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            grabbed = np.asarray(ImageGrab.grab(xdisplay=self.display).convert("RGB"))
            if (np.abs(grabbed.astype(int) - colour).max(axis=2) <= 2).sum() > pixels:
                return True
            time.sleep(0.02)
        return False

    def press(self, key: str) -> None:
        self.server.press(self.window, key)

    def show_until_seen(self, first: int, colour: tuple[int, int, int]) -> None:
        """Pictures go on coming until one is on the screen, in a window that may be another."""
        for index in range(first, first + 30 * ATTEMPTS):
            self.sink.show(shown(index, colour))
            if self.sees(colour, within_s=0.1):
                return
            process = self.sink._process
            if (index - first) % 30 == 29 and process is not None:
                process._program.kill()  # its window is one that is never painted
        raise AssertionError(self.events)


def shown(index: int, colour: tuple[int, int, int], sealed: bytes = b"") -> ShownFrame:
    image = np.zeros((240, 320, 3), np.uint8)
    image[:] = colour
    frame = Frame(index, time.monotonic_ns() - 20_000_000, image)
    return ShownFrame(frame, sealed, 20.0, 0.5, 41.0, 1, "jpeg", 30.0)


@pytest.fixture
def seat(screen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Seat]:
    monkeypatch.setenv("DISPLAY", screen)
    made = Seat(screen, tmp_path)
    yield made
    made.sink.close()
    made.server.close()


@pytest.fixture
def own_seat(
    own_screen: Screen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Seat, subprocess.Popen[bytes]]]:
    display, server = own_screen
    monkeypatch.setenv("DISPLAY", display)
    made = Seat(display, tmp_path)
    yield made, server
    made.sink.close()


def test_frames_reach_the_screen_and_are_reported_when_they_do(seat: Seat) -> None:
    for index, colour in enumerate([RED, GREEN]):
        before = time.monotonic_ns()
        seat.sink.show(shown(index, colour))
        _, _, at_ns = seat.wait_for("shown", index)
        assert isinstance(at_ns, int)
        assert before < at_ns <= time.monotonic_ns()
        assert seat.sees(colour)
    process = seat.process
    seat.sink.close()
    assert [event[0] for event in seat.events] == ["shown", "shown"]
    assert not any(thread.name == "window" for thread in threading.enumerate())
    assert process.returncode == 0


def test_of_many_frames_at_once_the_newest_is_shown_and_each_is_accounted_for(seat: Seat) -> None:
    for index in range(200):
        seat.sink.show(shown(index, RED))
    seat.wait_for("shown", 199)
    seat.sink.show(shown(200, RED))
    seat.sink.close()
    assert sorted(str(event[1]) for event in seat.events) == sorted(map(str, range(201)))
    order = [int(str(event[1])) for event in seat.events if event[0] == "shown"]
    assert order == sorted(order)


def test_the_keys_do_what_they_say(seat: Seat, tmp_path: Path) -> None:
    seat.sink.show_session(SessionInfo("ab12", "bp"))
    seat.sink.show(shown(7, RED, sealed=bytes([99]) * 60_000))
    seat.wait_for("shown", 7)
    seat.press("e")
    assert seat.sees((99, 99, 99))  # the sealed bytes, a grey pixel each
    seat.press("e")
    assert seat.sees(RED)
    seat.press(" ")
    seat.wait_for("freeze", 7)
    seat.sink.show(shown(8, GREEN))
    seat.wait_for("frozen", 8)  # the old picture stays
    assert seat.sees(RED)
    seat.press("s")
    saved_at = tmp_path / "veilscope-ab12-frame-000007.png"
    until = time.monotonic() + LIMIT_S
    while not saved_at.exists():
        assert time.monotonic() < until
        time.sleep(0.02)
    seat.press(" ")
    seat.wait_for("unfreeze")
    seat.sink.show(shown(9, GREEN))
    seat.wait_for("shown", 9)
    seat.press("q")
    seat.wait_for("quit")
    seat.sink.close()
    assert list(tmp_path.iterdir()) == [saved_at]
    saved = cv2.imread(str(saved_at))
    assert saved is not None
    assert saved.shape == (240, 320, 3)
    assert saved_at.stat().st_mode & 0o777 == 0o600
    assert (saved == np.array(RED[::-1])).all()


def test_a_frozen_picture_gives_way_to_its_lossless_copy_and_to_no_other(seat: Seat) -> None:
    def still(index: int, colour: tuple[int, int, int]) -> Still:
        return Still(index, replace(shown(index, colour), psnr_db=None))

    seat.sink.show(shown(7, RED))
    seat.wait_for("shown", 7)
    seat.press(" ")
    seat.wait_for("freeze", 7)
    seat.sink.show_still(still(6, (90, 90, 10)))  # of a picture frozen before
    seat.sink.show_still(Still(7, None))
    assert seat.sees(RED)
    seat.sink.show_still(still(7, GREEN))
    assert seat.sees(GREEN)
    seat.press(" ")
    seat.wait_for("unfreeze")
    seat.sink.show_still(still(7, RED))  # too late: the person has gone on
    seat.sink.show(shown(8, BLUE))
    assert seat.sees(BLUE)


def test_a_picture_that_stops_turns_stale(seat: Seat) -> None:
    seat.sink.show(shown(0, GREEN))
    assert seat.sees((205, 40, 40), pixels=4_000)  # the banner and the frame


def test_closing_the_window_is_quitting(seat: Seat) -> None:
    seat.sink.show(shown(0, GREEN))
    seat.wait_for("shown", 0)
    seat.server.ask_to_close(seat.window)
    seat.wait_for("quit")
    seat.sink.show(shown(1, GREEN))
    assert seat.events[-1] == ("replaced", 1)  # nobody is left to see it
    seat.sink.close()
    assert seat.sink._process is None


@pytest.mark.parametrize("how", ["destroyed", "its client killed", "killed", "aborted"])
def test_a_window_that_was_taken_away_is_told_once_and_opens_again(seat: Seat, how: str) -> None:
    seat.sink.show(shown(0, RED))
    seat.wait_for("shown", 0)
    assert seat.sees(RED)
    if how == "destroyed":
        seat.server.destroy(seat.window)
    elif how == "its client killed":
        seat.server.kill_client(seat.window)
    else:
        seat.process.send_signal(signal.SIGKILL if how == "killed" else signal.SIGABRT)
    _, words = seat.wait_for("lost")
    assert "the session goes on" in str(words)
    seat.show_until_seen(1, GREEN)
    seat.sink.close()
    names = [event[0] for event in seat.events]
    assert names.count("lost") == 1
    assert "quit" not in names
    indices = [event[1] for event in seat.events if event[0] in ("shown", "replaced")]
    assert sorted(map(str, indices)) == sorted(map(str, range(len(indices))))  # each once


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_without_its_screen_every_frame_is_passed_over_and_the_end_is_clean(
    own_seat: tuple[Seat, subprocess.Popen[bytes]], how: signal.Signals
) -> None:
    seat, server = own_seat
    seat.sink.show(shown(0, RED))
    seat.wait_for("shown", 0)
    server.send_signal(how)
    seat.wait_for("lost")
    seat.sink.show(shown(1, RED))
    seat.wait_for("replaced", 1)
    seat.sink.close()
    assert "quit" not in [event[0] for event in seat.events]


def test_a_window_process_that_stands_still_holds_nobody_up(
    seat: Seat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window_module, "CLOSE_WITHIN_S", 0.2)
    seat.process.send_signal(signal.SIGSTOP)
    for index in range(50):
        seat.sink.show(shown(index, RED))
    process = seat.process
    seat.sink.close()
    assert process.returncode == -signal.SIGKILL
    assert sorted(int(str(event[1])) for event in seat.events) == list(range(50))


def test_the_process_is_told_nothing_but_pictures(
    screen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISPLAY", screen)
    monkeypatch.setenv("VEILSCOPE_CODE", "7-secret-code")
    process = window_module.WindowProcess(lambda _process, _answer: None)
    proc = Path("/proc") / str(process._program.pid)
    until = time.monotonic() + LIMIT_S
    while b"receiver.sinks.screen" not in (command := (proc / "cmdline").read_bytes()):
        assert time.monotonic() < until  # it still is this program's fork
    assert command.split(b"\0")[1:-2] == [b"-P", b"-m", b"receiver.sinks.screen"]
    assert b"secret" not in (proc / "environ").read_bytes()
    process.end()


def test_a_process_whose_receiver_was_killed_ends_and_leaves_nothing(screen: str) -> None:
    script = """
        import os, signal, sys, threading
        from receiver.sinks.window import WindowSink
        sink = WindowSink()
        sink.start()
        print(sink._process._program.pid, flush=True)
        threading.Event().wait()
    """
    environment = {**os.environ, "DISPLAY": screen}
    before = set(Path("/dev/shm").iterdir())  # noqa: S108 -- to see that nothing is there
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    ) as receiver:
        assert receiver.stdout is not None
        child = int(receiver.stdout.readline())
        receiver.kill()
    until = time.monotonic() + LIMIT_S
    while Path(f"/proc/{child}/exe").exists():  # a zombie that nobody reaps has none
        assert time.monotonic() < until
        time.sleep(0.02)
    left = set(Path("/dev/shm").iterdir()) - before  # noqa: S108
    assert not {path for path in left if "veilscope" in path.name}


def test_the_windows_program_imports_no_more_than_drawing_needs() -> None:
    script = (
        "import sys, receiver.sinks.screen\n"
        "print([name for name in ('torch', 'av', 'aiortc', 'pydantic', 'rich') "
        "if name in sys.modules])"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, timeout=60, check=True
    )
    assert said.stdout == b"[]\n"


@pytest.mark.parametrize(
    ("width", "height"), [(320, 240), (640, 480), (1280, 720), (1920, 1080), (64, 48), (500, 2000)]
)
def test_the_window_has_room_for_the_picture_and_its_whole_bar(width: int, height: int) -> None:
    size = _fitting_size(width, height)
    facts = OverlayFacts("bp", age_ms=1.0, latency_ms=1.0, fps=30.0, epoch=1, psnr_db=40.0)
    canvas = compose(np.full((height, width), 200, np.uint8), facts, size)
    rows = int((canvas[:, size[0] // 2] == 200).all(axis=1).sum())
    scale = size[0] / width
    assert abs(rows - height * scale) <= 1


def test_what_one_writes_into_a_picture_memory_the_other_reads() -> None:
    ours = PictureMemory()
    theirs = PictureMemory(str(os.dup(ours.descriptors[0])))
    ours.close()
    for image in (np.full((4096, 4096, 3), 9, np.uint8), np.arange(12, dtype=np.uint8)[None]):
        ours.write(image)
        assert (theirs.picture(image.shape) == image).all()
    with pytest.raises(ValueError, match="reshape"):
        ours.write(np.zeros((9000, 9000), np.uint8))
    theirs.close()


def test_a_window_that_does_not_open_in_time_is_a_failure(
    screen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISPLAY", screen)
    monkeypatch.setattr(window_module, "OPEN_WITHIN_S", 0.05)
    monkeypatch.setattr(window_module, "CLOSE_WITHIN_S", 0.2)
    sink = WindowSink()
    sink._process._program.send_signal(signal.SIGSTOP)  # type: ignore[union-attr]
    with pytest.raises(OutputFailed, match="can't be opened") as failed:
        sink.start()
    assert "--display none" in failed.value.hint
    sink.close()


def test_without_a_screen_it_is_a_failure_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":4711")
    sink = WindowSink()
    with pytest.raises(OutputFailed, match="can't be opened") as failed:
        sink.start()
    assert "its process ended" in str(failed.value.__cause__)
    sink.close()


def test_this_side_failing_ends_the_session_and_says_so(
    seat: Seat, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(seat.sink, "_draw", fail)
    seat.sink.show(shown(0, RED))
    seat.wait_for("quit")
    with pytest.raises(OutputFailed, match="the window failed"):
        seat.sink.close()
    seat.sink.close()


def test_answers_are_lines_of_json() -> None:
    reading, writing = os.pipe()
    memory = PictureMemory()
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "receiver.sinks.screen", memory.address],
        stdin=subprocess.DEVNULL,  # its receiver has ended before the first picture
        stdout=writing,
        pass_fds=memory.descriptors,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    ) as process:
        os.close(writing)
        with os.fdopen(reading) as answers:
            assert [json.loads(line) for line in answers] == []
    assert process.returncode == 0
