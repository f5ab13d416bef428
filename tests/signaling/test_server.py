"""The server over real sockets: what it serves, what it refuses, and how it says so."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from shared.errors import BadInput
from signaling.config import ServerConfig
from signaling.limits import Limits
from signaling.messages import IceServerEntry
from signaling.server import SignalingServer

WAIT_S = 10.0  # for anything that happens at once unless it is broken
CREATE = {"type": "create", "version": 1}
Connect = Callable[..., Awaitable[aiohttp.ClientWebSocketResponse]]


@pytest.fixture
async def connect(server: SignalingServer) -> AsyncIterator[Connect]:
    """A raw WebSocket to `server`, or to another one; the first message may be given."""
    opened = []  # one that nobody holds would be closed
    async with aiohttp.ClientSession() as session:

        async def connect(
            hello: dict[str, Any] | None = None, to: SignalingServer = server
        ) -> aiohttp.ClientWebSocketResponse:
            websocket = await session.ws_connect(f"{to.url}/ws")
            opened.append(websocket)
            if hello is not None:
                await websocket.send_json(hello)
            return websocket

        yield connect


async def hear(websocket: aiohttp.ClientWebSocketResponse) -> Any:
    return await websocket.receive_json(timeout=WAIT_S)


async def refusal(websocket: aiohttp.ClientWebSocketResponse) -> tuple[str, int | None]:
    """The code of the refusal, and the close code of the connection that must follow."""
    message = await hear(websocket)
    assert message["type"] == "error"
    assert message["message"]
    closing = await websocket.receive(timeout=WAIT_S)
    assert closing.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
    return message["code"], websocket.close_code


def join(nameplate: str) -> dict[str, Any]:
    return {"type": "join", "version": 1, "nameplate": nameplate}


def relay(to: str, kind: str = "offer", sdp: str = "v=0") -> dict[str, Any]:
    return {"type": "relay", "to": to, "payload": {"type": kind, "sdp": sdp}}


async def health(server: SignalingServer) -> Any:
    url = server.url.replace("ws://", "http://") + "/healthz"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        assert response.status == 200
        return await response.json()


def port_of(server: SignalingServer) -> int:
    return int(server.url.rpartition(":")[2])


async def test_offer_and_answer_travel_between_the_two(connect: Connect) -> None:
    sender = await connect(CREATE)
    created = await hear(sender)
    receiver = await connect(join(created["nameplate"]))
    joined = await hear(receiver)
    assert await hear(sender) == {"type": "peer-joined", "number": 1, "peer": joined["peer"]}
    await sender.send_json(relay(joined["peer"], sdp="v=0 offer"))
    assert await hear(receiver) == {
        "type": "relayed",
        "number": 1,
        "sender": created["peer"],
        "payload": {"type": "offer", "sdp": "v=0 offer"},
    }
    await receiver.send_json(relay(created["peer"], "answer", "v=0 answer"))
    assert (await hear(sender))["payload"] == {"type": "answer", "sdp": "v=0 answer"}
    await sender.send_json({"type": "leave"})
    assert (await hear(receiver))["reason"] == "sender-left"
    assert (await receiver.receive(timeout=WAIT_S)).type is aiohttp.WSMsgType.CLOSE


async def test_the_health_page_counts_rooms_and_peers(
    server: SignalingServer, connect: Connect
) -> None:
    assert await health(server) == {"status": "ok", "rooms": 0, "peers": 0}
    created = await hear(await connect(CREATE))
    await hear(await connect(join(created["nameplate"])))
    assert await health(server) == {"status": "ok", "rooms": 1, "peers": 2}


async def test_peers_get_the_ice_servers_of_the_operator(connect: Connect) -> None:
    turn = IceServerEntry(["turn:turn.example.org:3478"], "user", "pass")
    async with SignalingServer(ServerConfig(port=0, ice_servers=(turn,))) as server:
        created = await hear(await connect(CREATE, server))
        joined = await hear(await connect(join(created["nameplate"]), server))
    expected = [{"urls": ["turn:turn.example.org:3478"], "username": "user", "credential": "pass"}]
    assert created["ice_servers"] == joined["ice_servers"] == expected


@pytest.mark.parametrize(
    ("hello", "code"),
    [
        (join("999"), "no-such-room"),
        ({"type": "resume", "version": 1, "token": "0" * 64, "received": 0}, "resume-refused"),
        ({"type": "create", "version": 2}, "unsupported-version"),
        ({"type": "create"}, "malformed"),
        (relay("0" * 32), "malformed"),
        ({"type": "leave"}, "malformed"),
    ],
)
async def test_a_first_message_that_cannot_be_granted_is_refused(
    connect: Connect, hello: dict[str, Any], code: str
) -> None:
    assert await refusal(await connect(hello)) == (code, 1008)


@pytest.mark.parametrize("text", ["", "hello", "[" * 30_000, '{"type":"create","version":1e999}'])
async def test_nonsense_is_refused(connect: Connect, text: str) -> None:
    websocket = await connect()
    await websocket.send_str(text)
    assert await refusal(websocket) == ("malformed", 1008)


async def test_a_binary_message_is_refused(connect: Connect) -> None:
    websocket = await connect()
    await websocket.send_bytes(json.dumps(CREATE).encode())
    assert await refusal(websocket) == ("malformed", 1008)


async def test_a_second_hello_is_refused_and_the_place_kept_for_the_grace_period(
    server: SignalingServer, connect: Connect
) -> None:
    websocket = await connect(CREATE)
    await hear(websocket)
    await websocket.send_json(CREATE)
    assert await refusal(websocket) == ("malformed", 1008)
    assert await health(server) == {"status": "ok", "rooms": 1, "peers": 1}


async def test_a_message_over_the_size_limit_is_refused(connect: Connect) -> None:
    limits = Limits(message_bytes=1000)
    async with SignalingServer(ServerConfig(port=0, limits=limits)) as server:
        websocket = await connect(to=server)
        await websocket.send_str(json.dumps(CREATE).ljust(1000))
        assert (await hear(websocket))["type"] == "created"
        await websocket.send_str("x" * 1001)
        assert await refusal(websocket) == ("too-large", 1009)


async def test_a_huge_message_is_not_even_read(connect: Connect) -> None:
    websocket = await connect()
    await websocket.send_str("x" * 1_000_000)
    await websocket.receive(timeout=WAIT_S)
    assert websocket.close_code in (1009, 1006)


async def test_compression_is_never_agreed_to(server: SignalingServer) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{server.url}/ws", compress=15) as websocket,
    ):
        assert websocket.compress == 0


async def test_too_many_messages_at_once_are_refused(connect: Connect) -> None:
    limits = Limits(message_burst=5)
    clock_stands = lambda: 0  # noqa: E731
    config = ServerConfig(port=0, limits=limits)
    async with SignalingServer(config, clock_ns=clock_stands) as server:
        websocket = await connect(CREATE, server)
        await hear(websocket)
        for _ in range(5):
            await websocket.send_json(relay("0" * 32))
        assert await refusal(websocket) == ("too-many-messages", 1008)


async def test_a_sender_is_not_charged_for_answering_the_joins_of_strangers(
    connect: Connect,
) -> None:
    """The offers to them, all at once, are more messages than the sender's rate allows."""
    limits = Limits(message_burst=2, join_burst=12, connections_per_address=100)
    async with SignalingServer(ServerConfig(port=0, limits=limits), clock_ns=lambda: 0) as server:
        sender = await connect(CREATE, server)
        created = await hear(sender)
        for _ in range(12):
            stranger = await connect(join(created["nameplate"]), server)
            peer = (await hear(stranger))["peer"]
            await stranger.send_json({"type": "leave"})
            assert (await hear(sender))["peer"] == peer
            assert (await hear(sender))["type"] == "peer-left"
            await sender.send_json(relay(peer))
        assert await refusal(await connect(join(created["nameplate"]), server)) == (
            "too-many-joins",
            1013,
        )
        await sender.send_json(relay("0" * 32))  # the last that is left of its own
        await sender.send_json(relay("0" * 32))
        assert await refusal(sender) == ("too-many-messages", 1008)


async def test_a_silent_receiver_makes_room_for_another(clock: Any, connect: Connect) -> None:
    limits = Limits(peers_per_room=2)
    async with SignalingServer(ServerConfig(port=0, limits=limits), clock_ns=clock) as server:
        sender = await connect(CREATE, server)
        created = await hear(sender)
        stranger = await connect(join(created["nameplate"]), server)
        await hear(stranger)
        await hear(sender)
        clock.turn(60)
        server.sweep()
        assert await hear(stranger) == {"type": "room-closed", "number": 1, "reason": "idle"}
        assert (await stranger.receive(timeout=WAIT_S)).type is aiohttp.WSMsgType.CLOSE
        assert (await hear(sender))["type"] == "peer-left"
        assert (await hear(await connect(join(created["nameplate"]), server)))["type"] == "joined"


@pytest.mark.parametrize(
    "said", [b"", b"GET /ws HTTP/1.1\r\nHost: x\r\n", b"GET /else HTTP/1.1\r\nHost: x\r\n\r\n"]
)
async def test_a_connection_that_never_becomes_a_websocket_is_cut(
    server: SignalingServer, connect: Connect, clock: Any, said: bytes
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
    writer.write(said)
    websocket = await connect(CREATE)
    await hear(websocket)
    clock.turn(9.9)
    server.sweep()
    assert (await health(server))["status"] == "ok"
    assert not reader.at_eof()
    clock.turn(0.1)
    server.sweep()
    async with asyncio.timeout(WAIT_S):
        with contextlib.suppress(ConnectionResetError):
            while await reader.read(4096):
                pass
    writer.close()
    await websocket.send_json({"type": "leave"})  # the WebSocket goes on
    assert (await websocket.receive(timeout=WAIT_S)).data == 1000


async def test_more_connections_without_a_request_than_the_limit_are_cut_at_once() -> None:
    limits = Limits(connections_per_address=2)
    async with SignalingServer(ServerConfig(port=0, limits=limits)) as server:
        streams = [await asyncio.open_connection("127.0.0.1", port_of(server)) for _ in range(4)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
        async with asyncio.timeout(WAIT_S):
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        writer.close()
        streams.pop()[1].close()
        async with asyncio.timeout(WAIT_S):
            while True:  # the server notices the closed one in its own time
                with contextlib.suppress(aiohttp.ClientError):
                    if (await health(server))["status"] == "ok":
                        break
        for _, writer in streams:
            writer.close()


async def test_too_many_connections_from_one_address_are_refused(connect: Connect) -> None:
    limits = Limits(connections_per_address=2)
    async with SignalingServer(ServerConfig(port=0, limits=limits)) as server:
        first = await connect(CREATE, server)
        await hear(first)
        await hear(await connect(CREATE, server))
        assert await refusal(await connect(to=server)) == ("too-many-connections", 1013)
        await first.close()
        async with asyncio.timeout(WAIT_S):
            while True:  # the server notices the closed one in its own time
                again = await connect(CREATE, server)
                if (await hear(again))["type"] == "created":
                    break


async def test_a_full_room_and_a_full_server_refuse(connect: Connect) -> None:
    limits = Limits(rooms=1, peers_per_room=2)
    async with SignalingServer(ServerConfig(port=0, limits=limits)) as server:
        created = await hear(await connect(CREATE, server))
        await hear(await connect(join(created["nameplate"]), server))
        assert await refusal(await connect(join(created["nameplate"]), server)) == (
            "room-full",
            1008,
        )
        assert await refusal(await connect(CREATE, server)) == ("server-full", 1013)


async def test_a_connection_that_says_nothing_is_closed(
    server: SignalingServer, connect: Connect, clock: Any
) -> None:
    quiet, busy = await connect(), await connect(CREATE)
    await hear(busy)
    clock.turn(9.9)
    server.sweep()
    clock.turn(0.1)
    server.sweep()
    assert await refusal(quiet) == ("too-slow", 1008)
    await busy.send_json({"type": "leave"})
    assert (await busy.receive(timeout=WAIT_S)).data == 1000


async def test_an_idle_room_is_closed(
    server: SignalingServer, connect: Connect, clock: Any
) -> None:
    sender = await connect(CREATE)
    created = await hear(sender)
    clock.turn(7200)
    server.sweep()
    assert await hear(sender) == {"type": "room-closed", "number": 1, "reason": "idle"}
    assert (await sender.receive(timeout=WAIT_S)).type is aiohttp.WSMsgType.CLOSE
    assert await refusal(await connect(join(created["nameplate"]))) == ("no-such-room", 1008)


async def test_the_sender_learns_that_a_receiver_is_gone_only_after_the_grace_period(
    server: SignalingServer, connect: Connect, clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "signaling")
    sender = await connect(CREATE)
    created = await hear(sender)
    receiver = await connect(join(created["nameplate"]))
    joined = await hear(receiver)
    await hear(sender)
    await receiver.close()
    async with asyncio.timeout(WAIT_S):
        while "lost its connection" not in caplog.text:
            await health(server)
    clock.turn(29.9)
    server.sweep()
    assert (await health(server))["peers"] == 2
    clock.turn(0.1)
    server.sweep()
    assert await hear(sender) == {"type": "peer-left", "number": 2, "peer": joined["peer"]}


async def test_a_place_taken_back_frees_it_from_the_old_connection(connect: Connect) -> None:
    old = await connect(CREATE)
    created = await hear(old)
    hello = {"type": "resume", "version": 1, "token": created["token"], "received": 0}
    new = await connect(hello)
    assert await hear(new) == {"type": "resumed", "version": 1, "received": 0}
    closed = await old.receive(timeout=WAIT_S)
    assert closed.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
    joined = await hear(await connect(join(created["nameplate"])))
    assert await hear(new) == {"type": "peer-joined", "number": 1, "peer": joined["peer"]}


async def test_a_peer_that_does_not_read_is_dropped_and_nobody_waits_for_it(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "signaling")
    limits = Limits(message_burst=10_000)
    async with SignalingServer(ServerConfig(port=0, limits=limits)) as server:
        sender = await connect(CREATE, server)
        created = await hear(sender)
        deaf = await connect(join(created["nameplate"]), server)
        joined = await hear(deaf)
        assert deaf._response.connection is not None
        deaf._response.connection.transport.pause_reading()
        for _ in range(5000):  # 80 MB: more than all buffers between hold
            await sender.send_json(relay(joined["peer"], sdp="x" * 16_000))
            if "receiver lost its connection" in caplog.text:
                break
        else:
            pytest.fail("the server kept everything for a peer that does not read")
        await hear(sender)
        await sender.send_json({"type": "leave"})
        assert (await sender.receive(timeout=WAIT_S)).data == 1000


async def test_the_log_holds_no_secret(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    sender = await connect(CREATE)
    created = await hear(sender)
    receiver = await connect(join(created["nameplate"]))
    joined = await hear(receiver)
    await sender.send_json(relay(joined["peer"], sdp="v=0 private"))
    await hear(receiver)
    await receiver.send_str('{"type": "relay", "to": "private", "payload": {}}')
    assert (await hear(receiver))["code"] == "malformed"
    lines = "\n".join(record.getMessage() for record in caplog.records)
    assert f"room {created['nameplate']}: offer relayed" in lines
    for secret in (created["token"], joined["token"], created["peer"], joined["peer"], "private"):
        assert secret not in lines


async def test_a_stopping_server_says_goodbye_and_frees_its_port(connect: Connect) -> None:
    async with SignalingServer(ServerConfig(port=0)) as server:
        port = int(server.url.rpartition(":")[2])
        websockets = [await connect(CREATE, server) for _ in range(3)]
        for websocket in websockets:
            await hear(websocket)
        closings = [asyncio.create_task(ws.receive(timeout=WAIT_S)) for ws in websockets]
    assert [(await closing).data for closing in closings] == [1001] * 3
    async with SignalingServer(ServerConfig(port=port)):
        pass


async def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BadInput, match=f"port {port} on 127.0.0.1 is in use") as raised:
            async with SignalingServer(ServerConfig(port=port)):
                pass
    assert "--port" in raised.value.hint


async def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(
        BadInput, match=r"^can't listen on 192\.0\.2\.1:0: cannot assign [a-z ]+$"
    ) as raised:
        async with SignalingServer(ServerConfig(host="192.0.2.1", port=0)):
            pass
    assert "--host" in raised.value.hint


async def test_a_name_that_is_no_address_is_refused() -> None:
    with pytest.raises(BadInput, match="no such address"):
        async with SignalingServer(ServerConfig(host="no-such-host.invalid", port=0)):
            pass


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /ws HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (b"GET /secret HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
        (b"\x16\x03\x01 not http\r\n\r\n", b"400"),
    ],
)
async def test_who_speaks_something_else_gets_an_error_and_no_log_line(
    server: SignalingServer,
    caplog: pytest.LogCaptureFixture,
    request_bytes: bytes,
    status: bytes,
) -> None:
    caplog.set_level(logging.WARNING)
    port = port_of(server)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request_bytes)
    async with asyncio.timeout(WAIT_S):
        line = await reader.readline()
    writer.close()
    assert status in line
    assert not caplog.records
