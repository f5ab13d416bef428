"""One receiver: what is offered to it and when, what it is told, and how it goes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

import pytest

from sender.attendee import Attendee
from sender.outbox import TIMINGS_EVERY
from sender.pipeline import SealedFrame
from shared import control
from shared.association import Association
from shared.capabilities import NOTICES, OUR_FEATURES
from shared.crypto.keyschedule import EpochSecret
from shared.errors import AuthenticationFailed, PeerGone
from shared.frame import EncodedFrame
from shared.link import PathEstimate
from shared.link.memory import MemoryLink
from shared.wire import SENDER_ID
from tests.doubles import LIMIT_S, paired, turns, until

pytestmark = pytest.mark.jumping_clock


def sealed(counter: int, *, epoch: int = 1) -> SealedFrame:
    return SealedFrame(
        index=counter,
        epoch=epoch,
        counter=counter,
        captured_at_ns=0,
        sealed_at_ns=time.monotonic_ns(),
        encoded=EncodedFrame("jpeg", 32, 16, 1, b"", 40.0),
        sealed=b"frame %d" % counter,
        stages_us={"capture": 1, "mask": 2, "encode": 3, "keystream": counter, "seal": 100},
    )


@dataclass
class JournalDouble:
    """What of the session's journal an attendee uses."""

    drops: Mapping[str, int] = field(default_factory=dict)
    sent: list[SealedFrame] = field(default_factory=list)

    def frame_sent(self, frame: SealedFrame, _sent_at_ns: int) -> None:
        self.sent.append(frame)


def attendee_of(association: Association, journal: JournalDouble) -> Attendee:
    return Attendee(
        "peer",
        association,
        journal=journal,  # type: ignore[arg-type]
        changed=asyncio.Event(),
        stills=asyncio.Queue(),
        number=1,
    )


@dataclass
class Stage:
    """An attendee at work, and the receiver at the other end of its link."""

    attendee: Attendee
    ours: MemoryLink
    theirs: Association
    journal: JournalDouble
    attending: asyncio.Task[None] | None = None
    heard: list[object] = field(default_factory=list)
    wide: bool = True

    @property
    def sent(self) -> list[SealedFrame]:
        return self.journal.sent

    def tell_tally(self, drops: Mapping[str, int]) -> None:
        self.journal.drops = drops
        self.attendee.tell_tally()

    async def say_goodbye(
        self, reason: control.ByeReason, detail: str, drops: Mapping[str, int]
    ) -> None:
        self.journal.drops = drops
        await self.attendee.say_goodbye(reason, detail)

    async def acknowledge(self, epoch: int) -> None:
        self.theirs.send(control.EpochAck(epoch=epoch))
        await turns()

    async def ready(self) -> None:
        await until(lambda: self.attendee.outbox.ready)

    async def deliver(self, *counters: int) -> None:
        for counter in counters:
            await self.ready()
            assert self.attendee.outbox.offer(sealed(counter))
        await until(lambda: self.attendee.outbox.unsent is None)

    async def arrived(self) -> bytes:
        return (await self.theirs.link.receive_frame()).data

    async def words(self) -> list[object]:
        """All that the receiver was told, once the link is over."""
        with suppress(PeerGone):
            while True:
                self.heard.append(await self.theirs.receive())
        return self.heard

    def link_words(self) -> int:
        """How many sealed words wait unread at the receiver."""
        link = self.theirs.link
        assert isinstance(link, MemoryLink)
        return link._connection.controls_waiting

    def narrow(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The path carries nothing until `widen`."""
        self.wide = False
        can_send = self.ours.can_send_frame
        monkeypatch.setattr(self.ours, "can_send_frame", lambda: self.wide and can_send())

    def widen(self) -> None:
        self.wide = True
        self.ours._sending_changed.set()


@asynccontextmanager
async def a_stage(
    *,
    drops_before: Mapping[str, int] | None = None,
    lost_after_s: float = LIMIT_S,
    first_epoch: int | None = 1,
    features: frozenset[str] = OUR_FEATURES,
) -> AsyncIterator[Stage]:
    """`first_epoch`: as if it had been handed over, so that tests need not read the message."""
    ours, theirs = paired(lost_after_s=lost_after_s, features=features)
    journal = JournalDouble(drops_before or {})
    attendee = attendee_of(ours, journal)
    attendee.outbox.first_epoch = first_epoch
    assert isinstance(ours.link, MemoryLink)
    stage = Stage(attendee, ours.link, theirs, journal)
    async with asyncio.timeout(LIMIT_S):
        await asyncio.gather(ours.link.connected(), theirs.link.connected())
        stage.attending = asyncio.create_task(attendee.attend())
        try:
            yield stage
        finally:
            stage.attending.cancel()
            await asyncio.gather(stage.attending, return_exceptions=True)
            await ours.link.close()
            await theirs.link.close()


async def test_a_frame_is_offered_only_to_a_path_that_is_ready() -> None:
    ours, theirs = paired()
    attendee = attendee_of(ours, JournalDouble())
    assert not attendee.outbox.ready
    assert not attendee.outbox.offer(sealed(0))
    await ours.link.close()
    await theirs.link.close()


async def test_a_frame_in_a_codec_that_the_receiver_lacks_is_not_offered() -> None:
    async with a_stage(features=frozenset({"h264", "lossless"})) as stage:
        await stage.acknowledge(1)
        await stage.ready()
        assert not stage.attendee.outbox.offer(sealed(0))
    async with a_stage(features=frozenset({"jpeg"})) as stage:
        await stage.acknowledge(1)
        await stage.ready()
        assert stage.attendee.outbox.offer(sealed(0))


@pytest.mark.parametrize("shows", [True, False])
async def test_notices_go_to_a_receiver_that_can_show_them(shows: bool) -> None:
    notice = control.Notice(kind="source_still", text="it stands still", lasting=True)
    features = OUR_FEATURES if shows else OUR_FEATURES - {NOTICES}
    async with a_stage(features=features) as stage:
        stage.attendee.tell_notice(notice)
        await stage.say_goodbye("ended", "", {})
        assert (notice in await stage.words()) is shows


async def test_the_next_frame_waits_until_the_last_has_left() -> None:
    async with a_stage() as stage:
        await stage.acknowledge(1)
        await stage.ready()
        assert stage.attendee.outbox.offer(sealed(0))
        assert not stage.attendee.outbox.ready
        assert not stage.attendee.outbox.offer(sealed(1))
        stage.attendee.outbox.passed_over(sealed(1))
        assert await stage.arrived() == b"frame 0"
        await stage.deliver(2)
        assert await stage.arrived() == b"frame 2"
        stage.tell_tally({})
        tally = await stage.theirs.receive()
        assert tally == control.Tally(sent=2, dropped={"link_busy": 1})
        assert [frame.index for frame in stage.sent] == [0, 2]


async def test_a_frame_under_a_key_that_the_receiver_lacks_is_not_sent_and_told() -> None:
    async with a_stage() as stage:
        await stage.ready()
        assert not stage.attendee.outbox.holds(1)
        assert not stage.attendee.outbox.offer(sealed(0))
        stage.attendee.outbox.passed_over(sealed(0))
        await stage.acknowledge(1)
        assert stage.attendee.outbox.holds(1)
        assert not stage.attendee.outbox.holds(2)
        assert not stage.attendee.outbox.offer(sealed(1, epoch=2))
        stage.attendee.outbox.passed_over(sealed(1, epoch=2))
        assert stage.attendee.outbox.ready, "a frame that was skipped took the path"
        await stage.deliver(2)
        assert await stage.arrived() == b"frame 2"
        stage.tell_tally({})
        assert await stage.theirs.receive() == control.Tally(sent=1, dropped={"link_busy": 2})


async def test_an_older_acknowledgement_takes_nothing_back() -> None:
    async with a_stage() as stage:
        await stage.acknowledge(2)
        await stage.acknowledge(1)
        await stage.ready()
        assert stage.attendee.outbox.offer(sealed(0, epoch=2))


async def test_a_path_that_narrows_after_it_was_ready_delays_the_frame_and_ends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage() as stage:
        await stage.acknowledge(1)
        await stage.ready()
        stage.narrow(monkeypatch)
        frame = sealed(0)
        assert stage.attendee.outbox.offer(frame)
        await turns()
        assert stage.attending is not None and not stage.attending.done()
        assert stage.attendee.outbox.unsent is frame
        stage.widen()
        assert await stage.arrived() == b"frame 0"
        await stage.deliver(1)
        assert await stage.arrived() == b"frame 1"
        assert not stage.attending.done()


async def test_the_tally_counts_since_the_receiver_joined_and_is_told_only_when_it_is_news() -> (
    None
):
    async with a_stage(drops_before={"link_busy": 5, "sender_busy": 3}) as stage:
        await stage.acknowledge(1)
        for _ in range(2):
            stage.tell_tally({"link_busy": 7, "sender_busy": 3})
        await stage.deliver(0)
        for _ in range(2):
            stage.tell_tally({"link_busy": 7, "sender_busy": 4})
        stage.tell_tally({"link_busy": 7, "sender_busy": 5})
        await stage.say_goodbye("quit", "", {"link_busy": 7, "sender_busy": 5})
        tallies = [word for word in await stage.words() if isinstance(word, control.Tally)]
        assert tallies == [
            control.Tally(sent=0, dropped={"link_busy": 2}),
            control.Tally(sent=1, dropped={"link_busy": 2, "sender_busy": 1}),
            control.Tally(sent=1, dropped={"link_busy": 2, "sender_busy": 2}),
        ]


async def test_timings_come_in_batches_and_the_rest_before_the_goodbye() -> None:
    async with a_stage() as stage:
        await stage.acknowledge(1)
        await stage.deliver(*range(TIMINGS_EVERY - 1))
        await turns()
        assert not stage.link_words()
        await stage.deliver(*range(TIMINGS_EVERY - 1, TIMINGS_EVERY + 3))
        await stage.say_goodbye("ended", "", {})
        words = await stage.words()
        batches = [word.rows for word in words if isinstance(word, control.Timings)]
        assert [len(rows) for rows in batches] == [TIMINGS_EVERY, 3]
        rows = [row for batch in batches for row in batch]
        assert [(row.epoch, row.counter) for row in rows] == [(1, n) for n in range(18)]
        assert [row.keystream_us for row in rows] == list(range(18))
        assert all(row.seal_us == 100 for row in rows)
        assert isinstance(words[-1], control.Bye)


async def test_a_goodbye_tells_the_last_figures_then_the_reason() -> None:
    async with a_stage() as stage:
        await stage.acknowledge(1)
        await stage.deliver(0)
        await stage.say_goodbye("error", "the probe was unplugged", {"no_receiver": 1})
        words = await stage.words()
        assert [type(word) for word in words] == [control.Tally, control.Timings, control.Bye]
        assert words[0] == control.Tally(sent=1, dropped={"no_receiver": 1})
        assert words[-1] == control.Bye(reason="error", detail="the probe was unplugged")
        assert stage.attending is not None
        await stage.attending  # dismissed: neither gone nor left
        assert stage.attendee.left is None


async def test_a_goodbye_lets_the_frame_that_is_being_sent_leave_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage() as stage:
        await stage.acknowledge(1)
        await stage.ready()
        stage.narrow(monkeypatch)
        stage.attendee.outbox.offer(sealed(0))
        goodbye = asyncio.create_task(stage.say_goodbye("ended", "", {}))
        await turns()
        assert not goodbye.done()
        stage.widen()
        assert await stage.arrived() == b"frame 0"
        await goodbye
        words = await stage.words()
        assert control.Tally(sent=1, dropped={}) in words
        assert words[-1] == control.Bye(reason="ended")
        assert stage.attendee.outbox.unsent is None


@pytest.mark.parametrize("stuck", ["before the frame", "within the frame"])
async def test_a_goodbye_comes_also_over_a_path_that_is_stuck(
    monkeypatch: pytest.MonkeyPatch, stuck: str
) -> None:
    monkeypatch.setattr("sender.attendee.HAND_OVER_TIMEOUT_S", 0.05)
    monkeypatch.setattr("shared.link.connection.LANDING_NS", 50_000_000)
    async with a_stage() as stage:
        await stage.acknowledge(1)
        await stage.ready()
        if stuck == "before the frame":
            stage.narrow(monkeypatch)
        else:
            monkeypatch.setattr(stage.ours, "send_frame", lambda _data: asyncio.Event().wait())
        frame = sealed(0)
        assert stage.attendee.outbox.offer(frame)
        await stage.say_goodbye("error", "it failed", {})
        words = await stage.words()
        assert words[-1] == control.Bye(reason="error", detail="it failed")
        assert control.Tally(sent=0, dropped={}) in words
        assert stage.attendee.outbox.unsent is frame
        assert stage.attending is not None
        await stage.attending


async def test_a_receiver_that_says_goodbye_has_left() -> None:
    async with a_stage() as stage:
        stage.theirs.send(control.Bye(reason="quit", detail="lunch"))
        assert stage.attending is not None
        await stage.attending
        assert stage.attendee.left == control.Bye(reason="quit", detail="lunch")
        assert not stage.attendee.outbox.ready


async def test_a_goodbye_and_the_link_s_end_in_one_go_count_as_having_left() -> None:
    async with a_stage() as stage:
        await stage.acknowledge(1)
        stage.theirs.send(control.Bye(reason="quit"))
        await stage.theirs.link.close()
        assert stage.attending is not None
        await stage.attending
        assert stage.attendee.left == control.Bye(reason="quit")


async def test_last_words_count_even_if_the_link_ends_before_they_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage() as stage:
        read = stage.ours.receive_control

        async def reads_slowly() -> bytes:
            message = await read()
            await turns(20)
            return message

        monkeypatch.setattr(stage.ours, "receive_control", reads_slowly)
        await stage.acknowledge(1)  # ends the read that was begun at full speed
        stage.theirs.send(control.EpochAck(epoch=2))
        stage.theirs.send(control.Bye(reason="quit"))
        await stage.theirs.link.close()
        assert stage.attending is not None
        await stage.attending
        assert stage.attendee.left == control.Bye(reason="quit")


async def test_a_link_that_ends_without_a_word_is_a_receiver_gone_and_the_frame_unsent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage() as stage:
        await stage.acknowledge(1)
        await stage.ready()
        stage.narrow(monkeypatch)
        frame = sealed(0)
        assert stage.attendee.outbox.offer(frame)
        await turns()
        await stage.theirs.link.close()
        assert stage.attending is not None
        with pytest.raises(PeerGone, match="closed the link"):
            await stage.attending
        assert stage.attendee.left is None
        assert stage.attendee.outbox.unsent is frame
        assert not stage.attendee.outbox.ready
        assert not stage.attendee.outbox.offer(sealed(1))


async def test_a_receiver_that_falls_silent_is_gone() -> None:
    async with a_stage(lost_after_s=0.2) as stage:
        link = stage.theirs.link
        assert isinstance(link, MemoryLink)
        link.kill()
        assert stage.attending is not None
        with pytest.raises(PeerGone, match="is gone"):
            await stage.attending


async def test_words_that_are_not_the_receiver_s_end_it() -> None:
    async with a_stage() as stage:
        stage.theirs.link.send_control(b"forged" * 10)
        assert stage.attending is not None
        with pytest.raises(AuthenticationFailed):
            await stage.attending


async def test_an_epoch_is_handed_over_and_its_acknowledgement_awaited() -> None:
    async with a_stage() as stage:
        await stage.acknowledge(2)
        secret = EpochSecret(3, bytes(range(32)), "join")
        handing = asyncio.create_task(stage.attendee.hand_over(secret, SENDER_ID))
        told = await stage.theirs.receive()
        assert told == control.Epoch.announce(secret, SENDER_ID)
        await turns()
        assert not handing.done()
        await stage.acknowledge(3)
        await handing


async def test_nobody_waits_for_the_acknowledgement_of_a_receiver_that_is_gone() -> None:
    async with a_stage() as stage:
        secret = EpochSecret(1, bytes(32), "start")
        handing = asyncio.create_task(stage.attendee.hand_over(secret, SENDER_ID))
        await stage.theirs.receive()
        await stage.theirs.link.close()
        await handing
        await stage.attendee.hand_over(EpochSecret(2, bytes(32), "time"), SENDER_ID)


async def test_a_joiner_that_holds_the_next_key_gets_no_frame_of_the_epoch_before() -> None:
    """The pipeline still seals under the old epoch while another receiver has not confirmed."""
    async with a_stage(first_epoch=None) as stage:
        await stage.ready()
        secret = EpochSecret(2, bytes(32), "join")
        handing = asyncio.create_task(stage.attendee.hand_over(secret, SENDER_ID))
        await stage.theirs.receive()
        await stage.acknowledge(2)
        await handing
        assert not stage.attendee.outbox.offer(sealed(0, epoch=1))
        assert stage.attendee.outbox.offer(sealed(0, epoch=2))


# -- key frames -----------------------------------------------------------------------------------


def following(counter: int) -> SealedFrame:
    return replace(sealed(counter), depends_on=counter - 1)


@asynccontextmanager
async def a_chain(rtt_ns: int = 0) -> AsyncIterator[Stage]:
    """A receiver that was sent key frame 0, and 1 that builds on it."""
    async with a_stage() as stage:
        stage.ours.__class__ = type(
            "Measured", (MemoryLink,), {"path": PathEstimate(10**7, rtt_ns, 0, 0.0, False)}
        )
        await stage.acknowledge(1)
        await stage.deliver(0)
        await stage.ready()
        assert stage.attendee.outbox.offer(following(1))
        await stage.ready()
        yield stage


async def ask(stage: Stage, index: int) -> bool:
    """Ask for a key frame; whether the request was taken up."""
    stage.theirs.send(control.KeyFrameRequest(index=index))
    await turns()
    return not stage.attendee.outbox.follows(stage.attendee.outbox.reference._newest_index)


async def test_a_key_frame_is_not_made_for_a_frame_that_was_never_sent() -> None:
    async with a_chain() as stage:
        assert not await ask(stage, 2)
        assert not await ask(stage, 2**63)
        assert await ask(stage, 1)


async def test_within_a_round_trip_a_key_frame_is_made_once() -> None:
    async with a_chain(rtt_ns=3600 * 10**9) as stage:
        assert await ask(stage, 1)
        await stage.deliver(2)
        await stage.ready()
        assert not await ask(stage, 2)


async def test_after_a_round_trip_a_key_frame_is_made_again() -> None:
    async with a_chain(rtt_ns=1) as stage:
        assert await ask(stage, 1)
        await stage.deliver(2)
        await stage.ready()
        assert await ask(stage, 2)


# -- stills ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("thought_better", [False, True])
async def test_a_still_that_is_not_wanted_any_more_does_not_hold_up_the_stream(
    monkeypatch: pytest.MonkeyPatch, thought_better: bool
) -> None:
    async with a_stage() as stage:
        await stage.acknowledge(1)
        await stage.ready()
        stage.theirs.send(control.StillRequest(index=7))
        await turns()
        stage.narrow(monkeypatch)
        stage.attendee.outbox.offer_still(replace(sealed(7), still=True))
        await turns()
        stage.theirs.send(control.StillCancel(index=7 if thought_better else 6))
        await turns()
        stage.widen()
        await stage.deliver(8)
        arrived = [await stage.arrived()]
        if not thought_better:
            arrived.append(await stage.arrived())
        assert arrived == [b"frame 7", b"frame 8"][thought_better:]
        assert [frame.sealed for frame in stage.sent] == arrived


async def test_a_still_that_was_not_asked_for_is_not_sent() -> None:
    async with a_stage() as stage:
        await stage.acknowledge(1)
        await stage.ready()
        stage.attendee.outbox.offer_still(replace(sealed(7), still=True))
        await stage.deliver(8)
        assert await stage.arrived() == b"frame 8"
