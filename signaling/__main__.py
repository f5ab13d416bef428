"""`python -m signaling`: the rendezvous server on its own."""

from __future__ import annotations

from typing import Any

from shared.launch import launch

__all__ = ["main"]


def main() -> None:
    """Run it and end the process."""
    launch(_command)


def _command() -> Any:
    from signaling.cli import signal

    return signal


if __name__ == "__main__":
    main()
