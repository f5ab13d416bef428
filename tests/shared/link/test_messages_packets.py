from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import MalformedFrame
from shared.link.events import MAX_FRAME_BYTES
from shared.link.messages import (
    DATA,
    HEADER,
    LARGEST_MESSAGE_BYTES,
    LEAST_MESSAGE_BYTES,
    LEAST_SYMBOLS,
    MAX_MESSAGE_BYTES,
    MAX_SOURCE_SYMBOLS,
    OVERHEAD_BYTES,
    OVERHEAD_IPV6_BYTES,
    SIZED,
    SYMBOL_BYTES,
    Packet,
    cut,
    pack_packet,
    parse_packet,
    shape,
    symbol_limit,
)

lengths = st.integers(1, MAX_FRAME_BYTES)
sizes = st.integers(LEAST_MESSAGE_BYTES, LARGEST_MESSAGE_BYTES)


@given(lengths, sizes)
def test_the_symbols_of_a_frame_cover_it_and_none_is_padding_alone(length, message_bytes):
    frame = cut(length, message_bytes)
    assert (frame.symbols - 1) * frame.symbol_bytes < length <= frame.symbols * frame.symbol_bytes
    assert HEADER.size + frame.symbol_bytes <= message_bytes


@given(lengths, sizes)
def test_the_size_of_a_symbol_tells_how_its_frame_is_cut(length, message_bytes):
    frame = cut(length, message_bytes)
    assert shape(length, frame.symbol_bytes) == frame


@given(lengths, sizes)
def test_blocks_are_balanced_contiguous_and_small_enough_for_the_code(length, message_bytes):
    frame = cut(length, message_bytes)
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


@pytest.mark.parametrize("size", [0, LEAST_MESSAGE_BYTES - 1, LARGEST_MESSAGE_BYTES + 1])
def test_a_frame_is_cut_to_no_message_that_a_path_is_not_asked_for(size):
    with pytest.raises(ValueError, match="a message is cut"):
        cut(10_000, size)


def test_the_least_message_fits_every_host_and_the_largest_fills_an_ethernet():
    relayed = 4  # a TURN server's channel header (RFC 8656 section 12.4)
    assert LEAST_MESSAGE_BYTES + OVERHEAD_IPV6_BYTES + relayed <= 576
    assert 1496 < LARGEST_MESSAGE_BYTES + OVERHEAD_BYTES <= 1500
    assert LARGEST_MESSAGE_BYTES % 4 == LEAST_MESSAGE_BYTES % 4 == 0  # what SCTP pads to


def test_larger_messages_carry_a_frame_in_fewer_packets():
    counts = [cut(60_000, size).symbols for size in (440, 1160, 1404)]
    assert counts == [142, 53, 44]


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


@given(st.integers(1, 500_000), sizes, st.data())
def test_a_packet_of_any_size_survives_the_wire(length, message_bytes, data):
    frame = cut(length, message_bytes)
    block = data.draw(st.integers(0, frame.blocks - 1))
    symbol = data.draw(st.integers(0, symbol_limit(frame.source_symbols(block)) - 1))
    packet = Packet(7, 5, length, block, symbol, bytes(frame.symbol_bytes))
    message = pack_packet(packet, SIZED)
    assert len(message) <= message_bytes
    assert message[0] == SIZED
    assert parse_packet(message) == packet


def test_a_packet_of_the_one_size_has_no_other():
    frame = cut(100_000, 440)
    packet = Packet(0, 0, 100_000, 0, 0, bytes(frame.symbol_bytes))
    assert parse_packet(pack_packet(packet, SIZED)) == packet
    with pytest.raises(MalformedFrame, match="does not fit"):
        parse_packet(pack_packet(packet, DATA))


@pytest.mark.parametrize(
    ("length", "symbol_bytes"),
    [
        (0, 1),
        (MAX_FRAME_BYTES + 1, 1_000),
        (1_000, 0),
        (1_000, 199),
        (100, 99),
        (1_000_000, LARGEST_MESSAGE_BYTES - HEADER.size + 1),
    ],
)
def test_no_frame_is_cut_into_crumbs_or_into_more_than_a_packet_holds(length, symbol_bytes):
    with pytest.raises(MalformedFrame):
        shape(length, symbol_bytes)
    with pytest.raises(MalformedFrame):
        parse_packet(HEADER.pack(SIZED, 0, 0, length, 0, 0) + bytes(symbol_bytes))


def test_a_sized_packet_outside_its_frame_is_malformed():
    length = 1_000  # of symbols of 250: one block of four
    for block, symbol in ((1, 0), (0, symbol_limit(4))):
        with pytest.raises(MalformedFrame, match="no place"):
            parse_packet(HEADER.pack(SIZED, 0, 0, length, block, symbol) + bytes(250))


def test_the_layout_is_the_documented_one():
    packet = Packet(0x01020304, 5, 300, 0, 2, b"x" * 300)
    header = bytes.fromhex("01 01020304 00000005 0000012c 0000 02".replace(" ", ""))
    assert pack_packet(packet) == header + b"x" * 300
    assert pack_packet(packet, SIZED) == b"\x05" + header[1:] + b"x" * 300


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
