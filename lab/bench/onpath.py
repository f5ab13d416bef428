"""What sealing and opening put on a frame's path, at the pace of a live stream.

The keystream comes from a `KeystreamAhead` as in a session, or is made on the spot.  Frames are
paced, because that is what a session does: the worker refills between two frames, and code and
data have gone cold when the next one comes, for AES-GCM alone as for the rest.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeVar

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

from lab.bench.timing import Spread
from shared.crypto.keyschedule import EpochKeys, derive_epoch
from shared.crypto.sealing import Opener, Sealer
from shared.keystream.ahead import KeystreamAhead
from shared.keystream.backend import KeyedGenerator

__all__ = ["AES_GCM", "OPEN_AHEAD", "OPEN_SPOT", "REFILLING", "SEAL_AHEAD", "SEAL_SPOT", "on_path"]

AES_GCM = "AES-256-GCM alone"
SEAL_AHEAD = "seal, keystream ahead"
OPEN_AHEAD = "open, keystream ahead"
REFILLING = "seal, ahead, worker busy"
SEAL_SPOT = "seal, on the spot"
OPEN_SPOT = "open, on the spot"

T = TypeVar("T")

_SECRET = bytes(range(32))
_EPOCH, _SENDER = 1, 0
_DEPTH = 4
_SPIN_S = 0.2  # the most that is waited for a worker to be at work


class _OnTheSpot:
    """Pads made when they are asked for."""

    def __init__(self, generator: KeyedGenerator) -> None:
        self._generator = generator

    def take(self, counter: int, nbytes: int) -> NDArray[np.uint8]:
        return self._generator.generate(counter, nbytes)


class _Watched:
    """A generator that tells when a thread other than its maker's is inside, and how often."""

    def __init__(self, generator: KeyedGenerator) -> None:
        self._generator = generator
        self._home = threading.get_ident()
        self._at_work = False
        self._done = 0

    @property
    def block_nbytes(self) -> int:
        return self._generator.block_nbytes

    def generate(self, counter: int, nbytes: int, first_block: int = 0) -> NDArray[np.uint8]:
        if threading.get_ident() == self._home:
            return self._generator.generate(counter, nbytes, first_block)
        self._at_work = True
        pad = self._generator.generate(counter, nbytes, first_block)
        self._at_work = False
        self._done += 1
        return pad

    def await_work(self) -> None:
        self._spin(lambda: self._at_work)

    def await_done(self, calls: int) -> None:
        self._spin(lambda: self._done >= calls)

    def _spin(self, until: Callable[[], bool]) -> None:
        give_up = time.perf_counter() + _SPIN_S
        while not until() and time.perf_counter() < give_up:
            time.sleep(1e-5)


class _Stopwatch:
    def __init__(self) -> None:
        self.times: dict[str, list[float]] = {}

    def time(self, name: str, way: Callable[[], T]) -> T:
        start = time.perf_counter()
        result = way()
        self.times.setdefault(name, []).append(time.perf_counter() - start)
        return result


def on_path(
    keyed: Callable[[bytes], KeyedGenerator], nbytes: int, frames: int, pause_s: float
) -> dict[str, Spread]:
    """Time `frames` frames of `nbytes`, one every `pause_s` s at most, by what was timed."""
    keys = derive_epoch(_SECRET, _EPOCH, _SENDER)
    with ExitStack() as open_now:
        turn = _Turn(keys, keyed(keys.keystream_key), nbytes, open_now)
        turn.run(0, _Stopwatch())  # nothing is warm yet
        stopwatch = _Stopwatch()
        due = time.perf_counter()
        for number in range(1, frames + 1):
            due = max(due + pause_s, time.perf_counter())
            time.sleep(max(0.0, due - time.perf_counter()))
            turn.run(number, stopwatch)
    return {name: Spread.of(found) for name, found in stopwatch.times.items()}


class _Turn:
    """One frame through everything that is timed."""

    def __init__(
        self, keys: EpochKeys, generator: KeyedGenerator, nbytes: int, open_now: ExitStack
    ) -> None:
        def ahead(of: KeyedGenerator) -> KeystreamAhead:
            return open_now.enter_context(KeystreamAhead(of, depth=_DEPTH, expected_nbytes=nbytes))

        self._nbytes = nbytes
        self._aead = AESGCM(_SECRET)
        self._sealer = Sealer(keys, _SENDER, ahead(generator))
        self._opener = Opener(keys, _SENDER, ahead(generator))
        self._watched = _Watched(generator)
        self._busy = Sealer(keys, _SENDER, ahead(self._watched))
        self._spot_sealer = Sealer(keys, _SENDER, _OnTheSpot(generator))
        self._spot_opener = Opener(keys, _SENDER, _OnTheSpot(generator))

    def run(self, number: int, watch: _Stopwatch) -> None:
        frame = np.full(self._nbytes, number & 255, np.uint8).tobytes()
        nonce = number.to_bytes(12, "big")
        if number % 2:  # whoever comes first after a pause finds everything cold: in turns
            watch.time(AES_GCM, lambda: self._aead.encrypt(nonce, frame, None))
        sealed = watch.time(SEAL_AHEAD, lambda: _seal(self._sealer, frame))
        watch.time(OPEN_AHEAD, lambda: self._opener.open(sealed))
        if not number % 2:
            watch.time(AES_GCM, lambda: self._aead.encrypt(nonce, frame, None))
        sealed = watch.time(SEAL_SPOT, lambda: _seal(self._spot_sealer, frame))
        watch.time(OPEN_SPOT, lambda: self._spot_opener.open(sealed))
        self._watched.await_done(_DEPTH * (number + 1))  # all pads are ready
        for _ in range(_DEPTH - 1):  # only one is left then, and the worker is called
            self._busy.draw(self._nbytes)
        self._watched.await_work()
        watch.time(REFILLING, lambda: _seal(self._busy, frame))


def _seal(sealer: Sealer, frame: bytes) -> bytes:
    return sealer.seal(sealer.draw(len(frame)), frame)
