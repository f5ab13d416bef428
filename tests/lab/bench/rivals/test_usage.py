from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab.bench.rivals.usage import Meter, Usage, cpu_seconds

BUSY = "while True: sum(range(1000))"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BUSY!r}])"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system has no /proc")
def test_a_program_is_measured_with_what_it_has_started() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], start_new_session=True) as process:
        try:
            with Meter({"busy": process.pid}, period_s=0.02) as meter:
                until = time.monotonic() + 60
                while not any(usage.cpu_s > 0.3 for usage in meter.series["busy"]):
                    assert time.monotonic() < until
                    time.sleep(0.02)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
    assert max(usage.rss_bytes for usage in meter.series["busy"]) > 2_000_000


def test_a_program_that_is_gone_is_not_measured() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    with Meter({"gone": process.pid}, period_s=0.01) as meter:
        time.sleep(0.05)
    assert meter.series["gone"] == []


def test_processor_time_between_two_moments_is_scaled_to_them() -> None:
    series = [Usage(at * 10, 0.1 * at, 1) for at in range(11)]
    assert cpu_seconds(series, 20, 70) == pytest.approx(0.5)
    assert cpu_seconds(series, 18, 72) == pytest.approx(0.54)
    assert cpu_seconds(series[:1], 0, 100) is None
    assert cpu_seconds(series, 200, 300) is None
