"""The control channel's records arrive once, in order and unaltered, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.crypto.securechannel import RECORD_OVERHEAD, SecureChannel
from shared.errors import AuthenticationFailed, BadInput

KEY_A, KEY_B = b"a" * 32, b"b" * 32


def pair() -> tuple[SecureChannel, SecureChannel]:
    return SecureChannel(KEY_A, KEY_B), SecureChannel(KEY_B, KEY_A)


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=300)), max_size=20))
def test_messages_cross_both_ways_in_order(messages: list[tuple[bool, bytes]]) -> None:
    one, other = pair()
    for forwards, plaintext in messages:
        source, target = (one, other) if forwards else (other, one)
        record = source.seal(plaintext)
        assert len(record) == len(plaintext) + RECORD_OVERHEAD
        assert target.open(record) == plaintext


def test_equal_messages_never_look_alike() -> None:
    one, _ = pair()
    assert len({one.seal(b"same") for _ in range(50)}) == 50


@given(st.permutations(range(5)), st.sets(st.integers(0, 4)))
def test_only_an_unbroken_beginning_of_the_records_opens(
    order: list[int], dropped: set[int]
) -> None:
    one, other = pair()
    records = [one.seal(bytes((i,))) for i in range(5)]
    expected = 0
    for i in (i for i in order if i not in dropped):
        if i == expected:
            assert other.open(records[i]) == bytes((i,))
            expected += 1
        else:
            with pytest.raises(AuthenticationFailed):
                other.open(records[i])


def test_a_repeated_record_is_refused() -> None:
    one, other = pair()
    record = one.seal(b"epoch")
    other.open(record)
    with pytest.raises(AuthenticationFailed):
        other.open(record)


def test_a_reflected_record_is_refused() -> None:
    one, _ = pair()
    with pytest.raises(AuthenticationFailed):
        one.open(one.seal(b"epoch"))


def test_every_flipped_bit_and_every_truncation_is_refused() -> None:
    one, other = pair()
    record = one.seal(b"a short message")
    for bit in range(8 * len(record)):
        altered = bytearray(record)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(AuthenticationFailed):
            other.open(bytes(altered))
    for length in range(len(record)):
        with pytest.raises(AuthenticationFailed):
            other.open(record[:length])
    assert other.open(record) == b"a short message"


@pytest.mark.parametrize(("send", "receive"), [(KEY_A, KEY_A), (b"", KEY_A), (KEY_A, b"b" * 16)])
def test_keys_must_be_two_of_32_bytes(send: bytes, receive: bytes) -> None:
    with pytest.raises(BadInput):
        SecureChannel(send, receive)
