"""`python -m receiver`: the receiver on its own."""

from __future__ import annotations

from receiver.cli import receive
from shared.terminal import run_command

if __name__ == "__main__":
    run_command(receive)
