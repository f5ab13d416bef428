"""The tests against the standard's own worked examples and reference results."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path

import mpmath
import numpy as np
import pytest
from scipy.special import gammaincc

from lab.randomness import complexity
from lab.randomness.battery import BATTERY, LABELS, MIN_BITS, p_values
from lab.randomness.complexity import (
    linear_complexities,
    linear_complexity,
    long_linear_complexity,
)
from lab.randomness.excursions import STATES, VARIANT_STATES, excursions, excursions_variant
from lab.randomness.frequency import block_frequency, cumulative_sums, frequency
from lab.randomness.patterns import approximate_entropy, serial, windows
from lab.randomness.rank import matrix_rank, ranks
from lab.randomness.runs import longest_run, runs
from lab.randomness.spectral import spectral
from lab.randomness.templates import (
    OVERLAPPING_CHANCES,
    aperiodic_templates,
    non_overlapping,
    overlapping,
)
from lab.randomness.universal import universal, universal_statistic

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "sp80022.json").read_text())
NDIGITS = 1_000_000
PRINTED = 1.01e-6  # the standard prints six digits, some of them cut rather than rounded

TESTS = {
    f.__name__: f
    for f in (
        frequency,
        block_frequency,
        runs,
        longest_run,
        non_overlapping,
        serial,
        approximate_entropy,
        cumulative_sums,
    )
}


def as_bits(text: str) -> np.ndarray:
    return (np.frombuffer(text.encode(), dtype=np.uint8) - ord("0")).astype(np.uint8)


@pytest.fixture(scope="session")
def constants() -> dict[str, np.ndarray]:
    """The first million binary digits of each constant, the integer part's included."""
    with mpmath.workprec(NDIGITS + 64):
        fixed_point = {
            name: int(mpmath.floor(mpmath.ldexp(+value, NDIGITS + 8)))
            for name, value in (("pi", mpmath.pi), ("e", mpmath.e))
        }
    for n in (2, 3):
        fixed_point[f"sqrt{n}"] = math.isqrt(n << 2 * (NDIGITS + 8))
    return {name: as_bits(f"{value:b}"[:NDIGITS]) for name, value in fixed_point.items()}


@pytest.fixture(scope="session")
def e(constants) -> np.ndarray:
    return constants["e"]


@pytest.mark.parametrize("example", VECTORS["examples"], ids=lambda x: x["source"])
def test_worked_examples_come_out_as_printed(example) -> None:
    parameters = example["parameters"]
    if "templates" in parameters:
        parameters = {**parameters, "templates": tuple(parameters["templates"])}
    found = np.atleast_1d(TESTS[example["test"]](as_bits(example["bits"]), **parameters))
    expected = example["p_values"]
    assert found[: len(expected)] == pytest.approx(expected, abs=PRINTED)


def test_the_worked_example_of_the_excursions() -> None:
    example = VECTORS["excursions"]
    bits = as_bits(example["bits"])
    visits = excursions(bits, least=0)[STATES.index(1)]
    assert visits == pytest.approx(example["excursions"], abs=PRINTED)
    total = excursions_variant(bits, least=0)[VARIANT_STATES.index(1)]
    assert total == pytest.approx(example["excursions_variant"], abs=PRINTED)


def test_the_worked_examples_of_rank_complexity_and_universal() -> None:
    example = VECTORS["matrix_ranks"]
    size = example["size"]
    matrices = as_bits(example["bits"]).reshape(-1, size, size)
    assert ranks(matrices).tolist() == example["ranks"]
    example = VECTORS["linear_complexity"]
    assert linear_complexities(as_bits(example["bits"])[None]) == example["complexity"]
    example = VECTORS["universal_statistic"]
    statistic = universal_statistic(
        as_bits(example["bits"]), example["block_bits"], example["first_blocks"]
    )
    assert statistic == pytest.approx(example["statistic"], abs=1e-7)


POISSON_LIMIT = (1 / math.e, 1 / (2 * math.e), 3 / (8 * math.e), 13 / (48 * math.e))
"""Chances of 0 to 3 hits in SP 800-22's first edition, a compound Poisson law; 4 hits below."""


def first_edition_chances() -> tuple[float, ...]:
    four = 73 / (384 * math.e)
    return (*POISSON_LIMIT, four, 1 - sum(POISSON_LIMIT) - four)


def appendix_b(bits: np.ndarray) -> dict[str, float]:
    forward, backward = cumulative_sums(bits)
    return {
        "frequency": frequency(bits),
        "block_frequency": block_frequency(bits),
        "cumulative_sums_forward": forward,
        "cumulative_sums_backward": backward,
        "runs": runs(bits),
        "longest_run": longest_run(bits),
        "matrix_rank": matrix_rank(bits),
        "spectral": spectral(bits),
        "non_overlapping_000000001": non_overlapping(bits)[0],
        "overlapping": overlapping(bits, chances=first_edition_chances()),
        "universal": universal(bits),
        "approximate_entropy": approximate_entropy(bits),
        "excursions_plus_1": excursions(bits)[STATES.index(1)],
        "excursions_variant_minus_1": excursions_variant(bits)[VARIANT_STATES.index(-1)],
        "linear_complexity": linear_complexity(bits),
        "serial_first_difference": serial(bits)[0],
    }


@pytest.mark.parametrize("name", VECTORS["constants"]["order"])
def test_the_reference_results_of_the_constants_come_out(name, constants, monkeypatch) -> None:
    program = complexity._CHANCES.copy()
    program[0] = 0.01047
    monkeypatch.setattr(complexity, "_CHANCES", program)
    column = VECTORS["constants"]["order"].index(name)
    expected = {test: row[column] for test, row in VECTORS["constants"]["p_values"].items()}
    assert appendix_b(constants[name]) == pytest.approx(expected, abs=PRINTED)


def test_the_larger_examples_on_e(e) -> None:
    vectors = VECTORS["e"]
    assert matrix_rank(e[:100_000]) == pytest.approx(vectors["matrix_rank"]["p_value"], abs=PRINTED)
    assert serial(e, 2) == pytest.approx(vectors["serial"]["p_values"], abs=PRINTED)
    found = dict(zip(map(str, STATES), excursions(e), strict=True))
    expected = vectors["excursions"]["p_values"]
    assert {state: found[state] for state in expected} == pytest.approx(expected, abs=PRINTED)
    found = dict(zip(map(str, VARIANT_STATES), excursions_variant(e), strict=True))
    assert found == pytest.approx(vectors["excursions_variant"]["p_values"], abs=PRINTED)


def test_the_linear_complexities_of_e_fall_into_the_printed_classes(e) -> None:
    classes = np.array(VECTORS["e"]["linear_complexity"]["classes"])
    expected = classes.sum() * complexity._CHANCES
    chi_square = np.sum((classes - expected) ** 2 / expected)
    assert linear_complexity(e, 1_000) == pytest.approx(gammaincc(3, chi_square / 2), abs=1e-12)


# -- properties ----------------------------------------------------------------------------------


def test_there_are_148_aperiodic_templates_of_nine_bits() -> None:
    assert len(aperiodic_templates(9)) == 148
    assert aperiodic_templates(3) == (0b001, 0b011, 0b100, 0b110)
    with pytest.raises(ValueError, match="overlap itself"):
        non_overlapping(np.zeros(1_000, dtype=np.uint8), templates=(0b111111111,))


def test_the_chances_of_overlapping_hits_are_exact() -> None:
    # A Markov chain over the current run of ones, capped at nine, and the hits so far.
    chances = np.zeros((10, 6))
    chances[0, 0] = 1
    for _ in range(1_032):
        after = np.zeros_like(chances)
        after[0] = chances.sum(axis=0) / 2
        after[1:9] = chances[:8] / 2
        hit = (chances[8] + chances[9]) / 2
        after[9, 1:] = hit[:-1]
        after[9, 5] += hit[5]
        chances = after
    assert chances.sum(axis=0) == pytest.approx(OVERLAPPING_CHANCES, abs=1e-6)


def test_windows_are_the_words_at_every_place() -> None:
    bits = np.random.default_rng(1).integers(2, size=70, dtype=np.uint8)
    for length in (1, 2, 3, 7, 9, 11, 16):
        words = [int("".join(map(str, bits[i : i + length])), 2) for i in range(71 - length)]
        assert windows(bits, length).tolist() == words


def test_ranks_are_those_of_plain_elimination() -> None:
    matrices = np.random.default_rng(2).integers(2, size=(40, 6, 9), dtype=np.uint8)
    matrices[:20, 3] = matrices[:20, 1] ^ matrices[:20, 5]
    for matrix, rank in zip(matrices, ranks(matrices), strict=True):
        span = {0}
        for row in matrix:
            word = int("".join(map(str, row)), 2)
            span |= {word ^ other for other in span}
        assert 1 << rank == len(span)


def shift_register(taps: list[int], state: list[int], length: int) -> np.ndarray:
    bits = list(state)
    while len(bits) < length:
        bits.append(sum(bits[-tap] for tap in taps) & 1)
    return np.array(bits[:length], dtype=np.uint8)


def test_linear_complexity_is_the_length_of_the_shortest_register() -> None:
    # x^100 + x^37 + 1 is irreducible, and so no shorter register gives the sequence.
    long = shift_register([63, 100], [1] + [0] * 99, 500)
    short = shift_register([1, 4], [0, 0, 0, 1], 500)
    zeros, last = np.zeros((2, 500), dtype=np.uint8)
    last[-1] = 1
    found = linear_complexities(np.stack([long, short, zeros, last]))
    assert found.tolist() == [100, 4, 0, 500]


def test_long_blocks_tell_a_linear_generator_that_short_ones_do_not() -> None:
    register = shift_register([63, 100], [1] + [0] * 99, 4 * 1_000)
    assert long_linear_complexity(register, block_bits=1_000) < 1e-100
    fair = np.random.default_rng(3).integers(2, size=4_000, dtype=np.uint8)
    assert long_linear_complexity(fair, block_bits=1_000) > 0.001


def test_runs_fails_where_the_frequency_makes_it_void() -> None:
    bits = np.zeros(1_000, dtype=np.uint8)
    bits[::3] = 1
    assert runs(bits) == 0.0


def test_excursions_do_not_apply_below_500_cycles() -> None:
    bits = np.tile(np.array([0, 1], dtype=np.uint8), 499)
    assert np.isnan(excursions(bits)).all() and np.isnan(excursions_variant(bits)).all()
    more = np.tile(np.array([0, 1], dtype=np.uint8), 500)
    assert not np.isnan(excursions(more)).any() and not np.isnan(excursions_variant(more)).any()


def test_the_battery_is_the_fifteen_tests_in_order(e) -> None:
    assert [test.section for test in BATTERY] == [f"2.{i}" for i in range(1, 16)]
    assert len(LABELS) == len(set(LABELS)) == 188
    found = p_values(e)
    assert found.shape == (188,) and ((found >= 0) & (found <= 1)).all()
    by_label = dict(zip(LABELS, found, strict=True))
    assert by_label["frequency", ""] == frequency(e)
    assert by_label["random excursions", "+1"] == excursions(e)[STATES.index(1)]
    assert by_label["non-overlapping templates", "000000001"] == non_overlapping(e)[0]


@pytest.mark.parametrize(
    "test",
    [
        partial(p_values),
        universal,
        lambda bits: longest_run(bits[:127]),
    ],
    ids=["battery", "universal", "longest run"],
)
def test_too_short_sequences_are_refused(test) -> None:
    with pytest.raises(ValueError, match="at least"):
        test(np.zeros(387_839, dtype=np.uint8))
    assert MIN_BITS == 1_000_000
