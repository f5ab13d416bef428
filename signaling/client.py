"""The client that both ends use: one room, held through dropped connections.

A connection that drops is opened again with growing pauses, and the place in the room is taken
back with its secret token.  Offers and answers sent meanwhile wait, and neither they nor events
are lost or doubled: each end counts, and tells the other how far it came.

The server is not trusted.  What it says is parsed strictly, none of its words reach the terminal,
and what it can do at worst is not to bring the two ends together.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Any, Self

import aiohttp
from pydantic import ValidationError

from shared.errors import BadInput, RoomUnavailable, SignalingUnreachable
from signaling.events import (
    ClientEvent,
    ConnectionLost,
    PeerJoined,
    PeerLeft,
    Reconnected,
    Relayed,
    Room,
    RoomClosed,
)
from signaling.messages import (
    MAX_MESSAGE_BYTES,
    Create,
    Created,
    Join,
    Joined,
    Leave,
    PeerJoinedEvent,
    PeerLeftEvent,
    Relay,
    RelayedEvent,
    Resume,
    Resumed,
    RoomClosedEvent,
)
from signaling.outbox import Outbox
from signaling.refusals import Refused
from signaling.transport import CLOSE_S, Endpoint, WebSocketTransport

__all__ = [
    "ClientEvent",
    "ConnectionLost",
    "PeerJoined",
    "PeerLeft",
    "Reconnected",
    "Refused",
    "Relayed",
    "Room",
    "RoomClosed",
    "SignalingClient",
]

CONNECT_S = 10.0  # for a connection and for the first answer on it
RECONNECT_FOR_S = 40.0  # the server's grace period and the time it takes to notice a dead socket
RENEW_WITHIN_S = 3.0  # then the server counts as lost
MAX_WAITING = 32  # relays that wait for a connection; the server grants 40 messages at once
MAX_UNREAD = 1024  # events that nobody took from `events()`


class SignalingClient:
    """A client of the rendezvous server at `url`, for one room.

    `url` is ws:// or wss:// (http:// and https:// mean the same; without a path, /ws is meant).
    Nothing is contacted before `create_room` or `join_room`.  Leaving the `async with` block
    leaves the room.

    `ssl_context` replaces the system's trusted authorities for wss://.  `proxy` is the URL of an
    HTTP proxy or `none`; without it the variables https_proxy, http_proxy, all_proxy and no_proxy
    are honoured.  `reconnect_for_s` bounds how long a dropped connection is tried again, and `rng`
    spreads the pauses between tries.

    Raises:
        BadInput: the URL, or what should name the proxy, is none.
    """

    def __init__(
        self,
        url: str,
        *,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
        connect_s: float = CONNECT_S,
        reconnect_for_s: float = RECONNECT_FOR_S,
        rng: random.Random | None = None,
    ) -> None:
        self._endpoint = Endpoint(url, tls=ssl_context, answer_within_s=connect_s, proxy=proxy)
        self._reconnect_for_s = reconnect_for_s
        self._rng = rng or random.SystemRandom()
        self._session: aiohttp.ClientSession | None = None
        self._transport: WebSocketTransport | None = None  # while in the room
        self._room: Room | None = None
        self._task: asyncio.Task[None] | None = None
        self._token = ""
        self._received = 0  # number of the newest event that arrived
        self._outbox = Outbox()
        self._writing = asyncio.Lock()
        self._events: asyncio.Queue[ClientEvent | None] = asyncio.Queue()  # None: no more
        self._failure: Exception | None = None
        self._over = False
        self._renewal = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._session = self._endpoint.open_session()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self.leave()
        finally:
            if self._task is not None:
                self._task.cancel()
                await asyncio.wait([self._task])
            if self._session is not None:
                await self._session.close()

    # -- the room -------------------------------------------------------------------------------

    async def create_room(self) -> Room:
        """Open a room and be its sender.

        Raises:
            SignalingUnreachable: no signaling server answers at the URL.
            RoomUnavailable: the server refuses.
        """
        return await self._enter(Create())

    async def join_room(self, nameplate: str) -> Room:
        """Enter the room of that number as a receiver; raises as `create_room`, and BadInput."""
        try:
            hello = Join(nameplate=nameplate)
        except ValidationError:
            raise BadInput(
                "that is not the number of a room",
                hint="a code starts with a number of one to six digits",
            ) from None
        return await self._enter(hello)

    async def send(self, peer_id: str, payload: dict[str, Any]) -> None:
        """Hand an offer or answer to a peer, now or once the connection is back.

        Raises:
            BadInput: `payload` is no offer or answer of at most `MAX_SDP_CHARS`.
            SignalingUnreachable: the server is gone, or too many messages wait for it.
            RoomUnavailable: the server refused, or the room is no more.
        """
        try:
            message = Relay.model_validate({"to": peer_id, "payload": payload})
        except ValidationError:
            raise BadInput("neither an offer nor an answer that can be relayed") from None
        text = message.model_dump_json()
        if len(text.encode()) > MAX_MESSAGE_BYTES:
            raise BadInput("the session description is too large to be relayed")
        if self._failure is not None:
            raise self._failure
        if self._room is None or self._over:
            raise RoomUnavailable("not in a room", hint="create or join one first")
        if self._transport is None and self._outbox.waiting >= MAX_WAITING:
            raise SignalingUnreachable(
                f"the signaling server at {self._endpoint.where} has been away for too long",
                hint="check the server and the network between",
            )
        self._outbox.add(text)
        await self._write_waiting()

    async def events(self) -> AsyncIterator[ClientEvent]:
        """What happens in the room, for one reader, until it closes or is left.

        Raises:
            SignalingUnreachable: the server went away and did not come back.
            RoomUnavailable: the server does not know this place any more, or refused.
        """
        while True:
            event = await self._events.get()
            if event is None:
                self._events.put_nowait(None)
                if self._failure is not None:
                    raise self._failure
                return
            yield event

    def renew(self) -> None:
        """Take the place back over a new connection, if there is one: it may be dead unnoticed.

        To be called where this machine's network may have changed; nothing is lost by it.
        """
        if self._transport is not None:
            self._renewal.set()

    async def leave(self) -> None:
        """Leave the room, which closes with its sender; harmless when in none."""
        if self._over:
            return
        self._over = True
        self._events.put_nowait(None)
        transport, self._transport = self._transport, None
        try:
            if transport is not None:
                with contextlib.suppress(ConnectionError, TimeoutError):
                    async with asyncio.timeout(CLOSE_S):
                        await transport.write(Leave().model_dump_json())
                        await transport.close()
        finally:
            if self._task is not None:
                self._task.cancel()

    # -- connecting -----------------------------------------------------------------------------

    async def _enter(self, hello: Create | Join) -> Room:
        if self._room is not None or self._over:
            raise RuntimeError("a client is for one room")
        transport = await self._endpoint.connect(self._http())
        try:
            reply = await transport.ask(hello)
            if not isinstance(reply, Created | Joined):
                raise self._endpoint.not_signaling()
            if isinstance(hello, Create) != isinstance(reply, Created):
                raise self._endpoint.not_signaling()
            if isinstance(hello, Join) and reply.nameplate != hello.nameplate:
                raise self._endpoint.not_signaling()
        except BaseException:
            await transport.close()
            raise
        self._token = reply.token
        self._transport = transport
        self._room = Room(reply.nameplate, tuple(reply.ice_servers), reply.peer)
        self._task = asyncio.create_task(self._stay(transport), name="signaling client")
        return self._room

    # -- staying in the room --------------------------------------------------------------------

    async def _stay(self, transport: WebSocketTransport) -> None:
        try:
            while True:
                await self._read_until_renewal(transport)
                self._transport = None
                if self._over:
                    return
                renewed = await self._renewed() if self._renewal.is_set() else None
                await transport.close()
                if renewed is not None:
                    transport = renewed
                    continue
                self._report(ConnectionLost())
                transport = await self._reconnect()
                self._report(Reconnected())
        except Exception as error:  # whatever it is, `events()` raises it
            self._failure = error
        finally:
            self._over = True
            self._transport = None
            self._events.put_nowait(None)
            await transport.close()

    async def _read_until_renewal(self, transport: WebSocketTransport) -> None:
        """`_read`, until a renewal is asked for."""
        reading = asyncio.create_task(self._read(transport))
        renewal = asyncio.create_task(self._renewal.wait())
        try:
            await asyncio.wait({reading, renewal}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            renewal.cancel()
            if not reading.done():
                reading.cancel()
            await asyncio.wait({reading, renewal})
        if not reading.cancelled():
            reading.result()

    async def _renewed(self) -> WebSocketTransport | None:
        """Take the place back at once; None where that takes more than a moment."""
        self._renewal.clear()
        with contextlib.suppress(TimeoutError, SignalingUnreachable, ConnectionError):
            async with asyncio.timeout(RENEW_WITHIN_S):
                return await self._resume()
        return None

    async def _read(self, transport: WebSocketTransport) -> None:
        """Report events until the connection drops or the room closes."""
        while (message := await transport.receive()) is not None:
            if isinstance(message, Created | Joined | Resumed):
                raise self._endpoint.not_signaling()
            if message.number != self._received + 1:
                raise self._endpoint.not_signaling()
            self._received = message.number
            match message:
                case PeerJoinedEvent():
                    self._report(PeerJoined(message.peer))
                case PeerLeftEvent():
                    self._report(PeerLeft(message.peer))
                case RelayedEvent():
                    self._report(Relayed(message.sender, message.payload.model_dump()))
                case RoomClosedEvent():
                    self._report(RoomClosed(message.reason))
                    self._over = True
                    return

    def _report(self, event: ClientEvent) -> None:
        if self._events.qsize() >= MAX_UNREAD:
            raise SignalingUnreachable(
                f"the signaling server at {self._endpoint.where} told more than was asked for"
            )
        self._events.put_nowait(event)

    async def _reconnect(self) -> WebSocketTransport:
        """Take the place back; tries with growing pauses until the time for it is over."""
        try:
            async with asyncio.timeout(self._reconnect_for_s):
                for pause_s in _pauses(self._rng):
                    await asyncio.sleep(pause_s)
                    try:
                        return await self._resume()
                    except Refused as refused:
                        if refused.code != "too-many-connections":
                            raise
                    except (SignalingUnreachable, ConnectionError):
                        continue
        except TimeoutError:
            pass
        raise SignalingUnreachable(
            f"the signaling server at {self._endpoint.where} went away and did not come back",
            hint="check the server and the network between",
        )

    async def _resume(self) -> WebSocketTransport:
        transport = await self._endpoint.connect(self._http())
        try:
            reply = await transport.ask(Resume(token=self._token, received=self._received))
            if not isinstance(reply, Resumed):
                raise self._endpoint.not_signaling()
            async with self._writing:  # whoever still wrote to the old connection has failed
                try:
                    self._outbox.rewind(reply.received)
                except ValueError:
                    raise self._endpoint.not_signaling() from None
                self._transport = transport
            await self._write_waiting()
        except BaseException:
            self._transport = None
            await transport.close()
            raise
        return transport

    async def _write_waiting(self) -> None:
        # What a dropped connection swallows is sent again after the reader has noticed it.
        with contextlib.suppress(ConnectionError):
            async with self._writing:
                while (transport := self._transport) is not None:
                    text = self._outbox.take()
                    if text is None:
                        return
                    await transport.write(text)

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("use the client in an `async with` block")
        return self._session


def _pauses(rng: random.Random) -> Iterator[float]:
    """Seconds before each try: doubling from 0.25 to 5, each shortened by up to a half at random.

    The chance part keeps the clients of a server that restarts from coming back all at once.
    """
    ceiling_s = 0.25
    while True:
        yield ceiling_s * (0.5 + 0.5 * rng.random())
        ceiling_s = min(2 * ceiling_s, 5.0)
