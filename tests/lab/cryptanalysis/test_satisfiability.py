from __future__ import annotations

import importlib

import pytest

from lab.cryptanalysis import satisfiability
from shared.errors import BadInput

needs_solver = pytest.mark.skipif(
    not satisfiability.available(), reason="python-sat is not installed"
)


@needs_solver
@pytest.mark.parametrize(("lanes", "depth", "unknown"), [(4, 1, None), (2, 2, 15)])
def test_a_small_toy_s_key_is_found(lanes, depth, unknown):
    found = satisfiability.attempt(
        lanes, depth, blocks=8, seconds_limit=60, seed=1, unknown=unknown
    )
    assert found.outcome == "found"


@needs_solver
def test_too_few_blocks_give_a_wrong_key():
    found = satisfiability.attempt(4, 1, blocks=1, seconds_limit=60, seed=1)
    assert found.outcome == "wrong"


@needs_solver
def test_a_toy_that_stands_is_given_up_at_the_limit():
    found = satisfiability.attempt(4, 2, blocks=8, seconds_limit=0.2, seed=1)
    assert found.outcome == "limit" and found.unknown == 4 * 2 * satisfiability.SUM_BITS


def test_without_the_solver_the_attack_says_so(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match="python-sat"):
        satisfiability.attempt(1, 1, blocks=1, seconds_limit=1, seed=1)


def test_multiples_are_added_as_numbers_are():
    formula = satisfiability._Formula()
    for weight in range(-64, 64):
        for value in (0, 1, 127, 255):
            total = formula.add_multiple(
                formula.constant(12_345), weight, formula.constant(value)[:8]
            )
            number = sum(1 << i for i, bit in enumerate(total) if bit == formula.TRUE)
            assert number == (12_345 + weight * value) % (1 << satisfiability.SUM_BITS)
