"""The known answers that every backend must give on this machine before it may be used.

The reference computes them on fixed keys, over the cases that arithmetic gets wrong: odd lengths,
counters on both sides of 2**32 and 2**63, block counters beyond 2**32, and the seams between a
backend's chunks.  Their digest is in the network's file, which checks the reference as well.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from shared.errors import SelfTestFailed
from shared.keystream.network import KeystreamNetwork
from shared.keystream.reference import ReferenceBackend

if TYPE_CHECKING:  # that module opens backends through this one
    from shared.keystream.backend import Backend, KeyedGenerator

__all__ = ["check_backend", "known_answer"]

_KEYS = (bytes(range(32)), bytes(range(255, 223, -1)))

# (key number, frame counter, first block, bytes)
_CASES = (
    (0, 0, 0, 1),
    (0, 1, 0, 1000),
    (1, 2**32 - 1, 5, 127),
    (1, 2**32, 2**32 - 2, 513),  # crosses into the fifth byte of the block counter
    (0, 2**63 - 1, 255, 256),
    (1, 2**63, 2**56 - 1, 300),
    (0, 2**64 - 1, 2**64 - 3, 384),  # the last blocks that there are
)

_LONG_BLOCKS = 16_400  # more than one chunk of every backend
_SEAMS = (0, 4_095, 16_383, _LONG_BLOCKS - 2)  # two blocks from each are compared


def check_backend(backend: Backend, network: KeystreamNetwork) -> None:
    """Raise `SelfTestFailed` unless `backend` gives the reference's bytes (under 100 ms)."""
    reference = ReferenceBackend(network)
    if network.known_answer is not None and known_answer(network) != network.known_answer:
        raise SelfTestFailed(
            "the keystream reference does not give the known answers of this network",
            hint="the network's file or the NumPy of this machine is broken; install both anew",
        )
    failed = SelfTestFailed(
        f"keystream backend {backend.name} does not give the known answers on this machine",
        hint="try --device cpu; if that fails as well, install PyTorch anew",
    )
    for key, counter, first, nbytes in _CASES:
        answer = backend.keyed(_KEYS[key]).generate(counter, nbytes, first)
        if not _same(answer, reference.keyed(_KEYS[key]).generate(counter, nbytes, first)):
            raise failed
    if not _same(_seams_of_long_frame(backend.keyed(_KEYS[0])), _seams(reference.keyed(_KEYS[0]))):
        raise failed


def known_answer(network: KeystreamNetwork) -> bytes:
    """Return SHA-256 of what the reference answers to all cases, one after the other."""
    reference = ReferenceBackend(network)
    sha = hashlib.sha256()
    for key, counter, first, nbytes in _CASES:
        sha.update(reference.keyed(_KEYS[key]).generate(counter, nbytes, first).tobytes())
    sha.update(_seams(reference.keyed(_KEYS[0])).tobytes())
    return sha.digest()


def _same(answer: NDArray[np.uint8], expected: NDArray[np.uint8]) -> bool:
    return answer.dtype == np.uint8 and np.array_equal(answer, expected)


def _seams(generator: KeyedGenerator) -> NDArray[np.uint8]:
    return np.concatenate(
        [generator.generate(7, 2 * generator.block_nbytes, first) for first in _SEAMS]
    )


def _seams_of_long_frame(generator: KeyedGenerator) -> NDArray[np.uint8]:
    lanes = generator.block_nbytes
    frame = generator.generate(7, _LONG_BLOCKS * lanes)
    return np.concatenate([frame[first * lanes : (first + 2) * lanes] for first in _SEAMS])
