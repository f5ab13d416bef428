"""The client against a real server on the loopback: meeting, refusals, and what people read."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from shared.errors import BadInput, RoomUnavailable, SignalingUnreachable
from signaling.client import (
    ClientEvent,
    PeerJoined,
    PeerLeft,
    Relayed,
    RoomClosed,
    SignalingClient,
)
from signaling.config import ServerConfig
from signaling.limits import Limits
from signaling.messages import MAX_SDP_CHARS, IceServerEntry
from signaling.server import SignalingServer
from signaling.tls import client_context, server_context

WAIT_S = 10.0
OFFER = {"type": "offer", "sdp": "v=0 offer"}
ANSWER = {"type": "answer", "sdp": "v=0 answer"}


Speak = Callable[[web.WebSocketResponse], Any]
Impostor = Callable[[Speak], Any]


@pytest.fixture
def impostor() -> Impostor:
    """A server at /ws that hears one message and then says whatever it likes."""

    @contextlib.asynccontextmanager
    async def start(speak: Speak) -> AsyncIterator[str]:
        async def serve(request: web.Request) -> web.WebSocketResponse:
            websocket = web.WebSocketResponse()
            await websocket.prepare(request)
            await websocket.receive()
            await speak(websocket)
            await websocket.receive()
            return websocket

        app = web.Application()
        app.router.add_get("/ws", serve)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"ws://127.0.0.1:{runner.addresses[0][1]}"
        await runner.cleanup()

    return start


CREATED = {
    "type": "created",
    "version": 1,
    "nameplate": "7",
    "peer": "0" * 32,
    "token": "0" * 64,
    "ice_servers": [],
}


async def next_event(client: SignalingClient) -> ClientEvent:
    async with asyncio.timeout(WAIT_S):
        async for event in client.events():
            return event
    raise AssertionError("the events ended")


async def rest_of(client: SignalingClient) -> list[ClientEvent]:
    async with asyncio.timeout(WAIT_S):
        return [event async for event in client.events()]


async def test_two_clients_meet_and_exchange_offer_and_answer(server: SignalingServer) -> None:
    async with SignalingClient(server.url) as sender, SignalingClient(server.url) as receiver:
        room = await sender.create_room()
        joined = await receiver.join_room(room.nameplate)
        assert joined.nameplate == room.nameplate
        assert await next_event(sender) == PeerJoined(joined.peer)
        await sender.send(joined.peer, OFFER)
        assert await next_event(receiver) == Relayed(room.peer, OFFER)
        await receiver.send(room.peer, ANSWER)
        assert await next_event(sender) == Relayed(joined.peer, ANSWER)


async def test_the_sender_sees_a_receiver_leave(server: SignalingServer) -> None:
    async with SignalingClient(server.url) as sender:
        room = await sender.create_room()
        async with SignalingClient(server.url) as receiver:
            peer = (await receiver.join_room(room.nameplate)).peer
        assert [await next_event(sender), await next_event(sender)] == [
            PeerJoined(peer),
            PeerLeft(peer),
        ]


async def test_receivers_see_the_room_close_and_their_events_end(server: SignalingServer) -> None:
    async with SignalingClient(server.url) as receiver:
        async with SignalingClient(server.url) as sender:
            room = await sender.create_room()
            await receiver.join_room(room.nameplate)
        assert await rest_of(receiver) == [RoomClosed("sender-left")]
        assert await rest_of(receiver) == []
        with pytest.raises(RoomUnavailable):
            await receiver.send(room.peer, ANSWER)


async def test_leaving_ends_the_events_and_twice_is_harmless(server: SignalingServer) -> None:
    async with SignalingClient(server.url) as client:
        await client.create_room()
        reading = asyncio.create_task(rest_of(client))
        await client.leave()
        await client.leave()
        assert await reading == []


async def test_a_client_that_joined_nothing_leaves_quietly(server: SignalingServer) -> None:
    async with SignalingClient(server.url) as client:
        with pytest.raises(RoomUnavailable):
            await client.send("0" * 32, OFFER)
    assert await rest_of(client) == []


async def test_the_room_brings_the_ice_servers_of_the_operator() -> None:
    turn = IceServerEntry(["turn:turn.example.org"], "user", "pass")
    async with (
        SignalingServer(ServerConfig(port=0, ice_servers=(turn,))) as server,
        SignalingClient(server.url) as client,
    ):
        assert (await client.create_room()).ice_servers == (turn,)


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"type": "offer"},
        {"type": "candidate", "sdp": "x"},
        OFFER | {"key": "value"},
        {"type": "offer", "sdp": "x" * (MAX_SDP_CHARS + 1)},
        {"type": "offer", "sdp": "\u20ac" * (MAX_SDP_CHARS - 1)},
    ],
)
async def test_nothing_but_an_offer_or_answer_is_sent(
    server: SignalingServer, payload: dict[str, str]
) -> None:
    async with SignalingClient(server.url) as client:
        room = await client.create_room()
        with pytest.raises(BadInput):
            await client.send(room.peer, payload)


# -- refusals -----------------------------------------------------------------------------------


async def test_a_wrong_number_is_refused_and_another_may_be_tried(server: SignalingServer) -> None:
    async with SignalingClient(server.url) as sender, SignalingClient(server.url) as receiver:
        room = await sender.create_room()
        with pytest.raises(RoomUnavailable, match="no such room") as raised:
            await receiver.join_room("999")
        assert "number at the start of the code" in raised.value.hint
        assert raised.value.exit_status == 4
        await receiver.join_room(room.nameplate)


@pytest.mark.parametrize("nameplate", ["", "x", "0", "1234567", "1-abandon-crystal-zebra"])
async def test_what_is_no_number_is_refused_without_asking_the_server(nameplate: str) -> None:
    async with SignalingClient("ws://127.0.0.1:1") as client:
        with pytest.raises(BadInput) as raised:
            await client.join_room(nameplate)
    assert "abandon" not in str(raised.value)


async def test_full_rooms_and_servers_are_told_apart() -> None:
    limits = Limits(rooms=1, peers_per_room=2)
    async with (
        SignalingServer(ServerConfig(port=0, limits=limits)) as server,
        SignalingClient(server.url) as sender,
        SignalingClient(server.url) as receiver,
        SignalingClient(server.url) as late,
    ):
        room = await sender.create_room()
        await receiver.join_room(room.nameplate)
        with pytest.raises(RoomUnavailable, match="the room is full"):
            await late.join_room(room.nameplate)
        with pytest.raises(RoomUnavailable, match="no room left"):
            await late.create_room()


async def test_a_room_that_too_many_join_asks_for_a_moment() -> None:
    limits = Limits(join_burst=1)
    async with (
        SignalingServer(ServerConfig(port=0, limits=limits), clock_ns=lambda: 0) as server,
        SignalingClient(server.url) as sender,
        SignalingClient(server.url) as receiver,
        SignalingClient(server.url) as late,
    ):
        room = await sender.create_room()
        await receiver.join_room(room.nameplate)
        with pytest.raises(RoomUnavailable, match="too many are trying to join") as raised:
            await late.join_room(room.nameplate)
    assert "try again in a moment" in raised.value.hint


async def test_a_client_that_sends_too_much_learns_it_from_its_events() -> None:
    limits = Limits(message_burst=3)
    async with (
        SignalingServer(ServerConfig(port=0, limits=limits), clock_ns=lambda: 0) as server,
        SignalingClient(server.url) as client,
    ):
        await client.create_room()
        for _ in range(3):
            await client.send("0" * 32, OFFER)
        with pytest.raises(RoomUnavailable, match="too many messages"):
            await rest_of(client)
        with pytest.raises(RoomUnavailable, match="too many messages"):
            await client.send("0" * 32, OFFER)


async def test_a_message_too_large_for_the_server_is_named(impostor: Impostor) -> None:
    async def speak(websocket: web.WebSocketResponse) -> None:
        await websocket.send_json(CREATED)
        await websocket.close(code=1009)

    async with impostor(speak) as url, SignalingClient(url) as client:
        await client.create_room()
        with pytest.raises(RoomUnavailable, match="too large"):
            await rest_of(client)


# -- servers that are none ----------------------------------------------------------------------


async def test_an_unreachable_server_is_named_with_its_port(unused_tcp_port: int) -> None:
    async with SignalingClient(f"ws://127.0.0.1:{unused_tcp_port}") as client:
        with pytest.raises(
            SignalingUnreachable, match=rf"127\.0\.0\.1:{unused_tcp_port}"
        ) as raised:
            await client.create_room()
    assert "server" in raised.value.hint
    assert raised.value.exit_status == 4


async def test_an_unknown_host_is_named() -> None:
    async with SignalingClient("ws://no-such-host.invalid:8765") as client:
        with pytest.raises(SignalingUnreachable, match=r"no-such-host\.invalid:8765"):
            await client.create_room()


@pytest.mark.parametrize(
    "answer",
    [
        "welcome",
        json.dumps(CREATED | {"type": "joined"}),
        json.dumps(CREATED | {"nameplate": "7\x1b[2J"}),
        json.dumps({"type": "resumed", "version": 1, "received": 0}),
        json.dumps({"type": "error", "code": "\x1b[2Jpwned", "message": "\x1b[2Jpwned"}),
    ],
)
async def test_a_server_that_answers_nonsense_is_not_believed(
    impostor: Impostor, answer: str
) -> None:
    async with impostor(lambda ws: ws.send_str(answer)) as url, SignalingClient(url) as client:
        with pytest.raises(SignalingUnreachable, match="does not speak") as raised:
            await client.create_room()
    assert "\x1b" not in str(raised.value) + raised.value.hint


async def test_the_words_of_a_refusal_are_the_clients_own(impostor: Impostor) -> None:
    answer = json.dumps({"type": "error", "code": "room-full", "message": "\x1b[2J call 555"})
    async with impostor(lambda ws: ws.send_str(answer)) as url, SignalingClient(url) as client:
        with pytest.raises(RoomUnavailable, match=r"^the room is full$"):
            await client.join_room("7")


async def test_a_room_other_than_the_one_asked_for_is_not_entered(impostor: Impostor) -> None:
    answer = json.dumps(CREATED | {"type": "joined", "nameplate": "8"})
    async with impostor(lambda ws: ws.send_str(answer)) as url, SignalingClient(url) as client:
        with pytest.raises(SignalingUnreachable):
            await client.join_room("7")


@pytest.mark.parametrize(
    "event",
    [
        {"type": "peer-joined", "number": 2, "peer": "0" * 32},
        {"type": "peer-joined", "number": 0, "peer": "0" * 32},
        {"type": "relayed", "number": 1, "sender": "0" * 32, "payload": {"type": "x", "sdp": "x"}},
        CREATED,
    ],
)
async def test_a_server_that_loses_count_or_improvises_ends_the_events(
    impostor: Impostor, event: dict[str, Any]
) -> None:
    async def speak(websocket: web.WebSocketResponse) -> None:
        await websocket.send_json(CREATED)
        await websocket.send_json(event)

    async with impostor(speak) as url, SignalingClient(url) as client:
        await client.create_room()
        with pytest.raises(SignalingUnreachable):
            await rest_of(client)


async def test_a_web_server_that_knows_no_signaling_is_told_apart(
    server: SignalingServer,
) -> None:
    async with SignalingClient(server.url + "/healthz") as client:
        with pytest.raises(SignalingUnreachable, match="does not speak"):
            await client.create_room()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(server: SignalingServer, status: int) -> None:
    elsewhere = server.url.replace("ws://", "http://") + "/ws"

    async def point(_request: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Location": elsewhere})

    app = web.Application()
    app.router.add_get("/ws", point)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with SignalingClient(f"ws://127.0.0.1:{runner.addresses[0][1]}") as client:
        with pytest.raises(SignalingUnreachable, match="does not speak"):
            await client.create_room()
    await runner.cleanup()


async def test_a_server_that_never_answers_is_given_up(impostor: Impostor) -> None:
    async def silence(websocket: web.WebSocketResponse) -> None:
        await websocket.receive()

    async with impostor(silence) as url, SignalingClient(url, connect_s=0.1) as client:
        with pytest.raises(SignalingUnreachable, match="does not answer"):
            await client.create_room()


async def test_cancelling_while_the_server_is_silent_leaves_nothing_behind(
    impostor: Impostor,
) -> None:
    heard = asyncio.Event()

    async def silence(websocket: web.WebSocketResponse) -> None:
        heard.set()
        await websocket.receive()

    async def create(url: str) -> None:
        async with SignalingClient(url) as client:
            await client.create_room()

    async with impostor(silence) as url:
        creating = asyncio.create_task(create(url))
        await heard.wait()
        creating.cancel()
        async with asyncio.timeout(WAIT_S):
            with pytest.raises(asyncio.CancelledError):
                await creating


async def test_cancelling_a_reader_leaves_the_room_and_no_task(server: SignalingServer) -> None:
    async def sit(entered: asyncio.Event) -> None:
        async with SignalingClient(server.url) as client:
            await client.create_room()
            entered.set()
            async for _ in client.events():
                pass

    entered = asyncio.Event()
    sitting = asyncio.create_task(sit(entered))
    await entered.wait()
    sitting.cancel()
    async with asyncio.timeout(WAIT_S):
        with pytest.raises(asyncio.CancelledError):
            await sitting
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "signaling client"]
    url = server.url.replace("ws", "http", 1) + "/healthz"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        assert (await response.json())["rooms"] == 0


# -- TLS ----------------------------------------------------------------------------------------


async def test_a_trusted_certificate_is_accepted_and_any_other_refused(certificate: Any) -> None:
    tls = server_context(certificate.cert, certificate.key)
    async with SignalingServer(ServerConfig(port=0, tls=tls)) as server:
        assert server.url.startswith("wss://127.0.0.1:")
        trusting = client_context(certificate.cert)
        async with SignalingClient(server.url, ssl_context=trusting) as client:
            await client.create_room()
        async with SignalingClient(server.url) as client:
            with pytest.raises(SignalingUnreachable, match=r"certificate .* not trusted"):
                await client.create_room()
        async with SignalingClient(server.url.replace("wss", "ws")) as client:
            with pytest.raises(SignalingUnreachable):
                await client.create_room()


async def test_a_server_without_tls_is_named_as_the_reason(server: SignalingServer) -> None:
    async with SignalingClient(server.url.replace("ws", "wss", 1)) as client:
        with pytest.raises(SignalingUnreachable, match="does not speak TLS"):
            await client.create_room()
