"""The door: one code pairs once, three wrong tries spend it, and tries at once buy nothing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from sender.admission import Admission
from shared.association import Association
from shared.capabilities import OUR_FEATURES, Capabilities
from shared.crypto.handshake import (
    OURS,
    DtlsFingerprints,
    NetworkId,
    ReceiverHandshake,
    new_session_id,
)
from shared.crypto.pairing import PairingCode
from shared.errors import (
    Busy,
    CodeUsed,
    KeystreamMismatch,
    LinkFailed,
    NotNow,
    NotSupported,
    PeerGone,
    WrongCode,
)
from shared.link.memory import MemoryLink, memory_pair
from tests.doubles import (
    LIMIT_S,
    NAMEPLATE,
    pair_as_receiver,
    turns,
    until,
)

pytestmark = pytest.mark.jumping_clock

NETWORK = NetworkId("bp", bytes(range(32)))
WRONG = "abandon-abandon-abandon"  # one in 2^33 that it is right


class Server:
    """Relays an offer, and the answer at once, unless told not to."""

    def __init__(self) -> None:
        self.door: Admission | None = None
        self.answers = True
        self.offers: list[tuple[str, dict[str, str]]] = []

    async def send(self, peer: str, payload: dict[str, str]) -> None:
        self.offers.append((peer, payload))
        if self.answers and self.door is not None:
            self.door.answered(peer, "v=0 answer")


@dataclass
class Door:
    """An `Admission` and the receivers that knock at it."""

    places: int = 1
    needs: str = "lossless"
    server: Server = field(default_factory=Server)
    codes: list[PairingCode] = field(default_factory=list)
    links: list[MemoryLink] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.admission = Admission(
            self.server,  # type: ignore[arg-type]
            NAMEPLATE,
            new_session_id(),
            NETWORK,
            places=self.places,
            on_code=self.codes.append,
            check=self._check,
        )
        self.server.door = self.admission
        self.admission.open()

    def _check(self, features: frozenset[str]) -> None:
        if self.needs not in features:
            raise NotSupported("it lacks a codec")

    @property
    def secret(self) -> str:
        assert self.admission.code is not None
        return self.admission.code.secret

    def ends(self) -> tuple[MemoryLink, MemoryLink]:
        ours, theirs = memory_pair(seed=len(self.links), lost_after_s=LIMIT_S)
        self.links += [ours, theirs]
        return ours, theirs

    async def knock(
        self, secret: str, network: NetworkId = NETWORK, capabilities: Capabilities = OURS
    ) -> tuple[object, object]:
        """What the sender and the receiver each got: an association, or an error."""
        ours, theirs = self.ends()
        results = await asyncio.gather(
            self.admission.admit(f"peer {len(self.links)}", ours),  # type: ignore[arg-type]
            pair_as_receiver(theirs, secret, network, capabilities),
            return_exceptions=True,
        )
        return results[0], results[1]

    async def close(self) -> None:
        for link in self.links:  # one end after the other: the second only hears of it
            await link.close()


def kinds(results: list[tuple[object, object]]) -> list[tuple[type, type]]:
    return sorted(((type(a), type(b)) for a, b in results), key=str)


async def test_the_right_code_pairs_and_both_ends_hold_one_key() -> None:
    async with asyncio.timeout(LIMIT_S):
        door = Door()
        code = door.codes[-1]
        assert door.admission.code == code
        sender, receiver = await door.knock(code.secret)
        assert isinstance(sender, Association) and isinstance(receiver, Association)
        assert sender.session_id == receiver.session_id
        assert sender.network == NETWORK
        assert door.server.offers == [("peer 2", {"type": "offer", "sdp": "v=0 offer"})]
        await door.close()


async def test_places_run_out() -> None:
    async with asyncio.timeout(LIMIT_S):
        door = Door(places=2)
        first = door.secret
        await door.knock(first)
        assert len(door.codes) == 2 and door.secret != first
        second = door.secret
        assert isinstance((await door.knock(second))[0], Association)
        assert door.admission.code is None
        assert len(door.codes) == 2, "a code was made that nobody may use"
        assert not door.admission.guessed_at
        told = await door.knock(second)
        assert kinds([told]) == [(Busy, Busy)]
        assert "every place" in str(told[1]) and "overheard" in told[1].hint  # type: ignore[attr-defined]
        await door.close()


async def test_of_two_receivers_with_the_right_code_at_once_exactly_one_pairs() -> None:
    async with asyncio.timeout(LIMIT_S):
        door = Door(places=3)
        code = door.secret
        results = await asyncio.gather(door.knock(code), door.knock(code))
        assert kinds(list(results)) == [(Association, Association), (CodeUsed, CodeUsed)]
        assert len(door.codes) == 2
        assert not door.admission.guessed_at
        assert isinstance((await door.knock(door.secret))[0], Association)
        assert isinstance((await door.knock(door.secret))[0], Association)
        assert door.admission.code is None, "the loser took no place, the winner took one"
        await door.close()


async def test_three_wrong_tries_spend_the_code_and_a_fourth_is_not_judged() -> None:
    async with asyncio.timeout(LIMIT_S):
        door = Door()
        right = door.secret
        for tried in range(3):
            assert not door.admission.guessed_at, f"after {tried} tries"
            assert kinds([await door.knock(WRONG)]) == [(WrongCode, WrongCode)]
        assert door.admission.guessed_at
        assert kinds([await door.knock(right)]) == [(CodeUsed, CodeUsed)]
        await door.close()


async def test_of_four_wrong_tries_at_once_at_most_three_are_judged() -> None:
    async with asyncio.timeout(LIMIT_S):
        door = Door()
        results = await asyncio.gather(*(door.knock(WRONG) for _ in range(4)))
        judged = [sender for sender, _ in results if isinstance(sender, WrongCode)]
        refused = [both for both in results if kinds([both]) == [(NotNow, NotNow)]]
        assert (len(judged), len(refused)) == (3, 1)
        assert door.admission.guessed_at
        await door.close()


async def test_a_try_that_was_given_up_is_given_back() -> None:
    async with asyncio.timeout(LIMIT_S):
        door = Door()
        for _ in range(4):
            ours, theirs = door.ends()
            admitting = asyncio.create_task(door.admission.admit("peer", ours))  # type: ignore[arg-type]
            await theirs.connected()
            theirs.send_control(begin(theirs, WRONG).start()[0])
            await theirs.receive_control()
            await theirs.close()
            with pytest.raises(PeerGone):
                await admitting
        other = NetworkId("bp", bytes(32))
        for _ in range(3):
            assert kinds([await door.knock(door.secret, other)]) == [
                (KeystreamMismatch, KeystreamMismatch)
            ]
        assert not door.admission.guessed_at
        assert isinstance((await door.knock(door.secret))[0], Association)
        await door.close()


def begin(theirs: MemoryLink, secret: str) -> ReceiverHandshake:
    ours, remote = theirs.fingerprints
    return ReceiverHandshake(
        secret, DtlsFingerprints(sender=remote, receiver=ours), lambda _: NETWORK.digest
    )


@pytest.mark.parametrize("stale_is_right", [False, True], ids=["wrong", "right"])
async def test_a_stale_try_changes_neither_the_newer_code_nor_its_tries(
    stale_is_right: bool,
) -> None:
    async with asyncio.timeout(LIMIT_S):
        door = Door(places=3)
        old = door.secret
        ours, theirs = door.ends()
        stale = asyncio.create_task(door.admission.admit("stale", ours))  # type: ignore[arg-type]
        await theirs.connected()
        handshake = begin(theirs, old if stale_is_right else WRONG)
        theirs.send_control(handshake.start()[0])
        confirm = handshake.receive(await theirs.receive_control())

        await door.knock(old)
        newer = door.admission.code
        assert newer is not None and newer.secret != old
        for _ in range(2):  # one wrong try more would spend the newer code
            await door.knock(WRONG)

        theirs.send_control(confirm[0])
        with pytest.raises(CodeUsed if stale_is_right else WrongCode):
            await stale
        assert door.admission.code is newer
        assert not door.admission.guessed_at
        assert isinstance((await door.knock(newer.secret))[0], Association)
        assert len(door.codes) == 3
        await door.close()


async def test_stale_tries_in_progress_do_not_count_against_the_newer_code() -> None:
    async with asyncio.timeout(LIMIT_S):
        door = Door(places=3)
        old = door.secret
        hanging = []
        for number in range(2):
            ours, theirs = door.ends()
            admitting = door.admission.admit(f"stale {number}", ours)  # type: ignore[arg-type]
            hanging.append(asyncio.create_task(admitting))
            await theirs.connected()
            theirs.send_control(begin(theirs, WRONG).start()[0])
            await theirs.receive_control()
        assert isinstance((await door.knock(old))[0], Association)
        assert kinds([await door.knock(WRONG)]) == [(WrongCode, WrongCode)]
        assert isinstance((await door.knock(door.secret))[0], Association)
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
        await door.close()


async def test_a_closed_door_lets_nobody_in() -> None:
    async with asyncio.timeout(LIMIT_S):
        door = Door()
        code = door.secret
        door.admission.close()
        assert door.admission.code is None
        assert kinds([await door.knock(code)]) == [(NotNow, NotNow)]
        assert not door.admission.guessed_at
        await door.close()


async def test_who_lacks_what_the_stream_needs_is_told_so_and_the_code_stays_good() -> None:
    async with asyncio.timeout(LIMIT_S):
        door = Door(needs="h264-444")
        without = Capabilities(OUR_FEATURES - {"h264-444"})
        for _ in range(4):
            told = await door.knock(door.secret, capabilities=without)
            assert kinds([told]) == [(NotSupported, NotSupported)]
            assert "codec" in str(told[1])
        assert isinstance((await door.knock(door.secret))[0], Association)
        await door.close()


async def test_what_a_wrong_code_lacks_is_not_asked() -> None:
    async with asyncio.timeout(LIMIT_S):
        door = Door(needs="h264-444")
        told = await door.knock(WRONG, capabilities=Capabilities(frozenset()))
        assert kinds([told]) == [(WrongCode, WrongCode)]
        await door.close()


async def test_a_peer_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sender.admission.ANSWER_TIMEOUT_S", 0.05)
    async with asyncio.timeout(LIMIT_S):
        door = Door()
        door.server.answers = False
        ours, _ = door.ends()
        with pytest.raises(LinkFailed, match="did not answer"):
            await door.admission.admit("silent", ours)  # type: ignore[arg-type]
        door.admission.answered("silent", "v=0 answer")  # too late: nobody waits for it
        door.server.answers = True
        assert isinstance((await door.knock(door.secret))[0], Association)
        await door.close()


async def test_a_peer_that_leaves_the_room_before_it_answered_is_gone() -> None:
    async with asyncio.timeout(LIMIT_S):
        door = Door()
        door.server.answers = False
        ours, _ = door.ends()
        admitting = asyncio.create_task(door.admission.admit("shy", ours))  # type: ignore[arg-type]
        await until(lambda: bool(door.server.offers))
        door.admission.answered("somebody else", "v=0 answer")
        door.admission.left("somebody else")
        await turns()
        assert not admitting.done()
        door.admission.left("shy")
        with pytest.raises(PeerGone, match="before it was connected"):
            await admitting
        await door.close()


async def test_what_the_room_says_of_a_peer_after_its_answer_is_ignored() -> None:
    async with asyncio.timeout(LIMIT_S):
        door = Door()
        door.server.answers = False
        ours, theirs = door.ends()
        admitting = asyncio.create_task(door.admission.admit("peer", ours))  # type: ignore[arg-type]
        await until(lambda: bool(door.server.offers))
        for _ in range(2):
            door.admission.answered("peer", "v=0 answer")
        door.admission.left("peer")
        await pair_as_receiver(theirs, door.codes[0].secret, NETWORK)
        assert isinstance(await admitting, Association)
        await door.close()


async def test_what_a_new_code_s_listener_raises_comes_out() -> None:
    def full(code: PairingCode) -> None:
        raise OSError("the terminal is gone")

    admission = Admission(
        Server(),  # type: ignore[arg-type]
        NAMEPLATE,
        new_session_id(),
        NETWORK,
        places=1,
        on_code=full,
    )
    with pytest.raises(OSError, match="terminal"):
        admission.open()
