"""Key recovery at depth 1, and why the same does not start at depth 2.

**Depth 1** falls lane by lane.  Within a frame a lane is fold(T c + K) + m: the weights T of the
counter's bytes c are public, K is one unknown (what the material adds, and the key bias) of
`SUM_BITS` bits, and the material m, the same in all blocks, goes away in differences of blocks.
So all K are tried for each lane.  In lanes that add material two of them give the same blocks (one
has the highest bit flipped, with m + 128); either predicts the rest of the frame.

**Depth 2** has K of all the lanes that a sum reads in that sum.  `landscape` gives the attacker
everything but some lanes' K, and measures how well the right candidates of the others can be told:
search and statistics need a slope to climb, and there is none until nearly all of those lanes are
right at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from lab.cryptanalysis.target import SUM_BITS, TargetFrame
from shared.errors import BadInput
from shared.keystream.layers import COUNTER_LANES
from shared.keystream.reference import fold

__all__ = ["Recovered", "landscape", "predict_frame", "recover_first_layer"]

_OFFSETS = 1 << SUM_BITS
_SIFTING_BLOCKS = 3


@dataclass(frozen=True, slots=True, eq=False)
class Recovered:
    """Of each lane the offset K, below 2**SUM_BITS, the added byte m, and how many K fit."""

    offsets: NDArray[np.int64] = field(repr=False)
    added: NDArray[np.uint8] = field(repr=False)
    candidates: NDArray[np.int64]


def _fold(sums: NDArray[np.int64]) -> NDArray[np.uint8]:
    return fold(sums).astype(np.uint8)


def recover_first_layer(
    weight: NDArray[np.int8],
    counters: NDArray[np.uint8],
    blocks: NDArray[np.uint8],
    *,
    adds_input: bool,
) -> Recovered:
    """Solve a depth-1 frame from known blocks uint8 (blocks, lanes) at `counters` (blocks, 8).

    `weight` is the layer's, (lanes out, lanes).  Raises `BadInput` where no key fits the blocks.
    """
    turns = weight[:, -COUNTER_LANES:].astype(np.int64) @ counters.T.astype(np.int64)
    lanes_out = len(weight)
    folded = blocks.copy()
    if adds_input:
        folded[:, -COUNTER_LANES:] -= counters
    hidden = lanes_out - COUNTER_LANES if adds_input else 0  # lanes that add unknown material
    offsets, added = np.empty(lanes_out, dtype=np.int64), np.zeros(lanes_out, dtype=np.uint8)
    candidates = np.empty(lanes_out, dtype=np.int64)
    for lane in range(lanes_out):
        left = np.arange(_OFFSETS, dtype=np.int64)
        for seen in (slice(_SIFTING_BLOCKS), slice(None)):
            guess = _fold(turns[lane, seen] + left[:, np.newaxis])
            wanted = folded[seen, lane]
            if lane < hidden:
                guess, wanted = guess - guess[:, :1], wanted - wanted[0]
            left = left[(guess == wanted).all(axis=1)]
        if not len(left):
            raise BadInput(f"no key gives lane {lane} of these blocks at depth 1")
        offsets[lane], candidates[lane] = left[0], len(left)
        if lane < hidden:
            added[lane] = (folded[:1, lane] - _fold(turns[lane, :1] + left[0]))[0]
    return Recovered(offsets, added, candidates)


def predict_frame(
    found: Recovered,
    weight: NDArray[np.int8],
    counters: NDArray[np.uint8],
    *,
    adds_input: bool,
) -> NDArray[np.uint8]:
    """Return the blocks at any `counters` of the frame that `found` was recovered from."""
    turns = counters.astype(np.int64) @ weight[:, -COUNTER_LANES:].T.astype(np.int64)
    blocks = _fold(turns + found.offsets) + found.added
    if adds_input:
        blocks[:, -COUNTER_LANES:] += counters
    return blocks


def landscape(
    frame: TargetFrame, rng: np.random.Generator, *, wrong: tuple[int, ...], blocks: int = 4096
) -> dict[int, float]:
    """Return the largest correlation left in the output bits when `wrong` first-layer K are wrong.

    All else (the other lanes' K, every later bias, the material) is given to the attacker, who
    compares the bits that come out with the true ones: the root mean square of the correlations
    of all output bits beyond chance, averaged over eight draws of wrong lanes.
    """
    true = np.unpackbits(frame.blocks(0, blocks), axis=1)
    lanes = frame.target.layers[0].lanes_out
    left: dict[int, float] = {}
    for count in wrong:
        squares = []
        for _ in range(8):
            first = frame.key[0].copy()
            chosen = rng.choice(lanes, size=min(count, lanes), replace=False)
            first[chosen] = rng.integers(_OFFSETS, size=len(chosen))
            guess = replace(frame, key=(first, *frame.key[1:])).blocks(0, blocks)
            agree = 1 - 2 * (np.unpackbits(guess, axis=1) ^ true).mean(axis=0)
            squares.append(float(np.square(agree).mean()) - 1 / blocks)
        left[count] = max(0.0, float(np.mean(squares))) ** 0.5
    return left
