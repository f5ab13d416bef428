"""Key recovery by a SAT solver, on small networks of the same machinery.

A toy has n lanes, layers n x n of uniform weights, the fold, and a counter in its last lanes.
The solver is given the weights, the material and some blocks, and asked for key biases (of which
`SUM_BITS` bits a lane and layer count); it then has to prove them on blocks it has not seen.
More is given than an attacker has, so what stands here stands.  Needs the package `python-sat`,
which nothing else uses.
"""

from __future__ import annotations

import importlib
import importlib.util
import time
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Timer

import numpy as np
from numpy.typing import NDArray

from lab.cryptanalysis.target import SUM_BITS, Target, draw_layers
from shared.errors import BadInput
from shared.keystream.layers import FOLD_SHIFT

__all__ = ["SatAttempt", "attempt", "available"]

_UNSEEN = 64  # blocks that a key found has to predict
_SOLVER = "glucose4"  # can be interrupted, unlike CaDiCaL's binding

Bit = int
"""A literal; `_Formula.TRUE` and its negation are the constants."""


@dataclass(frozen=True, slots=True)
class SatAttempt:
    """`unknown`: key bits asked for; `outcome`: "found" (the key predicts unseen blocks), "wrong"
    (it does not) or "limit"."""

    lanes: int
    depth: int
    unknown: int
    blocks: int
    clauses: int
    seconds: float
    outcome: str


def available() -> bool:
    return importlib.util.find_spec("pysat") is not None


def attempt(
    lanes: int,
    depth: int,
    *,
    blocks: int,
    seconds_limit: float,
    seed: int,
    unknown: int | None = None,
) -> SatAttempt:
    """Try to find the key of a toy of `lanes` lanes and `depth` layers from `blocks` blocks.

    Only the first `unknown` bits of the first layer's biases are asked for, the rest of the key is
    given; None asks for the whole key.  Raises `BadInput` where python-sat is not installed.
    """
    if not available():
        raise BadInput("the SAT attack needs python-sat", hint="pip install 'veilscope[lab]'")
    rng = np.random.default_rng([seed, lanes, depth])
    target = Target("toy", draw_layers([lanes] * (depth + 1), rng))
    key = target.draw_key(rng)
    inputs = np.tile(rng.integers(256, size=lanes, dtype=np.uint8), (blocks + _UNSEEN, 1))
    counters = rng.choice(1 << 16, size=len(inputs), replace=False)
    inputs[:, -1] = counters & 255
    if lanes > 1:
        inputs[:, -2] = counters >> 8
    output = target.run(key, inputs)
    folded = output - inputs if target.adds_input else output
    formula = _Formula()
    wanted = lanes * depth * SUM_BITS if unknown is None else unknown
    words = [[formula.constant(int(bias)) for bias in biases] for biases in key]
    for i in range(wanted):
        lane, bit = divmod(i, SUM_BITS)
        words[lane // lanes][lane % lanes][bit] = formula.fresh()
    for x, y in zip(inputs[:blocks], folded[:blocks], strict=True):
        formula.demand(target, words, x, y)
    started = time.monotonic()
    model = _solve(formula.clauses, seconds_limit)
    seconds = time.monotonic() - started
    outcome = "limit"
    if model is not None:
        found = tuple(
            np.array([sum(1 << i for i, bit in enumerate(w) if bit in model) for w in layer])
            for layer in words
        )
        same = np.array_equal(target.run(found, inputs[blocks:]), output[blocks:])
        outcome = "found" if same else "wrong"
    return SatAttempt(lanes, depth, wanted, blocks, len(formula.clauses), seconds, outcome)


def _solve(clauses: list[list[int]], seconds_limit: float) -> set[int] | None:
    solvers = importlib.import_module("pysat.solvers")  # optional, and slow to import
    with solvers.Solver(name=_SOLVER, bootstrap_with=clauses) as solver:
        timer = Timer(seconds_limit, solver.interrupt)
        timer.start()
        try:
            solved = solver.solve_limited(expect_interrupt=True)
        finally:
            timer.cancel()
        return {int(literal) for literal in solver.get_model()} if solved else None


class _Formula:
    """Clauses for sums of `SUM_BITS` bits, words lowest bit first (Tseitin's encoding)."""

    TRUE: Bit = 1

    def __init__(self) -> None:
        self.clauses: list[list[int]] = [[self.TRUE]]
        self._last = self.TRUE

    def fresh(self) -> Bit:
        self._last += 1
        return self._last

    def fresh_word(self) -> list[Bit]:
        return [self.fresh() for _ in range(SUM_BITS)]

    def demand(
        self,
        target: Target,
        key: list[list[list[Bit]]],
        inputs: NDArray[np.uint8],
        folded: NDArray[np.uint8],
    ) -> None:
        """Demand that `inputs` give the bytes `folded` before the block's input is added."""
        words = [self.constant(int(x))[:8] for x in inputs]
        for layer, biases in zip(target.layers, key, strict=True):
            sums = [
                self._sum(bias, row, words)
                for row, bias in zip(layer.weight.tolist(), biases, strict=True)
            ]
            words = [[self.xor(s[i], s[i + FOLD_SHIFT]) for i in range(8)] for s in sums]
        for word, byte in zip(words, folded.tolist(), strict=True):
            self.clauses += [[bit if byte >> i & 1 else -bit] for i, bit in enumerate(word)]

    def _sum(self, bias: list[Bit], row: list[int], words: list[list[Bit]]) -> list[Bit]:
        known, total = 0, bias
        for weight, word in zip(row, words, strict=True):
            if all(abs(bit) == self.TRUE for bit in word):
                known += weight * sum(1 << i for i, bit in enumerate(word) if bit == self.TRUE)
            else:
                total = self.add_multiple(total, weight, word)
        return self.add(total, self.constant(known))

    def constant(self, value: int) -> list[Bit]:
        return [self.TRUE if value >> i & 1 else -self.TRUE for i in range(SUM_BITS)]

    def xor(self, a: Bit, b: Bit) -> Bit:
        for one, other in ((a, b), (b, a)):
            if abs(one) == self.TRUE:
                return -other if one == self.TRUE else other
        if abs(a) == abs(b):
            return -self.TRUE if a == b else self.TRUE
        out = self.fresh()
        self.clauses += [[-a, -b, -out], [a, b, -out], [a, -b, out], [-a, b, out]]
        return out

    def majority(self, a: Bit, b: Bit, c: Bit) -> Bit:
        for one, two, three in ((a, b, c), (b, a, c), (c, a, b)):
            if abs(one) == self.TRUE:
                return self._either(two, three) if one == self.TRUE else self._both(two, three)
        out = self.fresh()
        self.clauses += [[-a, -b, out], [-a, -c, out], [-b, -c, out]]
        self.clauses += [[a, b, -out], [a, c, -out], [b, c, -out]]
        return out

    def _both(self, a: Bit, b: Bit) -> Bit:
        for one, other in ((a, b), (b, a)):
            if abs(one) == self.TRUE:
                return other if one == self.TRUE else -self.TRUE
        out = self.fresh()
        self.clauses += [[-a, -b, out], [a, -out], [b, -out]]
        return out

    def _either(self, a: Bit, b: Bit) -> Bit:
        return -self._both(-a, -b)

    def add(self, a: Sequence[Bit], b: Sequence[Bit], carry: Bit = -TRUE) -> list[Bit]:
        """Return a + b + carry mod 2**SUM_BITS."""
        total = []
        for one, two in zip(a, b, strict=True):
            total.append(self.xor(self.xor(one, two), carry))
            carry = self.majority(one, two, carry)
        return total

    def add_multiple(self, total: list[Bit], weight: int, word: list[Bit]) -> list[Bit]:
        """Return total + weight * word, by the weight's non-adjacent form."""
        shift = 0
        while weight:
            if weight & 1:
                digit = 2 - (weight & 3)
                weight -= digit
                shifted = [-self.TRUE] * shift + word
                shifted += [-self.TRUE] * (SUM_BITS - len(shifted))
                if digit < 0:
                    total = self.add(total, [-bit for bit in shifted], self.TRUE)
                else:
                    total = self.add(total, shifted)
            weight >>= 1
            shift += 1
        return total
