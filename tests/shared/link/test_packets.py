from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import MalformedFrame
from shared.link.fec import MAX_SOURCE_SYMBOLS, symbol_limit
from shared.link.link import MAX_FRAME_BYTES
from shared.link.packets import (
    HEADER,
    LEAST_SYMBOLS,
    MAX_MESSAGE_BYTES,
    SYMBOL_BYTES,
    Packet,
    cut,
    pack_packet,
    parse_packet,
)

lengths = st.integers(1, MAX_FRAME_BYTES)


@given(lengths)
def test_the_symbols_of_a_frame_cover_it_and_none_is_padding_alone(length):
    frame = cut(length)
    assert (frame.symbols - 1) * frame.symbol_bytes < length <= frame.symbols * frame.symbol_bytes
    assert frame.symbol_bytes <= SYMBOL_BYTES


@given(lengths)
def test_blocks_are_balanced_contiguous_and_small_enough_for_the_code(length):
    frame = cut(length)
    sizes = [frame.source_symbols(block) for block in range(frame.blocks)]
    assert sum(sizes) == frame.symbols
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= MAX_SOURCE_SYMBOLS
    starts = [frame.first_symbol(block) for block in range(frame.blocks)]
    assert starts == [sum(sizes[:block]) for block in range(frame.blocks)]


def test_small_frames_are_cut_into_several_packets_and_the_smallest_into_one():
    assert cut(1).symbols == 1
    assert cut(400).symbols == 1
    assert cut(401).symbols == 2
    assert cut(2_400).symbols == LEAST_SYMBOLS
    assert cut(LEAST_SYMBOLS * SYMBOL_BYTES).symbols == LEAST_SYMBOLS
    assert cut(25_000).symbols == 22


@pytest.mark.parametrize("length", [0, -1, MAX_FRAME_BYTES + 1])
def test_a_frame_of_no_or_too_many_bytes_has_no_cut(length):
    with pytest.raises(ValueError, match="a frame is"):
        cut(length)


def test_the_largest_packet_is_one_sctp_chunk():
    packet = Packet(0, 0, 10 * SYMBOL_BYTES, 0, 3, bytes(SYMBOL_BYTES))
    assert len(pack_packet(packet)) == MAX_MESSAGE_BYTES == 1160


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(1, 500_000),
    st.data(),
)
def test_a_packet_survives_the_wire(sequence, frame_id, length, data):
    frame = cut(length)
    block = data.draw(st.integers(0, frame.blocks - 1))
    symbol = data.draw(st.integers(0, symbol_limit(frame.source_symbols(block)) - 1))
    packet = Packet(sequence, frame_id, length, block, symbol, bytes(frame.symbol_bytes))
    assert parse_packet(pack_packet(packet)) == packet


def test_the_layout_is_the_documented_one():
    packet = Packet(0x01020304, 5, 300, 0, 2, b"x" * 300)
    header = bytes.fromhex("01 01020304 00000005 0000012c 0000 02".replace(" ", ""))
    assert pack_packet(packet) == header + b"x" * 300


def raw(kind=1, sequence=0, frame_id=0, length=3_000, block=0, symbol=0, piece=None):
    size = cut(length).symbol_bytes if piece is None else 0
    return HEADER.pack(kind, sequence, frame_id, length, block, symbol) + (piece or bytes(size))


@pytest.mark.parametrize(
    "message",
    [
        b"",
        raw()[: HEADER.size],
        raw(kind=2),
        raw(block=1),
        raw(symbol=symbol_limit(6)),
        raw()[:-1],
        raw() + b"\0",
        HEADER.pack(1, 0, 0, 0, 0, 0) + b"x",
        HEADER.pack(1, 0, 0, MAX_FRAME_BYTES + 1, 0, 0) + bytes(SYMBOL_BYTES),
        HEADER.pack(1, 0, 0, 10**6, 0, 0) + bytes(SYMBOL_BYTES + 1),
    ],
)
def test_a_packet_that_cannot_be_true_is_malformed(message):
    with pytest.raises(MalformedFrame):
        parse_packet(message)


@given(st.binary(max_size=1_300))
def test_no_bytes_at_all_do_worse_than_malformed(message):
    with contextlib.suppress(MalformedFrame):
        parse_packet(message)
