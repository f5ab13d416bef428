"""The optional wait before a picture is shown."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from receiver.playout import MAX_WAITING, PlayoutBuffer


def test_a_picture_waits_for_its_moment_and_no_longer() -> None:
    buffer: PlayoutBuffer[str] = PlayoutBuffer()
    assert buffer.next_due_ns is None
    buffer.put("a", 100)
    buffer.put("b", 133)
    assert buffer.next_due_ns == 100
    assert buffer.take(99) == []
    assert buffer.take(100) == ["a"]
    assert buffer.next_due_ns == 133
    assert buffer.take(500) == ["b"]
    assert buffer.next_due_ns is None


def test_one_that_comes_late_is_due_at_once() -> None:
    buffer: PlayoutBuffer[str] = PlayoutBuffer()
    buffer.put("late", 50)
    assert buffer.take(200) == ["late"]


def test_what_waits_is_bounded_and_the_oldest_is_given_back() -> None:
    buffer: PlayoutBuffer[int] = PlayoutBuffer()
    evicted = [buffer.put(index, 1000 + index) for index in range(MAX_WAITING + 2)]
    assert evicted == [None] * MAX_WAITING + [0, 1]


@given(st.lists(st.integers(0, 30), max_size=20))
def test_all_come_out_once_in_order(gaps: list[int]) -> None:
    buffer: PlayoutBuffer[int] = PlayoutBuffer()
    due_ns = 0
    for index, gap in enumerate(gaps):
        due_ns += gap
        buffer.put(index, due_ns)
    taken = [item for now_ns in range(due_ns + 1) for item in buffer.take(now_ns)]
    assert taken == list(range(len(gaps)))
