"""The rendezvous server: WebSocket connections around the pure room state.

It serves `/ws`, where `messages.py` is spoken, and `/healthz`, which counts rooms and peers.  It
stores nothing on disk: a restarted server knows no room.  Its log names rooms by their numbers and
never holds a session description, a token, a credential or an address.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Self, cast

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from signaling.address import origin_of
from signaling.config import ServerConfig
from signaling.connection import CLOSE_S, ClientConnection
from signaling.door import Door
from signaling.limits import TokenBucket
from signaling.listening import addresses_of, bound_sockets
from signaling.messages import (
    Create,
    Join,
    Leave,
    PeerJoinedEvent,
    ProtocolError,
    Relay,
    Resume,
    RoomClosedEvent,
    VersionError,
    parse_hello,
    parse_room_message,
)
from signaling.rooms import RefusedError, Rooms, Update

__all__ = ["SignalingServer"]

log = logging.getLogger("signaling")

_NS_PER_S = 1_000_000_000
SWEEP_EVERY_S = 1.0  # how late an expiry may come
HEARTBEAT_S = 15.0  # a dead connection is noticed after 1.5 times this


class SignalingServer:
    """`async with SignalingServer(config) as server:` serves at `server.url` until the block ends.

    `clock_ns` is the time by which rooms and connections expire.

    Raises:
        BadInput: on entry, when one of its addresses can't be listened on.
    """

    def __init__(
        self,
        config: ServerConfig | None = None,
        *,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._config = config or ServerConfig()
        self._clock_ns = clock_ns
        self._rooms = Rooms(self._config.limits, ice_servers=self._config.ice_servers)
        self._connections: set[ClientConnection] = set()
        self._of_peer: dict[str, ClientConnection] = {}
        self._door = Door(self._config.limits, clock_ns=clock_ns)
        self._runner: web.AppRunner | None = None
        self._listeners: list[asyncio.Server] = []
        self._sweeper: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def url(self) -> str:
        """Where clients connect, such as `ws://127.0.0.1:8765`, with the port really in use."""
        return self.urls[0]

    @property
    def urls(self) -> list[str]:
        """Each of its addresses as such a URL, in the order in which they were asked for."""
        scheme = "ws" if self._config.tls is None else "wss"
        found = [
            f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
            for listener in self._listeners
            for sock in listener.sockets
            for host, port in addresses_of(sock)
        ]
        if not found:
            raise RuntimeError("the server is not running")
        return found

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/ws", self._serve_websocket)
        app.router.add_get("/healthz", self._serve_health)
        app.on_shutdown.append(self._close_connections)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_S)
        await self._runner.setup()
        try:
            await self._listen(self._runner)
        except BaseException:
            self._close_listeners()
            await self._runner.cleanup()
            raise
        self._sweeper = asyncio.create_task(self._sweep_forever(), name="signaling sweeper")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._close_listeners()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _listen(self, runner: web.AppRunner) -> None:
        handler = cast(web.Server, runner.server)  # `setup()` made it
        tls = self._config.tls
        sockets = await bound_sockets(self._config.hosts, self._config.port)
        with ExitStack() as unused:
            for sock in sockets:
                unused.callback(sock.close)
            for sock in sockets:
                self._listeners.append(
                    await asyncio.get_running_loop().create_server(
                        lambda: self._door.protocol(handler),
                        sock=sock,
                        ssl=tls,
                        ssl_handshake_timeout=None if tls is None else self._config.limits.hello_s,
                    )
                )
            unused.pop_all()

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.close()

    def sweep(self) -> None:
        """Expire by the clock: rooms, places, and connections that never said what they want."""
        now_ns = self._clock_ns()
        self._door.expire(now_ns)
        self._carry_out(self._rooms.expire(now_ns))
        late_ns = now_ns - round(self._config.limits.hello_s * _NS_PER_S)
        for connection in self._connections:
            if not connection.peer and connection.opened_ns <= late_ns:
                connection.refuse("too-slow", "a connection begins with create, join or resume")

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            self.sweep()

    async def _close_connections(self, _app: web.Application) -> None:
        self._stopping = True
        for connection in self._connections:
            connection.finish(WSCloseCode.GOING_AWAY)
        writers = [connection.writer for connection in self._connections]
        if writers:
            await asyncio.wait(writers, timeout=CLOSE_S)

    # -- requests -------------------------------------------------------------------------------

    async def _serve_health(self, _request: web.Request) -> web.Response:
        counts = {"rooms": self._rooms.room_count, "peers": self._rooms.peer_count}
        response = web.json_response({"status": "ok", **counts})
        response.force_close()  # the door would, without a goodbye
        return response

    async def _serve_websocket(self, request: web.Request) -> web.WebSocketResponse:
        limits = self._config.limits
        websocket = web.WebSocketResponse(
            timeout=CLOSE_S,
            heartbeat=HEARTBEAT_S,
            compress=False,  # a small message must not unpack into a big one
            max_msg_size=4 * limits.message_bytes,  # up to this, the refusal says what is wrong
        )
        await websocket.prepare(request)
        with self._door.serving(request.transport):
            await self._serve(websocket, request)
        return websocket

    async def _serve(self, websocket: web.WebSocketResponse, request: web.Request) -> None:
        limits = self._config.limits
        connection = ClientConnection(
            websocket,
            request.transport,
            address=origin_of(request.remote or ""),
            opened_ns=self._clock_ns(),
            bucket=TokenBucket(rate_per_s=limits.messages_per_s, burst=limits.message_burst),
        )
        self._connections.add(connection)
        if self._stopping:
            connection.finish(WSCloseCode.GOING_AWAY)
        elif self._too_many(connection.address):
            connection.refuse("too-many-connections", "too many connections; try again later")
        try:
            async for message in websocket:
                if message.type is WSMsgType.ERROR:
                    break
                self._receive(connection, message)
                if connection.finished:
                    break
        finally:
            self._connections.discard(connection)
            self._forget(connection)
            connection.finish(WSCloseCode.OK)
            await connection.written()

    def _too_many(self, address: str) -> bool:
        limits = self._config.limits
        same = sum(connection.address == address for connection in self._connections)
        return same > limits.connections_per_address or len(self._connections) > limits.connections

    # -- messages -------------------------------------------------------------------------------

    def _receive(self, connection: ClientConnection, message: WSMessage) -> None:
        if connection.finished:
            return
        limits = self._config.limits
        now_ns = self._clock_ns()
        if not connection.bucket.take(now_ns):
            connection.refuse("too-many-messages", "too many messages at once")
            return
        if message.type is not WSMsgType.TEXT:
            connection.refuse("malformed", "text messages only")
            return
        text: str = message.data
        if len(text.encode()) > limits.message_bytes:
            connection.refuse("too-large", f"no message above {limits.message_bytes} bytes")
            return
        try:
            if connection.peer:
                self._handle(connection, parse_room_message(text), now_ns)
            else:
                self._admit(connection, parse_hello(text), now_ns)
        except VersionError as error:
            connection.refuse("unsupported-version", str(error))
        except ProtocolError:
            connection.refuse("malformed", "not a message that may come at this point")
        except RefusedError as error:
            connection.refuse(error.code, str(error))

    def _admit(
        self, connection: ClientConnection, hello: Create | Join | Resume, now_ns: int
    ) -> None:
        match hello:
            case Create():
                update = self._rooms.create(now_ns)
            case Join():
                update = self._rooms.join(hello.nameplate, now_ns)
            case Resume():
                update = self._rooms.resume(hello.token, hello.received, now_ns)
        old = self._of_peer.pop(update.admitted, None)
        if old is not None:  # the client noticed sooner than we did that the old one is dead
            old.abort()
        connection.peer = update.admitted
        self._of_peer[update.admitted] = connection
        self._carry_out(update)

    def _handle(self, connection: ClientConnection, message: Relay | Leave, now_ns: int) -> None:
        match message:
            case Relay():
                update = self._rooms.relay(connection.peer, message.to, message.payload, now_ns)
                self._carry_out(update)
            case Leave():
                update = self._rooms.leave(connection.peer, now_ns)
                connection.finish(WSCloseCode.OK)
                self._carry_out(update)

    def _forget(self, connection: ClientConnection) -> None:
        if self._of_peer.get(connection.peer) is connection:
            del self._of_peer[connection.peer]
            if not self._stopping:
                self._carry_out(self._rooms.lost(connection.peer, self._clock_ns()))

    def _carry_out(self, update: Update) -> None:
        for line in update.happened:
            log.info("%s", line)
        for delivery in update.deliveries:
            connection = self._of_peer.get(delivery.peer)
            if connection is None:
                continue
            connection.post(delivery.message)
            if isinstance(delivery.message, PeerJoinedEvent):
                connection.bucket.grant()  # for the offer, so that joins can't use its rate up
            if isinstance(delivery.message, RoomClosedEvent):
                del self._of_peer[delivery.peer]
                connection.finish(WSCloseCode.OK)
