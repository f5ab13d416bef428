"""How the receiver program ends when its window is taken away, with the real programs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from shared.errors import OutputFailed

# Two at a time, each with a screen of its own, take ten times as long on two processors.
pytestmark = pytest.mark.xdist_group("window")

LIMIT_S = 60.0  # for three programs to start and pair on a busy machine

KILL_CLIENT = """
import ctypes
from receiver.sinks.xserver import WM_NAME, XServer
server = XServer()
xcb, connection = server._xcb, ctypes.c_void_p(server._connection)
root = xcb.xcb_setup_roots_iterator(xcb.xcb_get_setup(connection)).screen[0]
windows = server._children([root])
names = server._properties(windows, WM_NAME)
window = windows[names.index(b"Veilscope")]
xcb.xcb_kill_client(connection, window)
assert not server.has(window)
"""


def kill_its_client(display: str) -> None:
    """What xkill does."""
    subprocess.run(
        [sys.executable, "-c", KILL_CLIENT],
        env={**os.environ, "DISPLAY": display},
        check=True,
        timeout=LIMIT_S,
    )


@pytest.mark.parametrize("how", ["xkill", "the screen ends", "the screen is killed"])
def test_a_window_taken_away_is_told_in_a_line_and_costs_nothing_else(
    own_screen: tuple[str, subprocess.Popen[bytes]], tmp_path: Path, how: str
) -> None:
    display, server = own_screen
    log, report, code = (tmp_path / name for name in ("log.jsonl", "report.html", "code"))
    with ExitStack() as programs:

        def start(module: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
            program = programs.enter_context(
                subprocess.Popen(
                    [sys.executable, "-P", "-m", module, *map(str, arguments)],
                    text=True,
                    stdout=subprocess.PIPE,
                    **options,
                )
            )
            programs.callback(program.kill)
            return program

        signaling = start("signaling", "--host", "127.0.0.1", "--port", 0, "--quiet")
        assert signaling.stdout is not None
        url = signaling.stdout.readline().split()[-1]
        both = ("--signaling", url, "--code-file", code, "--address", "127.0.0.1")
        start("sender", *both, "--source", "phantom:ultrasound", "--size", "160x120")
        receiver = start(
            "receiver", *both, "--display", "window", "--log", log, "--report", report,
            cwd=tmp_path, env={**os.environ, "DISPLAY": display}, stderr=subprocess.PIPE,
        )  # fmt: skip
        wait_for(lambda: log.exists() and log.read_bytes().count(b'"type":"frame"') > 5)
        if how == "xkill":
            kill_its_client(display)
        else:
            server.send_signal(signal.SIGTERM if how == "the screen ends" else signal.SIGKILL)
        said, errors = receiver.communicate(timeout=LIMIT_S)
    assert receiver.returncode == OutputFailed.exit_status
    assert [line for line in errors.splitlines() if line.startswith("error: ")] == [
        "error: the window is gone: its screen has ended, or another program closed it"
    ]
    assert len(errors.splitlines()) == 2  # and its hint
    *_, last = log.read_text().splitlines()
    summary = json.loads(last)
    assert summary["type"] == "summary"
    assert summary["frames_shown"] > 5
    assert f"report: {report}" in said
    assert report.exists()


def wait_for(true: Callable[[], bool]) -> None:
    until = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)
