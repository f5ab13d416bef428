"""A peer that sends what it likes over a real association costs little, and ends itself alone."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest

from shared.link.webrtc import inbound as module
from shared.link.webrtc.fragments import MAX_HELD_CHUNKS, WINDOW_BYTES
from shared.link.webrtc.inbound import MAX_AHEAD, Allowance
from tests.shared.link.webrtc import hostile
from tests.shared.link.webrtc.hostile import ATTACKS, Hostile, chunk, data, parameter, sack
from tests.shared.link.webrtc.test_sctp import Pair, until

pytestmark = pytest.mark.usefixtures("loop_complaints")

PACKETS = 400
# Of CPU, which no other program's load adds to; aiortc takes 600 ms and more for the worst.
MOST_CPU_S = 0.05

# What no honest stack ever does ends the link; the rest is dropped, up to so many packets.
ENDS = {
    "gaps_over_everything": "acknowledged what was never sent",
    "gaps_that_contradict": "acknowledged what was never sent",
    "acknowledged_before_sent": "acknowledged what was never sent",
    "middle_fragments": "larger",
    "one_huge_message": "larger",
    "tiny_fragments": "allowed",
    "inits": "answers",
    "cookies": "answers",
    "heartbeats": "answers",
    "many_heartbeats_a_packet": "answers",
    "resets_that_wait": "answers",
    "resets_cut_short": "answers",
    "streams_without_end": "answers",
    "channels_without_end": "channels",
    "channels_that_lie": "channels",
}


class Attacked(Pair):
    """End 0 is watched: what it says, what it holds, and the CPU that one packet costs it."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.worst_s = 0.0

    async def connect(self) -> None:
        await super().connect()
        self.paths[0]._broken = self.words.append
        inbound = self.paths[0]._inbound
        receive = inbound.receive

        async def timed(packet: bytes) -> None:
            began = time.thread_time()
            await receive(packet)
            self.worst_s = max(self.worst_s, time.thread_time() - began)

        inbound.receive = timed
        self.hostile = Hostile(self.sctp(1))

    @property
    def fragments(self):
        return self.paths[0]._inbound._fragments


@pytest.fixture
async def pair():
    pair = Attacked()
    await pair.connect()
    yield pair
    await pair.close()


@pytest.mark.parametrize("name", ATTACKS)
async def test_an_attack_costs_little_and_holds_little(pair, name, caplog):
    caplog.set_level(logging.WARNING)
    pair.control.send("something unacknowledged, or acknowledgements would be about nothing")
    await pair.hostile.attack(ATTACKS[name], PACKETS)
    await asyncio.sleep(0.05)
    assert pair.worst_s < MOST_CPU_S
    assert pair.fragments.held_nbytes <= WINDOW_BYTES
    assert pair.fragments.held_chunks <= MAX_HELD_CHUNKS
    assert len(pair.sctp(0)._sack_misordered) <= MAX_AHEAD
    assert len(pair.sctp(0)._data_channels) <= 2 + module.MAX_OPENED
    assert len(pair.words) <= 1
    if name in ENDS:
        assert ENDS[name] in pair.words[0]
    assert not any("Traceback" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize(
    "name",
    [
        "lists_longer_than_their_chunk", "duplicates_told_without_end", "stale_acknowledgements",
        "empty_data", "forward_cut_short", "parameters_that_lie", "short_inits",
        "aborts_of_another", "errors", "unknown_chunks", "bad_lengths", "noise",
    ],
)  # fmt: skip
async def test_a_few_senseless_packets_do_not_keep_an_honest_word_from_coming(pair, name):
    """What ends no link, and takes no number of an honest chunk, leaves it as it was."""
    got: list[str] = []
    pair.other_control.on("message", got.append)
    await pair.hostile.attack(ATTACKS[name], 20)
    pair.control.send("an honest word")
    await until(lambda: got)
    assert got == ["an honest word"]
    assert pair.words == []


async def test_nothing_is_heard_of_who_broke_the_protocol(pair):
    await pair.hostile.send(pair.hostile.packet(sack(pair.hostile.their_tsn + 1_000)))
    await until(lambda: pair.words)
    last = pair.sctp(0)._last_received_tsn
    pair.paths[1].send(b"a frame")
    pair.other_control.send("a word")
    await asyncio.sleep(0.1)
    assert pair.received[0] == []
    assert pair.sctp(0)._last_received_tsn == last
    assert len(pair.words) == 1


async def test_more_packets_than_a_session_has_end_the_link(pair, monkeypatch):
    pair.paths[0]._inbound._packets = Allowance(10.0, 50.0)
    await pair.hostile.attack(hostile.noise, 300)
    await until(lambda: pair.words)
    assert "more packets" in pair.words[0]


async def test_acknowledgements_of_what_was_sent_are_no_flood(pair):
    """As stacks send them that acknowledge every packet."""
    pair.paths[0]._inbound._packets = Allowance(0.0, 50.0)
    for _ in range(20):
        pair.paths[0].send(*[bytes(100)] * 20)
        await asyncio.sleep(0.002)
    await until(lambda: len(pair.received[1]) == 400)
    for _ in range(200):
        await pair.hostile.send(pair.hostile.packet(sack(pair.hostile.their_tsn)))
    await asyncio.sleep(0.05)
    assert pair.words == []


async def test_more_messages_than_were_allowed_end_the_link(pair):
    pair.paths[0].allow_messages(1.0, 100.0)
    pair.paths[1].send(*[b"x"] * 60)
    await until(lambda: len(pair.received[0]) == 60)
    pair.paths[1].send(*[b"x"] * 60)
    await until(lambda: pair.words)
    assert "more messages" in pair.words[0]
    assert len(pair.received[0]) == 100


async def test_heartbeats_are_answered_while_they_are_few_and_small(pair):
    sctp, answered = pair.sctp(0), []
    send_chunk = sctp._send_chunk

    async def keep(each) -> None:
        answered.append(bytes(each))
        await send_chunk(each)

    sctp._send_chunk = keep
    beat = parameter(1, b"0123456789")
    await pair.hostile.send(pair.hostile.packet(chunk(4, beat)))
    await pair.hostile.send(pair.hostile.packet(chunk(4, parameter(1, bytes(900)))))
    await until(lambda: answered)
    assert answered[0][0] == 5
    assert answered[0][4:].startswith(beat[:14])
    await asyncio.sleep(0.05)
    assert len([each for each in answered if each[0] == 5]) == 1


async def test_an_init_that_comes_late_puts_no_book_back(pair):
    sctp = pair.sctp(0)
    before = sctp._last_received_tsn, sctp._remote_verification_tag
    init = pair.hostile.packet(chunk(1, bytes([0, 0, 0, 5] * 4)), tag=0)
    await pair.hostile.send(init)
    await asyncio.sleep(0.05)
    assert (sctp._last_received_tsn, sctp._remote_verification_tag) == before


async def test_a_forward_tsn_may_leap_and_costs_what_is_held(pair):
    sctp = pair.sctp(0)
    last = sctp._last_received_tsn
    for ahead in (3, 4, 70_000):
        await pair.hostile.send(pair.hostile.packet(data(last + ahead, b"x", flags=7, stream=9)))
    await until(lambda: sctp._sack_misordered)
    leap = ((last + 50_000) % 2**32).to_bytes(4, "big")
    await pair.hostile.send(pair.hostile.packet(chunk(192, leap)))
    await until(lambda: sctp._last_received_tsn == (last + 50_000) % 2**32)
    assert sctp._sack_misordered == set()


async def test_a_third_channel_is_refused_and_no_more_than_a_few_are(pair):
    pair.connections[1].createDataChannel("more")
    await asyncio.sleep(0.1)
    assert pair.words == []


async def test_the_other_ends_abort_ends_its_link(pair):
    await pair.hostile.send(pair.hostile.packet(chunk(6, parameter(1, length=0))))
    await until(lambda: pair.sctp(0).state == "closed")


async def test_a_shutdown_is_an_end(pair):
    await pair.hostile.send(pair.hostile.packet(chunk(7, bytes(4))))
    await until(lambda: pair.sctp(0).state == "closed")


async def test_what_makes_aiortc_stumble_ends_the_link_in_our_words(pair, monkeypatch):
    async def stumble(_) -> None:
        raise RuntimeError("from deep inside")

    monkeypatch.setattr(pair.sctp(0), "_receive_reconfig_param", stumble)
    request = parameter(13, bytes(12))
    await pair.hostile.send(pair.hostile.packet(chunk(130, request)))
    await until(lambda: pair.words)
    assert pair.words == ["sent what can't be read (RuntimeError)"]


def test_an_allowance_comes_back_with_time(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    allowance = Allowance(8.0, 3.0)
    assert [allowance.take() for _ in range(4)] == [True, True, True, False]
    now[0] += 0.125
    assert [allowance.take() for _ in range(2)] == [True, False]
    now[0] += 1_000.0
    assert [allowance.take() for _ in range(4)] == [True, True, True, False]
    allowance.add(2)
    assert [allowance.take() for _ in range(3)] == [True, True, False]


async def test_repeats_are_not_kept_between_two_acknowledgements(pair):
    inbound, sctp = pair.paths[0]._inbound, pair.sctp(0)
    for _ in range(10 * module.MAX_DUPLICATES):
        assert inbound.mark_received(sctp._last_received_tsn)
    assert len(sctp._sack_duplicates) <= module.MAX_DUPLICATES
