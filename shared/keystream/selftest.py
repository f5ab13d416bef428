"""What a backend of the keystream is, and the known answers that each must give on this machine
before it may be used.

The reference computes them on fixed keys, over the cases that arithmetic gets wrong: odd lengths,
counters on both sides of 2**32 and 2**63, block counters beyond 2**32, the last blocks there are,
and the seams between a backend's chunks.  Their digest is in the network's file, which checks the
reference as well.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shared.errors import SelfTestFailed
from shared.keystream.network import KeystreamNetwork
from shared.keystream.reference import ReferenceBackend

__all__ = ["Backend", "KeyedGenerator", "KnownAnswers", "known_answer"]

_KEYS = (bytes(range(32)), bytes(range(255, 223, -1)))


class KeyedGenerator(Protocol):
    """A network under one key.  Any thread may call it, several at once."""

    @property
    def block_nbytes(self) -> int:
        """Bytes of one block."""
        ...

    def generate(self, counter: int, nbytes: int, first_block: int = 0) -> NDArray[np.uint8]:
        """Return `nbytes` keystream bytes of frame `counter` from block `first_block` on.

        A fresh uint8 array (nbytes,) that the caller may overwrite.  `ValueError` where the
        frame or block counter would leave an unsigned 64-bit number, or `nbytes` is negative.
        """
        ...


class Backend(Protocol):
    """An implementation, opened for one network.  Its class takes the network alone and raises
    `DeviceUnavailable` where its device is not there."""

    @property
    def name(self) -> str: ...

    def keyed(self, keystream_key: bytes) -> KeyedGenerator:
        """Return the generator under a 32-byte key; `ValueError` for any other length."""
        ...


@dataclass(frozen=True, slots=True)
class _Case:
    """`blocks` whole blocks and `more` bytes (or fewer) of frame `counter` from `first` on."""

    key: int
    counter: int
    first: int
    blocks: int
    more: int = 0

    def run(self, backend: Backend, lanes: int) -> NDArray[np.uint8]:
        generator = backend.keyed(_KEYS[self.key])
        return generator.generate(self.counter, self.blocks * lanes + self.more, self.first)


_CASES = (
    _Case(0, 0, 0, 0, 1),
    _Case(0, 1, 0, 7, 104),
    _Case(1, 2**32 - 1, 5, 1, -1),
    _Case(1, 2**32, 2**32 - 2, 4, 1),  # crosses into the fifth byte of the block counter
    _Case(0, 2**63 - 1, 255, 2),
    _Case(1, 2**63, 2**56 - 1, 2, 44),
    _Case(0, 2**64 - 1, 2**64 - 3, 3),  # the last blocks that there are
)

_LONG_COUNTER = 7
# More than two chunks of every backend; an H100 takes at most 528 tiles of 64 blocks at once.
_LONG_BLOCKS = 40_010
_SEAMS = (0, 4_095, 16_383, 16_398)  # two blocks from each are compared
# Where the long frame is made in two.  No multiple of any chunk, tile or turn, so that the seams,
# which count from a call's first block, move.
_CUT = 8_873


@dataclass(frozen=True, slots=True)
class KnownAnswers:
    """What the reference answers to all cases of a network, worked out once for many backends."""

    lanes: int
    cases: tuple[NDArray[np.uint8], ...]
    seams: NDArray[np.uint8]

    @classmethod
    def of(cls, network: KeystreamNetwork) -> KnownAnswers:
        """Ask the reference; `SelfTestFailed` unless it agrees with the network's file."""
        answers = cls._ask(network)
        if network.known_answer not in (None, answers.digest()):
            raise SelfTestFailed(
                "the keystream reference does not give the known answers of this network",
                hint="the network's file or the NumPy of this machine is broken; install both anew",
            )
        return answers

    @classmethod
    def _ask(cls, network: KeystreamNetwork) -> KnownAnswers:
        reference = ReferenceBackend(network)
        lanes = network.lanes
        generator = reference.keyed(_KEYS[0])
        seams = [generator.generate(_LONG_COUNTER, 2 * lanes, first) for first in _SEAMS]
        cases = tuple(case.run(reference, lanes) for case in _CASES)
        return cls(lanes, cases, np.concatenate(seams))

    def digest(self) -> bytes:
        """Return SHA-256 of all answers, one after the other."""
        sha = hashlib.sha256()
        for answer in (*self.cases, self.seams):
            sha.update(answer.tobytes())
        return sha.digest()

    def check(self, backend: Backend) -> None:
        """Raise `SelfTestFailed` unless `backend` gives these bytes."""
        right = all(
            _same(case.run(backend, self.lanes), answer)
            for case, answer in zip(_CASES, self.cases, strict=True)
        )
        if not (right and self._long_frame_is_right(backend.keyed(_KEYS[0]))):
            raise SelfTestFailed(
                f"keystream backend {backend.name} does not give the known answers on this machine",
                hint="try --device cpu; if that fails as well, install PyTorch anew",
            )

    def _long_frame_is_right(self, generator: KeyedGenerator) -> bool:
        """Compare a few blocks with the reference, and all of them with the frame made in two,
        where the seams between chunks fall elsewhere: those counted from a call's last block in
        the first part, all others in the second."""
        lanes = self.lanes
        frame = generator.generate(_LONG_COUNTER, _LONG_BLOCKS * lanes)
        seams = [frame[first * lanes : (first + 2) * lanes] for first in _SEAMS]
        begun = generator.generate(_LONG_COUNTER, _CUT * lanes)
        rest = generator.generate(_LONG_COUNTER, (_LONG_BLOCKS - _CUT) * lanes, _CUT)
        return (
            _same(np.concatenate(seams), self.seams)
            and _same(begun, frame[: _CUT * lanes])
            and _same(rest, frame[_CUT * lanes :])
        )


def known_answer(network: KeystreamNetwork) -> bytes:
    """Return the digest of the reference's answers, as a network's file records it."""
    return KnownAnswers._ask(network).digest()


def _same(answer: NDArray[np.uint8], expected: NDArray[np.uint8]) -> bool:
    return answer.dtype == np.uint8 and np.array_equal(answer, expected)
