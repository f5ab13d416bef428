"""What may be used of the paths: down at once, up slowly, and no see-saw."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from sender.rate.budget import HEADROOM, PathBudget, shared_rate

S = 1_000_000_000
STEP_NS = S // 30


@dataclass(frozen=True)
class APath:
    rate_bps: int
    rtt_ns: int = 40_000_000
    queue_ns: int = 0
    limited: bool = True


def run(rates: list[float], budget: PathBudget | None = None) -> list[float]:
    """What is allowed while the path carries `rates`, one each frame interval."""
    budget = budget or PathBudget()
    return [budget.update(at * STEP_NS, round(rate)) for at, rate in enumerate(rates)]


def seconds(count: float, rate: float) -> list[float]:
    return [rate] * round(count * 30)


def turns_of(allowed: list[float]) -> int:
    """How often the direction changes."""
    signs = [a < b for a, b in itertools.pairwise(allowed) if a != b]
    return sum(a != b for a, b in itertools.pairwise(signs))


def test_the_slowest_useful_path_decides() -> None:
    paths = [APath(5_000_000), APath(2_000_000), APath(50_000)]
    assert shared_rate(paths, 100_000) == 2_000_000
    assert shared_rate(paths[2:], 100_000) == 50_000
    assert shared_rate(paths, 9_000_000) == 5_000_000, "hopeless ones: the best of them"
    assert shared_rate([], 100_000) is None


def test_the_first_estimate_is_taken_at_once() -> None:
    assert run([8e6]) == [HEADROOM * 8e6]


def test_a_fall_is_followed_within_a_few_frames() -> None:
    allowed = run(seconds(5, 8e6) + seconds(2, 1.5e6))
    assert allowed[5 * 30] <= 1.5e6
    assert min(allowed) >= 0.7 * HEADROOM * 1.5e6


def test_a_small_fall_is_followed_within_a_second() -> None:
    allowed = run(seconds(5, 8e6) + seconds(1, 6.5e6))
    assert allowed[-1] <= 6.5e6


def test_a_rise_is_awaited_for_two_seconds_and_then_climbs_in_steps() -> None:
    allowed = run(seconds(2, 8e6) + seconds(3, 1.5e6) + seconds(15, 8e6))
    low = allowed[5 * 30 - 1]
    assert allowed[5 * 30 + 15] == low or allowed[5 * 30 + 15] <= 1.31 * low
    assert allowed[-1] >= 0.9 * HEADROOM * 8e6
    rises = [b / a for a, b in zip(allowed[5 * 30 :], allowed[5 * 30 + 1 :], strict=False) if b > a]
    assert max(rises) <= 1.3 + 1e-9
    assert turns_of(allowed[5 * 30 :]) == 0


def test_until_it_first_fails_a_path_is_followed_upwards_at_once() -> None:
    allowed = run([1e6 * 1.02**at for at in range(120)])
    assert allowed[-1] >= 0.4 * HEADROOM * 1e6 * 1.02**119
    assert turns_of(allowed) == 0


@given(st.integers(0, 1000), st.floats(0.3e6, 50e6), st.floats(0.0, 0.2))
@settings(max_examples=60, deadline=None)
def test_noise_around_a_constant_does_not_make_a_see_saw(
    seed: int, rate: float, noise: float
) -> None:
    dice = random.Random(seed)
    allowed = run([rate * (1 + dice.uniform(-noise, noise)) for _ in range(60 * 30)])
    assert turns_of(allowed[3 * 30 :]) <= 4
    assert allowed[-1] >= 0.6 * rate


@given(
    st.lists(st.tuples(st.floats(0.2, 8), st.floats(0.1e6, 30e6)), min_size=1, max_size=8),
)
@settings(max_examples=60, deadline=None)
def test_what_is_allowed_never_stays_above_the_path(stretches: list[tuple[float, float]]) -> None:
    rates = [rate for length, rate in stretches for rate in seconds(length, rate)]
    allowed = run(rates)
    for at, value in enumerate(allowed):
        window = rates[max(0, at - 30) : at + 1]
        assert value <= max(window) * 1.001


def test_a_path_that_keeps_falling_back_is_tried_less_and_less_often() -> None:
    """High for four seconds, low for one, again and again."""
    allowed = run((seconds(4, 6e6) + seconds(1, 2e6)) * 24)
    rises = [at for at in range(1, len(allowed)) if allowed[at] > allowed[at - 1]]
    first, last = sum(at < 30 * 30 for at in rises), sum(at >= 90 * 30 for at in rises)
    assert last <= first / 2


def test_after_a_long_calm_the_wait_is_short_again() -> None:
    unsteady = (seconds(4, 6e6) + seconds(1, 2e6)) * 6
    budget = PathBudget()
    allowed = run(unsteady + seconds(60, 6e6) + seconds(1, 2e6) + seconds(10, 6e6), budget)
    assert allowed[-1] >= 0.8 * HEADROOM * 6e6
