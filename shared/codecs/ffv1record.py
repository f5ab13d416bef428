"""The head of FFV1's configuration record (RFC 9043, 4.3), read before a decoder is opened on it.

For each slice a decoder holds states of its own, half a megabyte a plane at the worst, however
small the picture: a record of a few bytes could ask for more than a gigabyte.  Pure.
"""

from __future__ import annotations

from shared.errors import DecodeFailed

__all__ = ["slices_of"]

_VERSION = 3
_CUSTOM_TRANSITIONS = 2  # coder type: the range coder with a state table of its own
_CONTEXTS = 32  # states of one symbol (RFC 9043, 3.8.1.2)


def slices_of(record: bytes) -> int:
    """How many slices the pictures of `record` have.

    Raises:
        DecodeFailed: it is no configuration record of version 3.
    """
    coder = _RangeDecoder(record)
    state = [128] * _CONTEXTS
    if coder.symbol(state) != _VERSION:
        raise DecodeFailed("the lossless payload has a malformed configuration record")
    coder.symbol(state)  # micro version
    if coder.symbol(state) == _CUSTOM_TRANSITIONS:
        for _ in range(255):
            coder.symbol(state, signed=True)
    coder.symbol(state)  # colour space
    coder.symbol(state)  # bits
    coder.bit(state, 0)  # chroma planes
    coder.symbol(state), coder.symbol(state)  # how far chroma is halved across and down
    coder.bit(state, 0)  # extra plane
    across, down = coder.symbol(state) + 1, coder.symbol(state) + 1
    return across * down


def _transitions() -> tuple[list[int], list[int]]:
    """The states after a 0 and after a 1: the default table of RFC 9043, 3.8.1.4, as its makers
    work it out."""
    one, factor, most = 1 << 32, int(0.05 * (1 << 32)), 256 - 8
    after_one, last, p = [0] * 256, 0, one // 2
    for _ in range(128):
        state = max((256 * p + one // 2) >> 32, last + 1)
        if 0 < last < 256 and state <= most:
            after_one[last] = state
        p += ((one - p) * factor + one // 2) >> 32
        last = state
    for state in range(256 - most, most + 1):
        if not after_one[state]:
            p = (state * one + 128) >> 8
            p += ((one - p) * factor + one // 2) >> 32
            after_one[state] = min(max((256 * p + one // 2) >> 32, state + 1), most)
    after_zero = [0] + [256 - after_one[256 - state] for state in range(1, 255)] + [0]
    return after_zero, after_one


_AFTER_ZERO, _AFTER_ONE = _transitions()


class _RangeDecoder:
    """RFC 9043, 3.8.1."""

    def __init__(self, data: bytes) -> None:
        self._low = min(int.from_bytes(data[:2], "big"), 0xFF00)
        self._range = 0xFF00
        self._rest = iter(data[2:])

    def bit(self, states: list[int], at: int) -> int:
        state = states[at]
        upper = (self._range * state) >> 8
        self._range -= upper
        bit = int(self._low >= self._range)
        if bit:
            self._low -= self._range
            self._range = upper
        states[at] = (_AFTER_ONE if bit else _AFTER_ZERO)[state]
        if self._range < 0x100:
            self._range <<= 8
            self._low = (self._low << 8) + next(self._rest, 0)
        return bit

    def symbol(self, states: list[int], *, signed: bool = False) -> int:
        if self.bit(states, 0):
            return 0
        bits = 0
        while self.bit(states, 1 + min(bits, 9)):
            bits += 1
            if bits > 31:
                raise DecodeFailed("the lossless payload has a malformed configuration record")
        value = 1
        for place in reversed(range(bits)):
            value = 2 * value + self.bit(states, 22 + min(place, 9))
        if signed and self.bit(states, 11 + min(bits, 10)):
            return -value
        return value
