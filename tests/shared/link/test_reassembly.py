from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import MalformedFrame
from shared.link.fec import ROWS, combine, parity
from shared.link.messages import Packet, cut
from shared.link.reassembly import (
    GIVE_UP_NS,
    MAX_HALF_BUILT,
    STALE_AFTER,
    Assembled,
    GivenUp,
    Reassembler,
)
from shared.link.redundancy import WindowParity


def symbols(frame_id: int, data: bytes, extra: int = 0) -> list[Packet]:
    frame = cut(len(data))
    padded = data + bytes(frame.symbols * frame.symbol_bytes - len(data))
    packets = []
    for block in range(frame.blocks):
        k, first = frame.source_symbols(block), frame.first_symbol(block)
        size = frame.symbol_bytes
        source = [padded[i * size : (i + 1) * size] for i in range(first, first + k)]
        pieces = source + parity(source, range(k, k + extra))
        packets += [Packet(0, frame_id, len(data), block, i, p) for i, p in enumerate(pieces)]
    return packets


@settings(max_examples=50)
@given(
    st.lists(st.integers(1, 120_000), min_size=1, max_size=4),
    st.integers(0, 2**32),
)
def test_frames_are_put_together_from_any_order_with_repeats_and_parity(sizes, seed):
    dice = random.Random(seed)  # of its own: Hypothesis would have to draw each byte of a frame
    frames = [dice.randbytes(size) for size in sizes]
    packets = []
    for frame_id, data in enumerate(frames):
        blocks: dict[int, list[Packet]] = {}
        for packet in symbols(frame_id, data, extra=3):
            blocks.setdefault(packet.block, []).append(packet)
        for block in blocks.values():
            packets += dice.sample(block, len(block) - 3)  # any k of them
    packets += dice.choices(packets, k=5)
    dice.shuffle(packets)
    reassembler = Reassembler()
    whole = [reassembler.add(packet, at) for at, packet in enumerate(packets)]
    assert {w.frame_id: w.data for w in whole if w} == dict(enumerate(frames))
    assert reassembler.held_bytes == 0
    assert not reassembler.waiting
    assert reassembler.take_given_up() == []


def test_a_frame_is_delivered_once():
    reassembler = Reassembler()
    (packet,) = symbols(0, b"x")
    assert reassembler.add(packet, 0) is not None
    assert reassembler.add(packet, 0) is None


def test_a_packet_that_contradicts_the_length_of_its_frame_is_malformed():
    reassembler = Reassembler()
    reassembler.add(symbols(0, bytes(2_000))[0], 0)
    with pytest.raises(MalformedFrame):
        reassembler.add(symbols(0, bytes(2_001))[0], 0)


def test_the_newest_frames_are_held_and_the_oldest_given_up():
    reassembler = Reassembler()
    for frame_id in range(MAX_HALF_BUILT + 3):
        reassembler.add(symbols(frame_id, bytes(2_000))[0], 0)
    assert reassembler.take_given_up() == [GivenUp(i, begun=True) for i in range(3)]
    assert reassembler.held_bytes == MAX_HALF_BUILT * cut(2_000).symbol_bytes
    for packet in symbols(0, bytes(2_000)):
        assert reassembler.add(packet, 0) is None  # gone for good


def test_held_bytes_are_bounded():
    size = cut(100_000).symbol_bytes
    reassembler = Reassembler(max_held_bytes=10 * size)
    for frame_id in range(3):
        for packet in symbols(frame_id, bytes(100_000))[:5]:
            reassembler.add(packet, 0)
            assert reassembler.held_bytes <= 10 * size
    assert reassembler.take_given_up() == [GivenUp(0, begun=True)]


def test_a_sender_that_is_far_ahead_has_given_older_frames_up():
    reassembler = Reassembler()
    reassembler.add(symbols(0, bytes(2_000))[0], 0)
    reassembler.add(symbols(STALE_AFTER, bytes(2_000))[0], 0)
    assert GivenUp(0, begun=True) in reassembler.take_given_up()
    assert reassembler.add(symbols(0, b"late")[0], 0) is None


def test_a_jump_of_frame_ids_costs_no_memory():
    reassembler = Reassembler()
    for frame_id in (0, 2**31, 2**32 - 1):
        reassembler.add(symbols(frame_id, bytes(2_000))[0], 0)
    assert len(reassembler._unseen) <= STALE_AFTER
    assert len(reassembler._finished) <= 4 * STALE_AFTER


def test_a_frame_of_which_nothing_more_comes_is_given_up_once_newer_ones_came():
    reassembler = Reassembler()
    reassembler.add(symbols(0, bytes(2_000))[0], 0)
    reassembler.expire(10 * GIVE_UP_NS)
    assert reassembler.take_given_up() == []  # nothing newer: it may still come
    reassembler.add(symbols(1, b"newer")[0], 10 * GIVE_UP_NS)
    reassembler.expire(10 * GIVE_UP_NS)
    assert reassembler.take_given_up() == [GivenUp(0, begun=True)]


def test_a_frame_that_still_grows_is_not_given_up():
    reassembler = Reassembler()
    first, second, *_ = symbols(0, bytes(2_400))
    reassembler.add(first, 0)
    reassembler.add(symbols(1, b"newer")[0], 0)
    reassembler.add(second, GIVE_UP_NS - 1)
    reassembler.expire(GIVE_UP_NS)
    assert reassembler.take_given_up() == []


def test_a_frame_of_which_nothing_came_at_all_is_missed():
    reassembler = Reassembler()
    reassembler.add(symbols(0, b"x")[0], 0)
    reassembler.add(symbols(3, b"x")[0], 100)
    reassembler.add(symbols(2, b"x")[0], 200)  # only overtaken
    assert reassembler.waiting
    reassembler.expire(99 + GIVE_UP_NS)
    assert reassembler.take_given_up() == []
    reassembler.expire(100 + GIVE_UP_NS)
    assert reassembler.take_given_up() == [GivenUp(1, begun=False)]
    assert reassembler.add(symbols(1, b"x")[0], 0) is None


def test_frames_before_the_first_one_seen_are_not_missed():
    reassembler = Reassembler()
    reassembler.add(symbols(40, b"x")[0], 0)
    assert not reassembler.waiting


def test_the_reassembly_of_random_losses_with_parity_needs_no_more_than_k():
    dice = random.Random(4)
    reassembler = Reassembler()
    data = dice.randbytes(25_000)
    packets = symbols(0, data, extra=4)
    dice.shuffle(packets)
    results = [reassembler.add(packet, 0) for packet in packets]
    assert [result is not None for result in results].index(True) == cut(25_000).symbols - 1


def test_a_repeated_symbol_is_held_once():
    reassembler = Reassembler()
    first, second, *_ = symbols(0, bytes(6_000))
    for packet in (first, second, first, second, first):
        reassembler.add(packet, 0)
    assert reassembler.held_bytes == len(first.piece) + len(second.piece)


def test_after_a_block_is_whole_its_further_symbols_are_not_held():
    reassembler = Reassembler()
    *packets, spare = [p for p in symbols(0, bytes(100_000), extra=1) if p.block == 0]
    for packet in packets:
        reassembler.add(packet, 0)
    held = reassembler.held_bytes
    reassembler.add(spare, 0)
    assert reassembler.held_bytes == held == sum(len(packet.piece) for packet in packets)


# -- parity over several frames -------------------------------------------------------------------

FRAMES = [random.Random(i).randbytes(length) for i, length in enumerate((3_000, 7_000, 900, 5_500))]


def over(first: int, last: int, row: int = 0, frames: list[bytes] = FRAMES) -> WindowParity:
    window = frames[first : last + 1]
    pieces = [p.piece for n, data in enumerate(window, first) for p in symbols(n, data)]
    size = max(map(len, pieces))
    piece = combine([piece.ljust(size, b"\0") for piece in pieces], row)
    return WindowParity(0, first, tuple(cut(len(data)) for data in window), row, piece)


def packets_of(frame_id: int) -> list[Packet]:
    return symbols(frame_id, FRAMES[frame_id])


def fed(packets: list[Packet]) -> Reassembler:
    reassembler = Reassembler()
    for packet in packets:
        reassembler.add(packet, 0)
    return reassembler


def restored(reassembler: Reassembler) -> dict[int, bytes]:
    return {whole.frame_id: whole.data for whole in reassembler.take_restored()}


def test_a_frame_of_which_nothing_came_is_made_of_the_parity_of_those_after_it():
    reassembler = fed(packets_of(0))
    needed = len(packets_of(1))
    for row in range(needed):
        assert not reassembler.restored
        reassembler.add_parity(over(0, 1 if row < 2 else 2, row), 0)
        if row == 2:
            for packet in packets_of(2):
                reassembler.add(packet, 0)
    assert restored(reassembler) == {1: FRAMES[1]}
    assert not reassembler.waiting
    assert reassembler.held_bytes == 0


def test_two_frames_that_lack_symbols_are_restored_together():
    reassembler = fed(packets_of(0)[2:] + packets_of(1)[1:])
    for row in range(3):
        assert restored(reassembler) == {}
        reassembler.add_parity(over(0, 1, row), 0)
    assert restored(reassembler) == {0: FRAMES[0], 1: FRAMES[1]}


def test_a_late_packet_may_complete_other_frames_too():
    reassembler = fed(packets_of(0)[2:] + packets_of(1)[1:])
    for row in range(2):
        reassembler.add_parity(over(0, 1, row), 0)
    assert restored(reassembler) == {}
    assert reassembler.add(packets_of(1)[0], 0) == Assembled(1, FRAMES[1])
    assert restored(reassembler) == {0: FRAMES[0]}


def test_a_frames_own_parity_and_that_over_several_frames_work_together():
    own = symbols(1, FRAMES[1], extra=1)
    reassembler = fed(packets_of(0)[1:] + own[1:-1])
    reassembler.add_parity(over(0, 1, 0), 0)
    assert reassembler.add(own[-1], 0) == Assembled(1, FRAMES[1])
    assert restored(reassembler) == {0: FRAMES[0]}


def test_parity_over_frames_that_are_whole_costs_nothing():
    reassembler = fed(packets_of(0) + packets_of(1))
    reassembler.add_parity(over(0, 1), 0)
    assert not reassembler.waiting
    assert not reassembler.restored


def test_parity_over_a_frame_that_was_given_up_is_of_no_use():
    reassembler = fed(packets_of(0)[1:] + packets_of(1)[1:])
    reassembler.expire(2 * GIVE_UP_NS)
    assert [frame.frame_id for frame in reassembler.take_given_up()] == [0]
    for row in range(3):
        reassembler.add_parity(over(0, 1, row), 2 * GIVE_UP_NS)
    assert not reassembler.restored


@pytest.mark.parametrize("had", [packets_of(1), packets_of(1)[1:]], ids=["whole", "half built"])
def test_parity_that_disagrees_about_a_frames_length_is_malformed(had):
    reassembler = fed(had)
    other = [*FRAMES[:1], FRAMES[1] + b"x"]
    with pytest.raises(MalformedFrame):
        reassembler.add_parity(over(0, 1, frames=other), 0)


def test_parity_that_contradicts_the_frames_it_is_over_is_malformed():
    reassembler = fed(packets_of(1) + packets_of(2)[1:])
    parity = over(1, 2)
    with pytest.raises(MalformedFrame):
        reassembler.add_parity(replace(parity, piece=bytes([1]) * len(parity.piece)), 0)


@settings(max_examples=50)
@given(st.integers(0, 2**32))
def test_any_parity_and_packets_in_any_order_hold_no_more_than_they_may(seed):
    dice = random.Random(seed)
    messages: list[Packet | WindowParity] = []
    for frame_id in range(40):
        data = bytes(dice.randrange(1, 9_000))
        messages += dice.sample(packets := symbols(frame_id, data), dice.randint(0, len(packets)))
        for _ in range(dice.randint(0, 4)):
            lengths = tuple(dice.randrange(1, 9_000) for _ in range(dice.randint(1, 4)))
            piece = dice.randbytes(max(cut(length).symbol_bytes for length in lengths))
            first = max(0, frame_id - dice.randrange(6))
            messages.append(
                WindowParity(0, first, tuple(map(cut, lengths)), dice.randrange(ROWS), piece)
            )
    dice.shuffle(messages)
    reassembler = Reassembler(max_held_bytes=50_000)
    for at, message in enumerate(messages):
        try:
            if isinstance(message, WindowParity):
                reassembler.add_parity(message, at)
            else:
                reassembler.add(message, at)
        except MalformedFrame:
            continue
        assert reassembler.held_bytes <= 50_000
    reassembler.expire(2 * GIVE_UP_NS)
    reassembler.take_given_up()
