"""Forward error correction: parity symbols from which missing ones of a block are worked out.

Pure.  The code is zfec's: systematic Reed-Solomon over GF(2^8) by a Vandermonde matrix (Rizzo,
"Effective erasure codes for reliable computer communication protocols", CCR 1997).  Any k distinct
symbols of a block give back its k source symbols.  It corrects erasures only: a symbol that was
altered gives a wrong block, and the seal above notices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import zfec

__all__ = ["MAX_SOURCE_SYMBOLS", "parity", "restore", "symbol_limit"]

# Source symbols a block: the work of a decode grows with its square, the strength hardly at all.
MAX_SOURCE_SYMBOLS = 64


def symbol_limit(k: int) -> int:
    """How many different symbols a block of `k` source symbols has; the first `k` are the source.

    More parity than the source itself is no repair any more; the 16 are for the smallest blocks.
    """
    return 2 * k + 16


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
