"""How several messages stand in one fuzzer's input, and inputs made from others by chance.

An input of a parser with a memory is a row of messages, each after its length as u16; a fuzzer that
cuts one in two, or joins two, still makes rows.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence

__all__ = ["join", "mutations", "split"]

MAX_MESSAGES = 64  # of one input: more teaches nothing and takes time
_EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)


def join(messages: Iterable[bytes]) -> bytes:
    return b"".join(len(message).to_bytes(2, "big") + message for message in messages)


def split(data: bytes) -> Iterator[bytes]:
    """The messages of an input; the last is as long as there is left of it."""
    at = 0
    for _ in range(MAX_MESSAGES):
        if at + 2 > len(data):
            return
        nbytes = int.from_bytes(data[at : at + 2], "big")
        yield data[at + 2 : at + 2 + nbytes]
        at += 2 + nbytes


def mutations(seeds: Sequence[bytes], count: int, seed: int) -> Iterator[bytes]:
    """Changed seeds, the same for the same arguments: what a fuzzer does, without its feedback."""
    dice = random.Random(seed)
    for _ in range(count):
        data = bytearray(dice.choice(seeds))
        for _ in range(dice.choice((1, 1, 2, 4, 16))):
            _change(data, seeds, dice)
        yield bytes(data)


def _change(data: bytearray, seeds: Sequence[bytes], dice: random.Random) -> None:
    at = dice.randint(0, len(data))
    match dice.randrange(7):
        case 0 if data:
            data[at % len(data)] ^= 1 << dice.randrange(8)
        case 1 if data:
            data[at % len(data)] = dice.randrange(256)
        case 2:
            width = dice.choice((1, 2, 4))
            data[at : at + width] = (dice.choice(_EDGES) % 256**width).to_bytes(width, "big")
        case 3:
            del data[at : at + dice.choice((1, 2, 4, 16, 64))]
        case 4:
            data[at:at] = dice.randbytes(dice.choice((1, 2, 4, 16, 64)))
        case 5:
            other = dice.choice(seeds)
            begin = dice.randint(0, len(other))
            data[at:] = other[begin:]
        case _:
            piece = data[at : at + dice.choice((4, 20, 100))]
            data[at:at] = piece
