"""What the sinks that keep every frame share: a thread that works through a queue of frames.

Frames wait in memory while the disk is slow, up to a number of bytes; beyond that they are given
up.  A failure never ends a session: it is told once as it happens, and what was not kept is
counted and said in the end.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import ClassVar

from receiver.sinks import ShownFrame
from shared.errors import OutputFailed

__all__ = ["BackgroundSink", "reason_of"]


class BackgroundSink(ABC):
    """A `Sink` that keeps each frame shown by `_keep`, in a thread of its own.

    `on_failure` is called once, from that thread, when a frame can't be kept at first.
    """

    bytes_waiting: ClassVar[int]
    """How much may wait in memory."""
    close_within_s: ClassVar[float]
    gives_up: ClassVar[bool] = False
    """After a failure nothing more can be kept."""

    def __init__(self, *, on_failure: Callable[[OutputFailed], None] | None = None) -> None:
        self._on_failure = on_failure
        self._waiting: deque[ShownFrame] = deque()
        self._size_waiting = 0
        self._closing = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None
        self.kept = 0
        self.lost = 0

    def start(self) -> None:
        """Get ready and start the thread.

        Raises:
            OutputFailed: the files can't be written.
        """
        self._open()
        self._thread = threading.Thread(target=self._run, name=type(self).__name__, daemon=True)
        self._thread.start()

    def show(self, shown: ShownFrame) -> None:
        with self._changed:
            if self._closing:
                return
            size = _size(shown)
            given_up = self.gives_up and self._failure is not None
            if given_up or self._size_waiting + size > self.bytes_waiting:
                self.lost += 1
                return
            self._waiting.append(shown)
            self._size_waiting += size
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            if self._closing:
                return
            self._closing = True
            self._changed.notify()
        hangs = False
        if self._thread is not None:
            self._thread.join(self.close_within_s)
            hangs = self._thread.is_alive()
        with self._changed:
            missing = self.lost + len(self._waiting)
            failure = self._failure
        if missing or failure is not None or hangs:
            raise self._failed(missing, failure) from failure

    @abstractmethod
    def _open(self) -> None:
        """Make sure that there is where to write, in the caller's thread."""

    @abstractmethod
    def _keep(self, shown: ShownFrame) -> None:
        """Write one frame; anything raised counts it as lost."""

    def _finish(self) -> None:  # noqa: B027 - most have nothing to do
        """Write what is left and close what is open; called in any case, in the thread."""

    @abstractmethod
    def _failed(self, missing: int | None, cause: Exception | None) -> OutputFailed:
        """The error to tell: with `missing` frames in the end, None while the session goes on."""

    def _run(self) -> None:
        while (shown := self._next()) is not None:
            try:
                if not (self.gives_up and self._failure is not None):
                    self._keep(shown)
                    self.kept += 1
                else:
                    self.lost += 1
            except Exception as error:
                self.lost += 1
                self._fail(error)
            with self._changed:
                self._waiting.popleft()
                self._size_waiting -= _size(shown)
        try:
            self._finish()
        except Exception as error:
            self._fail(error)

    def _next(self) -> ShownFrame | None:
        """The oldest frame, which waits until it is kept; None when the sink is to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            return self._waiting[0] if self._waiting else None

    def _fail(self, error: Exception) -> None:
        if self._failure is not None:
            return  # the first one is the cause of what follows
        self._failure = error
        if self._on_failure is None:
            return
        with suppress(Exception, SystemExit):  # nobody listens: rich makes a SystemExit of it
            self._on_failure(self._failed(None, error))


def reason_of(cause: Exception | None) -> str:
    """Why frames were lost, in words that name no file."""
    if cause is None:
        return "the disk was too slow"
    return getattr(cause, "strerror", None) or type(cause).__name__


def _size(shown: ShownFrame) -> int:
    return shown.frame.image.nbytes + len(shown.sealed)
