"""What is heard of Qt's messages, in the OpenCV that is installed."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest

from receiver.sinks import qt
from receiver.sinks.qt import QtMessages

_ = cv2.__version__  # brings Qt into the process
WARNING = "_ZNK14QtOpenCVPython14QMessageLogger7warningEPKcz"


def warn(text: bytes) -> None:
    """Qt has something to say."""
    core = qt._core()
    if core is None or not hasattr(core, WARNING):
        pytest.skip("this OpenCV's windows are not by Qt, or by another Qt than its wheels'")
    logger = ctypes.create_string_buffer(64)  # of no file and no line
    getattr(core, WARNING)(logger, ctypes.c_char_p(text))


def test_a_message_is_heard_before_qt_puts_it_out_itself(capfd: pytest.CaptureFixture[str]) -> None:
    put_out: list[str] = []
    messages = QtMessages(lambda: put_out.append(capfd.readouterr().err))
    warn(b"one")
    messages.close()
    assert put_out == [""]
    assert "one" in capfd.readouterr().err


def test_once_closed_nothing_is_heard(capfd: pytest.CaptureFixture[str]) -> None:
    heard: list[str] = []
    messages = QtMessages(lambda: heard.append("message"))
    messages.close()
    messages.close()
    warn(b"two")
    assert heard == []
    assert "two" in capfd.readouterr().err


@pytest.mark.parametrize("maps", ["no such file", "none", "another", "replaced"])
def test_without_qt_nothing_is_heard_and_nothing_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, maps: str
) -> None:
    line = "7f00-7f01 r-xp 00000000 fe:00 12 /usr/lib/"
    (tmp_path / "none").write_text(f"{line}libc.so.6\n")
    (tmp_path / "another").write_text(f"{line}libQt5Core.so.5\n")
    (tmp_path / "replaced").write_text(f"{line}libQt5Core.so.5 (deleted)\n")
    monkeypatch.setattr(qt, "_MAPS", tmp_path / maps)
    if maps == "another":  # a library of that name without that function
        monkeypatch.setattr(ctypes, "CDLL", lambda _path: object())
    QtMessages(lambda: None).close()


def test_a_message_that_comes_before_qts_own_handler_is_known_is_heard_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[str] = []
    failed: list[object] = []
    own = qt._Handler(lambda kind, _context, _text: heard.append(f"Qt's own {kind}"))

    def install(handler: Any) -> int | None:
        if handler:
            handler(1, None, None)
        return ctypes.cast(own, ctypes.c_void_p).value

    monkeypatch.setattr(qt, "_installer", lambda: install)
    monkeypatch.setattr(sys, "unraisablehook", failed.append)  # where a callback's errors end
    messages = QtMessages(lambda: heard.append("message"))
    messages._handler(2, None, None)
    messages.close()
    assert failed == []
    assert heard == ["message", "message", "Qt's own 2"]
