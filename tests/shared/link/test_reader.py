from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from shared.errors import MalformedFrame, PeerGone
from shared.link.feedback import REPORT
from shared.link.inbox import MAX_WAITING_FRAMES
from shared.link.lifetime import Lifetime
from shared.link.link import LinkEnd
from shared.link.reader import FrameReader
from tests.shared.link.simulated_path import messages_of


class Reading:
    """A reader whose reports go into `posted`."""

    def __init__(self, arriving=lambda frame: (frame,)) -> None:
        self.posted: list[bytes] = []
        self.lifetime = Lifetime()
        self.lifetime.open()
        self.reader = FrameReader(
            post=self.posted.append,
            arriving=arriving,
            now_ns=time.monotonic_ns,
            lifetime=self.lifetime,
        )

    def take(self, *messages: bytes) -> None:
        for message in messages:
            self.reader.on_packet(message, time.monotonic_ns())


@pytest.fixture
async def reading():
    made = Reading()
    made.reader.accept()
    yield made
    made.lifetime.finish(LinkEnd("local"))
    made.reader.close()


async def test_a_frame_is_read_when_its_last_packet_is_there(reading):
    waiting = asyncio.ensure_future(reading.reader.receive())
    *first, last = messages_of(0, b"abc" * 1_000)
    reading.take(*first)
    await asyncio.sleep(0)
    assert not waiting.done()
    reading.take(last)
    async with asyncio.timeout(5):
        frame = await waiting
    assert frame.data == b"abc" * 1_000


async def test_what_has_arrived_is_reported_once_the_frame_is_handed_over(reading):
    reading.take(*messages_of(0, b"x"))
    await reading.reader.receive()
    assert reading.posted == []
    async with asyncio.timeout(5):
        while not reading.posted:
            await asyncio.sleep(0.001)
    assert [message[0] for message in reading.posted] == [REPORT]


async def test_packets_are_neither_held_nor_reported_before_they_are_accepted():
    early = Reading()
    first = messages_of(0, bytes(3_000))
    for message in (first[0], *messages_of(1, b"whole")):
        with pytest.raises(MalformedFrame):
            early.take(message)
    early.reader.accept()
    early.take(*first[1:])  # the part that came too early is gone for good
    early.lifetime.finish(LinkEnd("peer"))
    early.reader.close()
    with pytest.raises(PeerGone):
        await early.reader.receive()


async def test_frames_that_are_given_up_are_counted_by_how_they_failed(reading):
    reading.take(messages_of(0, bytes(3_000))[0], messages_of(64, bytes(3_000))[0])
    assert reading.reader.dropped == {"incomplete": 1}
    for frame_id in (65, 67, 65 + 66):
        reading.take(*messages_of(frame_id, b"x"))
    async with asyncio.timeout(5):
        while "lost" not in reading.reader.dropped:
            await asyncio.sleep(0.001)


async def test_a_frame_that_stays_incomplete_is_given_up_in_time(reading):
    reading.take(messages_of(0, bytes(3_000))[0], *messages_of(1, b"newer"))
    async with asyncio.timeout(5):
        while not reading.reader.dropped:
            await asyncio.sleep(0.02)
    assert reading.reader.dropped == {"incomplete": 1}


async def test_frames_that_gave_way_to_newer_ones_are_counted(reading):
    for i in range(MAX_WAITING_FRAMES + 3):
        reading.take(*messages_of(i, bytes([i])))
    assert (await reading.reader.receive()).data == b"\x03"
    assert reading.reader.dropped == {"consumer slow": 3}


async def test_the_frames_that_one_stands_for_are_read_in_its_place():
    scripted = Reading(lambda frame: [replace(frame, data=frame.data * n) for n in (2, 3)])
    scripted.reader.accept()
    scripted.take(*messages_of(0, b"x"))
    assert [(await scripted.reader.receive()).data for _ in range(2)] == [b"xx", b"xxx"]
    scripted.reader.close()


@pytest.mark.parametrize("end", [LinkEnd("local"), LinkEnd("peer")])
async def test_a_clean_end_ends_the_frames_after_those_that_had_come(reading, end):
    reading.take(*messages_of(0, b"last"))
    reading.lifetime.finish(end)
    reading.take(*messages_of(1, b"too late"))
    assert [frame.data async for frame in reading.reader.frames()] == [b"last"]


async def test_a_lost_peer_ends_them_with_an_error(reading):
    reading.lifetime.finish(LinkEnd("lost"))
    with pytest.raises(PeerGone):
        async for _ in reading.reader.frames():
            pass


async def test_closed_it_reports_nothing_by_itself(reading):
    reading.take(messages_of(0, bytes(3_000))[0])
    reading.reader.close()
    await asyncio.sleep(0.05)
    assert reading.posted == []
