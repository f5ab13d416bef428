"""The handshake over a link: what each end learns, also when the other goes at once."""

from __future__ import annotations

import asyncio
import json

import pytest

from shared import control
from shared.association import Association, associate
from shared.capabilities import OUR_FEATURES
from shared.crypto.handshake import (
    DtlsFingerprints,
    NetworkId,
    ReceiverHandshake,
    SenderHandshake,
    abort_message,
    new_session_id,
)
from shared.errors import (
    AuthenticationFailed,
    CodeUsed,
    HandshakeFailed,
    NotSupported,
    OtherVersion,
    PairingFailed,
    PeerGone,
    WrongCode,
)
from shared.link.memory import MemoryLink, memory_pair

pytestmark = pytest.mark.jumping_clock

NETWORK = NetworkId("bp", bytes(range(32)))
CODE = "abandon-crystal-zebra"


def handshakes(
    sender: MemoryLink, receiver: MemoryLink, *, typed: str = CODE
) -> tuple[SenderHandshake, ReceiverHandshake]:
    ours, theirs = sender.fingerprints
    seen_by_receiver = receiver.fingerprints
    return (
        SenderHandshake(CODE, new_session_id(), DtlsFingerprints(ours, theirs), NETWORK),
        ReceiverHandshake(
            typed,
            DtlsFingerprints(seen_by_receiver[1], seen_by_receiver[0]),
            lambda _family: NETWORK.digest,
        ),
    )


async def paired() -> tuple[Association, Association]:
    sender, receiver = memory_pair()
    await asyncio.gather(sender.connected(), receiver.connected())
    at_sender, at_receiver = handshakes(sender, receiver)
    return await asyncio.gather(associate(sender, at_sender), associate(receiver, at_receiver))


async def test_both_ends_agree_on_session_and_network_and_can_talk() -> None:
    async with asyncio.timeout(10):
        sender, receiver = await paired()
        assert sender.session_id == receiver.session_id
        assert sender.network == receiver.network == NETWORK
        sender.send(control.Tally(sent=7, dropped={"link_busy": 3}))
        receiver.send(control.EpochAck(epoch=1))
        assert await receiver.receive() == control.Tally(sent=7, dropped={"link_busy": 3})
        assert await sender.receive() == control.EpochAck(epoch=1)
        await asyncio.gather(sender.link.close(), receiver.link.close())


async def test_a_wrong_code_is_told_to_both_ends() -> None:
    async with asyncio.timeout(10):
        links = memory_pair()
        await asyncio.gather(*(link.connected() for link in links))
        ends = handshakes(*links, typed="zoo-zoo-zoo")
        results = await asyncio.gather(
            *(associate(link, end) for link, end in zip(links, ends, strict=True)),
            return_exceptions=True,
        )
        assert [type(result) for result in results] == [WrongCode, WrongCode]
        await asyncio.gather(*(link.close() for link in links))


async def test_an_abort_is_heard_even_if_the_other_end_hung_up_right_after_it() -> None:
    async with asyncio.timeout(10):
        sender, receiver = memory_pair()
        await asyncio.gather(sender.connected(), receiver.connected())
        _, at_receiver = handshakes(sender, receiver)
        sender.send_control(abort_message(CodeUsed("used already")))
        await sender.close()
        await receiver.closed()
        with pytest.raises(CodeUsed):
            await associate(receiver, at_receiver)


@pytest.mark.parametrize("abort", [b"\x05\x00", b"\x05\x01", b"\x05\x07", b"\x05\xee", b"\x05"])
async def test_an_abort_is_not_answered(abort: bytes) -> None:
    async with asyncio.timeout(10):
        sender, receiver = memory_pair()
        await asyncio.gather(sender.connected(), receiver.connected())
        at_sender, _ = handshakes(sender, receiver)
        receiver.send_control(abort)
        with pytest.raises(PairingFailed):
            await associate(sender, at_sender)
        await sender.close()
        with pytest.raises(PeerGone):
            await receiver.receive_control()
        await receiver.close()


async def test_who_is_refused_on_agreement_learns_why() -> None:
    def refuse() -> None:
        raise CodeUsed("another was faster")

    async with asyncio.timeout(10):
        sender, receiver = memory_pair()
        await asyncio.gather(sender.connected(), receiver.connected())
        at_sender, at_receiver = handshakes(sender, receiver)
        results = await asyncio.gather(
            associate(sender, at_sender, on_agreed=refuse),
            associate(receiver, at_receiver),
            return_exceptions=True,
        )
        assert [type(result) for result in results] == [CodeUsed, CodeUsed]
        await asyncio.gather(sender.close(), receiver.close())


async def test_a_peer_that_leaves_in_the_middle_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    async with asyncio.timeout(10):
        sender, receiver = memory_pair()
        await asyncio.gather(sender.connected(), receiver.connected())
        _, at_receiver = handshakes(sender, receiver)
        joining = asyncio.create_task(associate(receiver, at_receiver))
        await sender.receive_control()
        await sender.close()
        with pytest.raises(PeerGone, match="during the key agreement"):
            await joining


async def test_a_peer_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.association.HANDSHAKE_TIMEOUT_S", 0.2)
    async with asyncio.timeout(10):
        sender, receiver = memory_pair()
        await asyncio.gather(sender.connected(), receiver.connected())
        _, at_receiver = handshakes(sender, receiver)
        with pytest.raises(HandshakeFailed, match="in time"):
            await associate(receiver, at_receiver)
        await asyncio.gather(sender.close(), receiver.close())


async def test_a_control_message_from_somebody_else_is_refused() -> None:
    async with asyncio.timeout(10):
        sender, receiver = await paired()
        sender.link.send_control(b"not sealed at all, and long enough to have a tag")
        with pytest.raises(AuthenticationFailed, match="altered"):
            await receiver.receive()
        await asyncio.gather(sender.link.close(), receiver.link.close())


async def test_both_ends_know_what_they_have_in_common_and_what_the_other_is() -> None:
    async with asyncio.timeout(10):
        sender, receiver = await paired()
        assert sender.features == receiver.features == OUR_FEATURES
        assert sender.peer_kind == receiver.peer_kind == "native"
        assert sender.suite == receiver.suite == 1
        await asyncio.gather(sender.link.close(), receiver.link.close())


def say(association: Association, said: object) -> None:
    association.link.send_control(association._channel.seal(json.dumps(said).encode()))


async def test_what_is_not_known_is_passed_over_and_counted() -> None:
    async with asyncio.timeout(10):
        sender, receiver = await paired()
        for said in ({"type": "new"}, {"type": "newer", "critical": False}):
            say(sender, said)
        say(sender, {"type": "epoch_ack", "epoch": 3, "new": 1})
        assert await receiver.receive() == control.EpochAck(epoch=3)
        assert receiver.ignored == {"types": 2, "fields": 1}
        say(sender, {"type": "new", "critical": True})
        with pytest.raises(NotSupported):
            await receiver.receive()
        await asyncio.gather(sender.link.close(), receiver.link.close())


async def test_messages_that_are_passed_over_leave_the_others_their_turn() -> None:
    async with asyncio.timeout(10):
        sender, receiver = await paired()
        for _ in range(50):
            say(sender, {"type": "new"})
        say(sender, {"type": "epoch_ack", "epoch": 1})
        await asyncio.sleep(0.05)  # until all wait to be read
        seen: list[int] = []

        async def look() -> None:
            while True:
                seen.append(receiver.ignored["types"])
                await asyncio.sleep(0)

        looking = asyncio.create_task(look())
        await receiver.receive()
        looking.cancel()
        assert set(range(1, 50)) <= set(seen)
        await asyncio.gather(sender.link.close(), receiver.link.close())


async def test_a_sender_tells_a_receiver_of_version_2_in_words_that_that_reads() -> None:
    async with asyncio.timeout(10):
        sender, receiver = memory_pair()
        await asyncio.gather(sender.connected(), receiver.connected())
        at_sender, _ = handshakes(sender, receiver)
        associating = asyncio.create_task(associate(sender, at_sender))
        receiver.send_control(b"\x01\x02\x01\x01" + bytes(1281))
        with pytest.raises(OtherVersion, match="protocol 2; this end speaks 3"):
            await associating
        await sender.close()
        answer = await receiver.receive_control()
        assert answer[:2] == b"\x02\x03", "its version is the first that version 2 looks at"
        assert len(answer) >= 1 + 2 + 1233 + 1, "version 2 takes anything shorter as malformed"
        await receiver.close()


async def test_a_receiver_that_a_sender_of_version_2_refuses_says_what_that_is() -> None:
    async with asyncio.timeout(10):
        sender, receiver = memory_pair()
        await asyncio.gather(sender.connected(), receiver.connected())
        _, at_receiver = handshakes(sender, receiver)
        associating = asyncio.create_task(associate(receiver, at_receiver))
        assert (await sender.receive_control())[:2] == b"\x01\x03"
        sender.send_control(b"\x05\x00")
        await sender.close()
        with pytest.raises(OtherVersion, match="older version of Veilscope"):
            await associating
        await receiver.close()
