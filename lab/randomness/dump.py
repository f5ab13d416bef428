"""A stream's raw bytes into a pipe, as fast as they are made, for batteries of others."""

from __future__ import annotations

import os
import queue
import threading
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from lab.randomness.streams import SegmentedStream

__all__ = ["dump"]

_AHEAD = 1  # segments made while one is written; they take up to 47 MiB each
_PIPE_BYTES = 1 << 20  # Linux gives 64 KiB unasked, and this much to everybody who asks


def dump(stream: SegmentedStream, descriptor: int, nbytes: int = 0) -> int:
    """Write the first `nbytes` bytes (0: without end) to a file descriptor; return how many went.

    A reader that closes the pipe ends the dump quietly.  Other `OSError`s are raised.
    """
    size = stream.segment_bytes
    ready: queue.Queue[NDArray[np.uint8] | BaseException | None] = queue.Queue(_AHEAD)
    stopped = threading.Event()

    def make() -> None:
        index = 0
        try:
            while not stopped.is_set() and (not nbytes or index * size < nbytes):
                segment = stream.segment(index)
                _put(segment[: nbytes - index * size] if nbytes else segment)
                index += 1
            _put(None)
        except BaseException as error:  # raised again where the bytes are awaited
            _put(error)

    def _put(item: NDArray[np.uint8] | BaseException | None) -> None:
        while not stopped.is_set():
            with suppress(queue.Full):
                ready.put(item, timeout=0.1)
                return

    _widen(descriptor)
    maker = threading.Thread(target=make, name="keystream-dump", daemon=True)
    maker.start()
    written = 0
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            view = memoryview(item.data)
            while view:
                sent = os.write(descriptor, view)
                written += sent
                view = view[sent:]
    except BrokenPipeError:
        pass
    finally:
        stopped.set()
        maker.join()
    return written


def _widen(descriptor: int) -> None:
    """Let a pipe hold more, where the system can: fewer switches between writer and reader."""
    with suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
