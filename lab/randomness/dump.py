"""A stream's raw bytes into a pipe, as fast as they are made, for batteries of others."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["DumpableStream", "dump"]

_SEGMENTS = 2  # one is made while the other is written; they take up to 94 MiB each


class DumpableStream(Protocol):
    """A stream as equal segments of `segment_bytes`, numbered from 0 without end."""

    @property
    def segment_bytes(self) -> int: ...

    def segment(self, index: int, spare: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Return segment `index`: uint8 (segment_bytes,).  Any thread may call this.

        `spare` is an earlier segment that nobody needs any more: it may be written over.
        """
        ...


def dump(stream: DumpableStream, descriptor: int, nbytes: int = 0) -> int:
    """Write the first `nbytes` bytes (0: without end) to a file descriptor; return how many went.

    A thread makes the next segment while this one writes; two of them were slower.  Segments are
    handed back to be written over, since large ones in fresh memory would cost a tenth of the work.
    The pipe is taken as it is: a wider one was no faster.
    A reader that closes the pipe ends the dump quietly.  Other `OSError`s are raised.
    """
    size = stream.segment_bytes
    pending: deque[Future[NDArray[np.uint8]]] = deque()
    spare: NDArray[np.uint8] | None = None
    index = written = 0
    with ThreadPoolExecutor(1, thread_name_prefix="keystream-dump") as pool:
        try:
            while True:
                while len(pending) < _SEGMENTS and (not nbytes or index * size < nbytes):
                    pending.append(pool.submit(stream.segment, index, spare))
                    spare = None
                    index += 1
                if not pending:
                    return written
                spare = pending.popleft().result()
                view = spare.data[: nbytes - written] if nbytes else spare.data
                while view:
                    sent = os.write(descriptor, view)
                    written += sent
                    view = view[sent:]
        except BrokenPipeError:
            return written
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
