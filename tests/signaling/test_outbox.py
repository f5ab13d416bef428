"""Nothing a client sends is lost or doubled, wherever the connection breaks."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signaling.outbox import MAX_KEPT, Outbox


def drain(outbox: Outbox) -> list[str]:
    texts = []
    while (text := outbox.take()) is not None:
        texts.append(text)
    return texts


def test_relays_are_taken_in_order_and_once() -> None:
    outbox = Outbox()
    for text in "abc":
        outbox.add(text)
    assert outbox.waiting == 3
    assert drain(outbox) == ["a", "b", "c"]
    assert outbox.waiting == 0
    assert outbox.take() is None


def test_after_a_rewind_what_the_server_lacks_is_taken_again() -> None:
    outbox = Outbox()
    for text in "abc":
        outbox.add(text)
    drain(outbox)
    outbox.add("d")
    outbox.rewind(1)
    assert drain(outbox) == ["b", "c", "d"]


def test_a_server_that_claims_more_than_was_written_is_not_believed() -> None:
    outbox = Outbox()
    outbox.add("a")
    with pytest.raises(ValueError, match="no such place"):
        outbox.rewind(1)


def test_a_server_that_lacks_what_is_no_longer_kept_is_not_believed() -> None:
    outbox = Outbox()
    for number in range(MAX_KEPT + 1):
        outbox.add(str(number))
        outbox.take()
    outbox.rewind(1)
    with pytest.raises(ValueError, match="no such place"):
        outbox.rewind(0)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.just("send"), st.floats(0, 1)), max_size=60))
def test_every_relay_reaches_the_server_exactly_once(steps: list[str | float]) -> None:
    """A float breaks the connection after that share of what was written since the last break."""
    outbox = Outbox()
    server: list[str] = []
    in_flight: list[str] = []
    sent = 0
    for step in steps:
        if isinstance(step, str):
            outbox.add(str(sent))
            sent += 1
            in_flight += drain(outbox)
        else:
            server += in_flight[: round(step * len(in_flight))]
            outbox.rewind(len(server))
            in_flight = drain(outbox)
    assert server + in_flight == [str(number) for number in range(sent)]
