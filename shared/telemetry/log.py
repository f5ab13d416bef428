"""A session's log on disk: JSON lines, written by a thread of its own.

`write` never blocks and never fails.  A file that can't be written (disk full) does not end a
session: lines wait in memory and are written when space returns.  Each line goes to the file in
one write, and a write cut short is taken back, so the file never holds half a line.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from shared.errors import OutputFailed
from shared.privatefile import make_private
from shared.telemetry.records import Line

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["JsonLinesLog"]

LINES_KEPT = 10_000  # about five minutes at 30 fps, 5 MB
RETRY_AFTER_S = 1.0  # a full disk does not empty faster than a person deletes
GATHER_S = 0.1  # lines that come one by one are written together: to wake up for each costs more
CLOSE_WITHIN_S = 10.0  # a disk that hangs must not keep the program from ending


class JsonLinesLog:
    """The log file of one session.

    A file of the same name is replaced when the first line comes, and not before: a program that
    ends before its session began loses no earlier log, and leaves no empty one.

    `on_failure` is called once, from the writing thread, when a line can't be written at first.

    Raises:
        OutputFailed: the file can't be opened, or another running session writes to it.
    """

    def __init__(
        self, path: Path, *, on_failure: Callable[[OutputFailed], None] | None = None
    ) -> None:
        self._path = path
        self._on_failure = on_failure
        self._fd, self._made = _open(path)
        self._size = 0  # bytes of whole lines written
        self._pending: deque[Line] = deque()
        self._cut = b""  # the rest of a line cut short that could not be taken back (a pipe)
        self._lost = 0
        self._replaced = False
        self._failure: OSError | None = None
        self._told = False
        self._closing = False
        self._changed = threading.Condition()
        self._writer = threading.Thread(target=self._run, name="log", daemon=True)
        self._writer.start()

    def write(self, record: Line) -> None:
        """Queue `record`; never blocks.  With too many waiting, an old line is given up."""
        with self._changed:
            if self._closing:
                return
            if len(self._pending) >= LINES_KEPT:
                del self._pending[1]  # the first may be the session line: no log without it
                self._lost += 1
            self._pending.append(record)
            if len(self._pending) == 1:
                self._changed.notify()

    def close(self) -> None:
        """Write what waits, flush it to the disk and close the file; blocks for 10 s at most.

        Raises:
            OutputFailed: lines are missing in the file.  Raised by the first call only.
        """
        with self._changed:
            if self._closing:
                return
            self._closing = True
            self._changed.notify()
        self._writer.join(CLOSE_WITHIN_S)
        with self._changed:
            missing = self._lost + len(self._pending) + bool(self._cut)
            failure = self._failure
        if missing:
            raise self._output_failed(f"{missing} of its lines are lost", failure)

    def __enter__(self) -> JsonLinesLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._pending or self._cut or self._closing):
                    self._changed.wait()
                gather_s = GATHER_S if self._failure is None else RETRY_AFTER_S
                self._changed.wait_for(lambda: self._closing, gather_s)
                closing = self._closing
            try:
                self._write_pending()
            except OSError as error:
                self._failure = error
                self._tell(error)
            else:
                self._failure = None
            if closing:
                break
        with contextlib.suppress(OSError):  # pipes and devices can't be synced
            os.fsync(self._fd)
        if self._made and not self._replaced:
            with contextlib.suppress(OSError):
                self._path.unlink()
        with contextlib.suppress(OSError):
            os.close(self._fd)

    def _tell(self, error: OSError) -> None:
        if self._on_failure is None or self._told:
            return
        self._told = True
        with contextlib.suppress(RuntimeError):  # the event loop to be told is closed already
            self._on_failure(self._output_failed("the session goes on", error))

    def _write_pending(self) -> None:
        while self._cut:
            self._cut = self._cut[os.write(self._fd, self._cut) :]
        while True:
            with self._changed:
                if not self._pending:
                    return
                record = self._pending.popleft()
            try:
                self._write_line(record.model_dump_json().encode() + b"\n")
            except OSError:
                if not self._cut:
                    with self._changed:
                        self._pending.appendleft(record)
                raise

    def _write_line(self, line: bytes) -> None:
        written = 0
        if not self._replaced:
            self._replaced = True
            with contextlib.suppress(OSError):  # pipes and devices hold nothing to replace
                os.ftruncate(self._fd, 0)
            make_private(self._fd)
        try:
            while written < len(line):
                written += os.write(self._fd, line[written:])
        except OSError:
            if written:
                try:
                    os.ftruncate(self._fd, self._size)
                except OSError:
                    self._cut = line[written:]
            raise
        self._size += len(line)

    def _output_failed(self, consequence: str, cause: OSError | None) -> OutputFailed:
        reason = cause.strerror if cause is not None and cause.strerror else "too many lines waited"
        return OutputFailed(
            f"the log {self._path} can't be written ({reason}); {consequence}",
            hint="waiting lines are written as soon as the disk takes them again"
            if not self._closing
            else "free some space, or give another path with --log",
        )


def _open(path: Path) -> tuple[int, bool]:
    """Open `path` for this session alone; returns the descriptor and whether the file is new."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    try:
        try:
            fd, made = os.open(path, flags | os.O_EXCL, 0o600), True
        except FileExistsError:
            fd, made = os.open(path, flags, 0o600), False
    except OSError as error:
        raise OutputFailed(
            f"the log {path} can't be opened: {error.strerror}",
            hint="give another path with --log",
        ) from error
    if not _locked(fd):
        os.close(fd)
        raise OutputFailed(f"{path} is another session's log", hint="give another path with --log")
    return fd, made


def _locked(fd: int) -> bool:
    """Take the lock that a log's writer holds until it ends; False if another one holds it."""
    if fcntl is None or not stat.S_ISREG(os.fstat(fd).st_mode):
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True
