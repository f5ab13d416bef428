from __future__ import annotations

import asyncio

import pytest

from shared.errors import BadInput, LinkFailed, MalformedFrame, PeerGone
from shared.link.controlchannel import MAX_WAITING, ControlChannel
from shared.link.lifetime import Lifetime
from shared.link.link import MAX_CONTROL_BYTES, LinkEnd
from shared.link.messages import pack_app, pack_bye

FLOODED = LinkEnd("lost", "it broke the rules of the control channel")


@pytest.fixture
def lifetime() -> Lifetime:
    made = Lifetime()
    made.open()
    return made


@pytest.fixture
def posted() -> list[bytes]:
    return []


@pytest.fixture
def channel(lifetime, posted) -> ControlChannel:
    return ControlChannel(post=posted.append, lifetime=lifetime)


async def test_what_is_sent_leaves_at_once_in_order(channel, posted):
    channel.send(b"a")
    channel.send(b"b" * MAX_CONTROL_BYTES)
    channel.send_goodbye()
    assert posted == [pack_app(b"a"), pack_app(b"b" * MAX_CONTROL_BYTES), pack_bye()]


@pytest.mark.parametrize("size", [0, MAX_CONTROL_BYTES + 1])
async def test_messages_of_no_or_too_many_bytes_are_refused(channel, posted, size):
    with pytest.raises(BadInput):
        channel.send(bytes(size))
    assert posted == []


async def test_nothing_is_sent_before_the_link_is_open_or_after_its_end(lifetime, posted):
    with pytest.raises(LinkFailed):
        ControlChannel(post=posted.append, lifetime=Lifetime()).send(b"x")
    lifetime.finish(LinkEnd("peer"))
    with pytest.raises(PeerGone):
        ControlChannel(post=posted.append, lifetime=lifetime).send(b"x")
    assert posted == []


async def test_what_arrives_is_read_in_order(channel):
    for message in (b"a", b"b"):
        assert channel.take(pack_app(message)) is None
    assert len(channel) == 2
    assert [await channel.receive() for _ in range(2)] == [b"a", b"b"]
    assert len(channel) == 0


async def test_whoever_waits_gets_the_next_message(channel):
    waiting = asyncio.ensure_future(channel.receive())
    await asyncio.sleep(0)
    channel.take(pack_app(b"x"))
    async with asyncio.timeout(5):
        assert await waiting == b"x"


async def test_what_came_before_the_end_is_still_read(channel, lifetime):
    channel.take(pack_app(b"last word"))
    lifetime.finish(LinkEnd("peer"))
    assert await channel.receive() == b"last word"
    with pytest.raises(PeerGone, match="the other end closed"):
        await channel.receive()


async def test_what_comes_after_our_own_end_is_not_kept(channel, lifetime):
    lifetime.finish(LinkEnd("local"))
    assert channel.take(pack_app(b"x")) is None
    assert len(channel) == 0


async def test_a_goodbye_ends_the_link_and_says_nothing(channel):
    assert channel.take(pack_bye()) == LinkEnd("peer")
    with pytest.raises(MalformedFrame):
        channel.take(pack_bye() + b"call 555 0100")


@pytest.mark.parametrize("message", [b"", b"\x01?", b"\xff"])
async def test_messages_of_no_known_kind_are_malformed(channel, message):
    with pytest.raises(MalformedFrame):
        channel.take(message)


@pytest.mark.parametrize("size", [0, MAX_CONTROL_BYTES + 1])
async def test_a_peer_whose_messages_have_an_impossible_size_is_cut_off(channel, size):
    assert channel.take(pack_app(bytes(size))) == FLOODED


async def test_a_peer_that_sends_more_than_anybody_reads_is_cut_off(channel):
    for _ in range(MAX_WAITING):
        assert channel.take(pack_app(b"x")) is None
    assert channel.take(pack_app(b"x")) == FLOODED
    assert len(channel) == MAX_WAITING
