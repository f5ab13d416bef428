from __future__ import annotations

from shared.link.heartbeat import LIVENESS_TICK_S, PEER_SILENCE_S, PING_INTERVAL_S
from shared.link.liveness import Liveness

MS = 1_000_000
TICK = 250 * MS


def liveness() -> Liveness:
    return Liveness(silence_ns=4_000 * MS, interval_ns=TICK, now_ns=0)


def first_gone(alive: Liveness, start: int, limit: int = 60_000 * MS) -> int | None:
    return next((now for now in range(start, limit, TICK) if alive.gone(now)), None)


def test_a_silent_peer_is_gone_after_the_silence_and_not_before():
    assert first_gone(liveness(), TICK) == 4_000 * MS


def test_any_sign_of_life_begins_the_silence_anew():
    alive = liveness()
    assert not any(alive.gone(now) for now in range(TICK, 3_900 * MS, TICK))
    alive.heard(3_900 * MS)
    assert first_gone(alive, 4_000 * MS) == 8_000 * MS


def test_time_in_which_we_were_blocked_ourselves_does_not_count_as_silence():
    alive = liveness()
    assert not alive.gone(TICK)
    assert not alive.gone(30_000 * MS)
    gone_at = first_gone(alive, 30_000 * MS + TICK)
    assert gone_at is not None
    assert gone_at - 30_000 * MS >= 3_000 * MS
    assert gone_at - 30_000 * MS <= 4_250 * MS


def test_checks_that_are_a_little_late_do_not_postpone_the_end():
    alive = liveness()
    now = 0
    while not alive.gone(now):
        now += TICK + 500 * MS
    assert now <= 4_750 * MS


def test_a_killed_peer_is_noticed_within_five_seconds():
    assert PEER_SILENCE_S + 2 * LIVENESS_TICK_S <= 5.0
    assert PEER_SILENCE_S >= 3 * PING_INTERVAL_S
