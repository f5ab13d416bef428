"""What was raised wrongly is raised again later each time."""

from __future__ import annotations

from sender.rate.budget import HOLD_NS, LONGEST_HOLD_NS, RELAPSE_NS, RISE_EVERY_NS, Caution


def wait_ns(caution: Caution, since_ns: int) -> int:
    """How long after `since_ns` a rise is allowed, to the hundredth of a second."""
    step = 10_000_000
    return next(w for w in range(0, 10**11, step) if caution.may_rise(since_ns + w))


def test_before_anything_fell_a_rise_needs_no_wait() -> None:
    caution = Caution()
    assert caution.may_rise(0)
    caution.rose(0)
    assert wait_ns(caution, 0) == RISE_EVERY_NS


def test_each_relapse_doubles_the_wait_up_to_a_limit() -> None:
    caution, now_ns, waits = Caution(), 0, []
    for _ in range(8):
        caution.fell(now_ns)
        waits.append(wait_ns(caution, now_ns))
        now_ns += waits[-1]
        caution.rose(now_ns)
        now_ns += RELAPSE_NS
    assert waits[:3] == [HOLD_NS, 2 * HOLD_NS, 4 * HOLD_NS]
    assert waits[-1] == LONGEST_HOLD_NS


def test_a_fall_in_several_steps_is_one_relapse() -> None:
    caution = Caution()
    caution.fell(0)
    caution.rose(HOLD_NS)
    for step in range(3):
        caution.fell(HOLD_NS + 1 + step)
    assert wait_ns(caution, HOLD_NS + 3) <= 2 * HOLD_NS


def test_a_rise_that_lasted_is_forgiven() -> None:
    caution = Caution()
    caution.fell(0)
    caution.rose(HOLD_NS)
    caution.fell(HOLD_NS + 1)
    caution.rose(4 * HOLD_NS)
    later_ns = 4 * HOLD_NS + RELAPSE_NS + 1
    assert caution.may_rise(later_ns)
    caution.fell(later_ns)
    assert wait_ns(caution, later_ns) == HOLD_NS
