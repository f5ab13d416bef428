from __future__ import annotations

from shared.link.flight import Arrival, News, Sent
from shared.link.outgoing import OutgoingFrame
from shared.link.packets import PACKET_BYTES, cut
from shared.link.sendqueue import MAX_KEPT_FRAMES, REPAIR_FOR_NS, Due, SendQueue

S = 1_000_000_000


def frame(frame_id: int, length: int = 6_000, parity: int = 0) -> OutgoingFrame:
    """Of 6,000 bytes: six source symbols in one block."""
    made = OutgoingFrame(frame_id, bytes(length), cut(length))
    for block in made.blocks:
        block.fresh = block.k + parity
    return made


def drain(queue: SendQueue, now_ns: int = S) -> list[Due]:
    return list(iter(lambda: queue.pop(now_ns, repairs=True), None))


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
        due = queue.pop(S, repairs=True)
        assert (due.symbol, due.repair) == (symbol, False)
    assert queue.take_left() == [0]
    assert queue.pop(S, repairs=True) is None
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
    assert queue.pop(S, repairs=False).frame.frame_id == 1
    assert queue.pop(S, repairs=True).frame.frame_id == 0
    assert queue.pop(S, repairs=True).frame.frame_id == 1


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
    assert queue.pop(S, repairs=False) is None


def test_a_repair_that_became_needless_does_not_leave():
    queue = SendQueue()
    queue.add(frame(0))
    dues = drain(queue)
    lose(queue, dues[3])
    queue.settle(News(late=[Arrival(sent(dues[3]), S)]))
    assert queue.pop(S, repairs=True) is None
    assert queue.empty


def test_of_a_frame_that_is_forgotten_nothing_more_leaves():
    queue = SendQueue()
    queue.add(frame(0))
    queue.add(frame(1))
    queue.pop(S, repairs=True)
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
    queue.pop(S, repairs=True)
    queue.expire(S + 10 * REPAIR_FOR_NS)
    assert queue.kept == 1


def test_of_too_many_frames_the_oldest_are_given_up():
    queue = SendQueue()
    for i in range(MAX_KEPT_FRAMES + 2):
        queue.add(frame(i))
    assert queue.kept == MAX_KEPT_FRAMES
    assert drain(queue)[0].frame.frame_id == 2
