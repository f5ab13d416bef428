"""A session with every family of keystream network, over a real server and real links."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from receiver.session import ReceiverSession
from sender.session import SenderSession
from shared.keystream.network import load_network, shipped_families
from tests.integration.peers import LIMIT_S, Ends, Feed, picture

FRAMES = 10


@pytest.mark.parametrize("family", shipped_families())
async def test_the_receiver_learns_the_family_and_gets_the_frames_bit_for_bit(
    ends: Ends, family: str
) -> None:
    settings = ends.sending(keystream=family)
    async with asyncio.timeout(LIMIT_S), SenderSession(Feed().frames(), settings) as sender:
        assert sender.code is not None
        async with ReceiverSession(sender.code, ends.receiver) as receiver:
            assert receiver.keystream.family == family
            assert receiver.keystream.digest == load_network(family).digest.hex()
            shown = 0
            async for frame in receiver:
                assert np.array_equal(frame.frame.image, picture(frame.frame.index))
                assert frame.psnr_db is None
                shown += 1
                if shown == FRAMES:
                    break
