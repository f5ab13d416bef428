"""Endless, reproducible byte streams that can be read at any place; those of a keystream network.

A stream is made of segments that do not depend on each other, so that several processes can work
on one.  A network's stream comes in four modes, because one long stream is the easy case:

    stream     one frame, block after block
    frames     64 frames of one key side by side, block by block, then the next 64
    keys       the same for 64 keys, each the SHA-256 of a label, the given key and its number
    lowweight  374 runs of blocks side by side whose inputs differ in one bit: of the key, of the
               frame's counter, or of the block counter

Side by side: block 0 of each, then block 1 of each, and so on, so that neighbours in the stream
are blocks that must have nothing in common.  A run is as long as it takes to make a call's set-up
(the frame's material, the buffers) small beside its blocks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lab.choices import refuse_unknown
from shared.keystream.backend import Backend, KeyedGenerator

__all__ = ["MODES", "NetworkStream", "SegmentedStream", "read"]

_STREAM_BLOCKS = 8_192  # blocks a segment: 1 MiB at 128 lanes, small enough to stay in a cache
_SIDE_BY_SIDE = 64
_RUN_BLOCKS = 8_192  # 1 MiB at 128 lanes; 64 MiB side by side
_LOW_RUN_BITS = 11  # a run of lowweight takes the counter's lowest bits; 94 MiB side by side
_KEY_LABEL = b"veilscope/keystream/dump/key"
_FRAME_LABEL = b"veilscope/keystream/dump/frame"

Run = tuple[bytes, int, int]
"""Key, frame counter and first block of one run of blocks."""


class SegmentedStream(Protocol):
    """A stream as equal segments of `segment_bytes`, numbered from 0 without end."""

    @property
    def segment_bytes(self) -> int: ...

    def segment(self, index: int) -> NDArray[np.uint8]:
        """Return segment `index`: uint8 (segment_bytes,)."""
        ...


def read(stream: SegmentedStream, start: int, nbytes: int) -> NDArray[np.uint8]:
    """Return `nbytes` bytes of `stream` from byte `start` on: uint8 (nbytes,)."""
    size = stream.segment_bytes
    first, last = start // size, (start + nbytes - 1) // size
    whole = np.concatenate([stream.segment(index) for index in range(first, last + 1)])
    return whole[start - first * size :][:nbytes]


def _stream(key: bytes, index: int) -> list[Run]:
    return [(key, 0, index * _STREAM_BLOCKS)]  # a run of its own: nothing lies beside it


def _frames(key: bytes, index: int) -> list[Run]:
    return [(key, index * _SIDE_BY_SIDE + i, 0) for i in range(_SIDE_BY_SIDE)]


def _keys(key: bytes, index: int) -> list[Run]:
    numbers = range(index * _SIDE_BY_SIDE, (index + 1) * _SIDE_BY_SIDE)
    return [(_numbered_key(key, number), 0, 0) for number in numbers]


def _numbered_key(key: bytes, number: int) -> bytes:
    return hashlib.sha256(_KEY_LABEL + key + number.to_bytes(8, "big")).digest()


def _low_weight(key: bytes, index: int) -> list[Run]:
    """Around the key, a frame counter and block 0: one input bit flipped in each run.

    The counters of different segments are far apart: near each other (0, 1, 2, …) one's flipped
    counter would be another's, and the same bytes would come twice.
    """
    drawn = hashlib.sha256(_FRAME_LABEL + key + index.to_bytes(8, "big")).digest()
    index = int.from_bytes(drawn[:8], "big")
    number = int.from_bytes(key, "big")
    keys = [(number ^ (1 << bit)).to_bytes(len(key), "big") for bit in range(8 * len(key))]
    return [
        *[(key, index, 1 << bit) for bit in range(_LOW_RUN_BITS, 64)],
        *[(key, index ^ (1 << bit), 0) for bit in range(64)],
        (key, index, 0),
        *[(flipped, index, 0) for flipped in keys],
    ]


_PLANS: dict[str, tuple[Callable[[bytes, int], list[Run]], int]] = {
    "stream": (_stream, _STREAM_BLOCKS),
    "frames": (_frames, _RUN_BLOCKS),
    "keys": (_keys, _RUN_BLOCKS),
    "lowweight": (_low_weight, 1 << _LOW_RUN_BITS),
}
MODES = tuple(_PLANS)


class NetworkStream:
    """The keystream of `backend` under a 32-byte `key`, in one of `MODES` (else `BadInput`)."""

    def __init__(self, backend: Backend, key: bytes, mode: str = "stream") -> None:
        refuse_unknown("mode", [mode], MODES)
        self._key = key
        self._plan, self._run_blocks = _PLANS[mode]
        # Low-weight keys come again in every segment; keyed generators are small.
        self._keyed: Callable[[bytes], KeyedGenerator] = lru_cache(512)(backend.keyed)
        self._block_bytes = self._keyed(key).block_nbytes
        self._runs = len(self._plan(key, 0))

    @property
    def segment_bytes(self) -> int:
        return self._runs * self._run_blocks * self._block_bytes

    def segment(self, index: int, spare: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Return segment `index`: uint8 (segment_bytes,).  Any thread may call this.

        `spare` is an earlier segment that nobody needs any more: it may be written over.
        """
        runs = self._plan(self._key, index)
        run_bytes = self._run_blocks * self._block_bytes
        if len(runs) == 1:  # nothing lies beside it: as it was made
            ((key, counter, first_block),) = runs
            return self._keyed(key).generate(counter, run_bytes, first_block)
        segment = np.empty(self.segment_bytes, np.uint8) if spare is None else spare
        # A block as one item: NumPy copies those twice as fast as rows of bytes.
        block = np.dtype((np.void, self._block_bytes))
        blocks = segment.view(block).reshape(self._run_blocks, len(runs))
        for place, (key, counter, first_block) in enumerate(runs):
            made = self._keyed(key).generate(counter, run_bytes, first_block)
            blocks[:, place] = made.view(block)
        return segment
