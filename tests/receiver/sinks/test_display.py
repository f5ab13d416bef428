from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from receiver.sinks import display
from receiver.sinks.display import Display, display_available, resolve_display
from shared.errors import BadInput

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks an X server")


@linux
def test_without_a_display_there_is_no_window_and_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert display_available() == Display(False, "there is no screen (DISPLAY is not set)")


@linux
def test_wayland_alone_is_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    assert "XWayland" in display_available().reason


@linux
def test_an_x_server_that_is_not_there_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":4711")
    found = display_available()
    assert not found.window
    assert "can't be reached" in found.reason


@linux
def test_an_x_server_that_hangs_up_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    number = 4712
    with socket.socket(socket.AF_UNIX) as server:
        try:
            server.bind(f"\0/tmp/.X11-unix/X{number}")  # abstract: no file
        except OSError:
            pytest.skip("the name is taken")
        server.listen()
        code = (
            "import os; os.environ['DISPLAY'] = ':4712'\n"
            "from receiver.sinks.display import display_available\n"
            "print(display_available().window)"
        )
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
            server.settimeout(30)
            server.accept()[0].close()
            out, _ = process.communicate(timeout=30)
    assert out == b"False\n"


def test_auto_takes_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for found in (Display(True), Display(False, "there is no screen")):
        monkeypatch.setattr(display, "display_available", lambda found=found: found)
        assert resolve_display("auto") == found


def test_a_window_asked_for_and_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "display_available", lambda: Display(False, "no screen"))
    with pytest.raises(BadInput, match="no screen"):
        resolve_display("window")


def test_none_asks_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "display_available", lambda: pytest.fail("asked"))
    assert resolve_display("none") == Display(False)


def test_any_other_choice_is_refused() -> None:
    with pytest.raises(BadInput) as refused:
        resolve_display("sometimes")  # type: ignore[arg-type]
    assert refused.value.hint


def test_the_opencv_that_setup_brings_has_windows() -> None:
    assert display._opencv_problem() == ""


def test_an_opencv_without_windows_is_told_with_what_brings_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built = "  Media:\n  GUI:                           NONE\n"
    monkeypatch.setattr("cv2.getBuildInformation", lambda: built)
    found = display_available()
    assert not found.window
    assert "pip uninstall opencv-python-headless" in found.reason
