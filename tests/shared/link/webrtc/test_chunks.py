"""SCTP packets are cut into chunks; what is not well formed is refused, and raises nothing else."""

from __future__ import annotations

import random
import struct

import pytest
from aiortc import rtcsctptransport as aiortc
from google_crc32c import value as crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.link.webrtc.chunks import (
    MAX_CHUNKS,
    MalformedPacket,
    forward_streams,
    gap_blocks,
    packet_bytes,
    parameters,
    parse_sctp,
)
from tests.shared.link.webrtc.hostile import chunk, data, parameter, sack


def packet(*chunks: bytes, tag: int = 7) -> bytes:
    return packet_bytes(5000, 5000, tag, b"".join(chunks))


def test_a_packet_is_read_as_aiortc_reads_it():
    sent = packet(data(9, b"abc"), sack(5, [(2, 3)]), chunk(200, b"x"), tag=77)
    ours = parse_sctp(sent)
    _, _, tag, theirs = aiortc.parse_packet(sent)
    assert ours.tag == tag == 77
    assert [each.type for each in ours.chunks] == [0, 3, 200]
    assert [each.type for each in theirs] == [0, 3]
    assert ours.chunks[0].flags == theirs[0].flags
    assert ours.chunks[0].body[12:] == theirs[0].user_data == b"abc"


def test_aiortc_reads_what_is_packed():
    assert packet(data(9, b"abc")) == aiortc.serialize_packet(
        5000, 5000, 7, aiortc.DataChunk(3, data(9, b"abc")[4:19])
    )


def test_a_sacks_gaps_and_a_forward_tsns_streams_are_read():
    (read,) = parse_sctp(packet(sack(5, [(2, 3), (9, 9)], duplicates=2))).chunks
    assert gap_blocks(read.body) == (5, (2, 3, 9, 9))
    (read,) = parse_sctp(packet(chunk(192, struct.pack("!LHHHH", 8, 1, 2, 1, 3)))).chunks
    assert forward_streams(read.body) == (8, {1: 3})


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        bytes(15),
        packet(data(1, b"x"))[:-1],
        packet(data(1, b"x"))[:-1] + b"\1",
        packet(chunk(0, bytes(20), length=3)),
        packet(chunk(0, bytes(20), length=0)),
        packet(chunk(0, bytes(20), length=25)),
        packet(data(1, b"")),
        packet(chunk(0, bytes(5))),
        packet(chunk(1, bytes(15))),
        packet(chunk(2)),
        packet(chunk(3, struct.pack("!LLHH", 1, 1, 1, 0))),
        packet(chunk(3, struct.pack("!LLHH", 1, 1, 0, 65535))),
        packet(chunk(3, bytes(11))),
        packet(chunk(192, bytes(3))),
        packet(chunk(192, bytes(6))),
        packet(*(chunk(kind, parameter(1, length=0)) for kind in (4,))),
        packet(chunk(9, parameter(1, length=3))),
        packet(chunk(130, parameter(13, bytes(4), length=100))),
        packet(chunk(130, b"\0\1")),
        packet(chunk(1, bytes(16) + parameter(7, length=0))),
        packet(*[chunk(77)] * (MAX_CHUNKS + 1)),
    ],
)
def test_what_no_stack_sends_is_refused(bad):
    with pytest.raises(MalformedPacket):
        parse_sctp(bad)


def test_the_last_paddings_absence_is_forgiven():
    assert len(parse_sctp(packet(chunk(77, b"x"), chunk(78, b"y")[:5])).chunks) == 2


@pytest.mark.parametrize("length", [0, 1, 2, 3, 9])
def test_a_parameter_that_lies_about_its_length_ends_the_reading(length):
    with pytest.raises(MalformedPacket):
        parameters(parameter(1, b"abcd", length=length)[: 4 if length == 9 else 8])


def test_parameters_are_read_as_aiortc_reads_them():
    body = parameter(13, b"abcde") + parameter(0xC000) + parameter(7, b"x" * 24)
    assert parameters(body) == aiortc.decode_params(body)


def signed(body: bytes) -> bytes:
    """With a right checksum, so that the reading goes on."""
    head = body[:8].ljust(8, b"\0")
    rest = body[8:]
    return head + struct.pack("<L", crc32c(head + bytes(4) + rest)) + rest


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200).map(signed))
def test_any_bytes_are_read_or_refused(body):
    try:
        read = parse_sctp(body)
    except MalformedPacket:
        return
    assert sum(4 + len(each.body) for each in read.chunks) <= len(body) - 12


def test_damage_anywhere_is_noticed():
    whole = packet(data(9, bytes(40)))
    for at in range(len(whole)):
        bit = 1 << random.Random(at).randrange(8)
        damaged = whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :]
        with pytest.raises(MalformedPacket):
            parse_sctp(damaged)
