from __future__ import annotations

import numpy as np
import pytest

from lab.cryptanalysis.target import Target, draw_layers
from lab.distinguishers.nextbyte import PREDICTORS, predict
from lab.distinguishers.oracle import NetworkOracle, RandomOracle

LANES = 16
WEAK = {
    "one layer": Target("", draw_layers((LANES, LANES), np.random.default_rng(1))),
    "no fold": Target("", draw_layers((LANES,) * 4, np.random.default_rng(1))).affine(),
}


def chance(seed: int) -> RandomOracle:
    return RandomOracle(LANES, LANES, LANES, read=np.random.Generator(np.random.Philox(seed)).bytes)


@pytest.mark.parametrize("predictor", PREDICTORS)
@pytest.mark.parametrize("weak", WEAK)
def test_a_weak_generator_is_predicted_under_keys_that_were_never_seen(predictor, weak) -> None:
    found = predict(predictor, NetworkOracle(WEAK[weak]), seed=1, steps=60, test_keys=16)
    assert found.wins
    assert found.mean > 0.1


@pytest.mark.parametrize("predictor", PREDICTORS)
def test_random_bytes_are_not_predicted(predictor) -> None:
    # A predictor that were shown the byte it guesses would be right nearly always.
    found = predict(predictor, chance(2), seed=1, steps=60, test_keys=16)
    assert not found.wins
    assert abs(found.mean) < 0.05
    assert 0.001 < found.standard_error < 0.02


class _Planted:
    """Random bytes, except that one thing about each other byte gives it away."""

    lanes = lanes_out = key_lanes = LANES

    def __init__(self, giveaway: str) -> None:
        self._giveaway = giveaway

    def frames(self, count, blocks, rng):
        frames = rng.integers(256, size=(count, blocks, LANES), dtype=np.uint8)
        if self._giveaway == "the byte before":
            frames[:, :, 1::2] = ~frames[:, :, ::2]
        elif self._giveaway == "the place":
            frames[:, :, 1::2] = np.arange(8) * 37
        else:
            back = {"one block back": 1, "two blocks back": 2}[self._giveaway]
            for block in range(back, blocks):
                frames[:, block, 1::2] = ~frames[:, block - back, 1::2]
        return frames


@pytest.mark.parametrize("predictor", PREDICTORS)
@pytest.mark.parametrize(
    "giveaway", ["the byte before", "one block back", "two blocks back", "the place"]
)
def test_whatever_gives_a_byte_away_is_found(predictor, giveaway) -> None:
    found = predict(predictor, _Planted(giveaway), seed=1, steps=60, test_keys=8)
    assert 0.3 < found.mean < 0.6  # half of the bytes can be known


@pytest.mark.parametrize("predictor", PREDICTORS)
def test_the_row_of_bytes_up_to_here_is_remembered(predictor) -> None:
    class Echo(_Planted):
        def frames(self, count, blocks, rng):
            frames = rng.integers(256, size=(count, blocks, LANES), dtype=np.uint8)
            frames[:, :, 1::2] = np.roll(frames[:, :, ::2], 1, axis=2)  # three bytes back
            return frames

    found = predict(predictor, Echo(""), seed=1, steps=200, test_keys=8)
    assert found.mean > 0.2


def test_the_same_seed_finds_the_same() -> None:
    weak = NetworkOracle(WEAK["one layer"])
    first, again, other = (
        predict("GRU", weak, seed=seed, steps=3, test_keys=4) for seed in (1, 1, 2)
    )
    assert first == again != other
