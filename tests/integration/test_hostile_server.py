"""A signaling server that records everything, and one that stands between the two ends.

The server sees and may alter every offer and answer.  It must learn neither the code's secret nor
a key nor a picture, and whatever it swaps must make the pairing fail loudly on both ends.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import numpy as np
import pytest
from aiohttp import web

from receiver.session import ReceiverSession
from sender.session import SenderSession
from shared.crypto.agreement import DtlsFingerprints
from shared.crypto.handshake import ReceiverHandshake
from shared.crypto.pairing import PairingCode
from shared.errors import LinkFailed, PairingFailed, WrongCode
from shared.link import Link
from shared.link.webrtc import webrtc_link
from signaling.client import PeerJoined, Relayed, SignalingClient
from signaling.config import ServerConfig
from signaling.server import SignalingServer
from tests.integration.peers import LIMIT_S, Feed, ends_at, picture

Rewrite = Callable[[str], str]


class HostileRelay:
    """Passes WebSocket texts between clients and a real server, keeping and altering them."""

    def __init__(self, target: str, rewrite: Rewrite = lambda text: text) -> None:
        self.seen: list[str] = []
        self._target = target
        self._rewrite = rewrite

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        client = web.WebSocketResponse()
        await client.prepare(request)
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{self._target}/ws") as server,
        ):
            ways = [
                asyncio.create_task(self._pass(client, server)),
                asyncio.create_task(self._pass(server, client)),
            ]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
        return client

    async def _pass(
        self,
        source: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
        sink: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
    ) -> None:
        async for message in source:
            if message.type is aiohttp.WSMsgType.TEXT:
                self.seen.append(message.data)
                await sink.send_str(self._rewrite(message.data))
        await sink.close()


@asynccontextmanager
async def hostile(
    server: SignalingServer, rewrite: Rewrite = lambda text: text
) -> AsyncIterator[tuple[HostileRelay, str]]:
    relay = HostileRelay(server.url, rewrite)
    app = web.Application()
    app.router.add_get("/ws", relay.handle)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield relay, f"ws://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


async def test_the_whole_traffic_of_the_server_holds_no_secret_and_no_picture(
    server: SignalingServer, recorded_keys: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A code by chance may have a word that every offer has, such as "active".
    chosen = staticmethod(lambda nameplate: PairingCode(nameplate, "abandon-crystal-zebra"))
    monkeypatch.setattr(PairingCode, "generate", chosen)
    async with asyncio.timeout(LIMIT_S), hostile(server) as (relay, url):
        ends = ends_at(url)
        shown = []
        async with SenderSession(Feed(count=10).frames(), ends.sender) as sender:
            assert sender.code is not None
            code = sender.code
            async with ReceiverSession(code, ends.receiver) as receiver:
                shown = [frame async for frame in receiver]
            await sender.finished()
    traffic = "\n".join(relay.seen)
    kinds = set(re.findall(r'"type":"(\w+)"', traffic))
    assert {"offer", "answer"} <= kinds, "the relay was not between them"
    for word in code.secret.split("-"):
        assert not re.search(rf"\b{word}\b", traffic), "a word of the code crossed the server"
    raw = traffic.encode()
    assert recorded_keys, "no key was made: the test watches the wrong place"
    for key in recorded_keys:
        for form in (key, key.hex().encode(), key.hex().upper().encode()):
            assert form not in raw
    assert shown
    for frame in shown:
        assert frame.sealed[:64] not in raw
        assert frame.frame.image.tobytes()[:64] not in raw


async def test_with_all_the_traffic_a_guess_at_the_code_is_still_one_try(
    server: SignalingServer,
) -> None:
    """The attacker plays a receiver of its own, with all it saw and a wrong guess."""
    async with asyncio.timeout(LIMIT_S), hostile(server) as (relay, url):
        ends = ends_at(url)
        notices: list[str] = []
        async with SenderSession(Feed().frames(), ends.sender, on_notice=notices.append) as sender:
            assert sender.code is not None
            guess = PairingCode(sender.code.nameplate, "abandon-abandon-abandon")
            with pytest.raises(WrongCode):
                async with ReceiverSession(guess, ends.receiver):
                    pytest.fail("a guess paired")
            async with ReceiverSession(sender.code, ends.receiver) as receiver:
                async for frame in receiver:
                    assert np.array_equal(frame.frame.image, picture(frame.frame.index))
                    break
    assert relay.seen


def swap_fingerprints(text: str) -> str:
    """Puts another certificate's fingerprint into every offer and answer."""
    other = ":".join(["AB"] * 32)
    return re.sub(r"(a=fingerprint:sha-256 )[0-9A-F:]{95}", rf"\g<1>{other}", text)


async def test_swapped_fingerprints_end_both_sides_before_any_key(server: SignalingServer) -> None:
    async with asyncio.timeout(LIMIT_S), hostile(server, swap_fingerprints) as (relay, url):
        ends = ends_at(url)
        notices: list[str] = []
        async with SenderSession(Feed().frames(), ends.sender, on_notice=notices.append) as sender:
            assert sender.code is not None
            with pytest.raises(LinkFailed):
                async with ReceiverSession(sender.code, ends.receiver):
                    pytest.fail("paired under a swapped fingerprint")
            while not any("could not join" in notice for notice in notices):
                await asyncio.sleep(0.01)
    assert any(swap_fingerprints(text) != text for text in relay.seen), "nothing was swapped"


async def test_an_attacker_in_the_middle_of_both_links_makes_the_codes_differ() -> None:
    """The server connects each end to itself, with its own certificates, and passes on every word.

    Offers and answers are then genuine DTLS connections, both to the attacker; only the
    fingerprints inside the handshake's transcript tell.
    """
    async with (
        asyncio.timeout(LIMIT_S),
        SignalingServer(ServerConfig(port=0)) as for_sender,
        SignalingServer(ServerConfig(port=0)) as for_receiver,
        SignalingClient(for_sender.url) as as_receiver,
        SignalingClient(for_receiver.url) as as_sender,
    ):
        notices: list[str] = []
        async with SenderSession(
            Feed().frames(), ends_at(for_sender.url).sender, on_notice=notices.append
        ) as sender:
            assert sender.code is not None
            trap = await as_sender.create_room()
            # The victim types the code that it was told; its server leads it into the trap.
            code = PairingCode(trap.nameplate, sender.code.secret)
            from_sender: list[bytes] = []
            from_receiver: list[bytes] = []

            async def pairing() -> None:
                async with ReceiverSession(code, ends_at(for_receiver.url).receiver):
                    pytest.fail("paired through an attacker")

            victim = asyncio.create_task(pairing())
            to_sender = webrtc_link(host_addresses=["127.0.0.1"])
            to_receiver = webrtc_link(host_addresses=["127.0.0.1"])
            try:
                await as_receiver.join_room(sender.code.nameplate)
                async for event in as_receiver.events():
                    if isinstance(event, Relayed):
                        answer = await to_sender.accept_offer(event.payload["sdp"])
                        await as_receiver.send(event.sender_peer, {"type": "answer", "sdp": answer})
                        break
                async for event in as_sender.events():
                    if isinstance(event, PeerJoined):
                        offer = await to_receiver.create_offer()
                        await as_sender.send(event.peer, {"type": "offer", "sdp": offer})
                    elif isinstance(event, Relayed):
                        await to_receiver.accept_answer(event.payload["sdp"])
                        break
                await asyncio.gather(to_sender.connected(), to_receiver.connected())
                to_sender_fingerprints = tuple(reversed(to_sender.fingerprints))

                async def pass_on(source: Link, sink: Link, kept: list[bytes]) -> None:
                    while True:
                        message = await source.receive_control()
                        kept.append(message)
                        sink.send_control(message)

                ways = [
                    asyncio.create_task(pass_on(to_sender, to_receiver, from_sender)),
                    asyncio.create_task(pass_on(to_receiver, to_sender, from_receiver)),
                ]
                with pytest.raises(WrongCode, match="between"):
                    await victim
                while not any("could not join" in notice for notice in notices):
                    await asyncio.sleep(0.01)
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
            finally:
                await asyncio.gather(to_sender.close(), to_receiver.close())
            assert from_sender, "the attacker did not pass the handshake on"
            assert len(from_receiver) >= 2
            assert sender.receivers == 0
            heard = [*from_sender, *from_receiver]
            assert not any(sender.code.secret.encode() in message for message in heard)
            # The same words give the attacker no key either: it lacks the code.
            mine = ReceiverHandshake(
                "abandon-abandon-abandon",
                DtlsFingerprints(*to_sender_fingerprints),
                lambda _family: None,
            )
            mine.start()
            mine.receive(from_sender[0])
            with pytest.raises(PairingFailed):
                mine.receive(from_sender[1])
            assert mine.result is None
