"""What a distinguisher may ask: frames under fresh keys, pairs of blocks of a chosen difference.

A network cut off after its first layers answers, or the control: true random bytes.  Keys are
drawn anew for every frame and every pair, so that whatever a distinguisher is judged on has keys
that it was never trained on.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lab.cryptanalysis.target import SUM_BITS, Target, TargetFrame
from lab.experiments import COUNTER_BITS
from shared.keystream.layers import COUNTER_LANES

__all__ = ["NetworkOracle", "Oracle", "RandomOracle", "positions"]


class Oracle(Protocol):
    """A generator of blocks."""

    @property
    def lanes(self) -> int:
        """Bytes of a block's input."""
        ...

    @property
    def lanes_out(self) -> int:
        """Bytes of a block."""
        ...

    @property
    def key_lanes(self) -> int:
        """Lanes of the first layer, each with a key bias."""
        ...

    def frames(self, count: int, blocks: int, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Return `count` frames of consecutive blocks, a key each: (count, blocks, lanes_out)."""
        ...

    def pairs(
        self, kind: str, differences: NDArray[np.bool_], samples: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return blocks (samples, lanes_out), and what they are when the inputs differ.

        The second is (n, samples, lanes_out) for `differences` (n, positions of `kind`), each a
        set of bits to flip.  Each sample has a key of its own.  `kind` is one of
        `lab.experiments.KINDS`: the block counter, the material, the first layer's key biases.
        """
        ...


def positions(oracle: Oracle, kind: str) -> int:
    """Return how many bits of `kind` there are to flip."""
    return {
        "counter": COUNTER_BITS,
        "material": 8 * (oracle.lanes - COUNTER_LANES),
        "key": SUM_BITS * oracle.key_lanes,  # the bits above them never reach a block
    }[kind]


@dataclass(frozen=True, slots=True)
class NetworkOracle:
    """Blocks of `target`, over uniform keys and material."""

    target: Target

    @property
    def lanes(self) -> int:
        return self.target.lanes

    @property
    def lanes_out(self) -> int:
        return self.target.lanes_out

    @property
    def key_lanes(self) -> int:
        return self.target.layers[0].lanes_out

    def frames(self, count: int, blocks: int, rng: np.random.Generator) -> NDArray[np.uint8]:
        last = (1 << COUNTER_BITS) - blocks
        return np.stack(
            [
                TargetFrame.draw(self.target, rng).blocks(int(rng.integers(last)), blocks)
                for _ in range(count)
            ]
        )

    def pairs(
        self, kind: str, differences: NDArray[np.bool_], samples: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        key = self.target.draw_key(rng, samples)
        inputs = rng.integers(256, size=(samples, self.lanes), dtype=np.uint8)
        inputs[:, -COUNTER_LANES : self.lanes - COUNTER_BITS // 8] = 0
        base = self.target.run(key, inputs)
        changed = [self._changed(kind, bits, key, inputs) for bits in differences]
        return base, np.stack(changed)

    def _changed(
        self,
        kind: str,
        bits: NDArray[np.bool_],
        key: tuple[NDArray[np.int64], ...],
        inputs: NDArray[np.uint8],
    ) -> NDArray[np.uint8]:
        if kind == "key":
            flips = bits.reshape(-1, SUM_BITS) @ (1 << np.arange(SUM_BITS))
            return self.target.run((key[0] ^ flips, *key[1:]), inputs)
        flips = np.zeros(self.lanes, dtype=np.uint8)
        flipped = np.packbits(bits)
        start = 0 if kind == "material" else self.lanes - len(flipped)
        flips[start : start + len(flipped)] = flipped
        return self.target.run(key, inputs ^ flips)


@dataclass(frozen=True, slots=True)
class RandomOracle:
    """The control of the same shape: bytes of the operating system's, whatever is asked."""

    lanes: int
    lanes_out: int
    key_lanes: int
    read: Callable[[int], bytes] = os.urandom

    def frames(self, count: int, blocks: int, _rng: np.random.Generator) -> NDArray[np.uint8]:
        return self._draw(count, blocks, self.lanes_out)

    def pairs(
        self, _kind: str, differences: NDArray[np.bool_], samples: int, _rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        shape = (samples, self.lanes_out)
        return self._draw(*shape), self._draw(len(differences), *shape)

    def _draw(self, *shape: int) -> NDArray[np.uint8]:
        drawn = np.frombuffer(self.read(int(np.prod(shape))), dtype=np.uint8)
        return drawn.reshape(shape)
