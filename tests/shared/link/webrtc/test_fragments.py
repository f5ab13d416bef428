"""Ordered messages are put together from chunks in any order, within what may be held."""

from __future__ import annotations

import random

import pytest

from shared.link.webrtc.fragments import (
    MAX_HELD_CHUNKS,
    MAX_MESSAGE_BYTES,
    MAX_STREAMS,
    WINDOW_BYTES,
    Fragments,
    ProtocolBroken,
    SctpMessage,
)

BEGIN, END, WHOLE = 2, 1, 3


def chunks_of(messages: list[bytes], piece: int, first: int = 2**32 - 20):
    """(TSN, flags, sequence, data) of each chunk, as a sender numbers them."""
    tsn = first
    for sequence, message in enumerate(messages):
        for start in range(0, len(message), piece):
            flags = BEGIN * (start == 0) | END * (start + piece >= len(message))
            yield tsn % 2**32, flags, sequence, message[start : start + piece]
            tsn += 1


@pytest.mark.parametrize("seed", range(8))
def test_messages_come_whole_and_in_order_whatever_overtakes_what(seed):
    dice = random.Random(seed)
    messages = [dice.randbytes(dice.randint(1, 4_000)) for _ in range(40)]
    chunks = list(chunks_of(messages, 476))
    dice.shuffle(chunks)
    fragments, got = Fragments(), []
    for tsn, flags, sequence, data in chunks:
        got += fragments.add(tsn, flags, 1, sequence, 53, data)
        assert fragments.window_nbytes == WINDOW_BYTES - fragments.held_nbytes
    assert got == [SctpMessage(1, 53, message) for message in messages]
    assert fragments.held_nbytes == fragments.held_chunks == 0


def test_sequence_numbers_go_round():
    fragments = Fragments()
    for i in range(2**16 + 10):
        assert fragments.add(i, WHOLE, 0, i % 2**16, 53, b"x")


def test_streams_do_not_wait_for_each_other():
    fragments = Fragments()
    assert fragments.add(1, WHOLE, 0, 1, 53, b"late") == []
    assert fragments.add(2, WHOLE, 2, 0, 53, b"now") == [SctpMessage(2, 53, b"now")]


def test_the_window_is_all_that_is_held():
    fragments = Fragments()
    most = WINDOW_BYTES // 1_024
    for i in range(most):
        fragments.add(i, BEGIN, 0, i + 1, 53, bytes(1_024))
    assert fragments.window_nbytes == 0
    with pytest.raises(ProtocolBroken):
        fragments.add(most, BEGIN, 0, most + 1, 53, b"x")
    assert fragments.held_nbytes == WINDOW_BYTES


def test_small_chunks_are_counted_too():
    fragments = Fragments()
    for i in range(MAX_HELD_CHUNKS):
        fragments.add(i, BEGIN, 0, i + 1, 53, b"x")
    with pytest.raises(ProtocolBroken):
        fragments.add(MAX_HELD_CHUNKS, BEGIN, 0, MAX_HELD_CHUNKS + 1, 53, b"x")


def test_no_message_is_larger_than_a_control_message():
    fragments = Fragments()
    for i in range(MAX_MESSAGE_BYTES // 1_024):
        fragments.add(i, BEGIN * (i == 0), 0, 0, 53, bytes(1_024))
    with pytest.raises(ProtocolBroken, match="larger"):
        fragments.add(99, 0, 0, 0, 53, b"x")
    assert fragments.held_nbytes <= MAX_MESSAGE_BYTES + 1_024


def test_streams_beyond_a_few_hold_nothing():
    fragments = Fragments()
    for stream in range(1_000):
        fragments.add(stream, BEGIN, stream, 0, 53, bytes(100))
    assert fragments.held_chunks == MAX_STREAMS


@pytest.mark.parametrize(
    "pieces",
    [
        [(1, BEGIN), (2, BEGIN)],
        [(1, END), (2, END)],
        [(1, BEGIN), (9, 0), (3, END)],
        [(5, BEGIN), (4, END), (9, 0)] + [(i, 0) for i in range(10, 40)],
    ],
    ids=["two beginnings", "two ends", "a piece outside", "backwards"],
)
def test_pieces_that_contradict_each_other_never_make_a_message(pieces):
    fragments = Fragments()
    try:
        got = [fragments.add(tsn, flags, 0, 0, 53, b"x") for tsn, flags in pieces]
    except ProtocolBroken:
        return
    assert not any(got)
    assert fragments.held_chunks == len(pieces)


def test_what_is_passed_over_is_dropped_and_what_waited_for_it_comes():
    fragments = Fragments()
    fragments.add(1, BEGIN, 0, 0, 53, b"never whole")
    fragments.add(5, WHOLE, 0, 2, 53, b"after")
    assert fragments.pass_over({0: 1, 9: 4}) == [SctpMessage(0, 53, b"after")]
    assert fragments.held_nbytes == 0
    assert fragments.pass_over({0: 1}) == []  # said again, it moves nothing back
    assert fragments.add(6, WHOLE, 0, 3, 53, b"next") == [SctpMessage(0, 53, b"next")]
    assert fragments.add(7, WHOLE, 0, 1, 53, b"passed over") == []


@pytest.mark.parametrize("far", [1, 5, 300, 30_000])
def test_passing_over_drops_what_lies_before_and_nothing_else(far):
    fragments = Fragments()
    for i in range(1, 400):
        fragments.add(i, BEGIN, 0, i, 53, b"x")
    fragments.pass_over({0: far})
    assert fragments.held_chunks == max(0, 399 - far)


def test_a_stream_that_begins_anew_counts_anew():
    fragments = Fragments()
    fragments.add(1, WHOLE, 0, 0, 53, b"one")
    fragments.add(2, BEGIN, 0, 1, 53, b"half")
    fragments.reset(0)
    assert fragments.held_chunks == fragments.held_nbytes == 0
    assert fragments.add(3, WHOLE, 0, 0, 53, b"anew") == [SctpMessage(0, 53, b"anew")]
    fragments.reset(77)
