"""What the two ends say of an ICE restart through somebody who is not trusted with it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.association import Association
from shared.crypto.handshake import NetworkId, SessionKeys
from shared.errors import AuthenticationFailed, LinkFailed
from shared.restart import SILENT_S, is_restart
from tests.doubles import paired

pytestmark = pytest.mark.jumping_clock

WORD = "restart:"


@pytest.fixture
async def ends() -> AsyncIterator[tuple[Association, Association]]:
    """The sender's and the receiver's, with a link between them that was cut."""
    sender, receiver = paired()
    await asyncio.gather(sender.link.connected(), receiver.link.connected())
    sender.link.transport.cut()
    receiver.link.transport.cut()
    yield sender, receiver
    await sender.link.close()
    await receiver.link.close()


async def test_a_request_and_its_answer_bring_a_cut_link_back(ends) -> None:
    sender, receiver = ends
    await receiver.link.fallen_silent(SILENT_S)
    request = await receiver.restarts.ask()
    assert is_restart(request)
    assert sender.restarts.opens(request)
    await receiver.restarts.complete(await sender.restarts.answer(request))
    assert sender.link.silent_s == receiver.link.silent_s == 0
    sender.link.send_control(b"again")
    assert await receiver.link.receive_control() == b"again"


async def test_no_request_is_taken_twice_nor_an_older_one(ends) -> None:
    sender, receiver = ends
    older, newer = await receiver.restarts.ask(), await receiver.restarts.ask()
    await sender.restarts.answer(newer)
    for text in (older, newer):
        assert not sender.restarts.opens(text)
        with pytest.raises(AuthenticationFailed):
            await sender.restarts.answer(text)


async def test_an_answer_is_that_to_the_newest_request(ends) -> None:
    sender, receiver = ends
    answer = await sender.restarts.answer(await receiver.restarts.ask())
    await receiver.restarts.ask()
    with pytest.raises(AuthenticationFailed, match="another restart"):
        await receiver.restarts.complete(answer)


async def test_what_one_end_says_is_not_taken_for_the_others_or_another_sessions(ends) -> None:
    sender, receiver = ends
    request = await receiver.restarts.ask()
    assert not receiver.restarts.opens(request)
    answer = await sender.restarts.answer(request)
    assert not sender.restarts.opens(answer)
    others = SessionKeys(
        "00" * 16, NetworkId("bp", bytes(32)), *(bytes([n]) * 32 for n in range(8, 12))
    )
    other = Association(sender.link, others)
    assert not other.restarts.opens(await receiver.restarts.ask())


async def test_requests_in_a_row_are_answered_one_a_second(ends) -> None:
    sender, receiver = ends
    await sender.restarts.answer(await receiver.restarts.ask())
    with pytest.raises(LinkFailed, match="too often"):
        await sender.restarts.answer(await receiver.restarts.ask())
    await asyncio.sleep(1.0)
    await sender.restarts.answer(await receiver.restarts.ask())


async def test_the_server_learns_nothing_of_where_an_end_is(ends, monkeypatch) -> None:
    _, receiver = ends

    async def offer() -> str:
        return "a=candidate:1 1 udp 1 192.0.2.7 9 typ host"

    monkeypatch.setattr(receiver.link, "restart_offer", offer)
    sealed = base64.b64decode((await receiver.restarts.ask()).removeprefix(WORD))
    assert b"192.0.2.7" not in sealed
    assert b"candidate" not in sealed


@pytest.mark.parametrize("text", ["", "restart", WORD, "v=0\r\n", WORD + "A" * 12, WORD + "é" * 40])
async def test_what_is_no_request_opens_nothing(ends, text: str) -> None:
    sender, receiver = ends
    assert not sender.restarts.opens(text)
    with pytest.raises(AuthenticationFailed):
        await receiver.restarts.complete(text)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.data())
async def test_a_request_that_was_altered_anywhere_opens_nothing(ends, data: st.DataObject) -> None:
    sender, receiver = ends
    sealed = bytearray(base64.b64decode((await receiver.restarts.ask()).removeprefix(WORD)))
    at = data.draw(st.integers(0, len(sealed) - 1))
    sealed[at] ^= data.draw(st.integers(1, 255))
    assert not sender.restarts.opens(WORD + base64.b64encode(sealed).decode())


async def test_nobody_is_told_of_silence_while_the_path_holds() -> None:
    sender, receiver = paired()
    silence = asyncio.create_task(receiver.link.fallen_silent(SILENT_S))
    await asyncio.sleep(60)
    assert not silence.done()
    receiver.link.transport.cut()
    await silence
    assert receiver.link.silent_s == pytest.approx(SILENT_S, abs=1e-3)
    await sender.link.close()
    await receiver.link.close()
