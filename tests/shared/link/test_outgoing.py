from __future__ import annotations

import random

import pytest

from shared.link.fec import restore
from shared.link.outgoing import Block, OutgoingFrame
from shared.link.packets import cut


@pytest.mark.parametrize("length", [1, 2_401, 25_000, 200_000])
def test_any_symbols_of_each_block_give_the_frame(length):
    dice = random.Random(length)
    data = dice.randbytes(length)
    frame = OutgoingFrame(7, data, cut(length))
    whole = b""
    for index, block in enumerate(frame.blocks):
        numbers = dice.sample(range(block.k + 3), block.k)
        symbols = {number: frame.symbol(index, number) for number in numbers}
        assert {len(symbol) for symbol in symbols.values()} == {frame.cut.symbol_bytes}
        whole += b"".join(restore(block.k, symbols))
    assert whole[:length] == data
    assert not any(whole[length:])


def test_a_block_is_whole_with_as_many_symbols_as_its_source():
    block = Block(3, there=0b10001)
    assert not block.whole
    block.there |= 0b100000
    assert block.whole


def test_what_is_coming_is_there_or_under_way_or_waits_to_leave():
    block = Block(4, there=0b1, flying=0b10, unsent=0b100, waiting=0b1001)
    assert block.coming == 0b1111
