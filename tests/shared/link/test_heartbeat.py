from __future__ import annotations

import asyncio

import pytest

from shared.errors import MalformedFrame
from shared.link.heartbeat import ANSWERS_EVERY_NS, BURST_PINGS, MAX_ANSWERS, Heartbeat
from shared.link.messages import Ping, Pong, pack_ping, pack_pong, parse_small

MS = 1_000_000


def heartbeat(silence_s: float = 4.0, quiet: bool = True) -> tuple[Heartbeat, list[Ping | Pong]]:
    sent: list[Ping | Pong] = []
    now = iter(range(1_000 * MS, 10**15, MS))  # a millisecond passes at each look at the clock
    return Heartbeat(
        send=lambda message: sent.append(parse_small(message)),
        quiet=lambda: quiet,
        now_ns=lambda: next(now),
        silence_s=silence_s,
    ), sent


async def begin(heart: Heartbeat, sent: list[Ping | Pong]) -> asyncio.Task[None]:
    running = asyncio.ensure_future(heart.run())
    burst_sent = asyncio.Event()
    send = heart._send

    def count(message: bytes) -> None:
        send(message)
        if len(sent) == BURST_PINGS:
            burst_sent.set()

    heart._send = count
    async with asyncio.timeout(5):
        await burst_sent.wait()
    return running


def test_a_ping_is_answered_with_both_of_our_moments():
    heart, sent = heartbeat()
    assert heart.take(pack_ping(77), 999 * MS) is None
    assert sent == [Pong(77, 999 * MS, 1_000 * MS)]


async def test_it_begins_with_a_burst_that_calibrates_the_clock():
    heart, sent = heartbeat()
    running = await begin(heart, sent)
    for ping in list(sent):
        there = ping.t1 + 5_000 * MS
        assert heart.take(pack_pong(ping.t1, there, there), ping.t1 + 20) == 20
    assert heart.clock.samples == BURST_PINGS
    assert heart.clock.estimate is not None
    assert abs(heart.clock.estimate.offset_ns - 5_000 * MS) <= heart.clock.estimate.bound_ns
    running.cancel()


async def test_an_answer_counts_once_and_only_if_it_was_asked_for():
    heart, sent = heartbeat()
    running = await begin(heart, sent)
    t1 = sent[0].t1
    with pytest.raises(MalformedFrame):
        heart.take(pack_pong(t1 + 1, 0, 0), t1 + 20)
    assert heart.take(pack_pong(t1, 0, 5), t1 + 20) == 15
    with pytest.raises(MalformedFrame):
        heart.take(pack_pong(t1, 0, 0), t1 + 20)
    assert heart.clock.samples == 1
    running.cancel()


async def test_an_answer_with_impossible_times_is_refused():
    heart, sent = heartbeat()
    running = await begin(heart, sent)
    t1 = sent[0].t1
    with pytest.raises(MalformedFrame):
        heart.take(pack_pong(t1, 500, 400), t1 + 20)
    assert heart.clock.estimate is None
    running.cancel()


def test_a_flood_of_pings_is_not_answered():
    heart, sent = heartbeat()
    for _ in range(5_000):
        heart.take(pack_ping(1), 0)
    assert len(sent) == MAX_ANSWERS
    heart.take(pack_ping(1), ANSWERS_EVERY_NS)
    assert len(sent) == MAX_ANSWERS + 1


async def test_a_ping_that_is_due_waits_for_a_frame_to_go_ahead_of():
    heart, sent = heartbeat(quiet=False)
    heart._tick_s = 0.001
    running = await begin(heart, sent)
    heart._interval_s = 0.05
    async with asyncio.timeout(5):
        while not heart._due:
            await asyncio.sleep(0)
    assert len(sent) == BURST_PINGS
    heart.ping_if_due()
    heart.ping_if_due()
    assert len(sent) == BURST_PINGS + 1
    running.cancel()


@pytest.mark.parametrize("quiet", [True, False])
async def test_it_goes_on_pinging_and_ends_when_nothing_is_heard(quiet):
    heart, sent = heartbeat(silence_s=0.1, quiet=quiet)
    running = await begin(heart, sent)
    async with asyncio.timeout(5):
        await running
    assert len(sent) > BURST_PINGS
    assert all(isinstance(message, Ping) for message in sent)


async def test_it_goes_on_as_long_as_something_is_heard():
    heart, sent = heartbeat(silence_s=0.1)
    running = await begin(heart, sent)
    heart.heard(10**15)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(running, 0.5)


def test_before_it_runs_a_sign_of_life_is_no_trouble():
    heart, _ = heartbeat()
    heart.heard(5)
    with pytest.raises(MalformedFrame):
        heart.take(pack_pong(1, 2, 3), 4)
