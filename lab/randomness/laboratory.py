"""Many sequences of one stream through the battery, in several processes.

Sequence i is bits i·n to (i + 1)·n - 1 of the stream, the first bit of a byte its highest, so that
the result does not depend on how many processes there are.  This file prints nothing.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lab.randomness.battery import LABELS, MIN_BITS, p_values
from lab.randomness.complexity import LONG_BLOCK_BITS, long_linear_complexity
from lab.randomness.controls import CONTROLS
from lab.randomness.streams import NetworkStream, SegmentedStream, read
from lab.randomness.verdict import HOPELESS, Verdict, judge
from lab.reduced import reduced
from shared.errors import BadInput
from shared.keystream.backend import open_backend
from shared.keystream.network import load_network
from shared.keystream.reference import ReferenceBackend

__all__ = [
    "TEST_KEY",
    "Candidate",
    "RandomnessResult",
    "examine",
    "open_network_stream",
    "passes",
    "workers",
]

TEST_KEY = bytes(range(32))
"""Public and fixed: results can be repeated, and it can't be taken for a session's key."""

_LONG_BLOCKS = 16
_BATCH = 8  # sequences a task: about two seconds of work


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is examined: a control by its name, or a network (a family or a file), perhaps cut off
    after some `layers`."""

    name: str
    control: bool = False
    mode: str = "stream"
    key: bytes = TEST_KEY
    backend: str = "cpu"
    layers: int | None = None

    @property
    def title(self) -> str:
        if self.control:
            return CONTROLS[self.name].title
        depth = "" if self.layers is None else f", layers 1 to {self.layers}"
        return f"{self.name}, {self.mode}{depth}"

    @property
    def expected_good(self) -> bool:
        return not self.control or CONTROLS[self.name].good


@dataclass(frozen=True, slots=True, eq=False)
class RandomnessResult:
    """p-values of a candidate, float64 (sequences, 188) in the order of `LABELS`, and verdicts.

    `long_complexity` is the p-value of `long_linear_complexity`, which is not in the standard.
    `digest` is the network's, 32 bytes; None for a control.
    """

    candidate: Candidate
    p_values: NDArray[np.float64]
    verdict: Verdict
    long_complexity: float
    digest: bytes | None = None

    @property
    def failed(self) -> bool:
        return self.verdict.failed or self.long_complexity < HOPELESS


def _open_stream(candidate: Candidate) -> SegmentedStream:
    """Return the candidate's bytes; `BadInput` where there is no such network or mode."""
    if candidate.control:
        return CONTROLS[candidate.name].open()
    return open_network_stream(
        candidate.name, candidate.key, candidate.mode, candidate.backend, candidate.layers
    )


def open_network_stream(
    network: str, key: bytes, mode: str, backend: str, layers: int | None = None
) -> NetworkStream:
    """Return the stream of a family or network file, computed by the reference or on a device;
    of its first `layers` alone, if they are given."""
    loaded = load_network(network)
    if layers is not None:
        loaded = reduced(loaded, layers)
    opened = ReferenceBackend(loaded) if backend == "reference" else open_backend(loaded, backend)
    return NetworkStream(opened, key, mode)


@lru_cache(maxsize=1)
def _stream_of(candidate: Candidate) -> SegmentedStream:
    return _Remembering(_open_stream(candidate))


class _Remembering:
    """A stream that keeps its last segment, since neighbouring sequences share one."""

    def __init__(self, stream: SegmentedStream) -> None:
        self.segment_bytes = stream.segment_bytes
        self.segment = lru_cache(maxsize=1)(stream.segment)


def _bits(stream: SegmentedStream, first: int, sequences: int, bits: int) -> NDArray[np.uint8]:
    """Return sequences of `bits` bits from number `first` on: uint8 (sequences, bits)."""
    start, end = first * bits, (first + sequences) * bits
    raw = read(stream, start // 8, -(-end // 8) - start // 8)
    unpacked = np.unpackbits(raw)[start % 8 :]
    return unpacked[: sequences * bits].reshape(sequences, bits)


def _examine_some(
    candidate: Candidate, first: int, sequences: int, bits: int
) -> NDArray[np.float64]:
    stream = _stream_of(candidate)
    return np.stack([p_values(row) for row in _bits(stream, first, sequences, bits)])


def passes(stream: SegmentedStream, sequences: int, bits: int = MIN_BITS) -> bool:
    """Say whether all tests pass over so many sequences, in this process."""
    rows = (_bits(stream, number, 1, bits)[0] for number in range(sequences))
    return not judge(np.stack([p_values(row) for row in rows])).failed


def _examine_long(candidate: Candidate) -> float:
    bits = _bits(_stream_of(candidate), 0, 1, _LONG_BLOCKS * LONG_BLOCK_BITS)
    return long_linear_complexity(bits[0])


def _leave_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asked


@contextmanager
def workers(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Give `jobs` processes for `examine`; what they have not begun is dropped at the end."""
    # A fresh interpreter each: a fork of a process that has used torch's threads may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initializer=_leave_interrupts) as pool:
        try:
            yield pool
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def examine(
    candidate: Candidate,
    *,
    sequences: int,
    bits: int,
    pool: ProcessPoolExecutor,
    on_sequences: Callable[[int], None] | None = None,
) -> RandomnessResult:
    """Run all tests over `sequences` sequences of `bits` bits; `on_sequences` hears of each batch.

    `BadInput` for sequences shorter than the tests allow.
    """
    if bits < MIN_BITS:
        raise BadInput(f"the standard's tests take at least {MIN_BITS:,} bits a sequence")
    long_complexity = pool.submit(_examine_long, candidate)
    tasks = {}
    for first in range(0, sequences, _BATCH):
        count = min(_BATCH, sequences - first)
        tasks[pool.submit(_examine_some, candidate, first, count, bits)] = (first, count)
    found = np.empty((sequences, len(LABELS)))
    open_tasks = set(tasks)
    while open_tasks:
        done, open_tasks = wait(open_tasks, return_when=FIRST_COMPLETED)
        for task in done:
            first, count = tasks[task]
            found[first : first + count] = task.result()
            if on_sequences is not None:
                on_sequences(count)
    digest = None if candidate.control else load_network(candidate.name).digest
    return RandomnessResult(candidate, found, judge(found), long_complexity.result(), digest)
