"""An HTTP proxy that opens tunnels, and answers as a test wants."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


@dataclass
class HttpProxy:
    """`answer` is sent to a CONNECT; where it is of 2xx the tunnel is opened, to `target`."""

    answer: bytes = ESTABLISHED
    target: tuple[str, int] | None = None
    in_pieces: bool = False
    requests: list[list[str]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def asked_for(self) -> list[str]:
        return [request[0] for request in self.requests]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            try:
                await self._tunnel(reader, writer)
            finally:
                writer.close()

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.requests.append(head.strip().split("\r\n"))
        size = 7 if self.in_pieces else max(1, len(self.answer))
        for start in range(0, len(self.answer), size):
            writer.write(self.answer[start : start + size])
            await writer.drain()
            await asyncio.sleep(0)
        if b" 2" not in self.answer[:12]:
            return
        host, _, port = head.split()[1].rpartition(":")
        target = self.target or (host.strip("[]"), int(port))
        onward_reader, onward = await asyncio.open_connection(*target)
        try:
            await asyncio.gather(_carry(reader, onward), _carry(onward_reader, writer))
        finally:
            onward.close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def running(proxy: HttpProxy, tls: ssl.SSLContext | None = None) -> AsyncIterator[HttpProxy]:
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, ssl=tls)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
