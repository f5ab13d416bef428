"""The optional wait before a picture is shown."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.showing import PlayoutBuffer


def test_a_picture_waits_for_its_moment_and_no_longer() -> None:
    buffer: PlayoutBuffer[str] = PlayoutBuffer()
    assert buffer.next_due_ns is None
    buffer.put("a", 100, 1)
    buffer.put("b", 133, 1)
    assert buffer.next_due_ns == 100
    assert buffer.take(99) == []
    assert buffer.take(100) == ["a"]
    assert buffer.next_due_ns == 133
    assert buffer.take(500) == ["b"]
    assert buffer.next_due_ns is None


def test_one_that_comes_late_is_due_at_once() -> None:
    buffer: PlayoutBuffer[str] = PlayoutBuffer()
    buffer.put("late", 50, 1)
    assert buffer.take(200) == ["late"]


def test_where_there_is_no_room_the_oldest_goes_before_its_moment_and_none_is_lost() -> None:
    buffer: PlayoutBuffer[int] = PlayoutBuffer(most_bytes=30)
    assert [buffer.put(index, 1000 + index, 10) for index in range(5)] == [[], [], [], [0], [1]]
    assert buffer.put(5, 1005, 25) == [2, 3, 4]
    assert buffer.put(6, 1006, 99) == [5]  # one may always wait
    assert buffer.take(1006) == [6]
    assert buffer.put(7, 1007, 30) == []  # what was taken takes no room


def test_what_waits_can_be_taken_back() -> None:
    buffer: PlayoutBuffer[int] = PlayoutBuffer(most_bytes=3)
    for index in range(3):
        buffer.put(index, 1000, 1)
    assert buffer.clear() == [0, 1, 2]
    assert buffer.next_due_ns is None
    assert buffer.put(3, 1000, 3) == []


@pytest.mark.parametrize("nbytes", [2_764_800, 24_883_200])  # 1280x720 and 3840x2160 RGB
def test_a_second_of_sixty_frames_is_shown_in_order_at_an_even_pace(nbytes: int) -> None:
    buffer: PlayoutBuffer[int] = PlayoutBuffer()
    shown_ns: list[int] = []
    pictures: list[int] = []
    for index in range(600):
        captured_ns = index * 16_666_667
        now_ns = captured_ns + 50_000_000
        out = buffer.take(now_ns) + buffer.put(index, captured_ns + 1_000_000_000, nbytes)
        pictures += out
        shown_ns += [now_ns] * len(out)
    assert pictures == list(range(len(pictures)))
    assert len(pictures) > 530
    gaps = [later - earlier for earlier, later in pairwise(shown_ns)]
    assert set(gaps) == {16_666_667}


@given(st.lists(st.integers(0, 30), max_size=20))
def test_all_come_out_once_in_order(gaps: list[int]) -> None:
    buffer: PlayoutBuffer[int] = PlayoutBuffer()
    due_ns = 0
    for index, gap in enumerate(gaps):
        due_ns += gap
        buffer.put(index, due_ns, 1)
    taken = [item for now_ns in range(due_ns + 1) for item in buffer.take(now_ns)]
    assert taken == list(range(len(gaps)))
