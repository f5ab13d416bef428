"""One end is ours, the other plain aiortc: what both say arrives, and none is taken for hostile."""

from __future__ import annotations

import asyncio
import random

import pytest

from shared.link.webrtc.agent import IceAgent
from shared.link.webrtc.ice import install_agent
from tests.shared.link.webrtc.test_sctp import Pair, lose, until

pytestmark = pytest.mark.usefixtures("loop_complaints")


class HalfPair(Pair):
    """End 1, which answers, is aiortc's association as it is installed."""

    def _prepare(self, end: int) -> None:
        if end == 0:
            super()._prepare(end)
        else:
            install_agent(self.sctp(end), IceAgent(host_addresses=["127.0.0.1"]))


@pytest.fixture
async def pair():
    pair = HalfPair()
    pair.words = []
    await pair.connect()
    pair.paths[0]._broken = pair.words.append
    yield pair
    await pair.close()


async def test_control_messages_of_all_sizes_go_both_ways(pair):
    dice = random.Random(1)
    there, back = [], []
    pair.other_control.on("message", there.append)
    pair.control.on("message", back.append)
    messages = [dice.randbytes(size) for size in (1, 476, 477, 1_160, 5_000, 65_536, 30_000)]
    for message in messages:
        pair.control.send(message)
        pair.other_control.send(message)
    await until(lambda: len(there) == len(back) == len(messages))
    assert there == back == messages
    assert pair.words == []


async def test_they_do_so_where_a_tenth_is_lost(pair):
    got = []
    pair.control.on("message", got.append)
    lose(pair, 0, 0.1)
    lose(pair, 1, 0.1)
    messages = [bytes([i]) * 3_000 for i in range(6)]
    for message in messages:
        pair.other_control.send(message)
    async with asyncio.timeout(60):
        while len(got) < len(messages):
            await asyncio.sleep(0.01)
    assert got == messages


async def test_frames_that_are_acknowledged_one_by_one_are_no_flood(pair):
    frames = next(
        channel for channel in pair.sctp(1)._data_channels.values() if channel.label == "frames"
    )
    got = []
    frames.on("message", got.append)
    for i in range(300):
        pair.paths[0].send(*[i.to_bytes(2, "big") * 300] * 20)
        await until(lambda i=i: len(got) >= 20 * i)
    await until(lambda: len(got) == 6_000)
    frames.send(b"a report")
    await until(lambda: pair.received[0] == [b"a report"])
    assert pair.words == []


async def test_a_channel_that_it_adds_and_closes_is_taken_back(pair):
    extra = pair.connections[1].createDataChannel("more")
    await until(lambda: extra.readyState == "open")
    extra.close()
    await until(lambda: extra.readyState == "closed")
    assert pair.words == []


async def test_it_says_goodbye(pair):
    await pair.connections[1].close()
    await until(lambda: pair.sctp(0).state == "closed")
    assert pair.words == []
