"""A program that is held up between asking whether a frame may leave and sending it."""

from __future__ import annotations

import asyncio
import time

import pytest

from shared.link.memory import MemoryLink, memory_pair

LIMIT_S = 30.0  # a bound on waiting; nothing is measured by it
LAST = 128  # the first byte of the frames after the hold-up


@pytest.mark.parametrize("held_up_s", [0.0, 0.021, 0.1, 0.5])
async def test_a_frame_that_was_allowed_leaves_however_long_its_sender_was_held_up(
    held_up_s: float,
) -> None:
    sender, receiver = memory_pair()
    came = set[int]()
    async with sender, receiver, asyncio.timeout(LIMIT_S):
        await sender.connected()
        await receiver.connected()
        receiver.accept_frames()
        reading = asyncio.create_task(_read(receiver, came))
        for number in range(5):
            # A frame in flight, whose fate is not known yet when the loop stands still.
            async with asyncio.TaskGroup() as group:
                group.create_task(_sent(sender, bytes([number]) * 40_000))
                await asyncio.sleep(0)
                while not sender.can_send_frame():
                    await sender.writable()
                time.sleep(held_up_s)  # noqa: ASYNC251 -- this is what holds the program up
                await sender.send_frame(bytes([LAST + number]) * 40_000)
        while LAST + 4 not in came:
            await asyncio.sleep(0.01)
        reading.cancel()


async def _sent(link: MemoryLink, frame: bytes) -> None:
    await link.writable()
    await link.send_frame(frame)


async def _read(link: MemoryLink, came: set[int]) -> None:
    while True:
        came.add((await link.receive_frame()).data[0])
