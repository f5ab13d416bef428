"""Sockets of this machine, and what STUN and TURN servers add to them (RFC 8445 section 5.1.1).

All servers are asked at once, each within a time of its own, so that a dead one hides and delays
nothing; how one failed is a value (`ServerFailure`).  aioice's TURN client speaks to TURN servers;
what it leaves to the wall clock, or does in a task a datagram, is done here.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import socket
import ssl
import struct
from collections.abc import Callable
from typing import Any, Protocol, cast

from aioice import stun, turn

from shared.link.webrtc.checks import Address, Base, is_stun
from shared.link.webrtc.iceservers import Failure, ServerFailure, ServerTransport, ServerUrl

__all__ = [
    "LocalSocket",
    "Receiver",
    "TurnRelay",
    "ServerFailed",
    "open_relay",
    "reflexive_address",
]

_LOG = logging.getLogger(__name__)

# A frame of 250 KB arrives as 215 datagrams at once; the kernel's default of 208 KiB drops some of
# them, and each drop is a retransmission.  The kernel caps this at net.core.rmem_max.
SOCKET_BUFFER_BYTES = 4 * 1024 * 1024

STUN_RETRIES_S = (0.0, 0.25, 0.5, 0.75)  # RFC 8489 section 6.2.1, shorter: an offer waits for it
RELAY_LIMIT_S = 4.0  # a name, a TCP connection, TLS and two requests, each once repeated
DELETE_LIMIT_S = 0.5  # to give an allocation back; the server forgets it by itself

# A permission lasts 300 s, and a channel's binding renews it too (RFC 8656 sections 9 and 12).
BIND_AGAIN_S = 240.0
BIND_LIMIT_S = 5.0
BIND_AGAIN_AFTER_FAILURE_S = 1.0
MAX_WAITING = 8  # datagrams that wait for a channel; what is later is lost, as on any path
MAX_CHANNELS = 256  # of one relay; more addresses than that no other end has

_GONE = (
    errno.EINVAL, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL,
    errno.ENODEV, errno.EPERM,
)  # fmt: skip


class Receiver(Protocol):
    """Who gets what arrives."""

    def data_arrived(self, base: Base, source: Address, data: bytes) -> None: ...
    def stun_arrived(self, base: Base, source: Address, data: bytes) -> None: ...
    def send_failed(self, base: Base) -> None: ...
    def base_lost(self, base: Base) -> None: ...


class LocalSocket(asyncio.DatagramProtocol):
    """A UDP socket on one address of this machine."""

    transport: asyncio.DatagramTransport

    def __init__(self, base: Base, receiver: Receiver) -> None:
        self.base = base
        self.port = 0
        self._receiver = receiver
        self._scope = 0
        self._asked: dict[bytes, asyncio.Future[bytes]] = {}

    @classmethod
    async def open(cls, base: Base, receiver: Receiver) -> LocalSocket:
        """Bind one; raises `OSError` where the address is not this machine's (any more)."""
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_datagram_endpoint(
            lambda: cls(base, receiver), local_addr=(base.host, 0)
        )
        return protocol

    @property
    def local_host(self) -> str:
        """The address that it sends from."""
        return self.base.host

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)
        name = transport.get_extra_info("sockname")
        self.port = name[1]
        if "%" in self.base.host:
            self._scope = name[3]
        enlarge_buffers(transport.get_extra_info("socket"))

    def destination(self, address: Address) -> Any:
        """`address` as the system takes it: on one link only it needs that link's number."""
        return (*address, 0, self._scope) if self._scope else address

    def send(self, data: bytes, address: Address) -> None:
        """Send a datagram, or not: like any network it promises nothing."""
        if not self.transport.is_closing():
            self.transport.sendto(data, self.destination(address))

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        if not data:
            return
        if 19 < data[0] < 64:  # DTLS (RFC 7983)
            self._receiver.data_arrived(self.base, (addr[0], addr[1]), data)
        elif is_stun(data):
            asked = self._asked.get(data[8:20])
            if asked is None:
                self._receiver.stun_arrived(self.base, (addr[0], addr[1]), data)
            elif not asked.done():
                asked.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if isinstance(exc, OSError) and exc.errno in _GONE:
            self._receiver.send_failed(self.base)

    async def ask(self, server: Address) -> stun.Message:
        """Ask a STUN server for our address as it sees it; raises `TimeoutError`, `ValueError`."""
        request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._asked[request.transaction_id] = answer
        try:
            for wait_s in STUN_RETRIES_S:
                await asyncio.wait([answer], timeout=wait_s)
                if answer.done():
                    return stun.parse_message(answer.result())
                self.send(bytes(request), server)
            return stun.parse_message(await asyncio.wait_for(answer, STUN_RETRIES_S[-1]))
        finally:
            del self._asked[request.transaction_id]

    async def close(self) -> None:
        self.transport.close()


def enlarge_buffers(udp: socket.socket | None) -> None:
    """Give a socket large buffers, best effort."""
    if udp is None:
        return
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        with contextlib.suppress(OSError):
            udp.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_BYTES)


class ServerFailed(Exception):
    """A server did not give what was asked of it."""

    def __init__(self, failure: ServerFailure) -> None:
        super().__init__(str(failure))
        self.failure = failure


async def reflexive_address(server: ServerUrl, sockets: list[LocalSocket]) -> list[Candidates]:
    """Our sockets' addresses as a STUN server sees them; raises `ServerFailed` if none came."""
    if server.transport is not ServerTransport.UDP:
        raise ServerFailed(ServerFailure(server, Failure.UNSUPPORTED, "STUN over TLS"))
    addresses = await _resolved(server)
    asking = [
        asyncio.create_task(_seen_from(server, address, local))
        for local in sockets
        for address in addresses
        if ipaddress.ip_address(address[0]).version == ipaddress.ip_address(local.base.host).version
        and not ipaddress.ip_address(local.base.host).is_link_local
    ]
    if not asking:
        raise ServerFailed(ServerFailure(server, Failure.UNREACHABLE, "no address in common"))
    try:
        answers = await asyncio.gather(*asking, return_exceptions=True)
    finally:
        for task in asking:
            task.cancel()
    found = [answer for answer in answers if not isinstance(answer, BaseException)]
    if not found:
        first = next(answer for answer in answers if isinstance(answer, Exception))
        raise ServerFailed(_failure(server, first))
    return found


Candidates = tuple[LocalSocket, Address]
"""A socket, and an address that stands for it."""


async def _seen_from(server: ServerUrl, address: Address, local: LocalSocket) -> Candidates:
    message = await local.ask(address)
    seen = message.attributes.get("XOR-MAPPED-ADDRESS") or message.attributes.get("MAPPED-ADDRESS")
    if message.message_class != stun.Class.RESPONSE or seen is None:
        raise ServerFailed(ServerFailure(server, Failure.ERROR, _code(message)))
    return local, seen


async def _resolved(server: ServerUrl) -> list[Address]:
    """One address of each family; raises `ServerFailed`."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(RELAY_LIMIT_S):
            found = await loop.getaddrinfo(server.host, server.port, type=socket.SOCK_DGRAM)
    except (OSError, TimeoutError, UnicodeError) as error:
        raise ServerFailed(_failure(server, error)) from None
    by_family = {family: (sockaddr[0], sockaddr[1]) for family, _, _, _, sockaddr in found[::-1]}
    return [(str(host), int(port)) for host, port in by_family.values()]


def _code(message: stun.Message) -> str:
    return "" if message.error_code is None else f"STUN error {message.error_code}"


# -- relays ---------------------------------------------------------------------------------------


class _Client:
    """What both of aioice's TURN clients get from us: an error ends their waiting at once."""

    refused: asyncio.Future[None]

    def error_received(self, exc: Exception) -> None:
        if not self.refused.done():
            self.refused.set_exception(exc)


class _UdpClient(_Client, turn.TurnClientUdpProtocol):
    pass


class _TcpClient(_Client, turn.TurnClientTcpProtocol):
    def connection_lost(self, exc: Exception | None) -> None:
        self.error_received(exc or ConnectionResetError())
        super().connection_lost(exc)


class TurnRelay:
    """An allocation on a TURN server, to be used like a socket (it is its own `transport`)."""

    def __init__(
        self, server: ServerUrl, client: _UdpClient | _TcpClient, base: Base, receiver: Receiver
    ) -> None:
        self.server = server
        self.base = base
        self.transport = cast("asyncio.DatagramTransport", self)
        relayed, mapped = client.relayed_address, client.mapped_address
        assert relayed is not None and mapped is not None  # noqa: PT018, S101
        self.address: Address = relayed
        self.mapped: Address = mapped
        name = client.transport.get_extra_info("sockname")
        self.local_host: str = name[0]
        self._client = client
        self._receiver = receiver
        self._waiting: dict[Address, list[bytes]] = {}
        self._binding: set[asyncio.Task[None]] = set()
        self._again_at: dict[Address, float] = {}
        self._closed = False
        client.receiver = cast("asyncio.DatagramProtocol", self)

    # -- as a transport ---------------------------------------------------------------------------

    def destination(self, address: Address) -> Address:
        """`address` as `sendto` takes it."""
        return address

    def send(self, data: bytes, address: Address) -> None:
        """Send a datagram by way of the server."""
        client = self._client
        now = asyncio.get_running_loop().time()
        channel = client.peer_to_channel.get(address)
        if channel is None or now >= client.channel_refresh_at[channel]:
            self._bind(address, now)
        if channel is None:
            waiting = self._waiting.get(address)
            if waiting is not None and len(waiting) < MAX_WAITING:
                waiting.append(data)
        elif not client.transport.is_closing():
            client._send(_CHANNEL.pack(channel, len(data)) + data)

    def sendto(self, data: bytes, addr: Any = None) -> None:
        """`send`, as asyncio's transports call it."""
        self.send(data, addr)

    def is_closing(self) -> bool:
        return self._closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ARG002
        """It has no socket of its own."""
        return default

    def _bind(self, address: Address, now: float) -> None:
        """Have a channel to `address` bound, or bound anew (RFC 8656 section 12)."""
        if address in self._waiting or now < self._again_at.get(address, 0.0) or self._closed:
            return
        if address not in self._client.peer_to_channel and len(self._again_at) >= MAX_CHANNELS:
            return
        self._again_at[address] = now + BIND_AGAIN_AFTER_FAILURE_S
        self._waiting[address] = []
        task = asyncio.get_running_loop().create_task(self._bind_channel(address))
        self._binding.add(task)
        task.add_done_callback(self._binding.discard)

    async def _bind_channel(self, address: Address) -> None:
        client = self._client
        # A failed binding is tried again under the same number, which is always allowed.
        channel = client.peer_to_channel.get(address) or client.peer_to_failed_channel.get(address)
        if channel is None:
            channel = client.channel_number
            client.channel_number += 1
        client.peer_to_failed_channel[address] = channel
        try:
            async with asyncio.timeout(BIND_LIMIT_S):
                await client.channel_bind(channel, address)
        except (TimeoutError, stun.TransactionError, ConnectionError, OSError):
            return  # what is to be sent there later tries again
        else:
            loop = asyncio.get_running_loop()
            client.channel_refresh_at[channel] = loop.time() + BIND_AGAIN_S
            client.channel_to_peer[channel] = address
            client.peer_to_channel[address] = channel
            for data in self._waiting[address]:
                self.send(data, address)
        finally:
            del self._waiting[address]

    # -- as a protocol ----------------------------------------------------------------------------

    def datagram_received(self, data: bytes, addr: Address) -> None:
        if not data:
            return
        if 19 < data[0] < 64:
            self._receiver.data_arrived(self.base, addr, data)
        elif is_stun(data):
            self._receiver.stun_arrived(self.base, addr, data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if not self._closed:
            self._closed = True
            self._receiver.base_lost(self.base)

    async def close(self) -> None:
        """Give the allocation back, if the server answers soon."""
        lost, self._closed = self._closed, True
        for task in list(self._binding):
            task.cancel()
        if self._client.refresh_task is not None:
            self._client.refresh_task.cancel()
        if not lost:
            with contextlib.suppress(Exception):  # it expires by itself
                async with asyncio.timeout(DELETE_LIMIT_S):
                    await self._client.delete()
        self._client.transport.close()


_CHANNEL = struct.Struct("!HH")  # channel number, length (RFC 8656 section 12.4)


async def open_relay(
    server: ServerUrl,
    make_base: Callable[[str], Base],
    receiver: Receiver,
    tls: ssl.SSLContext | None,
) -> TurnRelay:
    """Allocate a relay on a TURN server; raises `ServerFailed`."""
    if server.transport is ServerTransport.DTLS:
        raise ServerFailed(ServerFailure(server, Failure.UNSUPPORTED, "TURN over DTLS"))
    made: list[_UdpClient | _TcpClient] = []
    try:
        async with asyncio.timeout(RELAY_LIMIT_S):
            client = await _connect(server, tls, made)
            allocating = asyncio.ensure_future(client.connect())
            try:
                first: list[asyncio.Future[Any]] = [allocating, client.refused]
                await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
                if not allocating.done():
                    client.refused.result()
                address = await allocating
            finally:
                allocating.cancel()
    except BaseException as error:
        for client in made:
            client.transport.close()
        if not isinstance(error, Exception):
            raise
        raise ServerFailed(_failure(server, error)) from None
    return TurnRelay(server, client, make_base(address[0]), receiver)


async def _connect(
    server: ServerUrl, tls: ssl.SSLContext | None, made: list[_UdpClient | _TcpClient]
) -> _UdpClient | _TcpClient:
    loop = asyncio.get_running_loop()

    def make(kind: Callable[..., Any]) -> Any:
        client = kind(
            (server.host, server.port),
            username=server.username,
            password=server.credential,
            lifetime=turn.DEFAULT_ALLOCATION_LIFETIME,
            channel_refresh_time=turn.DEFAULT_CHANNEL_REFRESH_TIME,
        )
        client.refused = loop.create_future()
        client.refused.add_done_callback(_seen)
        return client

    if server.transport is ServerTransport.UDP:
        _, udp = await loop.create_datagram_endpoint(
            lambda: make(_UdpClient), remote_addr=(server.host, server.port)
        )
        made.append(udp)
        enlarge_buffers(udp.transport.get_extra_info("socket"))
        return cast("_UdpClient", udp)
    context = None
    if server.transport is ServerTransport.TLS:
        context = tls or await asyncio.to_thread(ssl.create_default_context)
    _, tcp = await loop.create_connection(
        lambda: make(_TcpClient), server.host, server.port, ssl=context
    )
    made.append(tcp)
    return cast("_TcpClient", tcp)


def _seen(refused: asyncio.Future[None]) -> None:
    if not refused.cancelled():
        refused.exception()  # retrieved: nobody need ask for it


# -- why it failed --------------------------------------------------------------------------------

# OpenSSL's X509_V_ERR_…: verify(1)
_EXPIRED, _OTHER_HOST, _OTHER_ADDRESS = 10, 62, 64


def _failure(server: ServerUrl, error: BaseException) -> ServerFailure:
    """What an exception says of a server."""
    if isinstance(error, ServerFailed):
        return error.failure
    match error:
        case ssl.SSLCertVerificationError(verify_code=code):
            known = {
                _EXPIRED: "it has expired",
                _OTHER_HOST: "it is another host's",
                _OTHER_ADDRESS: "it is another address's",
            }
            return ServerFailure(server, Failure.UNTRUSTED, known.get(code, ""))
        case ssl.SSLError():
            return ServerFailure(server, Failure.TLS)
        case TimeoutError() | stun.TransactionTimeout():
            return ServerFailure(server, Failure.NO_ANSWER)
        case stun.TransactionFailed(response=response):
            return _turn_failure(server, response)
        case socket.gaierror() | UnicodeError():
            return ServerFailure(server, Failure.UNRESOLVED)
        case ConnectionRefusedError() if server.transport is ServerTransport.UDP:
            return ServerFailure(server, Failure.NO_ANSWER, "its port is closed")
        case ConnectionRefusedError():
            return ServerFailure(server, Failure.REFUSED)
        case ConnectionError():
            return ServerFailure(server, Failure.ERROR, "it broke off")
        case OSError():
            return ServerFailure(server, Failure.UNREACHABLE, error.strerror or "")
        case _:
            return ServerFailure(server, Failure.ERROR)


def _turn_failure(server: ServerUrl, response: stun.Message) -> ServerFailure:
    code = response.error_code
    if code in (401, 441):  # RFC 8489 section 9.2.4, RFC 8656 section 19
        given = server.username is not None and server.credential is not None
        return ServerFailure(server, Failure.CREDENTIALS if given else Failure.NO_CREDENTIALS)
    if code in (486, 508):
        return ServerFailure(server, Failure.FULL, _code(response))
    return ServerFailure(server, Failure.ERROR, _code(response))
