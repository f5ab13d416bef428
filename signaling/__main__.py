"""`python -m signaling`: the rendezvous server on its own."""

from __future__ import annotations

from shared.terminal import run_command
from signaling.cli import signal

if __name__ == "__main__":
    run_command(signal)
