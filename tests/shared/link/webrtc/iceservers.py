"""A small STUN and TURN server on loopback: UDP, TCP and TLS (RFC 8489, RFC 8656)."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aioice import stun

REALM, NONCE = "test", b"nonce"
USER, PASSWORD = "user", "pass"


class _Relayed(asyncio.DatagramProtocol):
    """One allocation's own socket."""

    def __init__(self, send) -> None:
        self.channels: dict[int, tuple] = {}
        self._send = send

    def connection_made(self, transport) -> None:
        self.transport = transport

    def datagram_received(self, data, addr) -> None:
        for channel, peer in self.channels.items():
            if peer == addr[:2]:
                self._send(struct.pack("!HH", channel, len(data)) + data)


class IceServer:
    """Answers on `port`.  `error`: what an allocation is refused with, once authenticated."""

    def __init__(self, error: tuple[int, str] | None = None, *, silent: bool = False) -> None:
        self.error = error
        self.silent = silent
        self.port = 0
        self.requests: list[str] = []
        self._allocations: dict[object, _Relayed] = {}
        self._closing: list = []

    def close_allocations(self) -> None:
        """Forget them all, as a server that starts anew does."""
        for relayed in self._allocations.values():
            relayed.transport.close()
        self._allocations.clear()

    async def handle(self, data: bytes, client: object, address, send) -> None:
        if self.silent:
            return
        if data[0] & 0xC0 == 0x40:  # ChannelData
            channel, length = struct.unpack("!HH", data[:4])
            relayed = self._allocations.get(client)
            if relayed is not None and channel in relayed.channels:
                relayed.transport.sendto(data[4 : 4 + length], relayed.channels[channel])
            return
        try:
            request = stun.parse_message(data)
        except ValueError:
            return
        self.requests.append(request.message_method.name)
        answer = await self._answer(request, client, address, send)
        send(bytes(answer))

    async def _answer(self, request, client, address, send) -> stun.Message:
        def reply(**attributes) -> stun.Message:
            kind = stun.Class.ERROR if "ERROR-CODE" in attributes else stun.Class.RESPONSE
            return stun.Message(request.message_method, kind, request.transaction_id, attributes)

        if request.message_method == stun.Method.BINDING:
            return reply(**{"XOR-MAPPED-ADDRESS": address})
        key = hashlib.md5(f"{USER}:{REALM}:{PASSWORD}".encode()).digest()  # noqa: S324
        if not request.check_message_integrity(key):
            return reply(**{"ERROR-CODE": (401, "no"), "REALM": REALM, "NONCE": NONCE})
        answer = await self._allowed(request, client, address, send, reply)
        answer.add_message_integrity(key)
        return answer

    async def _allowed(self, request, client, address, send, reply) -> stun.Message:
        if self.error is not None:
            return reply(**{"ERROR-CODE": self.error})
        if request.message_method == stun.Method.ALLOCATE:
            loop = asyncio.get_running_loop()
            transport, relayed = await loop.create_datagram_endpoint(
                lambda: _Relayed(send), local_addr=("127.0.0.1", 0)
            )
            self._allocations[client] = relayed
            return reply(
                **{
                    "XOR-RELAYED-ADDRESS": transport.get_extra_info("sockname"),
                    "XOR-MAPPED-ADDRESS": address,
                    "LIFETIME": 600,
                }
            )
        relayed = self._allocations.get(client)
        if relayed is None:
            return reply(**{"ERROR-CODE": (437, "Allocation Mismatch")})
        if request.message_method == stun.Method.CHANNEL_BIND:
            channel = request.attributes["CHANNEL-NUMBER"]
            relayed.channels[channel] = request.attributes["XOR-PEER-ADDRESS"]
            return reply()
        if request.attributes.get("LIFETIME") == 0:
            self._allocations.pop(client).transport.close()
        return reply(LIFETIME=request.attributes.get("LIFETIME", 600))


@asynccontextmanager
async def ice_server(
    *,
    transport: str = "udp",
    tls: ssl.SSLContext | None = None,
    error: tuple[int, str] | None = None,
    silent: bool = False,
) -> AsyncIterator[IceServer]:
    server = IceServer(error, silent=silent)
    tasks: set[asyncio.Task] = set()

    def handle(*arguments) -> None:
        task = asyncio.ensure_future(server.handle(*arguments))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    loop = asyncio.get_running_loop()
    if transport == "udp":

        class Udp(asyncio.DatagramProtocol):
            def datagram_received(self, data, addr) -> None:
                handle(data, addr, addr[:2], lambda answer: endpoint.sendto(answer, addr))

        endpoint, _ = await loop.create_datagram_endpoint(Udp, local_addr=("127.0.0.1", 0))
        server.port = endpoint.get_extra_info("sockname")[1]
        try:
            yield server
        finally:
            endpoint.close()
            server.close_allocations()
        return

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = writer.get_extra_info("peername")[:2]
        try:
            while True:
                head = await reader.readexactly(4)
                length = int.from_bytes(head[2:], "big")
                size = length + 16 if head[0] < 0x40 else length + -length % 4
                data = head + await reader.readexactly(size)
                handle(
                    data,
                    writer,
                    address,
                    lambda answer: writer.write(answer + bytes(-len(answer) % 4)),
                )
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        server.close_allocations()
