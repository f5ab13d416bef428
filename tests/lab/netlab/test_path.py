from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.netlab.impairment import Impairment, ImpairmentStep, Schedule
from lab.netlab.path import Cause, Fate, Path

MS = 1_000_000
S = 1000 * MS

arrivals = st.lists(
    st.tuples(st.integers(0, 5 * MS), st.integers(20, 1500)), min_size=1, max_size=200
)  # (ns since the one before, bytes)


def offer_all(path: Path, packets: list[tuple[int, int]]) -> list[tuple[int, int, Fate]]:
    now, fates = 0, []
    for gap, size in packets:
        now += gap
        fates.append((now, size, path.offer(size, now)))
    return fates


def lost_flags(impairment: Impairment, count: int, seed: int = 7) -> list[bool]:
    path = Path(Schedule.constant(impairment), seed=seed)
    return [path.offer(100, n * MS).cause is Cause.LOSS for n in range(count)]


def test_nothing_configured_delivers_at_once() -> None:
    path = Path(Schedule.constant(Impairment()), seed=1)
    assert path.offer(1500, 123) == Fate((123,))


def test_a_fixed_delay_is_exact() -> None:
    path = Path(Schedule.constant(Impairment(delay_ms=20)), seed=1)
    assert [path.offer(100, n).at_ns for n in (0, 5, 5)] == [
        (20 * MS,),
        (20 * MS + 5,),
        (20 * MS + 5,),
    ]


def test_serialisation_takes_the_packets_bits_at_the_rate() -> None:
    figures = Impairment(delay_ms=1, rate_mbit=8, queue_ms=100)
    path = Path(Schedule.constant(figures), seed=1)
    assert path.offer(1000, 0) == Fate((1 * MS + 1 * MS,))
    assert path.offer(500, 0) == Fate((1 * MS + 1 * MS + MS // 2,))  # waits for the first


@given(arrivals, st.floats(0.1, 100), st.integers(1500, 20_000))
@settings(max_examples=60, deadline=None)
def test_the_rate_is_never_exceeded_and_the_queue_never_longer_than_its_bound(
    packets: list[tuple[int, int]], rate: float, bound: int
) -> None:
    path = Path(Schedule.constant(Impairment(rate_mbit=rate, queue_bytes=bound)), seed=1)
    served = [(fate.at_ns[0], size) for _, size, fate in offer_all(path, packets) if fate.at_ns]
    for (before, _), (after, size) in pairwise(served):
        assert after - before >= size * 8 * 1000 / rate - 1
    assert path.counters.max_queue_bytes <= bound
    assert path.counters.queue_dropped == len(packets) - len(served)


@given(arrivals, st.floats(0.1, 50), st.floats(0, 50))
@settings(max_examples=60, deadline=None)
def test_no_packet_waits_longer_than_the_queue_allows(
    packets: list[tuple[int, int]], rate: float, bound_ms: float
) -> None:
    path = Path(Schedule.constant(Impairment(rate_mbit=rate, queue_ms=bound_ms)), seed=1)
    for now, size, fate in offer_all(path, packets):
        for at in fate.at_ns:
            assert at - now <= bound_ms * MS + size * 8 * 1000 / rate + 2


def test_a_full_queue_drops_the_newcomer_and_takes_again_once_drained() -> None:
    path = Path(Schedule.constant(Impairment(rate_mbit=8, queue_bytes=2000)), seed=1)
    causes = [path.offer(1000, 0).cause for _ in range(3)]
    assert causes == [None, None, Cause.QUEUE]
    assert path.offer(1000, 1 * MS).cause is None  # the first has been served
    assert path.queue(1 * MS) == (2000, 2 * MS)
    assert path.queue(99 * MS) == (0, 0)


@given(
    arrivals,
    st.floats(1, 30),
    st.sampled_from([0.0, 5.0, 40.0]),
    st.one_of(st.none(), st.floats(0.5, 20)),
)
@settings(max_examples=80, deadline=None)
def test_order_is_kept_with_jitter_and_the_delay_stays_in_its_range(
    packets: list[tuple[int, int]], jitter: float, period: float, rate: float | None
) -> None:
    figures = Impairment(
        delay_ms=30,
        jitter_ms=jitter,
        jitter_period_ms=period,
        rate_mbit=rate,
        queue_ms=None if rate is None else 1000,
    )
    path = Path(Schedule.constant(figures), seed=3)
    fates = [(now, fate.at_ns[0]) for now, _, fate in offer_all(path, packets) if fate.at_ns]
    times = [at for _, at in fates]
    assert times == sorted(times)
    if rate is None:
        assert all(
            (30 - jitter) * MS - 1 <= at - now <= (30 + jitter) * MS + 1 for now, at in fates
        )


def test_jitter_reorders_where_order_need_not_be_kept() -> None:
    figures = Impairment(delay_ms=20, jitter_ms=10, keep_order=False)
    path = Path(Schedule.constant(figures), seed=3)
    times = [path.offer(100, n * MS).at_ns[0] for n in range(200)]
    assert times != sorted(times)


def test_jitter_with_a_period_moves_slowly_and_uses_its_whole_range() -> None:
    figures = Impairment(delay_ms=30, jitter_ms=10, jitter_period_ms=40)
    path = Path(Schedule.constant(figures), seed=3)
    delays = [path.offer(100, n * MS).at_ns[0] - n * MS for n in range(4000)]
    steps = [abs(b - a) for a, b in pairwise(delays)]
    assert max(steps) <= 2 * 10 * MS / 40 + 1
    assert min(delays) < 22 * MS and max(delays) > 38 * MS


@pytest.mark.parametrize("share", [0.001, 0.01, 0.2])
def test_random_loss_is_within_its_binomial_bounds(share: float) -> None:
    count = 50_000
    lost = sum(lost_flags(Impairment(loss=share), count))
    assert abs(lost - share * count) <= 4 * math.sqrt(share * (1 - share) * count)


@pytest.mark.parametrize(("share", "length"), [(0.01, 4.0), (0.03, 6.0), (0.1, 2.0)])
def test_bursts_have_their_share_and_their_mean_length(share: float, length: float) -> None:
    count = 200_000
    flags = lost_flags(Impairment(burst_loss=share, burst_packets=length), count)
    bursts = sum(now and not before for before, now in zip([False, *flags], flags, strict=False))
    assert sum(flags) / count == pytest.approx(share, rel=0.1)
    assert sum(flags) / bursts == pytest.approx(length, rel=0.1)


def test_a_burst_that_is_not_dense_lets_packets_through() -> None:
    figures = Impairment(burst_loss=0.05, burst_packets=20, burst_density=0.5)
    flags = lost_flags(figures, 200_000)
    assert sum(flags) / len(flags) == pytest.approx(0.05, rel=0.15)
    after_a_loss = [now for before, now in pairwise(flags) if before]
    assert sum(after_a_loss) / len(after_a_loss) == pytest.approx(0.5 * 0.95, rel=0.1)


def test_a_lost_packet_has_used_its_share_of_the_rate() -> None:
    figures = Impairment(loss=1, rate_mbit=8, queue_ms=100)
    schedule = Schedule((ImpairmentStep(0, figures), ImpairmentStep(1, replace(figures, loss=0))))
    path = Path(schedule, seed=1)
    path.begin(0)
    assert path.offer(1000, S - 1).cause is Cause.LOSS
    assert path.offer(1000, S).at_ns == (S - 1 + 2 * MS,)


def test_held_back_packets_are_overtaken_and_do_not_hold_up_others() -> None:
    figures = Impairment(delay_ms=10, reorder=0.1, reorder_ms=5)
    path = Path(Schedule.constant(figures), seed=5)
    delays = [path.offer(100, n * MS).at_ns[0] - n * MS for n in range(2000)]
    assert set(delays) == {10 * MS, 15 * MS}
    held = delays.count(15 * MS)
    assert held == path.counters.held_back
    assert abs(held - 200) < 4 * math.sqrt(180)


def test_duplicates_come_twice() -> None:
    path = Path(Schedule.constant(Impairment(delay_ms=1, duplicate=0.2)), seed=5)
    twice = sum(len(path.offer(100, n).at_ns) == 2 for n in range(2000))
    assert twice == path.counters.duplicated
    assert abs(twice - 400) < 4 * math.sqrt(320)


def test_an_outage_drops_all_that_is_offered_and_nothing_accepted_before() -> None:
    figures = Impairment(delay_ms=20)
    schedule = Schedule(
        (
            ImpairmentStep(0, figures),
            ImpairmentStep(10, replace(figures, outage=True)),
            ImpairmentStep(13, figures),
        )
    )
    path = Path(schedule, seed=1)
    path.begin(5 * S)
    assert path.offer(100, 15 * S - 1).at_ns == (15 * S - 1 + 20 * MS,)
    for now in (15 * S, 16 * S, 18 * S - 1):
        assert path.offer(100, now) == Fate((), Cause.OUTAGE)
    assert path.offer(100, 18 * S).cause is None
    assert path.counters.outage_dropped == 3


def test_before_the_beginning_the_first_step_holds() -> None:
    schedule = Schedule(
        (ImpairmentStep(0, Impairment(delay_ms=1)), ImpairmentStep(1, Impairment(delay_ms=2)))
    )
    path = Path(schedule, seed=1)
    assert path.offer(100, 100 * S).at_ns == (100 * S + MS,)
    path.begin(100 * S)
    assert path.offer(100, 100 * S + S // 2).at_ns == (100 * S + S // 2 + MS,)
    assert path.offer(100, 101 * S).at_ns == (101 * S + 2 * MS,)
    path.begin(200 * S)  # again
    assert path.offer(100, 200 * S).at_ns == (200 * S + MS,)


def test_queued_packets_follow_a_change_of_rate() -> None:
    fast = Impairment(rate_mbit=8, queue_bytes=10_000)
    schedule = Schedule(
        (ImpairmentStep(0, fast), ImpairmentStep(0.001, replace(fast, rate_mbit=4)))
    )
    path = Path(schedule, seed=1)
    path.begin(0)
    assert path.offer(1000, 0).at_ns == (1 * MS,)
    assert path.offer(1000, 0).at_ns == (3 * MS,)  # wholly at the new rate
    half = Path(schedule, seed=1)
    half.begin(0)
    assert half.offer(1500, 0).at_ns == (2 * MS,)  # 8,000 bits in 1 ms, 4,000 more in another


def test_a_bottleneck_that_goes_away_lets_go_and_keeps_the_order() -> None:
    slow = Impairment(rate_mbit=0.8, queue_bytes=10_000)
    path = Path(Schedule((ImpairmentStep(0, slow), ImpairmentStep(0.01, Impairment()))), seed=1)
    path.begin(0)
    times = [path.offer(1000, 0).at_ns[0] for _ in range(3)]
    times.append(path.offer(1000, 9 * MS).at_ns[0])
    times.append(path.offer(1000, 11 * MS).at_ns[0])
    assert times == [10 * MS, 10 * MS, 10 * MS, 10 * MS, 11 * MS]


@given(st.integers(0, 2**32), arrivals)
@settings(max_examples=30, deadline=None)
def test_the_same_seed_and_packets_have_the_same_fates(
    seed: int, packets: list[tuple[int, int]]
) -> None:
    figures = Impairment(
        delay_ms=20, jitter_ms=5, loss=0.1, burst_loss=0.1, burst_packets=3,
        reorder=0.1, reorder_ms=2, duplicate=0.1, rate_mbit=3, queue_ms=20,
    )  # fmt: skip
    one, other = (Path(Schedule.constant(figures), seed=seed) for _ in range(2))
    assert offer_all(one, packets) == offer_all(other, packets)


def test_each_kind_of_chance_has_numbers_of_its_own() -> None:
    plain = Impairment(delay_ms=20, loss=0.1)
    flags = lost_flags(plain, 1000)
    assert lost_flags(replace(plain, jitter_ms=5, duplicate=0.3, reorder=0.2), 1000) == flags
    assert lost_flags(plain, 1000, seed=8) != flags


def test_every_packet_is_accounted_for() -> None:
    figures = Impairment(loss=0.1, burst_loss=0.05, burst_packets=3, rate_mbit=5, queue_ms=10)
    schedule = Schedule(
        (ImpairmentStep(0, figures), ImpairmentStep(0.5, replace(figures, outage=True)))
    )
    path = Path(schedule, seed=1)
    path.begin(0)
    delivered = sum(bool(path.offer(1000, n * MS).at_ns) for n in range(1000))
    counts = path.counters
    assert counts.offered_packets == 1000 and counts.offered_bytes == 1_000_000
    assert min(counts.lost, counts.queue_dropped, counts.outage_dropped, delivered) > 0
    assert delivered + counts.lost + counts.queue_dropped + counts.outage_dropped == 1000
