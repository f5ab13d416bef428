from __future__ import annotations

import asyncio

import pytest

from shared.errors import LinkFailed, PeerGone
from shared.link.lifetime import Lifetime
from shared.link.link import LinkEnd


async def begun(coroutine) -> asyncio.Future:
    waiting = asyncio.ensure_future(coroutine)
    await asyncio.sleep(0)
    assert not waiting.done()
    return waiting


async def test_it_is_up_between_its_opening_and_its_end():
    lifetime = Lifetime()
    assert (lifetime.opened, lifetime.up, lifetime.end) == (False, False, None)
    lifetime.open()
    assert (lifetime.opened, lifetime.up, lifetime.end) == (True, True, None)
    lifetime.finish(LinkEnd("peer"))
    assert (lifetime.opened, lifetime.up, lifetime.end) == (True, False, LinkEnd("peer"))


async def test_the_first_reason_of_an_end_stays():
    lifetime = Lifetime()
    assert lifetime.finish(LinkEnd("lost", "silent"))
    assert not lifetime.finish(LinkEnd("local"))
    assert lifetime.end == LinkEnd("lost", "silent")


@pytest.mark.parametrize(("cause", "listens"), [("local", True), ("peer", False), ("lost", False)])
async def test_the_other_end_is_listened_to_until_it_is_gone(cause, listens):
    lifetime = Lifetime()
    assert lifetime.listens
    lifetime.finish(LinkEnd(cause))
    assert lifetime.listens == listens


async def test_whoever_waits_looks_again_when_woken_and_only_then():
    lifetime, looks = Lifetime(), []
    waiting = await begun(lifetime.until(lambda: looks.append(1) or len(looks) == 3))
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(looks) == 1
    lifetime.wake()
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(looks) == 2
    lifetime.wake()
    async with asyncio.timeout(5):
        await waiting


async def test_an_event_of_ones_own_wakes_only_who_waits_for_it():
    lifetime, looks = Lifetime(), []
    event = lifetime.event()
    waiting = await begun(lifetime.until(lambda: looks.append(1) or len(looks) == 2, event))
    lifetime.wake()
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(looks) == 1
    event.set()
    async with asyncio.timeout(5):
        await waiting


async def test_its_end_wakes_everybody():
    lifetime = Lifetime()
    waiting = [
        await begun(lifetime.until(lambda: False)),
        await begun(lifetime.until(lambda: False, lifetime.event())),
        await begun(lifetime.over()),
    ]
    lifetime.finish(LinkEnd("peer"))
    async with asyncio.timeout(5):
        assert await asyncio.gather(*waiting) == [None, None, LinkEnd("peer")]


async def test_before_it_is_open_a_use_is_a_failure_and_after_its_end_the_peer_is_gone():
    lifetime = Lifetime()
    lifetime.raise_if_over()
    with pytest.raises(LinkFailed):
        lifetime.raise_if_not_up()
    lifetime.open()
    lifetime.raise_if_not_up()
    lifetime.finish(LinkEnd("local"))
    for refuse in (lifetime.raise_if_over, lifetime.raise_if_not_up):
        with pytest.raises(PeerGone, match="closed at this end"):
            refuse()


async def test_connected_returns_when_it_opens():
    lifetime = Lifetime()
    waiting = await begun(lifetime.connected(5))
    lifetime.open()
    await waiting


@pytest.mark.parametrize(
    ("end", "error", "says"),
    [
        (LinkEnd("local"), PeerGone, "closed at this end"),
        (LinkEnd("peer"), LinkFailed, "the other end closed the link"),
        (LinkEnd("lost", "no path"), LinkFailed, "no path"),
    ],
)
async def test_a_link_that_ends_before_it_opens_could_not_be_connected(end, error, says):
    lifetime = Lifetime()
    waiting = await begun(lifetime.connected(5))
    lifetime.finish(end)
    with pytest.raises(error, match=says):
        await waiting


async def test_a_link_that_does_not_open_in_time_says_what_helps():
    with pytest.raises(LinkFailed, match=r"within 0\.01 s") as caught:
        await Lifetime().connected(0.01)
    assert "TURN" in caught.value.hint
