"""Ends of which one is of a later version: what it adds disturbs nobody, unless it insists."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from receiver.journal import ReceiverJournal
from receiver.session import ReceiverSession
from sender.journal import SenderJournal
from sender.session import SenderSession
from shared.association import Association
from shared.capabilities import OUR_FEATURES, Capabilities
from shared.crypto import messages
from shared.crypto.handshake import ReceiverHandshake, SenderHandshake
from shared.errors import Busy, NotSupported, PeerGone
from shared.telemetry.log import JsonLinesLog
from tests.doubles import until
from tests.integration.peers import LIMIT_S, Ends, Feed, picture

LATER = (
    {"type": "marks", "shapes": [{"kind": "arrow", "at": [1, 2.5]}], "note": None},
    {"type": "key_frame_request", "index": 0, "why": {"deep": [[[["down"]]]]}},
    {"type": "path", "rate_bps": 1, "rtt_ms": 1, "queue_ms": 0, "loss": 0, "target_bps": None,
     "jitter_ms": 3},
    {"type": "tally", "sent": 0, "dropped": {}, "critical": False},
)  # fmt: skip
"""Two that are unknown in whole or in part to each end, and what flows the other way."""


@pytest.fixture
def later_hellos(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ends offer features and extensions that neither knows of the other."""
    for module, made, feature in (
        ("sender.admission", SenderHandshake, "of-a-later-sender"),
        ("receiver.rendezvous", ReceiverHandshake, "of-a-later-receiver"),
    ):
        capabilities = Capabilities(OUR_FEATURES | {feature})
        later = partial(made, capabilities=capabilities)
        monkeypatch.setattr(f"{module}.{made.__name__}", later)
    for hello in (messages.ReceiverHello, messages.SenderHello):
        pack = hello.pack

        def extended(self: Any, pack: Callable[[Any], bytes] = pack) -> bytes:
            return pack(self) + b"\x01\x00\x05later\x7f\x00\x00"

        monkeypatch.setattr(hello, "pack", extended)


def say(association: Association, said: object) -> None:
    """Whatever it is, sealed as all that is said."""
    association.link.send_control(association._channel.seal(json.dumps(said).encode()))


def of_receiver(session: ReceiverSession) -> Association:
    return session._association


def of_sender(session: SenderSession) -> list[Association]:
    return [attendee._association for attendee in session._audience]


@asynccontextmanager
async def streaming(
    ends: Ends, tmp_path: Path, notices: list[str], *, receivers: int = 1
) -> AsyncIterator[tuple[SenderSession, ReceiverSession]]:
    sent = SenderJournal(JsonLinesLog(tmp_path / "s.jsonl"))
    received = ReceiverJournal(JsonLinesLog(tmp_path / "r.jsonl"))
    settings = ends.sending(max_receivers=receivers)
    feed = Feed().frames()
    async with (
        asyncio.timeout(LIMIT_S),
        SenderSession(feed, settings, journal=sent, on_notice=notices.append) as sender,
        ReceiverSession(str(sender.code), ends.receiver, journal=received) as receiver,
    ):
        yield sender, receiver


async def shown(receiver: ReceiverSession, count: int) -> None:
    """So many frames more, each as it was sent."""
    async for frame in receiver:
        assert np.array_equal(frame.frame.image, picture(frame.frame.index))
        count -= 1
        if count == 0:
            return
    pytest.fail("the stream ended")


def passed_over(log: Path) -> list[str]:
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [line["detail"] for line in lines if line.get("event") == "passed over"]


@pytest.mark.usefixtures("later_hellos")
async def test_what_a_later_version_adds_ends_nothing_in_either_direction(
    ends: Ends, tmp_path: Path
) -> None:
    notices: list[str] = []
    async with streaming(ends, tmp_path, notices) as (sender, receiver):
        await shown(receiver, 3)
        (at_sender,), at_receiver = of_sender(sender), of_receiver(receiver)
        assert at_sender.features == at_receiver.features == OUR_FEATURES
        for _ in range(5):
            for said in LATER:
                say(at_sender, said)
                say(at_receiver, said)
            await shown(receiver, 3)
        await until(lambda: at_sender.ignored == at_receiver.ignored == {"types": 5, "fields": 10})
        await shown(receiver, 3)
        assert receiver.journal.drops == {}
    assert passed_over(tmp_path / "r.jsonl") == ["15 messages or fields, unknown here"]
    assert passed_over(tmp_path / "s.jsonl") == ["15 messages or fields, unknown here"]
    assert not any("lost" in notice or "failed" in notice for notice in notices)


async def test_a_flood_of_what_is_not_known_is_taken_like_any_other_message(
    ends: Ends, tmp_path: Path
) -> None:
    async with streaming(ends, tmp_path, []) as (sender, receiver):
        await shown(receiver, 1)
        (at_sender,), at_receiver = of_sender(sender), of_receiver(receiver)
        big = {"type": "new", **{f"field_{n}": [n] * 5 for n in range(400)}}
        for _ in range(20):
            for _ in range(10):
                say(at_receiver, big)
            await shown(receiver, 1)
        await until(lambda: at_sender.ignored["types"] == 200)
        await shown(receiver, 3)


CRITICAL = {"type": "marks", "critical": True, "shapes": []}


async def test_what_a_receiver_insists_on_ends_that_receiver_with_one_clear_line_at_both_ends(
    ends: Ends, tmp_path: Path
) -> None:
    notices: list[str] = []
    async with streaming(ends, tmp_path, notices, receivers=2) as (sender, receiver):
        await shown(receiver, 1)
        async with ReceiverSession(str(sender.code), ends.receiver) as other:
            await shown(other, 1)
            say(of_receiver(receiver), CRITICAL)
            with pytest.raises(PeerGone, match="does not know"):
                async for _ in receiver:
                    pass
            await until(lambda: sender.receivers == 1)
            await shown(other, 5)
    (told,) = [notice for notice in notices if "a receiver is lost" in notice]
    assert "insists on a control message that this version of Veilscope does not know" in told


async def test_what_a_sender_insists_on_ends_its_receiver_with_one_clear_line_at_both_ends(
    ends: Ends, tmp_path: Path
) -> None:
    notices: list[str] = []
    async with streaming(ends, tmp_path, notices, receivers=2) as (sender, receiver):
        await shown(receiver, 1)
        say(
            of_sender(sender)[0],
            {"type": "quality_notice", "critical": True, "reason": "r", "codec": "jpeg",
             "width": 64, "height": 64, "fps": 30.0, "bitrate_bps": None, "quality": 1,
             "colour_space": "new"},
        )  # fmt: skip
        with pytest.raises(NotSupported, match="insists on a control message"):
            async for _ in receiver:
                pass
        await receiver.__aexit__(None, None, None)
        await until(lambda: any("a receiver failed" in notice for notice in notices))
    (told,) = [notice for notice in notices if "a receiver failed" in notice]
    assert "does not know" in told


async def test_who_comes_when_every_place_is_taken_is_told_so(ends: Ends) -> None:
    notices: list[str] = []
    async with asyncio.timeout(LIMIT_S):
        feed = Feed().frames()
        async with SenderSession(feed, ends.sender, on_notice=notices.append) as sender:
            code = str(sender.code)
            async with ReceiverSession(code, ends.receiver) as receiver:
                with pytest.raises(Busy, match="every place at the sender is taken") as caught:
                    async with ReceiverSession(code, ends.receiver):
                        pytest.fail("let in beyond the last place")
                assert "overheard" in caught.value.hint
                await shown(receiver, 3)
    assert any("every place is taken" in notice for notice in notices)


async def test_a_receiver_without_the_codec_that_was_asked_for_is_told_and_the_code_stays_good(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    less = partial(ReceiverHandshake, capabilities=Capabilities(OUR_FEATURES - {"lossless"}))
    async with asyncio.timeout(LIMIT_S):
        async with SenderSession(Feed().frames(), ends.sender) as sender:
            with monkeypatch.context() as patch:
                patch.setattr("receiver.rendezvous.ReceiverHandshake", less)
                with pytest.raises(NotSupported, match="codec"):
                    async with ReceiverSession(str(sender.code), ends.receiver):
                        pytest.fail("let in to a stream that it can't decode")
            async with ReceiverSession(str(sender.code), ends.receiver) as receiver:
                await shown(receiver, 2)
