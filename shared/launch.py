"""How a program begins, before what takes a second to import is imported."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

from shared.standardstreams import reopen

__all__ = ["launch"]


def launch(load: Callable[[], Any]) -> NoReturn:
    """Import a command by `load`, run it and end the process as `shared.terminal.run_command` does.

    Standard streams that are closed are opened on /dev/null first.  Ctrl-C while the command is
    imported ends the process at once, with 130 and without a word: nothing has begun.
    """
    reopen()
    before = {
        each: signal.signal(each, _leave)
        for each, usual in (
            (signal.SIGINT, signal.default_int_handler),
            (signal.SIGTERM, signal.SIG_DFL),
        )
        if signal.getsignal(each) is usual  # else it is ignored, as under nohup, or somebody's
    }
    from shared.terminal import run_command

    command = load()
    for each, handler in before.items():
        signal.signal(each, handler)
    try:
        run_command(command)
    finally:
        # The interpreter takes a while to end, and a Ctrl-C then would print where it was.
        if signal.SIGINT in before:
            signal.signal(signal.SIGINT, _leave)


def _leave(number: int, _frame: FrameType | None) -> None:
    os._exit(128 + number)
