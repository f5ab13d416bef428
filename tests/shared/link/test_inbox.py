from __future__ import annotations

import pytest

from shared.link.inbox import MAX_WAITING_FRAMES, MAX_WAITING_NS, FrameInbox
from shared.link.link import ReceivedFrame


def frame(number: int, at_ns: int = 0) -> ReceivedFrame:
    return ReceivedFrame(bytes([number]), at_ns)


def taken(inbox: FrameInbox) -> list[int]:
    return [inbox.pop().data[0] for _ in range(len(inbox))]


def test_as_many_frames_as_may_be_in_flight_may_come_at_once():
    inbox = FrameInbox()
    for i in range(MAX_WAITING_FRAMES):
        inbox.add(frame(i))
    assert taken(inbox) == list(range(MAX_WAITING_FRAMES))
    assert inbox.dropped == 0


def test_of_more_frames_than_that_the_newest_are_kept_and_the_rest_counted():
    inbox = FrameInbox()
    for i in range(MAX_WAITING_FRAMES + 3):
        inbox.add(frame(i))
    assert taken(inbox) == list(range(3, MAX_WAITING_FRAMES + 3))
    assert inbox.dropped == 3


def test_frames_that_waited_too_long_give_way_to_newer_ones():
    inbox = FrameInbox()
    for i, at_ns in enumerate([0, 1, MAX_WAITING_NS, MAX_WAITING_NS + 1]):
        inbox.add(frame(i, at_ns))
    assert taken(inbox) == [1, 2, 3]
    assert inbox.dropped == 1


def test_the_newest_frame_is_kept_however_old_all_others_are():
    inbox = FrameInbox()
    for i in range(3):
        inbox.add(frame(i, i * 10 * MAX_WAITING_NS))
    assert taken(inbox) == [2]


def test_where_nothing_waits_there_is_nothing_to_take():
    assert not FrameInbox()
    with pytest.raises(IndexError):
        FrameInbox().pop()
