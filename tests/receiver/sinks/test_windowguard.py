"""What becomes of the thread in which the toolkit finds its window gone."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable

import pytest

from receiver.sinks import windowguard
from receiver.sinks.windowguard import WindowGuard
from tests.receiver.sinks.conftest import Screen
from tests.receiver.sinks.test_xserver import TITLE, Program, program

__all__ = ["program"]

LIMIT_S = 20.0


class Toolkit:
    """Says something when the test wants it."""

    def __init__(self) -> None:
        self.speak: Callable[[], None] = lambda: None
        self.closed = False

    def __call__(self, on_message: Callable[[], None]) -> Toolkit:
        self.speak = on_message
        return self

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def toolkit(monkeypatch: pytest.MonkeyPatch) -> Toolkit:
    made = Toolkit()
    monkeypatch.setattr(windowguard, "QtMessages", made)
    return made


class WindowThread:
    """A thread of whom the test knows what it has come to."""

    def __init__(self, work: Callable[[], str]) -> None:
        self._said: queue.Queue[str] = queue.Queue()
        self._thread = threading.Thread(target=lambda: self.say(work()), daemon=True)
        self.say = self._said.put

    def start(self) -> None:
        self._thread.start()

    def hear(self) -> str:
        return self._said.get(timeout=LIMIT_S)

    @property
    def alive(self) -> bool:
        self._thread.join(0.1)
        return self._thread.is_alive()


@pytest.fixture
def window(program: Program) -> int:
    ours = program.nested(0, TITLE, os.getpid())
    program.settle()
    return ours


def test_a_window_is_there_until_it_is_taken_away(
    program: Program, window: int, toolkit: Toolkit
) -> None:
    guard = WindowGuard(TITLE, on_held=lambda: pytest.fail("nothing was said"))
    assert guard.there
    program.destroy(window)
    assert not guard.there
    guard.close()
    assert toolkit.closed


def test_a_window_that_is_not_found_is_taken_to_be_there(
    program: Program, toolkit: Toolkit
) -> None:
    guard = WindowGuard("another", on_held=lambda: pytest.fail("it may well be there"))
    assert guard.there
    toolkit.speak()
    guard.close()


def test_what_the_toolkit_says_while_its_window_is_there_changes_nothing(
    program: Program, window: int, toolkit: Toolkit
) -> None:
    guard = WindowGuard(TITLE, on_held=lambda: pytest.fail("it is there"))
    toolkit.speak()
    assert not toolkit.closed
    guard.release()  # the window is to be closed now
    program.destroy(window)
    toolkit.speak()
    guard.close()


def test_the_windows_thread_is_held_where_the_toolkit_speaks_without_a_window_and_no_other(
    program: Program, window: int, toolkit: Toolkit
) -> None:
    gone = threading.Event()

    def work() -> str:
        WindowGuard(TITLE, on_held=lambda: thread.say("held"))
        thread.say("guarded")
        gone.wait(LIMIT_S)
        toolkit.speak()
        return "went on"

    thread = WindowThread(work)
    thread.start()
    assert thread.hear() == "guarded"
    program.destroy(window)
    toolkit.speak()  # in this thread
    assert not toolkit.closed
    gone.set()
    assert thread.hear() == "held"
    assert toolkit.closed  # it may speak at the very end of the process
    assert thread.alive


def test_a_screen_that_ends_while_the_window_is_closed_is_noticed(
    own_screen: Screen, monkeypatch: pytest.MonkeyPatch, toolkit: Toolkit
) -> None:
    display, server = own_screen
    monkeypatch.setenv("DISPLAY", display)
    program = Program()
    window = program.nested(0, TITLE, os.getpid())
    program.settle()
    guard = WindowGuard(TITLE, on_held=lambda: None)
    guard.release()
    program.destroy(window)
    assert guard.there
    server.kill()
    server.wait()
    assert not guard.there
    guard.close()
    program.server.close()


@pytest.mark.parametrize("failing", ["to close", "whoever is told"])
def test_the_thread_is_held_whatever_fails_before(
    program: Program, window: int, toolkit: Toolkit, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    done: list[str] = []

    def do(what: str) -> None:
        done.append(what)
        if what == failing:
            raise OSError(what)

    class Forever:
        def wait(self) -> None:
            done.append("held")

    monkeypatch.setattr(toolkit, "close", lambda: do("to close"))
    guard = WindowGuard(TITLE, on_held=lambda: do("whoever is told"))
    program.destroy(window)
    with monkeypatch.context() as patched:
        patched.setattr(windowguard.threading, "Event", Forever)
        with pytest.raises(OSError, match=failing):  # the wait alone kept it from coming out
            toolkit.speak()
    assert done == ["to close", "whoever is told", "held"]
    guard._server.close()
