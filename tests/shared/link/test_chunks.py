from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import MalformedFrame
from shared.link.chunks import (
    CHUNK,
    CHUNK_BYTES,
    HEADER,
    MAX_MESSAGE_BYTES,
    STALE_AFTER,
    Assembled,
    Reassembler,
    split,
)
from shared.link.link import MAX_FRAME_BYTES

sizes = st.sampled_from([1, 2, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES]) | (
    st.integers(1, 6 * CHUNK_BYTES)
)


def frame(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def feed(reassembler: Reassembler, messages: list[bytes], now: int = 0) -> list[Assembled]:
    done = (reassembler.add(message, now) for message in messages)
    return [assembled for assembled in done if assembled is not None]


@given(sizes)
def test_every_message_is_within_the_limit_and_together_they_are_the_frame(size):
    data = frame(size)
    messages = list(split(7, data))
    assert all(len(message) <= MAX_MESSAGE_BYTES for message in messages)
    assert b"".join(message[HEADER.size :] for message in messages) == data
    assert all(len(message) == MAX_MESSAGE_BYTES for message in messages[:-1])


@given(st.lists(sizes, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_frames_come_back_whole_in_any_order_and_with_duplicates(frame_sizes, dice):
    frames = {i: frame(size, i) for i, size in enumerate(frame_sizes)}
    messages = [message for i, data in frames.items() for message in split(i, data)]
    messages += dice.choices(messages, k=len(messages) // 2)
    dice.shuffle(messages)
    reassembler = Reassembler()
    done = feed(reassembler, messages)
    assert {assembled.frame_id: assembled.data for assembled in done} == frames
    assert len(done) == len(frames)
    assert reassembler.held_bytes == 0


@given(st.integers(2, 6), st.data())
def test_a_frame_that_lost_a_chunk_never_comes_out(chunks, data):
    messages = list(split(0, frame(chunks * CHUNK_BYTES)))
    del messages[data.draw(st.integers(0, chunks - 1))]
    assert feed(Reassembler(), messages) == []


def test_the_time_of_the_first_chunk_to_arrive_is_kept():
    messages = list(split(0, frame(3 * CHUNK_BYTES)))
    reassembler = Reassembler()
    assert reassembler.add(messages[2], 500) is None
    assert reassembler.add(messages[0], 600) is None
    whole = reassembler.add(messages[1], 700)
    assert whole is not None
    assert whole.first_chunk_at_ns == 500


@given(st.binary(max_size=64) | st.binary(min_size=MAX_MESSAGE_BYTES, max_size=5_000))
def test_hostile_bytes_are_refused_or_held_within_limits(message):
    reassembler = Reassembler()
    try:
        reassembler.add(message, 0)
    except MalformedFrame:
        assert reassembler.held_bytes == 0
    assert reassembler.held_bytes <= len(message)


@given(
    st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**16 - 1),
    st.integers(0, MAX_MESSAGE_BYTES),
)  # fmt: skip
def test_a_chunk_whose_length_does_not_follow_from_its_header_is_refused(
    frame_id, total, index, length
):
    message = HEADER.pack(CHUNK, frame_id, total, index) + bytes(length)
    expected = min(CHUNK_BYTES, total - index * CHUNK_BYTES)
    reassembler = Reassembler()
    if length == expected >= 1 and total <= MAX_FRAME_BYTES:
        reassembler.add(message, 0)
    else:
        with pytest.raises(MalformedFrame):
            reassembler.add(message, 0)


def test_a_chunk_that_disagrees_about_the_frames_length_is_refused_and_the_frame_lives():
    messages = list(split(0, frame(2 * CHUNK_BYTES)))
    reassembler = Reassembler()
    reassembler.add(messages[0], 0)
    with pytest.raises(MalformedFrame):
        reassembler.add(HEADER.pack(CHUNK, 0, 3 * CHUNK_BYTES, 1) + bytes(CHUNK_BYTES), 0)
    assert len(feed(reassembler, messages[1:])) == 1


def test_a_message_of_another_kind_is_refused():
    message = next(split(0, b"x"))
    with pytest.raises(MalformedFrame):
        Reassembler().add(b"\x02" + message[1:], 0)


@pytest.mark.parametrize("size", [0, MAX_FRAME_BYTES + 1])
def test_frames_of_no_or_too_many_bytes_are_not_split(size):
    with pytest.raises(ValueError, match="a frame is 1 to"):
        next(split(0, bytes(size)))


def test_a_frame_longer_than_the_limit_is_refused_at_its_first_chunk():
    message = HEADER.pack(CHUNK, 0, MAX_FRAME_BYTES + 1, 0) + bytes(CHUNK_BYTES)
    with pytest.raises(MalformedFrame):
        Reassembler().add(message, 0)


def test_of_too_many_half_built_frames_the_oldest_is_given_up():
    reassembler = Reassembler(max_half_built=3)
    starts = [next(split(i, frame(2 * CHUNK_BYTES, i))) for i in range(5)]
    feed(reassembler, starts)
    assert reassembler.held_bytes == 3 * CHUNK_BYTES
    assert reassembler.take_given_up() == [0, 1]
    assert reassembler.take_given_up() == []
    rest = [list(split(i, frame(2 * CHUNK_BYTES, i)))[1] for i in range(5)]
    assert [assembled.frame_id for assembled in feed(reassembler, rest)] == [2, 3, 4]


def test_a_late_chunk_of_an_old_frame_does_not_push_out_newer_frames():
    reassembler = Reassembler(max_half_built=2)
    feed(reassembler, [next(split(i, frame(2 * CHUNK_BYTES))) for i in (5, 6)])
    feed(reassembler, [next(split(1, frame(2 * CHUNK_BYTES)))])
    assert reassembler.take_given_up() == [1]
    assert reassembler.held_bytes == 2 * CHUNK_BYTES


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 5)), max_size=200))
def test_memory_stays_within_its_limit_whatever_arrives(arrivals):
    limit = 7 * CHUNK_BYTES
    reassembler = Reassembler(max_held_bytes=limit)
    pieces = {i: list(split(i, frame(6 * CHUNK_BYTES, i))) for i in range(41)}
    for frame_id, index in arrivals:
        reassembler.add(pieces[frame_id][index], 0)
        assert reassembler.held_bytes <= limit


def test_a_frame_left_behind_by_the_newest_is_given_up_and_refused_afterwards():
    reassembler = Reassembler()
    old = list(split(0, frame(2 * CHUNK_BYTES)))
    reassembler.add(old[0], 0)
    reassembler.add(next(split(STALE_AFTER, b"x")), 0)
    assert reassembler.take_given_up() == [0]
    assert reassembler.held_bytes == 0
    assert feed(reassembler, old) == []
    assert reassembler.held_bytes == 0


def test_a_finished_frame_that_is_sent_again_does_not_come_out_again():
    reassembler = Reassembler()
    messages = list(split(0, frame(2 * CHUNK_BYTES)))
    assert len(feed(reassembler, messages)) == 1
    assert feed(reassembler, messages * 3) == []
    assert reassembler.held_bytes == 0


def test_a_reassembler_forgets_the_ids_of_long_finished_frames():
    reassembler = Reassembler()
    for i in range(1_000):
        assert len(feed(reassembler, list(split(i, b"x")))) == 1
    assert len(reassembler._finished) <= STALE_AFTER


def test_the_header_is_on_the_wire_as_documented():
    message = next(split(0x01020304, b"abc"))
    assert message == struct.pack(">BIIH", 1, 0x01020304, 3, 0) + b"abc"
