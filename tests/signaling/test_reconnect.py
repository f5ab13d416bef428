"""A dropped connection costs nothing: the place is taken back, nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Any

import pytest

from shared.errors import RoomUnavailable, SignalingUnreachable
from signaling.client import (
    MAX_WAITING,
    ClientEvent,
    ConnectionLost,
    PeerJoined,
    Reconnected,
    Relayed,
    SignalingClient,
)
from signaling.config import ServerConfig
from signaling.limits import Limits
from signaling.server import SignalingServer

WAIT_S = 20.0


def description(number: int) -> dict[str, str]:
    return {"type": "offer", "sdp": f"v={number}"}


async def next_event(client: SignalingClient) -> ClientEvent:
    async with asyncio.timeout(WAIT_S):
        async for event in client.events():
            return event
    raise AssertionError("the events ended")


async def through(client: SignalingClient, last: type[ClientEvent]) -> list[ClientEvent]:
    """The events up to the first of that type, which is the last in the list."""
    events = [await next_event(client)]
    while not isinstance(events[-1], last):
        events.append(await next_event(client))
    return events


@pytest.fixture
def rng() -> random.Random:
    return random.Random(1)


async def test_a_sender_whose_connection_is_cut_takes_its_place_back(
    server: SignalingServer, wire: Any, rng: random.Random
) -> None:
    async with (
        SignalingClient(wire.url, rng=rng) as sender,
        SignalingClient(server.url) as receiver,
    ):
        room = await sender.create_room()
        wire.cut()
        assert await next_event(sender) == ConnectionLost()
        peer = (await receiver.join_room(room.nameplate)).peer
        assert set(await through(sender, PeerJoined)) == {Reconnected(), PeerJoined(peer)}
        await sender.send(peer, description(1))
        assert await next_event(receiver) == Relayed(room.peer, description(1))


async def test_a_connection_that_died_unnoticed_is_renewed_and_nobody_told(
    server: SignalingServer, wire: Any, rng: random.Random
) -> None:
    async with (
        SignalingClient(wire.url, rng=rng) as sender,
        SignalingClient(server.url) as receiver,
    ):
        room = await sender.create_room()
        dead = set(wire.writers)
        wire.deaf = True
        peer = (await receiver.join_room(room.nameplate)).peer
        wire.deaf = False
        for writer in dead:  # from now on it swallows everything, as a NAT does that forgot it
            writer.write = lambda _: None
        sender.renew()
        assert await next_event(sender) == PeerJoined(peer)
        await sender.send(peer, description(1))
        assert await next_event(receiver) == Relayed(room.peer, description(1))


async def test_a_renewal_while_the_server_is_away_is_a_lost_connection_like_any(
    server: SignalingServer, wire: Any, rng: random.Random
) -> None:
    async with SignalingClient(wire.url, rng=rng) as sender:
        room = await sender.create_room()
        wire.lead_to(None)
        sender.renew()
        assert await next_event(sender) == ConnectionLost()
        wire.lead_to(server)
        assert await next_event(sender) == Reconnected()
        async with SignalingClient(server.url) as receiver:
            peer = (await receiver.join_room(room.nameplate)).peer
            assert await next_event(sender) == PeerJoined(peer)


async def test_what_is_sent_while_the_connection_is_down_arrives_once_and_in_order(
    server: SignalingServer, wire: Any, rng: random.Random
) -> None:
    async with (
        SignalingClient(wire.url, rng=rng) as sender,
        SignalingClient(server.url) as receiver,
    ):
        room = await sender.create_room()
        peer = (await receiver.join_room(room.nameplate)).peer
        await through(sender, PeerJoined)
        for number in range(3):
            await sender.send(peer, description(number))
            await next_event(receiver)
        wire.lead_to(None)
        wire.cut()
        await through(sender, ConnectionLost)
        for number in range(5):
            await sender.send(peer, description(number))
        for number in range(3):
            await receiver.send(room.peer, description(number))
        wire.lead_to(server)
        got = [await next_event(receiver) for _ in range(5)]
        assert got == [Relayed(room.peer, description(number)) for number in range(5)]
        events = [await next_event(sender) for _ in range(4)]
        assert [event for event in events if isinstance(event, Relayed)] == [
            Relayed(peer, description(number)) for number in range(3)
        ]


async def test_what_a_dying_connection_swallowed_arrives_after_all(
    server: SignalingServer, wire: Any, rng: random.Random
) -> None:
    """Both ends believe that they have sent: only their counts can tell."""
    async with (
        SignalingClient(wire.url, rng=rng) as sender,
        SignalingClient(server.url) as receiver,
    ):
        room = await sender.create_room()
        peer = (await receiver.join_room(room.nameplate)).peer
        await through(sender, PeerJoined)
        await sender.send(peer, description(0))
        assert await next_event(receiver) == Relayed(room.peer, description(0))
        wire.deaf = True
        await sender.send(peer, description(1))
        await receiver.send(room.peer, description(2))
        # The server works in order: once it refuses this join, the relay before it has gone out.
        async with SignalingClient(server.url) as other:
            with pytest.raises(RoomUnavailable):
                await other.join_room("999")
        wire.cut()
        wire.deaf = False
        events = [await next_event(sender) for _ in range(3)]
        assert sorted(map(repr, events)) == sorted(
            map(repr, [ConnectionLost(), Reconnected(), Relayed(peer, description(2))])
        )
        assert await next_event(receiver) == Relayed(room.peer, description(1))
        await sender.send(peer, description(3))
        assert await next_event(receiver) == Relayed(room.peer, description(3))


async def test_a_connection_cut_again_and_again_still_loses_nothing(
    server: SignalingServer, wire: Any, rng: random.Random
) -> None:
    async with (
        SignalingClient(wire.url, rng=rng) as sender,
        SignalingClient(wire.url, rng=rng) as receiver,
    ):
        room = await sender.create_room()
        peer = (await receiver.join_room(room.nameplate)).peer
        await through(sender, PeerJoined)
        for number in range(12):
            if number % 4 == 2:
                wire.cut()
            await sender.send(peer, description(number))
        got: list[ClientEvent] = []
        while len(got) < 12:
            event = await next_event(receiver)
            if isinstance(event, Relayed):
                got.append(event)
        assert got == [Relayed(room.peer, description(number)) for number in range(12)]


async def test_no_more_than_a_bounded_number_of_messages_waits(
    wire: Any, rng: random.Random
) -> None:
    async with SignalingClient(wire.url, rng=rng) as client:
        await client.create_room()
        wire.lead_to(None)
        wire.cut()
        await through(client, ConnectionLost)
        for number in range(MAX_WAITING):
            await client.send("0" * 32, description(number))
        with pytest.raises(SignalingUnreachable, match="away for too long"):
            await client.send("0" * 32, description(MAX_WAITING))


async def test_a_server_with_too_many_connections_is_tried_again(
    wire: Any, rng: random.Random, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "signaling")
    limits = Limits(connections_per_address=1)
    async with (
        SignalingServer(ServerConfig(port=0, limits=limits)) as server,
        SignalingClient(wire.url, rng=rng) as client,
    ):
        wire.lead_to(server)
        await client.create_room()
        wire.lead_to(None)
        wire.cut()
        await through(client, ConnectionLost)
        async with SignalingClient(server.url) as other:
            await other.create_room()
            wire.lead_to(server)
            async with asyncio.timeout(WAIT_S):
                while "too-many-connections" not in caplog.text:
                    await asyncio.sleep(0.02)
        assert await next_event(client) == Reconnected()


async def test_a_restarted_server_knows_no_room_any_more(wire: Any, rng: random.Random) -> None:
    async with SignalingClient(wire.url, rng=rng) as client:
        await client.create_room()
        async with SignalingServer(ServerConfig(port=0)) as restarted:
            wire.lead_to(restarted)
            wire.cut()
            assert await next_event(client) == ConnectionLost()
            with pytest.raises(RoomUnavailable, match="does not know this room") as raised:
                await next_event(client)
            assert "new code" in raised.value.hint
            with pytest.raises(RoomUnavailable):
                await client.send("0" * 32, description(0))


async def test_a_server_that_stays_away_is_given_up(wire: Any, rng: random.Random) -> None:
    async with SignalingClient(wire.url, rng=rng, reconnect_for_s=0.5) as client:
        await client.create_room()
        wire.lead_to(None)
        wire.cut()
        assert await next_event(client) == ConnectionLost()
        with pytest.raises(SignalingUnreachable, match="went away and did not come back"):
            await next_event(client)


async def test_a_server_that_stops_on_purpose_is_waited_for_too(rng: random.Random) -> None:
    async with SignalingServer(ServerConfig(port=0)) as server:
        client = SignalingClient(server.url, rng=rng, reconnect_for_s=0.5)
        await client.__aenter__()
        await client.create_room()
    assert await next_event(client) == ConnectionLost()
    with pytest.raises(SignalingUnreachable):
        await next_event(client)
    await client.__aexit__(None, None, None)


async def test_leaving_while_the_connection_is_down_ends_at_once(
    wire: Any, rng: random.Random
) -> None:
    async with asyncio.timeout(WAIT_S):
        async with SignalingClient(wire.url, rng=rng, reconnect_for_s=3600) as client:
            await client.create_room()
            wire.lead_to(None)
            wire.cut()
            await through(client, ConnectionLost)
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "signaling client"]
        assert [event async for event in client.events()] == []
