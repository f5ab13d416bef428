from __future__ import annotations

import random

import pytest

from shared.link.fec import restore
from shared.link.flight import Arrival, News, Sent
from shared.link.messages import MAX_MESSAGE_BYTES, OVERHEAD_BYTES, PACKET_BYTES, cut
from shared.link.redundancy import WINDOW_FRAMES, parse_window_parity
from shared.link.sendqueue import (
    MAX_KEPT_FRAMES,
    REPAIR_FOR_NS,
    Block,
    Due,
    OutgoingFrame,
    SendQueue,
)

S = 1_000_000_000


def frame(frame_id: int, length: int = 6_000, parity: int = 0) -> OutgoingFrame:
    """Of 6,000 bytes: six source symbols in one block."""
    made = OutgoingFrame(frame_id, bytes(length), cut(length))
    for block in made.blocks:
        block.fresh = block.k + parity
    return made


def drain(queue: SendQueue, now_ns: int = S) -> list[Due]:
    return list(iter(lambda: queue._pop(now_ns, repairs=True), None))


def sent(due: Due) -> Sent:
    return Sent(0, S, due.frame.packet_bytes, due.frame.frame_id, due.block, due.symbol)


def arrived(*dues: Due) -> News:
    return News(arrived=[Arrival(sent(due), S) for due in dues])


def lost(*dues: Due) -> News:
    return News(lost=[sent(due) for due in dues])


def lose(queue: SendQueue, *dues: Due, spare: int = 0) -> None:
    news = lost(*dues)
    queue.settle(news)
    queue.repair(news.lost, spare)


def test_a_frame_leaves_in_order_its_parity_last_and_is_said_to_have_left():
    queue = SendQueue()
    queue.add(frame(0, parity=2))
    assert queue.backlog_bytes == 8 * frame(0).packet_bytes
    for symbol in range(8):
        assert queue.take_left() == []
        due = queue._pop(S, repairs=True)
        assert (due.symbol, due.repair) == (symbol, False)
    assert queue.take_left() == [0]
    assert queue._pop(S, repairs=True) is None
    assert queue.backlog_bytes == 0
    assert queue.kept == 1


def test_a_packet_of_a_full_symbol_is_a_full_packet():
    assert frame(0, 1_000_000).packet_bytes <= PACKET_BYTES < frame(0, 1_000_000).packet_bytes + 3


def test_a_frame_that_is_there_is_kept_no_longer():
    queue = SendQueue()
    queue.add(frame(0))
    dues = drain(queue)
    queue.settle(arrived(*dues[:5]))
    assert queue.kept == 1
    queue.settle(arrived(dues[5]))
    assert queue.kept == 0


def test_a_packet_that_came_late_counts_too():
    queue = SendQueue()
    queue.add(frame(0))
    dues = drain(queue)
    queue.settle(arrived(*dues[:5]))
    queue.settle(News(late=[Arrival(sent(dues[5]), S)]))
    assert queue.kept == 0


def test_what_is_lost_is_sent_again_and_nothing_else():
    queue = SendQueue()
    queue.add(frame(0))
    dues = drain(queue)
    queue.settle(arrived(dues[0]))
    lose(queue, dues[4], dues[2])
    assert queue.repairs == 2
    again = drain(queue)
    assert [(due.symbol, due.repair) for due in again] == [(2, True), (4, True)]


def test_what_parity_makes_up_for_is_not_sent_again():
    queue = SendQueue()
    queue.add(frame(0, parity=1))
    dues = drain(queue)
    lose(queue, dues[3])
    assert queue.empty
    lose(queue, dues[5])
    assert [due.symbol for due in drain(queue)] == [5]


def test_a_spare_symbol_is_one_that_was_never_sent_and_only_where_any_lacks():
    queue = SendQueue()
    queue.add(frame(0, parity=1))
    dues = drain(queue)
    lose(queue, dues[0], spare=1)
    assert queue.empty
    lose(queue, dues[1], spare=1)
    assert [due.symbol for due in drain(queue)] == [1, 7]


def test_repairs_go_first_but_only_where_they_may():
    queue = SendQueue()
    queue.add(frame(0))
    dues = drain(queue)
    lose(queue, dues[3])
    queue.add(frame(1))
    assert queue._pop(S, repairs=False).frame.frame_id == 1
    assert queue._pop(S, repairs=True).frame.frame_id == 0
    assert queue._pop(S, repairs=True).frame.frame_id == 1


def test_it_is_ready_where_something_is_to_leave_that_may():
    queue = SendQueue()
    assert queue.empty
    assert not queue.ready(repairs=True)
    queue.add(frame(0))
    assert queue.ready(repairs=False)
    dues = drain(queue)
    lose(queue, dues[3])
    assert queue.ready(repairs=True)
    assert not queue.ready(repairs=False)
    assert not queue.empty
    assert queue._pop(S, repairs=False) is None


def test_a_repair_that_became_needless_does_not_leave():
    queue = SendQueue()
    queue.add(frame(0))
    dues = drain(queue)
    lose(queue, dues[3])
    queue.settle(News(late=[Arrival(sent(dues[3]), S)]))
    assert queue._pop(S, repairs=True) is None
    assert queue.empty


def test_of_a_frame_that_is_forgotten_nothing_more_leaves():
    queue = SendQueue()
    queue.add(frame(0))
    queue.add(frame(1))
    queue._pop(S, repairs=True)
    queue.forget(0)
    assert {due.frame.frame_id for due in drain(queue)} == {1}
    assert queue.take_left() == [0, 1]
    assert queue.backlog_bytes == 0


def test_a_frame_is_given_up_when_its_repair_would_come_too_late():
    queue = SendQueue()
    queue.add(frame(0))
    drain(queue)
    queue.expire(S + REPAIR_FOR_NS - 1)
    assert queue.kept == 1
    queue.expire(S + REPAIR_FOR_NS)
    assert queue.kept == 0


def test_a_frame_that_is_still_leaving_is_not_given_up():
    queue = SendQueue()
    queue.add(frame(0))
    queue._pop(S, repairs=True)
    queue.expire(S + 10 * REPAIR_FOR_NS)
    assert queue.kept == 1


def test_of_too_many_frames_the_oldest_are_given_up():
    queue = SendQueue()
    for i in range(MAX_KEPT_FRAMES + 2):
        queue.add(frame(i))
    assert queue.kept == MAX_KEPT_FRAMES
    assert drain(queue)[0].frame.frame_id == 2


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
    block = Block(3, 0, there=0b10001)
    assert not block.whole
    block.there |= 0b100000
    assert block.whole


def test_what_is_coming_is_there_or_under_way_or_waits_to_leave():
    block = Block(4, 0, there=0b1, flying=0b10, unsent=0b100, waiting=0b1001)
    assert block.coming == 0b1111


# -- parity over several frames -------------------------------------------------------------------


def across(queue: SendQueue, frame_id: int, parity: int, length: int = 6_000) -> list[Due]:
    """Hand over a frame with parity over it and those before it; what leaves."""
    made = frame(frame_id, length)
    queue.add(made, queue.window(made, MAX_MESSAGE_BYTES), parity)
    return drain(queue)


def window_of(due: Due) -> list[int]:
    return [] if due.equation is None else [older.frame_id for older in due.equation.frames]


def test_parity_over_frames_leaves_behind_the_newest_of_them():
    queue = SendQueue()
    for frame_id in range(6):
        dues = across(queue, frame_id, parity=2)
        assert [due.equation is None for due in dues] == [True] * 6 + [False] * 2
        ids = list(range(max(0, frame_id + 1 - WINDOW_FRAMES), frame_id + 1))
        assert [window_of(due) for due in dues[6:]] == [ids, ids]
        assert queue.take_left() == [frame_id]
    assert queue.backlog_bytes == 0


def test_frames_that_are_there_are_left_out_of_the_window():
    queue = SendQueue()
    first = across(queue, 0, parity=1)
    across(queue, 1, parity=1)
    queue.settle(arrived(*first[:6]))
    assert window_of(across(queue, 2, parity=1)[-1]) == [1, 2]


@pytest.mark.parametrize("length", [60_000, 200_000])
def test_a_large_frame_has_parity_of_its_own_and_the_window_begins_anew_behind_it(length):
    queue = SendQueue()
    across(queue, 0, parity=1)
    large = frame(1, length)
    assert queue.window(large, MAX_MESSAGE_BYTES) == ()
    queue.add(large)
    drain(queue)
    assert window_of(across(queue, 2, parity=1)[-1]) == [2]


def test_behind_a_gap_in_the_frames_the_window_begins_anew():
    queue = SendQueue()
    across(queue, 0, parity=1)
    assert window_of(across(queue, 2, parity=1)[-1]) == [2]


@pytest.mark.parametrize("length", range(6_700, 7_000, 10))
def test_every_parity_symbol_fits_a_packet(length):
    queue = SendQueue()
    for frame_id in range(5):
        for due in across(queue, frame_id, parity=1, length=length):
            if due.equation is not None:
                message = due.equation.message(1)
                assert len(message) <= MAX_MESSAGE_BYTES
                assert len(message) == due.nbytes - OVERHEAD_BYTES
                assert parse_window_parity(message).first_id == window_of(due)[0]


def repairs(queue: SendQueue) -> list[tuple[int, int]]:
    return [(due.frame.frame_id, due.symbol) for due in drain(queue) if due.repair]


def test_what_parity_of_later_frames_makes_up_for_is_not_sent_again():
    queue = SendQueue()
    first = across(queue, 0, parity=1)
    across(queue, 1, parity=1)
    lose(queue, *first[1:3])
    assert repairs(queue) == []  # two symbols, and two equations over them


def test_what_parity_does_not_make_up_for_is_sent_again():
    queue = SendQueue()
    first = across(queue, 0, parity=1)
    across(queue, 1, parity=1)
    lose(queue, *first[1:5])
    assert repairs(queue) == [(0, 1), (0, 2)]


def test_an_equation_makes_up_for_one_symbol_only():
    queue = SendQueue()
    first, second = across(queue, 0, parity=1), across(queue, 1, parity=1)
    lose(queue, first[0], second[0], second[1])
    assert repairs(queue) == [(1, 0)]


def test_what_was_left_to_parity_is_sent_again_once_that_is_lost_too():
    queue = SendQueue()
    first, second = across(queue, 0, parity=1), across(queue, 1, parity=1)
    lose(queue, first[1], first[2])
    assert repairs(queue) == []
    lose(queue, second[-1])
    assert repairs(queue) == [(0, 1)]


def test_parity_that_comes_late_after_all_counts_again():
    queue = SendQueue()
    first = across(queue, 0, parity=1)
    lose(queue, first[-1])
    queue.settle(News(late=[Arrival(sent(first[-1]), S)]))
    lose(queue, first[3])
    assert repairs(queue) == []


def test_a_spare_symbol_is_one_more_equation_over_the_frame():
    queue = SendQueue()
    first = across(queue, 0, parity=0)
    lose(queue, first[2], spare=1)
    again = drain(queue)
    assert [due.symbol for due in again if due.equation is None] == [2]
    assert [window_of(due) for due in again if due.equation is not None] == [[0]]


def test_parity_is_forgotten_with_the_frames_it_is_over():
    queue = SendQueue()
    for frame_id in range(4):
        queue.settle(arrived(*across(queue, frame_id, parity=2)[:6]))
    assert queue.kept == 0
    assert queue._equations == []
