"""A screen for what needs one."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

Screen = tuple[str, subprocess.Popen[bytes]]
"""A virtual screen's DISPLAY, and its server."""


@contextmanager
def virtual_screen() -> Iterator[Screen]:
    if shutil.which("Xvfb") is None:
        pytest.skip("there is no Xvfb here")
    reading, writing = os.pipe()
    screen = ["-screen", "0", "1280x900x24"]
    with subprocess.Popen(
        ["Xvfb", "-displayfd", str(writing), *screen, "-nolisten", "tcp", "-noreset"],
        pass_fds=[writing],
        stderr=subprocess.DEVNULL,
    ) as server:
        os.close(writing)
        with os.fdopen(reading) as file:
            number = file.readline().strip()
        try:
            if not number:
                pytest.skip("Xvfb does not start here")
            yield f":{number}", server
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def screen() -> Iterator[str]:
    """A virtual screen's DISPLAY."""
    with virtual_screen() as (display, _):
        yield display


@pytest.fixture
def own_screen() -> Iterator[Screen]:
    """One that a test may take away."""
    with virtual_screen() as made:
        yield made
