"""How the receiver program goes on when its screen is taken away, with the real programs."""

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

# Two at a time, each with a screen of its own, take ten times as long on two processors.
pytestmark = pytest.mark.xdist_group("window")

LIMIT_S = 60.0  # for three programs to start and pair on a busy machine


def test_a_screen_taken_away_is_told_in_a_line_and_the_session_goes_on(
    own_screen: tuple[str, subprocess.Popen[bytes]], tmp_path: Path
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
        server.kill()
        assert receiver.stderr is not None
        said_at_once = receiver.stderr.readline()
        lines = log.read_bytes().count(b"\n")
        wait_for(lambda: log.read_bytes().count(b"\n") > lines + 20)  # what came and was not shown
        receiver.send_signal(signal.SIGINT)
        said, errors = receiver.communicate(timeout=LIMIT_S)
    assert receiver.returncode == 130
    assert said_at_once.startswith("warning: the window is gone")
    assert "goes on" in said_at_once
    assert errors == ""
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
