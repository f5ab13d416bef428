"""How many lines the other end may put on the terminal."""

from __future__ import annotations

from receiver.linelimit import BURST, EVERY_NS, LineLimit


def test_a_burst_is_let_through_and_then_one_line_at_a_time() -> None:
    limit = LineLimit()
    assert [limit.allowed(0) for _ in range(BURST + 2)] == [True] * BURST + [False, False]
    assert limit.allowed(EVERY_NS)
    assert not limit.allowed(EVERY_NS)


def test_after_a_pause_there_is_room_for_a_burst_again_and_no_more() -> None:
    limit = LineLimit()
    for _ in range(BURST):
        limit.allowed(0)
    later = 1000 * EVERY_NS
    assert sum(limit.allowed(later) for _ in range(5 * BURST)) == BURST
