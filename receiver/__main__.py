"""`python -m receiver`: the receiver on its own."""

from __future__ import annotations

from typing import Any

from shared.launch import launch

__all__ = ["main"]


def main() -> None:
    """Run it and end the process."""
    launch(_command)


def _command() -> Any:
    from receiver.cli import receive

    return receive


if __name__ == "__main__":
    main()
