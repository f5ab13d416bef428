"""`python -m sender`: the sender on its own."""

from __future__ import annotations

from sender.cli import send
from shared.terminal import run_command

if __name__ == "__main__":
    run_command(send)
