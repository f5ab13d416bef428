"""`python -m veilscope`: the same as the command `veilscope`."""

from __future__ import annotations

from typing import Any

from shared.launch import launch

__all__ = ["main"]


def main() -> None:
    """Run it and end the process."""
    launch(_command)


def _command() -> Any:
    from veilscope.cli import app

    return app


if __name__ == "__main__":
    main()
