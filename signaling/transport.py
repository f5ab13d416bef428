"""One WebSocket from a client to a server: typed messages in and out, and errors for people.

No memory of rooms: what a dropped connection means is the client's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from types import SimpleNamespace

import aiohttp

from shared.errors import SignalingUnreachable
from signaling.address import parse_url
from signaling.messages import (
    MAX_MESSAGE_BYTES,
    Create,
    Created,
    Event,
    Join,
    Joined,
    ProtocolError,
    Refusal,
    Resume,
    Resumed,
    parse_server_message,
)
from signaling.proxy import proxy_for
from signaling.refusals import Refused
from signaling.tunnel import TunnelConnector

__all__ = ["CLOSE_S", "Endpoint", "WebSocketTransport"]

HEARTBEAT_S = 10.0  # a dead connection is noticed after 1.5 times this
CLOSE_S = 2.0  # how long a goodbye may take


class _RedirectedError(aiohttp.ClientError):
    """The server pointed somewhere else, perhaps without TLS: not where the person wanted to go."""


async def _refuse_redirect(
    _session: aiohttp.ClientSession,
    _context: SimpleNamespace,
    params: aiohttp.TraceRequestRedirectParams,
) -> None:
    params.response.close()
    raise _RedirectedError


class Endpoint:
    """The address of a server, the way to it, and how long it may take to answer on it.

    `proxy` is the URL of an HTTP proxy, `none`, or None for what the environment says.

    Raises:
        BadInput: the address, or what should name the proxy, does not.
    """

    def __init__(
        self,
        url: str,
        *,
        tls: ssl.SSLContext | None,
        answer_within_s: float,
        proxy: str | None = None,
    ) -> None:
        self.url, self.where = parse_url(url)
        self.answer_within_s = answer_within_s
        self._tls = tls
        self._proxy = proxy_for(self.url, proxy, os.environ)

    def open_session(self) -> aiohttp.ClientSession:
        """An HTTP session for `connect`, which follows no redirect."""
        trace = aiohttp.TraceConfig()
        trace.on_request_redirect.append(_refuse_redirect)
        tunnel = None
        if self._proxy is not None:
            # The proxy's part of the time, so that it is the one that is named where it is silent.
            open_within_s = 0.8 * self.answer_within_s
            tunnel = TunnelConnector(self._proxy, tls=self._tls, open_within_s=open_within_s)
        return aiohttp.ClientSession(
            connector=tunnel,
            timeout=aiohttp.ClientTimeout(total=None),
            trace_configs=[trace],
        )

    async def connect(self, session: aiohttp.ClientSession) -> WebSocketTransport:
        """Open a connection; `session` is one of `open_session()`.

        Raises `SignalingUnreachable`.
        """
        try:
            async with asyncio.timeout(self.answer_within_s):
                socket = await session.ws_connect(
                    self.url,
                    heartbeat=HEARTBEAT_S,
                    max_msg_size=4 * MAX_MESSAGE_BYTES,
                    timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_S),
                    ssl=True if self._tls is None else self._tls,
                )
        except TimeoutError:
            raise self.unreachable("does not answer") from None
        except (aiohttp.WSServerHandshakeError, _RedirectedError):
            raise self.not_signaling() from None
        except (aiohttp.ClientConnectorCertificateError, ssl.SSLCertVerificationError):
            raise SignalingUnreachable(
                f"the certificate of the signaling server at {self.where} is not trusted",
                hint="check the host name; name an authority of your own with --ca FILE",
            ) from None
        except (aiohttp.ClientSSLError, ssl.SSLError):
            raise self.unreachable("does not speak TLS; ws:// is without, wss:// with") from None
        except aiohttp.ClientConnectorDNSError:
            raise self.unreachable("has no address: the name is not known") from None
        except (aiohttp.ClientError, OSError):
            raise self.unreachable("can't be reached") from None
        return WebSocketTransport(self, socket)

    def unreachable(self, what: str) -> SignalingUnreachable:
        return SignalingUnreachable(
            f"the signaling server at {self.where} {what}",
            hint="check that the server runs there and that --signaling names it",
        )

    def not_signaling(self) -> SignalingUnreachable:
        return SignalingUnreachable(
            f"what answers at {self.where} does not speak this version's signaling protocol",
            hint="check that --signaling names the server, and that both have the same version",
        )


class WebSocketTransport:
    """An open connection to `endpoint`."""

    def __init__(self, endpoint: Endpoint, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._endpoint = endpoint
        self._socket = socket

    async def ask(self, hello: Create | Join | Resume) -> Created | Joined | Resumed | Event:
        """The answer to `hello`; raises `SignalingUnreachable` and `Refused`."""
        try:
            async with asyncio.timeout(self._endpoint.answer_within_s):
                await self.write(hello.model_dump_json())
                reply = await self.receive()
        except (TimeoutError, ConnectionError):
            reply = None
        if reply is None:
            raise self._endpoint.unreachable("does not answer")
        return reply

    async def write(self, text: str) -> None:
        """Raises `ConnectionError` on a connection that is known to be dead."""
        await self._socket.send_str(text)

    async def receive(self) -> Created | Joined | Resumed | Event | None:
        """The next message, or None once the connection is gone.

        Raises:
            Refused: the server says so.
            SignalingUnreachable: it says something that is no message.
        """
        frame = await self._socket.receive()
        if frame.type is aiohttp.WSMsgType.TEXT:
            try:
                message = parse_server_message(frame.data)
            except ProtocolError:
                raise self._endpoint.not_signaling() from None
            if isinstance(message, Refusal):
                raise Refused(message.code)
            return message
        if frame.type is aiohttp.WSMsgType.BINARY:
            raise self._endpoint.not_signaling()
        if self._socket.close_code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG:
            raise Refused("too-large")
        return None

    async def close(self) -> None:
        """Say goodbye, for `CLOSE_S` at most; harmless on a dead connection."""
        with contextlib.suppress(ConnectionError):
            await self._socket.close()
