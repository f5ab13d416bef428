from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.link.fec import MAX_SOURCE_SYMBOLS, parity, restore, symbol_limit


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
