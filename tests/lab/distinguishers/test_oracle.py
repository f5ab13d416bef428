from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from lab.cryptanalysis.target import Target, draw_layers
from lab.distinguishers.oracle import NetworkOracle, RandomOracle, positions
from lab.experiments import KINDS

LANES, OUT = 16, 24


def rng() -> np.random.Generator:
    return np.random.default_rng(4)


class _Recording(SimpleNamespace):
    """Stands for a target, and keeps what it would be run on."""

    lanes = lanes_out = LANES
    layers = (SimpleNamespace(lanes_out=OUT),)

    def draw_key(self, rng, samples=None):
        shape = (OUT,) if samples is None else (samples, OUT)
        return (rng.integers(1 << 16, size=shape), np.zeros(LANES, np.int64))

    def draw_material(self, rng):
        return rng.integers(256, size=LANES - 8, dtype=np.uint8)

    def run(self, key, inputs):
        self.calls.append((key, inputs))
        return np.zeros((len(inputs), LANES), np.uint8)


def test_a_frame_is_consecutive_blocks_of_one_key_and_material() -> None:
    target = _Recording(calls=[])
    assert NetworkOracle(target).frames(3, 300, rng()).shape == (3, 300, LANES)
    for key, inputs in target.calls:
        assert key[0].shape == (OUT,)
        counters = inputs[:, 14].astype(int) * 256 + inputs[:, 15]
        assert (np.diff(counters) == 1).all()
        assert (inputs[:, :14] == inputs[0, :14]).all()
    for part in (0, 1):  # the keys, and the materials
        drawn = [(key[0], inputs[0, :8])[part].tobytes() for key, inputs in target.calls]
        assert len(set(drawn)) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_difference_flips_its_bits_and_nothing_else(kind) -> None:
    target = _Recording(calls=[])
    oracle = NetworkOracle(target)
    size = positions(oracle, kind)
    differences = np.zeros((size, size), bool)
    differences[np.arange(size), np.arange(size)] = True  # each bit alone
    differences[0, 1] = True  # and two at once
    base, changed = oracle.pairs(kind, differences, 5, rng())
    assert base.shape == (5, LANES)
    assert changed.shape == (size, 5, LANES)
    (key, inputs), *others = target.calls
    assert len(np.unique(key[0], axis=0)) == 5
    assert not inputs[:, 8:14].any()
    masks = set()
    for i, (other_key, other_inputs) in enumerate(others):
        flips = {
            "key": key[0] ^ other_key[0],
            "counter": (inputs ^ other_inputs)[:, 14:],
            "material": (inputs ^ other_inputs)[:, :8],
        }[kind]
        assert (flips == flips[0]).all()
        assert sum(int(value).bit_count() for value in flips[0]) == (2 if i == 0 else 1)
        masks.add(flips[0].tobytes())
        assert (other_key[1] == key[1]).all()
        assert kind == "key" or (other_key[0] == key[0]).all()
        elsewhere = {"key": slice(None), "counter": slice(14), "material": slice(8, None)}[kind]
        assert (inputs[:, elsewhere] == other_inputs[:, elsewhere]).all()
    assert len(masks) == size


def test_no_difference_changes_nothing_in_a_network() -> None:
    network = NetworkOracle(Target("small", draw_layers((LANES, 32, OUT), rng())))
    base, changed = network.pairs("key", np.zeros((1, positions(network, "key")), bool), 7, rng())
    assert (changed[0] == base).all()


def test_random_bytes_are_the_systems_whatever_is_asked() -> None:
    oracle = RandomOracle(LANES, OUT, 32)
    first, second = (oracle.frames(2, 5, rng()) for _ in range(2))
    assert first.shape == (2, 5, OUT)
    assert (first != second).any()  # no generator of ours, which would be in the same state
    base, changed = oracle.pairs("counter", np.zeros((3, 16), bool), 4, rng())
    assert base.shape == (4, OUT)
    assert changed.shape == (3, 4, OUT)
    assert (changed != base).any()
