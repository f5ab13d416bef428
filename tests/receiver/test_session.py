"""A receiver session over a link in memory, with its sender in the hands of the test."""

from __future__ import annotations

import asyncio
import gc
import time
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest

from receiver.journal import ReceiverJournal
from receiver.session import ReceiverSession
from receiver.settings import ReceiverSettings
from receiver.sinks import ShownFrame
from shared import control
from shared.association import Association, associate
from shared.codecs import open_encoder
from shared.crypto.handshake import (
    DtlsFingerprints,
    NetworkId,
    SenderHandshake,
    new_session_id,
)
from shared.crypto.keyschedule import SenderSchedule
from shared.crypto.pairing import PairingCode
from shared.crypto.sealing import Sealer
from shared.errors import HandshakeFailed, PeerGone, RoomUnavailable, WrongCode
from shared.keystream.network import DEFAULT_FAMILY, load_network
from shared.link.memory import MemoryLink
from shared.telemetry.records import DropReason, EventLine, FrameLine, Line
from shared.wire import SENDER_ID, FrameMetadata, pack_inner
from signaling.client import PeerLeft, Relayed, Room
from signaling.messages import IceServerEntry
from tests.doubles import (
    LIMIT_S,
    NAMEPLATE,
    Links,
    RoomDouble,
    ShakeBackend,
    ShakeGenerator,
    picture,
    turns,
    until,
)

pytestmark = pytest.mark.jumping_clock

CODE = PairingCode(NAMEPLATE, "abandon-crystal-zebra")


class WatchedJournal(ReceiverJournal):
    """Keeps what was dropped, frame by frame, and the lines written."""

    def __init__(self) -> None:
        super().__init__()
        self.dropped_frames: list[tuple[DropReason, int | None]] = []
        self.lines: list[Line] = []
        self.closed = False

    def dropped(self, reason: DropReason, index: int | None = None) -> None:
        self.dropped_frames.append((reason, index))
        super().dropped(reason, index)

    def close(self) -> None:
        self.closed = True
        super().close()

    def write(self, line: Line) -> None:
        self.lines.append(line)
        super().write(line)


@dataclass
class Sender:
    """Pairs, begins epochs and seals frames when the test says so."""

    association: Association
    schedule: SenderSchedule = field(default_factory=lambda: SenderSchedule(SENDER_ID))
    sealer: Sealer | None = None

    @property
    def link(self) -> MemoryLink:
        assert isinstance(self.association.link, MemoryLink)
        return self.association.link

    def say(self, message: control.ControlMessage) -> None:
        self.association.send(message)

    async def begin_epoch(self) -> int:
        now_ns = time.monotonic_ns()
        first = self.sealer is None
        secret = self.schedule.start(now_ns) if first else self.schedule.rotate(now_ns, "time")
        self.say(control.Epoch.announce(secret, SENDER_ID))
        assert await self.heard() == control.EpochAck(epoch=secret.epoch)
        keys = self.schedule.keys(secret.epoch, now_ns)
        self.sealer = Sealer(keys, SENDER_ID, ShakeGenerator(keys.keystream_key))
        return secret.epoch

    async def heard(self) -> control.ControlMessage:
        """What the receiver says next, its reports apart."""
        while isinstance(message := await self.association.receive(), control.ReceiverReport):
            pass
        return message

    def sealed(self, index: int, *, codec: str = "lossless") -> bytes:
        assert self.sealer is not None
        encoded = open_encoder(codec).encode(picture(index))
        metadata = FrameMetadata(
            index,
            self.link.now_ns(),
            codec,
            encoded.width,
            encoded.height,
            encoded.channels,
            encoded.psnr_db,
            {"capture": 0, "mask": 0, "encode": 0},
        )
        inner = pack_inner(metadata, encoded.payload)
        return self.sealer.seal(self.sealer.draw(len(inner)), inner)

    async def send(self, *frames: bytes) -> None:
        for frame in frames:
            await self.link.writable()
            await self.link.send_frame(frame)

    async def leave(self, bye: control.Bye | None = None) -> None:
        if bye is not None:
            self.say(bye)
        await self.link.close()


async def pair_as_sender(links: Links, secret: str = CODE.secret) -> Sender:
    await until(lambda: bool(links.theirs))
    link = links.theirs[0]
    await link.connected()
    ours, theirs = link.fingerprints
    network = load_network(DEFAULT_FAMILY)
    handshake = SenderHandshake(
        secret,
        new_session_id(),
        DtlsFingerprints(sender=ours, receiver=theirs),
        NetworkId(network.family, network.digest),
    )
    return Sender(await associate(link, handshake))


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> RoomDouble:
    made = RoomDouble()
    made.tell(Relayed("sender", {"type": "offer", "sdp": "v=0 offer"}))
    monkeypatch.setattr("receiver.session.SignalingClient", made)
    monkeypatch.setattr("receiver.rendezvous.open_backend", lambda *_: ShakeBackend())
    return made


@asynccontextmanager
async def watching(
    settings: ReceiverSettings | None = None,
    *,
    lost_after_s: float = LIMIT_S,
) -> AsyncIterator[tuple[ReceiverSession, Sender, WatchedJournal]]:
    links, journal = Links(lost_after_s=lost_after_s), WatchedJournal()
    async with asyncio.timeout(LIMIT_S):
        pairing = asyncio.create_task(pair_as_sender(links))
        async with ReceiverSession(CODE, settings, journal=journal, link_factory=links) as session:
            sender = await pairing
            try:
                yield session, sender, journal
            finally:
                await sender.link.close()


async def all_of(session: ReceiverSession, shown: list[int] | None = None) -> list[int]:
    """The indices of all frames until the end; `shown` has them also where it ends in an error."""
    shown = [] if shown is None else shown
    async for frame in session:
        shown.append(frame.frame.index)
    return shown


async def test_frames_arrive_with_their_figures_and_are_counted_as_shown(room: RoomDouble) -> None:
    async with watching() as (session, sender, journal):
        assert session.session_id == sender.association.session_id
        assert session.keystream.backend == "shake"
        assert room.answered == ["sender"]
        await sender.begin_epoch()
        frames = aiter(session)
        for index in (0, 1):
            sealed = sender.sealed(index)
            await sender.send(sealed)
            shown: ShownFrame = await anext(frames)
            assert shown.frame.index == index
            assert np.array_equal(shown.frame.image, picture(index))
            assert (shown.sealed, shown.epoch, shown.codec) == (sealed, 1, "lossless")
            assert shown.psnr_db is None
            assert shown.latency_ms is not None and shown.latency_bound_ms is not None
        rows = [
            control.TimingRow(epoch=1, counter=n, keystream_us=5, seal_us=6, send_us=7)
            for n in (0, 1)
        ]
        sender.say(control.Timings(rows=rows))
        await sender.leave(control.Bye(reason="ended"))
        assert await all_of(session) == []
        assert session.goodbye == control.Bye(reason="ended")
        lines = [line for line in journal.lines if isinstance(line, FrameLine)]
        assert [line.frame for line in lines] == [0, 1]
        assert all(line.stages_ms.seal == 0.006 for line in lines)
    assert journal.summary().frames_shown == 2
    assert journal.closed


async def test_frames_that_come_before_the_agreement_are_not_taken(room: RoomDouble) -> None:
    links = Links()
    early: list[bool] = []

    async def send_too_early() -> Sender:
        await until(lambda: bool(links.theirs))
        link = links.theirs[0]
        await link.connected()
        await link.writable()
        await link.send_frame(b"a frame of somebody who has not paired")
        taken = asyncio.create_task(links.ours[0].receive_frame())
        await turns()
        early.append(taken.done())
        taken.cancel()
        return await pair_as_sender(links)

    async with asyncio.timeout(LIMIT_S):
        pairing = asyncio.create_task(send_too_early())
        async with ReceiverSession(CODE, link_factory=links) as session:
            sender = await pairing
            await sender.begin_epoch()
            await sender.send(sender.sealed(0))
            assert (await anext(aiter(session))).frame.index == 0
            await sender.link.close()
    assert early == [False]


@pytest.mark.parametrize("every_s", [0.01, 1_000.0], ids=["while it runs", "at its end"])
async def test_frames_that_the_link_itself_dropped_are_counted(
    room: RoomDouble, monkeypatch: pytest.MonkeyPatch, every_s: float
) -> None:
    monkeypatch.setattr("receiver.session.REPORT_EVERY_S", every_s)
    dropped = {"consumer slow": 3, "lost": 5}
    monkeypatch.setattr(MemoryLink, "frames_dropped", property(lambda _link: dropped))
    async with watching() as (session, sender, journal):
        sender.say(control.Tally(sent=4, dropped={}))
        if every_s < 1:
            await until(lambda: DropReason.SUPERSEDED in journal.summary().frames_dropped)
        await sender.leave(control.Bye(reason="ended"))
        assert await all_of(session) == []
    # What never came whole is known from the sender's tally.
    assert journal.summary().frames_dropped == {
        DropReason.SUPERSEDED: 3,
        DropReason.NOT_RECEIVED: 1,
    }


async def test_an_epoch_for_another_sender_is_refused(room: RoomDouble) -> None:
    async with watching() as (session, sender, journal):
        secret = sender.schedule.start(time.monotonic_ns())
        sender.say(control.Epoch.announce(secret, SENDER_ID + 1))
        with pytest.raises(HandshakeFailed, match="another sender"):
            await all_of(session)
        assert not any(line.type == "epoch" for line in journal.lines)


async def test_an_epoch_that_does_not_follow_ends_the_session(room: RoomDouble) -> None:
    async with watching() as (session, sender, _):
        await sender.begin_epoch()
        secret = SenderSchedule(SENDER_ID).start(time.monotonic_ns())
        sender.say(control.Epoch.announce(secret, SENDER_ID))
        with pytest.raises(HandshakeFailed, match="follow"):
            await all_of(session)


async def test_a_link_that_closes_without_a_word_is_a_sender_gone_after_its_last_frame(
    room: RoomDouble,
) -> None:
    shown: list[int] = []
    async with watching() as (session, sender, _):
        await sender.begin_epoch()
        await sender.send(sender.sealed(0))
        await sender.leave()
        with pytest.raises(PeerGone, match="without a word"):
            await all_of(session, shown)
        assert session.goodbye is None
    assert shown == [0]


async def test_a_sender_that_falls_silent_is_gone(room: RoomDouble) -> None:
    async with watching(lost_after_s=0.4) as (session, sender, _):
        await sender.begin_epoch()
        sender.link.kill()
        with pytest.raises(PeerGone, match="is gone"):
            await all_of(session)


@pytest.mark.parametrize(
    ("detail", "told"), [("the probe was unplugged", "probe was unplugged"), ("", "it failed")]
)
async def test_a_sender_that_failed_says_why(room: RoomDouble, detail: str, told: str) -> None:
    shown: list[int] = []
    async with watching() as (session, sender, _):
        await sender.begin_epoch()
        await sender.send(sender.sealed(0))
        await sender.leave(control.Bye(reason="error", detail=detail))
        with pytest.raises(PeerGone, match=told):
            await all_of(session, shown)
    assert shown == [0]


@pytest.mark.parametrize("reason", ["ended", "quit"])
async def test_a_goodbye_ends_the_iteration_after_the_last_frame(
    room: RoomDouble, reason: control.ByeReason
) -> None:
    async with watching() as (session, sender, _):
        await sender.begin_epoch()
        await sender.send(sender.sealed(4))
        await sender.leave(control.Bye(reason=reason))
        assert await all_of(session) == [4]
        assert session.goodbye == control.Bye(reason=reason)


async def test_last_words_count_even_if_the_link_ends_before_they_are_read(
    room: RoomDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watching() as (session, sender, _):
        link = session._association.link
        read = link.receive_control

        async def reads_slowly() -> bytes:
            message: bytes = await read()
            await turns()
            return message

        monkeypatch.setattr(link, "receive_control", reads_slowly)
        await sender.begin_epoch()  # ends the read that was begun at full speed
        sender.say(control.Tally(sent=0, dropped={}))
        await sender.leave(control.Bye(reason="ended", detail="the examination is over"))
        assert await all_of(session) == []
        assert session.goodbye == control.Bye(reason="ended", detail="the examination is over")


async def test_a_sender_that_said_goodbye_and_then_falls_silent_has_left(room: RoomDouble) -> None:
    async with watching(lost_after_s=0.4) as (session, sender, _):
        sender.say(control.Bye(reason="ended"))
        await until(lambda: session.goodbye is not None)
        sender.link.kill()
        hearing = session._hearing
        assert await all_of(session) == []
        assert hearing.done()


async def test_a_consumer_slower_than_the_frames_sees_the_newest_and_each_loss_counts_once(
    room: RoomDouble,
) -> None:
    async with watching() as (session, sender, journal):
        await sender.begin_epoch()
        for index in range(5):
            await sender.send(sender.sealed(index))
            await until(lambda: session._showing.handover._slot._item is not None)
            await until(lambda: len(journal.dropped_frames) == index)  # noqa: B023 -- awaited
        frame = await anext(aiter(session))
        assert frame.frame.index == 4
        assert journal.dropped_frames == [(DropReason.SUPERSEDED, n) for n in range(4)]
        for index in range(4):
            session.replaced(index)  # its owner may not know that it was counted
            session.shown(index, time.monotonic_ns())
        assert len(journal.dropped_frames) == 4
        sender.say(control.Tally(sent=5, dropped={}))
        await sender.leave(control.Bye(reason="ended"))
        assert await all_of(session) == []
    summary = journal.summary()
    assert summary.frames_shown == 1
    assert summary.frames_dropped == {DropReason.SUPERSEDED: 4}


async def test_a_frame_that_was_frozen_over_is_counted_as_that_once(room: RoomDouble) -> None:
    async with watching(ReceiverSettings(confirm_shown=True)) as (session, sender, journal):
        await sender.begin_epoch()
        frames = aiter(session)
        for index in range(3):
            await sender.send(sender.sealed(index))
            assert (await anext(frames)).frame.index == index
        assert journal.frames == 0, "counted as shown before it was"
        session.shown(0, time.monotonic_ns())
        session.shown(0, time.monotonic_ns())
        assert journal.frames == 1
        for _ in range(2):
            session.replaced(1, DropReason.FROZEN)
        session.replaced(2)
        session.replaced(0, DropReason.FROZEN)  # it was shown
        session.replaced(77, DropReason.FROZEN)  # it never came
        session.shown(1, time.monotonic_ns())
        assert journal.frames == 1
        assert journal.dropped_frames == [(DropReason.FROZEN, 1), (DropReason.SUPERSEDED, 2)]


async def test_each_refused_frame_is_counted_under_its_reason_and_the_stream_goes_on(
    room: RoomDouble,
) -> None:
    async with watching() as (session, sender, journal):
        await sender.begin_epoch()
        old, first = sender.sealed(0), sender.sealed(1)
        altered = bytearray(sender.sealed(2))
        altered[-1] ^= 1
        unknown = bytearray(first)
        unknown[9] ^= 4  # the epoch's last byte: one that was never announced
        frames = aiter(session)
        await sender.send(first)
        assert (await anext(frames)).frame.index == 1
        await sender.send(old, first, bytes(altered), bytes(unknown), b"no frame", sender.sealed(3))
        assert (await anext(frames)).frame.index == 3
        assert journal.dropped_frames == [
            (DropReason.LATE, 0),
            (DropReason.REPLAYED, None),
            (DropReason.AUTH_FAILURE, None),
            (DropReason.UNKNOWN_EPOCH, None),
            (DropReason.MALFORMED, None),
        ]


async def test_frames_of_two_epochs_are_shown_as_they_come(room: RoomDouble) -> None:
    async with watching() as (session, sender, journal):
        frames = aiter(session)
        for index in range(3):
            epoch = await sender.begin_epoch()
            await sender.send(sender.sealed(index))
            shown = await anext(frames)
            assert (shown.frame.index, shown.epoch) == (index, epoch)
        begun = [line.epoch for line in journal.lines if line.type == "epoch"]
        assert begun == [1, 2, 3]


@pytest.mark.parametrize("playout_delay_ms", [0.0, 1000.0])
async def test_a_picture_that_waits_when_the_session_is_left_is_told_of(
    room: RoomDouble, playout_delay_ms: float
) -> None:
    settings = ReceiverSettings(playout_delay_ms=playout_delay_ms)
    async with watching(settings) as (session, sender, journal):
        await sender.begin_epoch()
        await sender.send(sender.sealed(0))
        await until(lambda: bool(session._showing._ledger._entries))
        sender.say(control.Tally(sent=1, dropped={}))
        await until(lambda: journal.summary().frames_dropped == {DropReason.NOT_RECEIVED: 1})
    assert journal.dropped_frames == [(DropReason.SUPERSEDED, 0)]
    assert journal.summary().frames_dropped == {DropReason.SUPERSEDED: 1}


async def test_ice_servers_of_the_operators_that_cannot_be_used_are_ignored_and_noted(
    room: RoomDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = (IceServerEntry(["stun:127.0.0.1:3478"]), IceServerEntry(["nonsense"]))

    async def join_room(nameplate: str) -> Room:
        return Room(nameplate, servers, "receiver")

    monkeypatch.setattr(room, "join_room", join_room)
    async with watching() as (_, _, journal):
        noted = [(line.event, line.detail) for line in journal.lines if line.type == "event"]
    assert noted == [("ICE servers ignored", "1 can't be used")]


async def test_leaving_says_goodbye_to_the_sender(room: RoomDouble) -> None:
    async with asyncio.timeout(LIMIT_S):
        links = Links()
        pairing = asyncio.create_task(pair_as_sender(links))
        async with ReceiverSession(CODE, link_factory=links):
            sender = await pairing
            await turns()
        assert await sender.association.receive() == control.Bye(reason="quit")
        assert (await sender.link.closed()).cause == "peer"
        await sender.link.close()


async def test_a_wrong_code_is_said_and_the_link_closed(room: RoomDouble) -> None:
    async with asyncio.timeout(LIMIT_S):
        links = Links()
        pairing = asyncio.create_task(pair_as_sender(links, "zoo-zoo-zoo"))
        journal = WatchedJournal()
        with pytest.raises(WrongCode):
            async with ReceiverSession(CODE, journal=journal, link_factory=links):
                pytest.fail("paired with a wrong code")
        assert not journal.closed, "the next try has none to write to"
        with pytest.raises(WrongCode):
            await pairing
        assert (await links.theirs[0].closed()).cause == "peer"
        await links.theirs[0].close()


async def test_a_room_that_closes_before_the_offer_is_said(
    monkeypatch: pytest.MonkeyPatch, room: RoomDouble
) -> None:
    empty = RoomDouble()
    empty.tell(PeerLeft("another"))
    empty.tell(None)
    monkeypatch.setattr("receiver.session.SignalingClient", empty)
    async with asyncio.timeout(LIMIT_S):
        with pytest.raises(RoomUnavailable, match="was closed"):
            async with ReceiverSession(CODE, link_factory=Links()):
                pytest.fail("a session without a sender")
        await turns()


async def test_a_session_left_at_once_leaves_no_coroutine_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    room = RoomDouble()
    room.tell(Relayed("sender", {"type": "offer", "sdp": "v=0 offer"}))
    monkeypatch.setattr("receiver.session.SignalingClient", room)
    monkeypatch.setattr("receiver.rendezvous.open_backend", lambda *_: ShakeBackend())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        links = Links()
        async with asyncio.timeout(LIMIT_S):
            pairing = asyncio.create_task(pair_as_sender(links))
            async with ReceiverSession(CODE, link_factory=links):
                sender = await pairing
            await sender.link.close()
        gc.collect()
    assert [w for w in caught if "never awaited" in str(w.message)] == []


async def test_what_the_sender_tells_is_kept_logged_and_handed_on_by_this_end_s_clock(
    room: RoomDouble,
) -> None:
    told: list[control.Notice] = []
    async with watching() as (session, sender, journal):
        session._on_notice = told.append
        since_ns = sender.link.now_ns() - 12_000_000_000
        notices = [
            control.Notice(kind="source_still", text="a", lasting=True, since_ns=since_ns),
            control.Notice(kind="of_another_version", text="b", lasting=True),
            control.Notice(kind="from_the_future", text="c", lasting=True, since_ns=2**62),
            control.Notice(kind="of_another_version", text="d"),
        ]
        for notice in notices:
            sender.say(notice)
        await until(lambda: len(told) == 4)
        now_ns = time.monotonic_ns()
        ages_s = [None if n.since_ns is None else (now_ns - n.since_ns) / 1e9 for n in told]
        assert ages_s[0] is not None and ages_s[0] >= 11.9
        assert ages_s[1] is None
        assert ages_s[2] is not None and ages_s[2] >= 0
        assert [notice.text for notice in session.lasting] == ["a", "c"]
        events = [line for line in journal.lines if isinstance(line, EventLine)]
        assert [(event.event, event.detail) for event in events[-4:]] == [
            ("source still", "a"),
            ("of another version", "b"),
            ("from the future", "c"),
            ("of another version ended", "d"),
        ]
        assert events[-4].since_s is not None
        assert events[-4].since_s <= events[-4].at_s - 11.9
