"""One WebSocket of the server: messages are posted without waiting, a task writes them in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from aiohttp import WSCloseCode, web

from signaling.limits import TokenBucket
from signaling.messages import Created, Event, Joined, Refusal, RefusalCode, Resumed

__all__ = ["CLOSE_S", "ClientConnection"]

log = logging.getLogger("signaling")

CLOSE_S = 2.0  # how long a closing connection may take to say goodbye
# Messages waiting for a peer that reads too slowly; all that a sender missed is posted at once.
MAX_UNSENT = 256

_CLOSE_CODES: dict[RefusalCode, WSCloseCode] = {
    "too-large": WSCloseCode.MESSAGE_TOO_BIG,
    "server-full": WSCloseCode.TRY_AGAIN_LATER,
    "too-many-connections": WSCloseCode.TRY_AGAIN_LATER,
    "too-many-joins": WSCloseCode.TRY_AGAIN_LATER,
}  # RFC 6455, section 7.4 (1013: its registry at IANA); others are policy violations


class ClientConnection:
    """A connection from somewhere, which speaks for a peer once it is admitted."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport | None,
        *,
        address: str,
        opened_ns: int,
        bucket: TokenBucket,
    ) -> None:
        self.address = address
        self.opened_ns = opened_ns
        self.bucket = bucket
        self.peer = ""  # the id of the peer it speaks for, once admitted
        self.finished = False
        self._socket = socket
        self._transport = transport
        self._unsent: asyncio.Queue[str | WSCloseCode] = asyncio.Queue()
        self.writer = asyncio.create_task(self._write(), name="signaling writer")

    def post(self, message: Created | Joined | Resumed | Event | Refusal) -> None:
        if self.finished:
            return
        if self._unsent.qsize() >= MAX_UNSENT:
            self.abort()
            return
        self._unsent.put_nowait(message.model_dump_json())

    def refuse(self, code: RefusalCode, message: str) -> None:
        """Say why, then close."""
        if not self.finished:
            log.info("connection refused: %s", code)
        self.post(Refusal(code=code, message=message))
        self.finish(_CLOSE_CODES.get(code, WSCloseCode.POLICY_VIOLATION))

    def finish(self, code: WSCloseCode) -> None:
        """Close once everything posted so far is written."""
        if not self.finished:
            self.finished = True
            self._unsent.put_nowait(code)

    def abort(self) -> None:
        """Drop the connection without a goodbye: nobody reads at its other end."""
        self.finished = True
        self.writer.cancel()
        if self._transport is not None:
            self._transport.abort()

    async def written(self) -> None:
        """Wait for the writer, but not for a peer that never reads."""
        _, unfinished = await asyncio.wait([self.writer], timeout=2 * CLOSE_S)
        if unfinished:
            self.abort()

    async def _write(self) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                item = await self._unsent.get()
                if isinstance(item, WSCloseCode):
                    await self._socket.close(code=item)
                    return
                await self._socket.send_str(item)
