"""Joining a running stream, over a real server and real links."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import numpy as np

from receiver.session import ReceiverSession
from sender.session import SenderSession
from shared.telemetry.records import DropReason
from tests.integration import peers


async def test_who_joins_a_running_stream_never_gets_a_frame_before_its_key(
    ends: peers.Ends,
) -> None:
    """Over a real server and real links, at full rate."""
    async with asyncio.timeout(peers.LIMIT_S):
        settings = ends.sending(max_receivers=3)
        feed = peers.Feed(interval_s=0.005)
        async with SenderSession(feed.frames(), settings) as sender:
            receivers: list[ReceiverSession] = []
            async with AsyncExitStack() as stack:
                for _ in range(3):
                    assert sender.code is not None
                    receiver = ReceiverSession(sender.code, ends.receiver)
                    receivers.append(await stack.enter_async_context(receiver))
                    await asyncio.gather(*(some_frames(each) for each in receivers))
                for receiver in receivers:
                    assert DropReason.UNKNOWN_EPOCH not in receiver.journal.drops
                    assert receiver.journal.frames >= 5


async def some_frames(receiver: ReceiverSession) -> None:
    seen = 0
    async for frame in receiver:
        assert np.array_equal(frame.frame.image, peers.picture(frame.frame.index))
        seen += 1
        if seen == 5:
            return
