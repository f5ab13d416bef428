"""The chain's rules, without any codec: what may follow what, and which payloads are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.codecs.chain import ChainReader, ChainWriter
from shared.errors import DecodeFailed

SHAPE = (64, 48, 3)


def test_a_chain_is_read_in_the_order_in_which_it_was_written() -> None:
    writer, reader = ChainWriter(7), ChainReader(7)
    for index in range(20):
        key = index in (0, 8)
        payload = writer.pack(b"picture %d" % index, shape=SHAPE, key=key)
        assert bytes(reader.unpack(payload, shape=SHAPE, key=key)) == b"picture %d" % index


@given(order=st.lists(st.integers(0, 9), max_size=30))
def test_whatever_arrives_only_what_builds_on_the_last_one_taken_is_taken(order: list[int]) -> None:
    writer, reader = ChainWriter(7), ChainReader(7)
    keys = [index in (0, 5) for index in range(10)]
    payloads = [writer.pack(bytes([index]), shape=SHAPE, key=key) for index, key in enumerate(keys)]
    last: int | None = None
    for index in order:
        if keys[index] or index - 1 == last:
            assert bytes(reader.unpack(payloads[index], shape=SHAPE, key=keys[index])) == bytes(
                [index]
            )
            last = index
        else:
            with pytest.raises(DecodeFailed):
                reader.unpack(payloads[index], shape=SHAPE, key=False)


def test_after_a_break_only_a_key_picture_is_taken() -> None:
    writer, reader = ChainWriter(7), ChainReader(7)
    reader.unpack(writer.pack(b"a", shape=SHAPE, key=True), shape=SHAPE, key=True)
    reader.broken()
    with pytest.raises(DecodeFailed):
        reader.unpack(writer.pack(b"b", shape=SHAPE, key=False), shape=SHAPE, key=False)
    reader.unpack(writer.pack(b"c", shape=SHAPE, key=True), shape=SHAPE, key=True)


@pytest.mark.parametrize("shape", [(48, 64, 3), (64, 48, 1), (63, 48, 3)])
def test_a_payload_announced_in_another_shape_is_refused(shape: tuple[int, int, int]) -> None:
    payload = ChainWriter(7).pack(b"a", shape=SHAPE, key=True)
    with pytest.raises(DecodeFailed):
        ChainReader(7).unpack(payload, shape=shape, key=True)


def test_a_payload_of_another_format_is_refused() -> None:
    payload = ChainWriter(8).pack(b"a", shape=SHAPE, key=True)
    with pytest.raises(DecodeFailed, match="format"):
        ChainReader(7).unpack(payload, shape=SHAPE, key=True)


def test_every_single_flipped_bit_and_every_shortening_is_noticed() -> None:
    payload = ChainWriter(7).pack(b"a picture", shape=SHAPE, key=True)
    for bit in range(8 * len(payload)):
        damaged = bytearray(payload)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DecodeFailed):
            ChainReader(7).unpack(damaged, shape=SHAPE, key=True)
    for length in range(len(payload)):
        with pytest.raises(DecodeFailed):
            ChainReader(7).unpack(payload[:length], shape=SHAPE, key=True)
