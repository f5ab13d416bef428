from __future__ import annotations

import numpy as np
import pytest

from lab.cryptanalysis.target import Target, draw_layers
from lab.distinguishers.differences import distinguish, score, search
from lab.distinguishers.oracle import NetworkOracle, RandomOracle
from lab.experiments import KINDS

LANES = 16
WEAK = {
    "one layer": Target("", draw_layers((LANES, LANES), np.random.default_rng(1))),
    "no fold": Target("", draw_layers((LANES,) * 4, np.random.default_rng(1))).affine(),
}


def rng() -> np.random.Generator:
    return np.random.default_rng(6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weak", WEAK)
def test_a_weak_generator_is_told_from_chance_under_keys_never_seen(kind, weak) -> None:
    found = distinguish(kind, NetworkOracle(WEAK[weak]), seed=1, steps=60, test_pairs=1024)
    assert found.wins
    assert found.mean > 0.3


def test_random_bytes_are_not_told_from_chance() -> None:
    read = np.random.Generator(np.random.Philox(3)).bytes
    chance = RandomOracle(LANES, LANES, LANES, read)
    found = distinguish("material", chance, seed=1, steps=60, test_pairs=4096)
    assert not found.wins
    assert abs(found.mean) < 0.05
    assert found.standard_error == pytest.approx(np.sqrt(0.5 / 4096), rel=0.1)


class _Planted:
    """Fair output differences; each of three bits that is flipped stills two lanes more."""

    lanes = lanes_out = key_lanes = LANES
    best = (5, 17, 40)

    def pairs(self, kind, differences, samples, rng):
        base = rng.integers(256, size=(samples, LANES), dtype=np.uint8)
        changed = rng.integers(256, size=(len(differences), samples, LANES), dtype=np.uint8)
        for i, bits in enumerate(differences):
            if not bits.any():
                changed[i] = base
            elif bits.sum() <= 3:
                still = 2 * bits[list(self.best)].sum()
                changed[i, :, :still] = base[:, :still]
        return base, changed


def test_the_search_finds_a_difference_of_several_bits() -> None:
    assert tuple(np.flatnonzero(search(_Planted(), "material", rng()))) == _Planted.best


def test_the_score_is_the_mean_square_correlation_beyond_chance() -> None:
    differences = np.zeros((3, 64), bool)
    differences[0, 63] = True  # fair
    differences[1, 5] = True  # 2 lanes of 16 never change
    differences[2, [5, 17]] = True
    found = score(_Planted(), "material", differences, 2000, rng())
    assert found == pytest.approx([0.0, 2 / 16, 4 / 16], abs=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_search_finds_is_a_difference(kind) -> None:
    assert search(NetworkOracle(WEAK["one layer"]), kind, rng()).any()


def test_the_same_seed_finds_the_same() -> None:
    weak = NetworkOracle(WEAK["one layer"])
    first, again = (distinguish("counter", weak, seed=1, steps=3, test_pairs=256) for _ in range(2))
    assert first == again
    assert "bit" in first.detail
