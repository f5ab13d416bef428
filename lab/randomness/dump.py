"""A stream's raw bytes into a pipe, as fast as they are made, for batteries of others."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["FillableStream", "dump"]

_PIPE_BYTES = 1 << 20  # Linux gives 64 KiB unasked, and this much to everybody who asks
_BUFFERS = 2  # one is made while the other is written; they take up to 94 MiB each


class FillableStream(Protocol):
    """A stream as equal segments of `segment_bytes`, numbered from 0 without end."""

    @property
    def segment_bytes(self) -> int: ...

    def fill(self, index: int, out: NDArray[np.uint8]) -> None:
        """Write segment `index` to `out`, uint8 (segment_bytes,).  Any thread may call this."""
        ...


def dump(stream: FillableStream, descriptor: int, nbytes: int = 0) -> int:
    """Write the first `nbytes` bytes (0: without end) to a file descriptor; return how many went.

    A thread makes the next segment while this one writes; two of them were slower.  Buffers are
    used again, since fresh memory would cost a tenth of the work.  A reader that closes the pipe
    ends the dump quietly.  Other `OSError`s are raised.
    """
    size = stream.segment_bytes
    idle = [np.empty(size, np.uint8) for _ in range(_BUFFERS)]
    pending: deque[Future[NDArray[np.uint8]]] = deque()
    index = written = 0

    def made(number: int, buffer: NDArray[np.uint8]) -> NDArray[np.uint8]:
        stream.fill(number, buffer)
        return buffer

    _widen(descriptor)
    with ThreadPoolExecutor(1, thread_name_prefix="keystream-dump") as pool:
        try:
            while True:
                while idle and (not nbytes or index * size < nbytes):
                    pending.append(pool.submit(made, index, idle.pop()))
                    index += 1
                if not pending:
                    return written
                buffer = pending.popleft().result()
                view = buffer.data[: nbytes - written] if nbytes else buffer.data
                while view:
                    sent = os.write(descriptor, view)
                    written += sent
                    view = view[sent:]
                idle.append(buffer)
        except BrokenPipeError:
            return written
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _widen(descriptor: int) -> None:
    """Let a pipe hold more, where the system can: fewer switches between writer and reader."""
    with suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
