"""Doubles for the crypto tests: a keystream without a network, and entropy that repeats."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

VECTORS = Path(__file__).parents[2] / "vectors"


class ShakeKeystream:
    """SHAKE-256 in counter mode; remembers what was taken and never gives a counter twice."""

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.taken: list[int] = []

    def take(self, counter: int, nbytes: int) -> NDArray[np.uint8]:
        assert counter not in self.taken, "a counter's pad was asked for twice"
        self.taken.append(counter)
        stream = hashlib.shake_256(self.key + counter.to_bytes(8, "big")).digest(nbytes)
        return np.frombuffer(stream, np.uint8).copy()


class SeededEntropy:
    """SHAKE-256 over a seed and a call number: the same bytes on every run."""

    def __init__(self, seed: bytes) -> None:
        self.seed = seed
        self.calls = 0

    def __call__(self, nbytes: int) -> bytes:
        self.calls += 1
        return hashlib.shake_256(self.seed + bytes((self.calls,))).digest(nbytes)


def plain_hkdf(salt: bytes, ikm: bytes, info: bytes, length: int = 32) -> bytes:
    """RFC 5869 written out with the standard library, for one block of output."""
    prk = hmac.digest(salt, ikm, "sha256")
    return hmac.digest(prk, info + b"\x01", "sha256")[:length]


@pytest.fixture(scope="session")
def shake_keystream() -> type[ShakeKeystream]:
    return ShakeKeystream


@pytest.fixture(scope="session")
def seeded_entropy() -> type[SeededEntropy]:
    return SeededEntropy


@pytest.fixture(scope="session")
def hkdf() -> Callable[..., bytes]:
    return plain_hkdf


@pytest.fixture(scope="session")
def vectors() -> Callable[[str], Any]:
    return lambda name: json.loads((VECTORS / name).read_text())
