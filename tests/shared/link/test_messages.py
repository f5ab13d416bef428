from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import MalformedFrame
from shared.link.messages import (
    APP,
    BYE,
    Ping,
    Pong,
    pack_app,
    pack_bye,
    pack_ping,
    pack_pong,
    parse_control,
    parse_small,
)

i64 = st.integers(-(2**63), 2**63 - 1)


@given(i64, i64, i64)
def test_what_is_packed_is_parsed(t1, t2, t3):
    assert parse_small(pack_ping(t1)) == Ping(t1)
    assert parse_small(pack_pong(t1, t2, t3)) == Pong(t1, t2, t3)


@given(st.binary(max_size=40))
def test_hostile_bytes_are_malformed_or_one_of_the_two(message):
    try:
        parsed = parse_small(message)
    except MalformedFrame:
        return
    repacked = {
        Ping: lambda m: pack_ping(m.t1),
        Pong: lambda m: pack_pong(m.t1, m.t2, m.t3),
    }[type(parsed)](parsed)
    assert repacked == message


@pytest.mark.parametrize("kind", [3, 4])
def test_a_length_that_is_off_by_one_is_malformed(kind):
    packed = {3: pack_ping(1), 4: pack_pong(1, 2, 3)}[kind]
    for damaged in (packed[:-1], packed + b"\0"):
        with pytest.raises(MalformedFrame):
            parse_small(damaged)


@given(st.binary(max_size=100))
def test_an_application_message_passes_untouched(message):
    assert parse_control(pack_app(message)) == (APP, message)


@pytest.mark.parametrize("message", [b"", b"\x00abc", b"\x01", b"\x11call 555 0100"])
def test_an_unknown_control_message_is_malformed(message):
    with pytest.raises(MalformedFrame):
        parse_control(message)


def test_a_goodbye_is_one_byte_that_says_nothing():
    assert pack_bye() == bytes((BYE,))
    assert parse_control(pack_bye()) == (BYE, b"")
