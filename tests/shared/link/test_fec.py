from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.link.fec import (
    MAX_EQUATIONS,
    MAX_UNKNOWNS,
    MAX_WINDOW_SYMBOLS,
    ROWS,
    Equations,
    Unknown,
    coefficients,
    combine,
    parity,
    restore,
)
from shared.link.messages import MAX_SOURCE_SYMBOLS, symbol_limit


def block(k: int, size: int = 20, seed: int = 1) -> list[bytes]:
    dice = random.Random(seed)
    return [dice.randbytes(size) for _ in range(k)]


@given(st.integers(1, MAX_SOURCE_SYMBOLS), st.randoms(use_true_random=False))
def test_any_k_symbols_give_back_the_source(k, dice):
    source = block(k)
    numbers = sorted(dice.sample(range(symbol_limit(k)), k))
    made = dict(zip(range(k), source, strict=True))
    made.update(
        zip(range(k, symbol_limit(k)), parity(source, range(k, symbol_limit(k))), strict=True)
    )
    dice.shuffle(numbers)
    assert restore(k, {number: made[number] for number in numbers}) == source


def test_more_symbols_than_needed_do_no_harm():
    source = block(5)
    symbols = {
        0: source[0],
        3: source[3],
        **dict(zip((5, 6, 7, 8), parity(source, [5, 6, 7, 8]), strict=True)),
    }
    assert restore(5, symbols) == source


def test_the_parity_of_a_block_of_one_is_a_copy():
    assert parity([b"abc"], [1, 9]) == [b"abc", b"abc"]


def test_a_symbol_does_not_depend_on_how_many_are_made():
    source = block(22)
    assert parity(source, [23]) == parity(source, range(22, 30))[1:2]


@pytest.mark.parametrize("k", [1, 6, 64])
def test_the_numbers_fit_one_byte_on_the_wire(k):
    assert k < symbol_limit(k) <= 256


def times(a: int, b: int) -> int:
    """In GF(2^8) with 0x11D."""
    product = 0
    while b:
        product ^= a if b & 1 else 0
        a = (a << 1) ^ (0x11D if a & 0x80 else 0)
        b >>= 1
    return product


def inverse(a: int) -> int:
    return next(b for b in range(1, 256) if times(a, b) == 1)


def test_the_code_is_the_documented_one():
    # The polynomial that has the source symbols as its values at 0, 1, 2, 4 …, read further on.
    points = [0, 1]
    while len(points) < symbol_limit(5):
        points.append(times(points[-1], 2))
    source = [7, 9, 0, 255, 100]
    expected = []
    for at in points[5:]:
        value = 0
        for i, symbol in enumerate(source):  # Lagrange
            term = symbol
            for j in range(5):
                if j != i:
                    term = times(times(term, at ^ points[j]), inverse(points[i] ^ points[j]))
            value ^= term
        expected.append(bytes([value]))
    assert parity([bytes([symbol]) for symbol in source], range(5, symbol_limit(5))) == expected


@pytest.mark.parametrize("k", range(1, MAX_SOURCE_SYMBOLS + 1))
def test_every_parity_symbol_of_every_length_of_block_stands_in_for_every_source_symbol(k):
    source = block(k, size=8)
    numbers = range(k, symbol_limit(k))
    made = dict(zip(numbers, parity(source, numbers), strict=True))
    for number, symbol in made.items():
        missing = number % k
        rest = {i: piece for i, piece in enumerate(source) if i != missing}
        assert restore(k, {**rest, number: symbol})[missing] == source[missing]


# -- a window over several frames -----------------------------------------------------------------


@pytest.mark.parametrize("k", range(1, MAX_WINDOW_SYMBOLS + 1))
def test_every_row_depends_on_every_symbol_of_the_window(k):
    assert all(0 not in coefficients(k, row) for row in range(ROWS))
    assert all(len(coefficients(k, row)) == k for row in range(ROWS))


def equation(pieces: dict[Unknown, bytes], row: int, known: set[Unknown]) -> tuple[dict, int]:
    """What a receiver that has `known` of them makes of the parity symbol of `row`."""
    factors = dict(zip(pieces, coefficients(len(pieces), row), strict=True))
    filled = [piece if key in known else bytes(len(piece)) for key, piece in pieces.items()]
    value = number(combine(list(pieces.values()), row)) ^ number(combine(filled, row))
    return {key: factors[key] for key in pieces if key not in known}, value


def number(piece: bytes) -> int:
    return int.from_bytes(piece, "little")


def slid(dice: random.Random, frames: int, size: int = 9) -> dict[Unknown, bytes]:
    return {(frame, n): dice.randbytes(size) for frame in range(frames) for n in range(5)}


@given(st.randoms(use_true_random=False), st.integers(1, 8))
def test_as_many_equations_as_unknowns_solve_them_in_any_order(dice, missing):
    pieces = slid(dice, 3)
    lost = set(dice.sample(sorted(pieces), missing))
    rows = dice.sample(range(ROWS), missing)
    equations = Equations()
    for place, row in enumerate(rows):
        assert len(equations.rows) == place  # no row is spent before the last one solves them all
        equations.add(*equation(pieces, row, set(pieces) - lost))
    assert len(equations.rows) == 0
    assert dict(equations.take()) == {k: number(pieces[k]) for k in lost}


@given(st.randoms(use_true_random=False))
def test_windows_that_slide_solve_together_what_none_of_them_could(dice):
    pieces = slid(dice, 4)
    lost = [key for key in pieces if key[0] == 1]  # a whole frame
    equations, row = Equations(), dice.randrange(ROWS)
    for last in (1, 2, 3):  # two parity symbols after each of three frames
        window = {key: piece for key, piece in pieces.items() if key[0] <= last}
        for _ in range(2):
            equations.add(*equation(window, row % ROWS, set(window) - set(lost)))
            row += 1
    assert dict(equations.take()) == {key: number(pieces[key]) for key in lost}


@given(st.randoms(use_true_random=False))
def test_what_comes_late_is_one_unknown_less(dice):
    pieces = slid(dice, 2)
    lost = dice.sample(sorted(pieces), 4)
    equations = Equations()
    for row in (3, 4):
        equations.add(*equation(pieces, row, set(pieces) - set(lost)))
    assert equations.take() == []
    for key in lost[:2]:
        equations.know(key, pieces[key])
    assert dict(equations.take()) == {key: number(pieces[key]) for key in lost[2:]}
    assert len(equations.rows) == 0


def test_an_equation_that_says_nothing_new_is_not_kept():
    pieces = slid(random.Random(1), 2)
    equations = Equations()
    for _ in range(3):
        equations.add(*equation(pieces, 7, set()))
    assert len(equations.rows) == 1


def test_equations_of_a_frame_that_is_given_up_are_forgotten():
    pieces = slid(random.Random(1), 3)
    equations = Equations()
    equations.add(*equation(pieces, 1, {key for key in pieces if key[0] == 2}))
    equations.add(*equation(pieces, 2, {key for key in pieces if key[0] == 0}))
    assert equations.unknowns_of(0) == equations.unknowns_of(2) == [0, 1, 2, 3, 4]
    equations.forget(0)
    assert not equations.unknowns_of(0)


def test_the_work_that_equations_make_is_bounded():
    equations = Equations()
    equations.add({(0, n): 1 for n in range(MAX_UNKNOWNS + 1)}, 1)
    assert len(equations.rows) == 0
    for i in range(2 * MAX_EQUATIONS):
        equations.add({(i, 0): 1, (i, 1): 2}, 5)
    assert len(equations.rows) == MAX_EQUATIONS
