"""Forward error correction: parity symbols from which missing ones are worked out.

Pure.  Of a block: zfec's code, systematic Reed-Solomon over GF(2^8) by a Vandermonde matrix (Rizzo,
"Effective erasure codes for reliable computer communication protocols", CCR 1997).  Any k distinct
symbols of a block give back its k source symbols.

Of a window that slides over the newest frames: linear combinations over the same field, as RFC 8681
has them, but with zfec's coefficients instead of random ones.  Each is an equation whose unknowns
are the window's missing symbols, and `Equations` solves them as they come.

Both correct erasures only: a symbol that was altered gives a wrong frame, and the seal above
notices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import zfec

from shared.link.messages import MAX_SOURCE_SYMBOLS, symbol_limit

__all__ = [
    "MAX_WINDOW_SYMBOLS",
    "ROWS",
    "Equations",
    "Unknown",
    "coefficients",
    "combine",
    "parity",
    "restore",
]


@lru_cache(maxsize=MAX_SOURCE_SYMBOLS)
def _encoder(k: int) -> zfec.Encoder:
    return zfec.Encoder(k, symbol_limit(k))


@lru_cache(maxsize=MAX_SOURCE_SYMBOLS)
def _decoder(k: int) -> zfec.Decoder:
    return zfec.Decoder(k, symbol_limit(k))


def parity(source: Sequence[bytes], numbers: Sequence[int]) -> list[bytes]:
    """The symbols `numbers` (each at least `len(source)`) of the block with these source symbols.

    All source symbols have one length, at most `MAX_SOURCE_SYMBOLS` of them.
    """
    made: list[bytes] = _encoder(len(source)).encode(list(source), list(numbers))
    return made


def restore(k: int, symbols: Mapping[int, bytes]) -> list[bytes]:
    """The `k` source symbols of a block, from any `k` or more of its symbols by number."""
    spare = (number for number in symbols if number >= k)
    numbers = [number if number in symbols else next(spare) for number in range(k)]
    if numbers == list(range(k)):
        return [symbols[number] for number in numbers]
    source: list[bytes] = _decoder(k).decode([symbols[number] for number in numbers], numbers)
    return source


# -- a window over several frames -----------------------------------------------------------------

# What the window's symbols come to: zfec's parity of a block of all of them.  The parity symbols
# that follow each other are of different blocks; each has a row of its own, so that those over much
# the same symbols say different things.
ROWS = 64
MAX_WINDOW_SYMBOLS = 96  # the work grows with them: 0.15 ms a parity symbol

MAX_UNKNOWNS = 32  # an equation with more is no repair but work; three frames of a slow path
MAX_EQUATIONS = 32  # 37 kB; what one symbol costs grows with their number

_POLYNOMIAL = 0x11D  # zfec's


def _powers() -> tuple[list[int], list[int]]:
    """Of the generator 2, and their logarithms."""
    exponents, logarithms = [1] * 510, [0] * 256
    power = 1
    for i in range(255):
        exponents[i] = exponents[i + 255] = power
        logarithms[power] = i
        power <<= 1
        if power & 0x100:
            power ^= _POLYNOMIAL
    return exponents, logarithms


_EXP, _LOG = _powers()


@lru_cache(maxsize=256)
def _products(factor: int) -> bytes:
    """`factor` times each element: a table for `bytes.translate`."""
    if not factor:
        return bytes(256)
    log = _LOG[factor]
    return bytes([0, *(_EXP[log + _LOG[element]] for element in range(1, 256))])


def _inverse(element: int) -> int:
    return _EXP[255 - _LOG[element]]


@lru_cache(maxsize=MAX_WINDOW_SYMBOLS)
def _window_encoder(k: int) -> zfec.Encoder:
    return zfec.Encoder(k, k + ROWS)


def combine(pieces: Sequence[bytes], row: int) -> bytes:
    """The parity symbol of `row` over these, at most `MAX_WINDOW_SYMBOLS`, of one length."""
    made: list[bytes] = _window_encoder(len(pieces)).encode(list(pieces), [len(pieces) + row])
    return made[0]


@lru_cache(maxsize=1024)
def coefficients(k: int, row: int) -> bytes:
    """By what each of `k` source symbols is multiplied in the parity symbol of `row`; never 0."""
    return combine([bytes(i) + b"\x01" + bytes(k - 1 - i) for i in range(k)], row)


Unknown = tuple[int, int]
"""A frame, and the number of a symbol in it."""


class Equations:
    """Linear equations over GF(2^8), in reduced row echelon form all the time.

    A symbol's value is a number, its first byte the lowest: symbols of several lengths add up.

    `add` them, say which unknowns have become known (`know`) or will not (`forget`), and `take`
    what is solved.
    """

    def __init__(self) -> None:
        # by the unknown that no other row has
        self.rows: dict[Unknown, tuple[dict[Unknown, int], int]] = {}
        self.solved: list[tuple[Unknown, int]] = []  # and not taken

    def add(self, terms: dict[Unknown, int], value: int) -> None:
        """The unknowns times their coefficients sum to `value`.  Too long a one is passed over."""
        if len(terms) > MAX_UNKNOWNS or len(self.rows) >= MAX_EQUATIONS:
            return
        for unknown in [unknown for unknown in terms if unknown in self.rows]:
            value ^= _subtract(terms, terms[unknown], self.rows[unknown])
        if not terms:
            return  # it says nothing new
        pivot, factor = next(iter(terms.items()))
        row = _scaled(terms, value, _inverse(factor))
        for other, (its_terms, its_value) in list(self.rows.items()):
            if pivot in its_terms:
                its_value ^= _subtract(its_terms, its_terms[pivot], row)
                self._keep(other, its_terms, its_value)
        self._keep(pivot, *row)

    def know(self, unknown: Unknown, piece: bytes) -> None:
        """A symbol is there."""
        row = self.rows.pop(unknown, None)
        if row is not None:
            terms, value = row
            del terms[unknown]
            self.add(terms, value ^ int.from_bytes(piece, "little"))
            return
        for pivot, (terms, value) in list(self.rows.items()):
            if (factor := terms.pop(unknown, None)) is not None:
                number = int.from_bytes(piece, "little")
                self._keep(pivot, terms, value ^ _times(number, factor))

    def forget(self, frame_id: int) -> None:
        """Nothing more is wanted of a frame, and nothing will be known of it."""
        self.rows = {
            pivot: row
            for pivot, row in self.rows.items()
            if all(unknown[0] != frame_id for unknown in row[0])
        }

    def unknowns_of(self, frame_id: int) -> list[int]:
        """The symbols of a frame that stand in any equation."""
        return sorted({n for terms, _ in self.rows.values() for f, n in terms if f == frame_id})

    def take(self) -> list[tuple[Unknown, int]]:
        """The unknowns that were solved since the last call."""
        solved, self.solved = self.solved, []
        return solved

    def _keep(self, pivot: Unknown, terms: dict[Unknown, int], value: int) -> None:
        if len(terms) > 1:
            self.rows[pivot] = (terms, value)
            return
        self.rows.pop(pivot, None)
        self.solved.append((pivot, value))


def _subtract(terms: dict[Unknown, int], factor: int, row: tuple[dict[Unknown, int], int]) -> int:
    """Take `factor` times `row` from `terms`; returns what that takes from their value."""
    its_terms, its_value = row
    log = _LOG[factor]
    for unknown, other in its_terms.items():
        left = terms.get(unknown, 0) ^ _EXP[log + _LOG[other]]
        if left:
            terms[unknown] = left
        else:
            del terms[unknown]
    return _times(its_value, factor)


def _scaled(terms: dict[Unknown, int], value: int, factor: int) -> tuple[dict[Unknown, int], int]:
    log = _LOG[factor]
    scaled = {unknown: _EXP[log + _LOG[other]] for unknown, other in terms.items()}
    return scaled, _times(value, factor)


def _times(value: int, factor: int) -> int:
    piece = value.to_bytes((value.bit_length() + 7) // 8, "little")
    return int.from_bytes(piece.translate(_products(factor)), "little")
