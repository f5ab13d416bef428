"""Standard input, output and error as a program finds them: closed, full, or of few letters.

What a program says there is for a person, and its work never hangs on it: a stream that nobody
reads (a closed pipe, a full disk, a terminal that is gone) takes what is written and loses it,
and letters that its encoding does not have become question marks.  While a session runs, a reader
that stands still (a pipe that is full, Ctrl-S) is not waited for either.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
import threading
from typing import TYPE_CHECKING, BinaryIO, TextIO, cast

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["forgive", "forgiving", "hurry", "reopen"]

PATIENCE_MS = 200  # for a reader that is slow; one that has stood still so long is not waited for
PIPE_BUF = 4096  # bytes: so many a pipe that is ready takes at once (POSIX asks for 512)

_in_a_hurry = threading.Event()


def reopen() -> None:
    """Put /dev/null in the place of each standard stream that is closed.

    Comes before anything opens a file or a socket: that would be given the free number, be written
    to as if it were the terminal, and end the program when libuv closes it, which takes the numbers
    0 to 2 for the process's own.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            os.set_inheritable(number, True)  # as a standard stream is, for the programs we start
        if getattr(sys, name) is None:  # Python found it closed
            stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def forgive() -> None:
    """Make the process's own output streams forgiving; does nothing to ones put in their place."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not getattr(sys, f"__{name}__") or not isinstance(stream, io.TextIOWrapper):
            continue
        if isinstance(getattr(stream.buffer, "raw", stream.buffer), _Forgiving):
            continue
        with contextlib.suppress(OSError):
            stream.flush()
        forgiven = forgiving(stream.fileno(), like=stream)
        setattr(sys, name, forgiven)
        setattr(sys, f"__{name}__", forgiven)


def hurry() -> None:
    """From now on, until the process ends, lose what a reader that stands still does not take.

    For a program that runs in real time, and whose event loop writes too.
    """
    _in_a_hurry.set()


def forgiving(descriptor: int, *, like: TextIO) -> TextIO:
    """A text stream to `descriptor`, which it leaves open, that never fails.

    Its encoding is that of `like`, and so is how soon it writes.
    """
    raw = _Forgiving(descriptor, "w", closefd=False)
    at_once = getattr(like, "write_through", False)  # with python -u there is no buffer in between
    return io.TextIOWrapper(
        cast(BinaryIO, raw if at_once else io.BufferedWriter(raw)),
        encoding=like.encoding,
        errors=like.errors if like.errors == "backslashreplace" else "replace",
        line_buffering=getattr(like, "line_buffering", True),
        write_through=at_once,
    )


class _Forgiving(io.FileIO):
    """Loses what can't be written."""

    _stuck = False

    def write(self, data: Buffer) -> int:
        view = memoryview(data).cast("B")
        at = 0
        try:
            while at < len(view):
                part = view[at:]
                if _in_a_hurry.is_set():
                    if not self._takes_some():
                        break
                    part = part[:PIPE_BUF]
                written = super().write(part)
                if written is None:  # a pipe that does not block is full
                    break
                at += written
        except OSError:
            pass
        return len(view)

    def _takes_some(self) -> bool:
        if not hasattr(select, "poll"):  # Windows
            return True
        poll = select.poll()
        poll.register(self.fileno(), select.POLLOUT)
        self._stuck = not poll.poll(0 if self._stuck else PATIENCE_MS)
        return not self._stuck
