from __future__ import annotations

from shared.link.pacer import AHEAD_NS, BUSY_CREDIT_NS, IDLE_CREDIT_NS, Pacer

MS = 1_000_000
PACKET = 1_000
RATE = 1e6  # a packet a millisecond


def burst(pacer: Pacer, now: int) -> int:
    sent = 0
    while pacer.ready(now):
        pacer.on_sent(PACKET, now)
        sent += 1
        assert sent < 1_000
    return sent


def test_packets_leave_at_the_rate():
    pacer = Pacer(RATE)
    pacer.resume(10**9)
    first = burst(pacer, 10**9)
    later = sum(burst(pacer, 10**9 + at * MS) for at in range(1, 101))
    assert later == 100
    assert first <= (IDLE_CREDIT_NS + AHEAD_NS) // MS + 1


def test_a_pause_earns_a_small_burst_only():
    pacer = Pacer(RATE)
    pacer.resume(10**9)
    burst(pacer, 10**9)
    pacer.resume(10**12)
    assert 1 <= burst(pacer, 10**12) <= (IDLE_CREDIT_NS + AHEAD_NS) // MS + 1


def test_a_late_event_loop_catches_up_within_bounds():
    pacer = Pacer(RATE)
    pacer.resume(10**9)
    burst(pacer, 10**9)
    caught_up = burst(pacer, 10**9 + 500 * MS)
    assert 5 <= caught_up <= (BUSY_CREDIT_NS + AHEAD_NS) // MS + 1


def test_it_says_when_the_next_packet_may_leave():
    pacer = Pacer(RATE)
    pacer.resume(10**9)
    burst(pacer, 10**9)
    at = pacer.ready_at_ns()
    assert at > 10**9 + AHEAD_NS
    assert pacer.ready(at)


def test_a_new_rate_holds_from_the_next_packet_on():
    pacer = Pacer(RATE)
    pacer.resume(10**9)
    burst(pacer, 10**9)
    pacer.rate = RATE / 10
    before = pacer.ready_at_ns()
    pacer.on_sent(PACKET, before)
    assert pacer.ready_at_ns() - before == 10 * MS
