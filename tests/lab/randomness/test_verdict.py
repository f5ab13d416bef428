from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, chisquare

from lab.randomness.verdict import HOPELESS, judge


def judged(*columns: np.ndarray):
    labels = [("test", str(i)) for i in range(len(columns))]
    return judge(np.stack(columns, axis=1), labels)


def uniform(count: int, seed: int = 1) -> np.ndarray:
    return (np.random.default_rng(seed).permutation(count) + 0.5) / count


def test_uniform_p_values_hold_both_bounds() -> None:
    verdict = judged(uniform(1_000), uniform(1_000, 2))
    assert verdict.missed == () and not verdict.failed
    (part, _) = verdict.parts
    assert part.proportion == 0.99 and part.uniformity == pytest.approx(1)
    # The standard's own example: 1,000 sequences, 0.99 ± 0.0094392.
    assert part.least_proportion == pytest.approx(0.9805607, abs=1e-7)


def test_too_many_small_p_values_miss_the_proportion() -> None:
    found = uniform(1_000)
    found[:30] = 0.005
    verdict = judged(found)
    (part,) = verdict.missed
    assert not part.proportion_holds
    failures = np.count_nonzero(found < 0.01)
    assert part.chance == pytest.approx(2 * binom.sf(failures - 1, 1_000, 0.01))


def test_p_values_that_avoid_a_bin_are_not_uniform() -> None:
    found = uniform(1_000)
    found[(found > 0.4) & (found < 0.5)] = 0.9
    verdict = judged(found)
    (part,) = verdict.missed
    assert part.proportion_holds and not part.uniformity_holds
    bins = np.histogram(found, bins=10, range=(0, 1))[0]
    assert part.uniformity == pytest.approx(chisquare(bins).pvalue)
    assert verdict.failed


def test_uniformity_is_not_judged_below_55_sequences() -> None:
    (part,) = judged(np.full(54, 0.5)).parts
    assert part.uniformity is None and part.uniformity_holds
    (part,) = judged(np.full(55, 0.5)).parts
    assert part.uniformity is not None and not part.uniformity_holds


def test_sequences_where_a_test_does_not_apply_are_not_counted() -> None:
    some = uniform(200)
    some[100:] = np.nan
    verdict = judged(some, np.full(200, np.nan))
    assert [part.sequences for part in verdict.parts] == [100, 0]
    assert verdict.missed == () or verdict.missed[0].part == "0"
    assert verdict.parts[1].chance == 1.0


def test_a_single_miss_among_many_parts_is_chance_and_a_hopeless_one_is_not() -> None:
    parts = [uniform(100, seed) for seed in range(187)]
    unlucky = uniform(100, 999)
    unlucky[:5] = 0.001
    verdict = judged(*parts, unlucky)
    assert len(verdict.missed) == 1 and not verdict.failed
    bad = np.full(100, 0.001)
    verdict = judged(*parts, bad)
    assert verdict.failed and verdict.chance < HOPELESS


def test_a_p_value_of_one_falls_into_the_last_bin() -> None:
    found = uniform(1_000)
    found[found > 0.9] = 1.0
    assert judged(found).parts[0].uniformity == pytest.approx(1)
