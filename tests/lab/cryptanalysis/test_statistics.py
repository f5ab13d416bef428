"""The statistics on random bytes, where they must stay silent, and where they must speak."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from lab.cryptanalysis import differential, integral, linear, wraparound
from lab.cryptanalysis.evidence import DECISIVE, Evidence, corrected, normal, strongest
from lab.cryptanalysis.pairs import pair_bias
from lab.cryptanalysis.relatedkey import blind_biases, blind_step
from lab.cryptanalysis.target import SUM_BITS, Target, TargetFrame, draw_layers
from shared.keystream.reference import fold

SMALL_CUBES = tuple(
    integral.Cube(cube.name, cube.bits, 16) for cube in integral.CUBES if len(cube.bits) <= 8
)
STATISTICS = {
    "masks": lambda t, r: linear.linear_masks(t, r, counter_bits=10, pairs=64),
    "second differences": lambda t, r: linear.second_differences(t, r, samples=512, pairs=4),
    "lowest bits": lambda t, r: linear.low_plane(t, r, samples=1024, pairs=4),
    "first order": lambda t, r: differential.first_order(t, "counter", r, samples=1024),
    "second order": lambda t, r: differential.second_order(t, r, counter_bits=10, count=6),
    "integrals": lambda t, r: integral.cube_sums(t, r, SMALL_CUBES),
    "first harmonic": lambda t, r: wraparound.first_harmonic(t, r, blocks=2048),
}


class RandomTarget(Target):
    """Random bytes in the place of a network: the same for the same inputs and key."""

    __slots__ = ()

    def run(self, key, inputs):
        seed = hashlib.sha256(key[0].tobytes() + inputs.tobytes()).digest()
        rng = np.random.default_rng(int.from_bytes(seed, "big"))
        return rng.integers(256, size=(len(inputs), self.lanes_out), dtype=np.uint8)


NETWORK = draw_layers([32, 32], np.random.default_rng(1))


@pytest.mark.parametrize("name", STATISTICS)
def test_a_statistic_is_silent_on_random_bytes(name):
    random = RandomTarget("random", NETWORK)
    chances = [STATISTICS[name](random, np.random.default_rng(seed)).chance for seed in range(12)]
    # Corrected chances are uniform or larger: more than 4 of 12 below 0.05 comes once in 5,000.
    assert sum(chance < 0.05 for chance in chances) <= 4
    assert min(chances) > DECISIVE * 100


@pytest.mark.parametrize("name", [name for name in STATISTICS if name != "lowest bits"])
def test_a_statistic_tells_a_single_layer(name):
    target = Target("one layer", NETWORK)
    assert STATISTICS[name](target, np.random.default_rng(2)).decisive


def test_lowest_bits_are_linear_where_there_is_no_fold():
    target = Target("affine", NETWORK).affine()
    assert STATISTICS["lowest bits"](target, np.random.default_rng(2)).decisive


def test_a_key_bias_bit_shows_after_two_layers_and_not_after_three():
    target = Target("dense", draw_layers([128] * 4, np.random.default_rng(3)))
    found = {
        depth: differential.first_order(
            target.cut(depth), "key bias", np.random.default_rng(4), samples=512, count=16
        )
        for depth in (2, 3)
    }
    assert found[2].decisive and not found[3].decisive


def test_the_walsh_transform_finds_a_planted_mask():
    counters = np.arange(256)
    signs = 1.0 - 2.0 * (np.bitwise_count(counters & 0x5A) & 1)
    spectrum = linear.walsh(signs.astype(np.float32)[:, np.newaxis])[:, 0]
    assert spectrum[0x5A] == 256 and np.count_nonzero(spectrum) == 1


def test_a_narrow_last_layer_s_bias_is_foretold_and_found():
    target = Target("narrow", draw_layers([128, 16, 128], np.random.default_rng(5)))
    foretold = wraparound.predict(target, lanes=8)
    assert foretold.mask == 128
    frame = TargetFrame.draw(target, np.random.default_rng(6))
    blocks = np.concatenate([frame.blocks(i << 15, 1 << 15) for i in range(8)])
    blocks = blocks[:, -8:-3]  # lanes that add a counter byte of zero
    measured = (1 - 2 * (blocks >> 7).mean(axis=0, dtype=np.float64)) ** 2
    assert foretold.bias == pytest.approx(float(np.sqrt(measured.mean())), rel=0.9)


def test_the_exact_bias_of_pairs_is_what_sampling_finds():
    target = Target("narrow", draw_layers([32, 8, 16], np.random.default_rng(7)))
    step = np.eye(32, dtype=np.int64)[-1]
    exact = pair_bias(target, step, lanes=16)
    rng, samples = np.random.default_rng(8), 1 << 16
    key = target.draw_key(rng, samples)
    inputs = rng.integers(256, size=(samples, 32), dtype=np.uint8)
    inputs[:, -1] = 7
    change = target.run(key, inputs) ^ target.run(key, inputs + step.astype(np.uint8))
    largest = max(
        abs(1 - 2 * (np.bitwise_count(change & mask) & 1).mean(axis=0)).max()
        for mask in range(1, 256)
    )
    assert exact.correlation == pytest.approx(float(largest), abs=6 / samples**0.5)
    assert exact.correlation > 12 / samples**0.5


def test_one_block_s_sums_are_uniform_over_keys():
    sums = np.arange(1 << SUM_BITS)
    assert (np.bincount(fold(sums), minlength=256) == (1 << SUM_BITS) // 256).all()


def test_chances_are_corrected_for_the_places_looked_at():
    assert corrected(1e-4, 1) == pytest.approx(1e-4)
    assert corrected(1e-4, 1000) == pytest.approx(1 - (1 - 1e-4) ** 1000)
    assert normal(1.96) == pytest.approx(0.05, abs=1e-3)
    best = strongest([Evidence("a", 0.5, ""), Evidence("b", 0.01, "")])
    assert best.statistic == "b" and best.chance == pytest.approx(1 - 0.99**2)


def test_the_blind_step_is_the_one_that_folds_lose_most_often() -> None:
    step, share = blind_step()
    sums = np.arange(1 << SUM_BITS)
    assert share == (fold(sums) == fold(sums + step)).mean()
    others = np.random.default_rng(5).integers(1, 1 << SUM_BITS, size=200)
    assert all((fold(sums) == fold(sums + other)).mean() <= share for other in others)
    assert 0.3 < share < 0.34


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_biases_a_blind_step_apart_give_the_same_blocks_at_any_depth(depth) -> None:
    rng = np.random.default_rng(7)
    target = Target("test", draw_layers([32, 32, 32, 32], rng)).cut(depth)
    evidence = blind_biases(target, rng)
    same = float(evidence.text.split("leaves ")[1].split("%")[0]) / 100
    assert evidence.decisive and abs(same - blind_step()[1]) < 0.05
    assert not blind_biases(Target("affine", target.layers, folded=False), rng).decisive
