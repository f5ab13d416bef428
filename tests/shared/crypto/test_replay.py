"""The replay window against a model that remembers every counter in a set."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.crypto.sealing import WINDOW_SIZE, ReplayWindow
from shared.errors import BadInput, Replayed

SIZE = 16


class SetModel:
    def __init__(self, size: int) -> None:
        self.size = size
        self.accepted: set[int] = set()

    def accepts(self, counter: int) -> bool:
        behind = bool(self.accepted) and counter <= max(self.accepted) - self.size
        return not behind and counter not in self.accepted


def accepts(window: ReplayWindow, counter: int) -> bool:
    try:
        window.check(counter)
    except Replayed:
        return False
    return True


@given(
    st.lists(
        st.tuples(
            st.one_of(st.integers(0, 60), st.integers(0, 2**64 - 1)),
            st.booleans(),  # whether the tag was good
        ),
        max_size=120,
    )
)
def test_the_window_accepts_exactly_what_a_set_of_all_counters_would(
    arrivals: list[tuple[int, bool]],
) -> None:
    window, model = ReplayWindow(SIZE), SetModel(SIZE)
    for counter, good_tag in arrivals:
        expected = model.accepts(counter)
        assert accepts(window, counter) is expected
        if expected and good_tag:
            window.mark(counter)
            model.accepted.add(counter)
        elif good_tag:
            with pytest.raises(Replayed):
                window.mark(counter)


def test_a_check_alone_changes_nothing() -> None:
    window = ReplayWindow()
    window.check(10**6)
    window.mark(0)
    window.check(1)


def test_the_last_counter_inside_the_window_is_accepted_and_the_next_older_is_not() -> None:
    window = ReplayWindow()
    window.mark(WINDOW_SIZE)
    window.check(1)
    with pytest.raises(Replayed):
        window.check(0)


def test_a_jump_to_the_largest_counter_leaves_a_window_behind_it() -> None:
    window = ReplayWindow(SIZE)
    window.mark(0)
    window.mark(2**64 - 1)
    window.mark(2**64 - SIZE)
    for counter in (2**64 - 1, 2**64 - SIZE, 2**64 - SIZE - 1, 0):
        assert not accepts(window, counter)


def test_a_window_of_no_size_is_refused() -> None:
    with pytest.raises(BadInput):
        ReplayWindow(0)
