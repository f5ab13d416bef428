"""Work on pictures that runs ahead of whoever takes them, in threads, in order and bounded."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["DEPTH", "MAX_BYTES", "THREADS", "ahead"]

DEPTH = 8  # pictures: rides out a slow one at 30 a second
MAX_BYTES = 64 << 20  # 20 pictures of full HD, one of 4K and its follower
THREADS = min(4, os.cpu_count() or 1)

T = TypeVar("T")
R = TypeVar("R")


def ahead(
    work: Callable[[T], R],
    items: Iterable[T],
    *,
    nbytes: Callable[[R], int],
    threads: int = THREADS,
    depth: int = DEPTH,
    max_bytes: int = MAX_BYTES,
) -> Iterator[R]:
    """Yield `work(item)` for each of `items`, in their order, while later ones are worked on.

    At most `depth` results are under way or wait, and no more than fit into `max_bytes` (but always
    one) by the size, `nbytes`, of the largest so far: the first is taken before others are begun.
    Decoders let go of Python's lock, so that threads do their work side by side.

    An error of `work` is raised in its place.  Ending early (`close` of the generator) begins
    nothing new and waits for what is under way.
    """
    remaining = iter(items)
    under_way: deque[Future[R]] = deque()
    allowed, largest = 1, 1
    pool = ThreadPoolExecutor(threads, thread_name_prefix="veilscope-decode")

    def fill() -> None:
        while len(under_way) < allowed:
            try:
                item = next(remaining)
            except StopIteration:
                return
            under_way.append(pool.submit(work, item))

    try:
        fill()
        while under_way:
            result = under_way.popleft().result()
            largest = max(largest, nbytes(result))
            allowed = max(1, min(depth, max_bytes // largest))
            fill()
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
