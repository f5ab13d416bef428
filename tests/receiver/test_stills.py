"""Asking for a picture once more: what is sent, and what comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest

from receiver import stills as stills_module
from receiver.pipeline import DecodedFrame, Receipt
from receiver.stills import Stills
from shared import control
from shared.association import Association
from shared.errors import PeerGone
from shared.wire import FrameMetadata
from tests.doubles import LIMIT_S, paired, turns


def decoded(index: int) -> DecodedFrame:
    stages = {"capture": 0, "mask": 0, "encode": 0}
    metadata = FrameMetadata(index, 0, "lossless", 4, 4, 1, None, stages)
    arrival = Receipt((1, index), metadata, 0, 0, 0, 0, 0)
    return DecodedFrame(arrival, np.zeros((4, 4), np.uint8), b"")


@pytest.fixture
async def ends() -> AsyncIterator[tuple[Association, Stills]]:
    """The sender's end, and the stills of the receiver's."""
    sender, receiver = paired()
    async with asyncio.timeout(LIMIT_S):
        yield sender, Stills(receiver)
        await sender.link.close()
        await receiver.link.close()


async def test_the_picture_asked_for_is_given_and_no_other(
    ends: tuple[Association, Stills],
) -> None:
    sender, stills = ends
    fetching = asyncio.create_task(stills.fetch(7))
    assert await sender.receive() == control.StillRequest(index=7)
    stills.came(6, decoded(6))  # asked for before, and given up
    await turns()
    assert not fetching.done()
    still = decoded(7)
    stills.came(7, still)
    assert await fetching is still
    stills.came(7, None, "once more")
    assert stills.refusal == ""


async def test_a_refusal_is_told_until_the_next_one_is_asked_for(
    ends: tuple[Association, Stills],
) -> None:
    sender, stills = ends
    fetching = asyncio.create_task(stills.fetch(7))
    await sender.receive()
    stills.came(7, None, "it would take 8 s")
    assert await fetching is None
    assert stills.refusal == "it would take 8 s"
    fetching = asyncio.create_task(stills.fetch(8))
    await sender.receive()
    assert stills.refusal == ""
    stills.came(8, None)
    assert await fetching is None


async def test_one_is_fetched_at_a_time(ends: tuple[Association, Stills]) -> None:
    sender, stills = ends
    first, second = (asyncio.create_task(stills.fetch(index)) for index in (7, 8))
    assert await sender.receive() == control.StillRequest(index=7)
    hearing = asyncio.create_task(sender.receive())
    await turns()
    assert not hearing.done()
    stills.came(7, decoded(7))
    await first
    assert await hearing == control.StillRequest(index=8)
    stills.came(8, None)
    await second


async def test_one_that_is_not_wanted_any_more_is_taken_back(
    ends: tuple[Association, Stills],
) -> None:
    sender, stills = ends
    fetching = asyncio.create_task(stills.fetch(7))
    await sender.receive()
    fetching.cancel()
    assert await sender.receive() == control.StillCancel(index=7)
    stills.came(7, decoded(7))  # it was on its way


async def test_one_that_does_not_come_in_time_is_taken_back(
    ends: tuple[Association, Stills], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stills_module, "STILL_TIMEOUT_S", 0.01)
    sender, stills = ends
    assert await stills.fetch(7) is None
    assert await sender.receive() == control.StillRequest(index=7)
    assert await sender.receive() == control.StillCancel(index=7)


async def test_a_link_that_ends_meanwhile_is_an_error(ends: tuple[Association, Stills]) -> None:
    sender, stills = ends
    fetching = asyncio.create_task(stills.fetch(7))
    await sender.receive()
    await sender.link.close()
    with pytest.raises(PeerGone):
        await fetching
