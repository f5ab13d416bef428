from __future__ import annotations

import asyncio
import time

import pytest

from shared.errors import BadInput, LinkFailed, PeerGone
from shared.link.lifetime import Lifetime
from shared.link.link import MAX_FRAME_BYTES, LinkEnd
from shared.link.packets import DATA, parse_packet
from shared.link.writer import GRANT_NS, FrameWriter

AHEAD = b"what goes ahead"


class Writing:
    """A writer whose messages go nowhere but into `posted`; the clock can be put forward."""

    def __init__(self) -> None:
        self.posted: list[bytes] = []
        self.forward_ns = 0
        self.lifetime = Lifetime()
        self.writer = FrameWriter(
            post=lambda *messages: self.posted.extend(messages),
            ahead=lambda: self.posted.append(AHEAD),
            now_ns=lambda: time.monotonic_ns() + self.forward_ns,
            lifetime=self.lifetime,
            changed=self.lifetime.event(),
        )


@pytest.fixture
async def writing():
    made = Writing()
    made.lifetime.open()
    yield made
    made.lifetime.finish(LinkEnd("local"))
    made.writer.close()


@pytest.mark.parametrize("size", [0, MAX_FRAME_BYTES + 1])
async def test_frames_of_no_or_too_many_bytes_are_refused(writing, size):
    with pytest.raises(BadInput):
        await writing.writer.send(bytes(size))
    assert writing.writer.can_send()
    assert writing.posted == []


async def test_frames_are_numbered_and_what_is_small_goes_ahead_of_them(writing):
    async with asyncio.timeout(5):
        assert [await writing.writer.send(b"x"), await writing.writer.send(b"y")] == [0, 1]
    assert writing.posted[0] == writing.posted[2] == AHEAD
    assert [parse_packet(writing.posted[i]).frame_id for i in (1, 3)] == [0, 1]


async def test_a_frame_is_handed_over_when_its_last_packet_has_left(writing):
    async with asyncio.timeout(5):
        await writing.writer.send(bytes(20_000))
    symbols = {parse_packet(m).symbol for m in writing.posted if m[0] == DATA}
    assert symbols == set(range(len(symbols)))
    assert len(symbols) * 1_160 > 20_000


async def test_what_may_leave_at_once_is_posted_at_once(writing):
    writing.writer.on_ping(1_000_000)  # a path quick enough for all of it
    posts: list[int] = []
    writing.writer._post = lambda *messages: posts.append(len(messages))
    async with asyncio.timeout(5):
        await writing.writer.send(bytes(3_000))
    assert len(posts) == 1
    assert posts[0] >= 3


async def test_a_yes_holds_for_a_moment_for_one_frame_however_soon_the_answer_changes(writing):
    assert writing.writer.can_send()
    writing.writer._sender.can_send = lambda now_ns: False
    async with asyncio.timeout(5):
        await writing.writer.send(b"told that it may")
    with pytest.raises(RuntimeError, match="writable"):
        await writing.writer.send(b"told nothing")


async def test_a_yes_does_not_hold_for_longer(writing):
    assert writing.writer.can_send()
    writing.writer._sender.can_send = lambda now_ns: False
    writing.forward_ns = GRANT_NS + 1
    with pytest.raises(RuntimeError, match="writable"):
        await writing.writer.send(b"too late")


async def test_while_one_frame_is_being_handed_over_no_other_is_taken(writing):
    feeding = asyncio.ensure_future(writing.writer.send(bytes(3_000_000)))
    await asyncio.sleep(0)
    assert not feeding.done()
    assert not writing.writer.can_send()
    with pytest.raises(RuntimeError, match="writable"):
        await writing.writer.send(b"another")
    feeding.cancel()


async def test_a_frame_whose_sending_is_cancelled_leaves_no_more(writing):
    feeding = asyncio.ensure_future(writing.writer.send(bytes(3_000_000)))
    await asyncio.sleep(0)
    feeding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await feeding
    async with asyncio.timeout(5):
        await writing.writer.landed()
    already = len(writing.posted)
    await asyncio.sleep(0.02)
    assert len(writing.posted) == already


async def test_whoever_waits_is_told_that_the_link_is_over(writing):
    feeding = asyncio.ensure_future(writing.writer.send(bytes(3_000_000)))
    await asyncio.sleep(0)
    writing.lifetime.finish(LinkEnd("peer"))
    with pytest.raises(PeerGone, match="the other end closed"):
        async with asyncio.timeout(5):
            await feeding
    assert not writing.writer.can_send()
    with pytest.raises(PeerGone):
        await writing.writer.send(b"x")


async def test_before_the_link_is_open_no_frame_is_taken():
    writing = Writing()
    assert not writing.writer.can_send()
    with pytest.raises(LinkFailed):
        await writing.writer.send(b"x")


async def test_closed_it_sends_nothing_by_itself(writing):
    feeding = asyncio.ensure_future(writing.writer.send(bytes(300_000)))
    await asyncio.sleep(0)
    writing.writer.close()
    already = len(writing.posted)
    await asyncio.sleep(0.05)
    assert len(writing.posted) == already
    feeding.cancel()


async def test_it_is_idle_until_something_is_under_way(writing):
    assert writing.writer.idle
    await writing.writer.send(b"x")
    assert not writing.writer.idle


async def test_a_ping_gives_a_first_estimate(writing):
    assert writing.writer.path is None
    writing.writer.on_ping(20_000_000)
    assert writing.writer.path.rtt_ns == 20_000_000
