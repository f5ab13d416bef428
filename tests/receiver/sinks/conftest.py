"""A screen for what needs one."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def screen() -> Iterator[str]:
    """A virtual screen's DISPLAY."""
    if shutil.which("Xvfb") is None:
        pytest.skip("there is no Xvfb here")
    reading, writing = os.pipe()
    with subprocess.Popen(
        [
            "Xvfb",
            "-displayfd",
            str(writing),
            "-screen",
            "0",
            "1280x900x24",
            "-nolisten",
            "tcp",
            "-noreset",
        ],
        pass_fds=[writing],
        stderr=subprocess.DEVNULL,
    ) as server:
        os.close(writing)
        with os.fdopen(reading) as file:
            number = file.readline().strip()
        try:
            if not number:
                pytest.skip("Xvfb does not start here")
            yield f":{number}"
        finally:
            server.terminate()
