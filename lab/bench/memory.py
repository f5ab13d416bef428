"""What a keystream backend takes of memory, found in a process of its own.

    python -m lab.bench.memory NETWORK DEVICE NBYTES

prints three peaks of resident memory in bytes as JSON: before the backend is loaded, once it is
open, and after eight frames of NBYTES made ahead of their time; and what the pads that are ready at
any time come to.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from shared.keystream.ahead import KeystreamAhead
from shared.keystream.backend import open_backend
from shared.keystream.network import load_network

__all__ = ["NotMeasured", "measure_memory"]

_STATUS = Path("/proc/self/status")
_FRAMES = 8
_TIME_LIMIT_S = 300.0


class NotMeasured(Exception):
    """Its text says why."""


def measure_memory(network: str, device: str, nbytes: int) -> dict[str, int]:
    """Return `before`, `opened`, `running`, `pads` in bytes; raise `NotMeasured`."""
    if not _STATUS.exists():
        raise NotMeasured("this system does not tell a process's peak")
    command = [sys.executable, "-P", "-m", __spec__.name, network, device, str(nbytes)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIME_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise NotMeasured(f"its process took longer than {_TIME_LIMIT_S:g} s") from None
    except OSError as error:
        raise NotMeasured(f"its process did not start: {error.strerror}") from error
    if done.returncode:
        *_, last = ["", *done.stderr.splitlines()]
        raise NotMeasured(f"its process ended with status {done.returncode}: {last}")
    found: dict[str, int] = json.loads(done.stdout)
    return found


def _peak() -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) << 10


def _main(network: str, device: str, nbytes: int) -> None:
    found = {"before": _peak()}
    backend = open_backend(load_network(network), device)
    found["opened"] = _peak()
    with KeystreamAhead(backend.keyed(bytes(32)), expected_nbytes=nbytes) as ahead:
        for counter in range(_FRAMES):
            ahead.take(counter, nbytes)
        found["pads"] = ahead.max_ready_nbytes
    found["running"] = _peak()
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
