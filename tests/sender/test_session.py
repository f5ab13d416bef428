"""A sender session: who comes, who goes, and what becomes of the frames meanwhile.

Its receivers are in the hands of the test, over links in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from sender.journal import SenderJournal
from sender.session import MAX_JOINING, SenderSession, SenderSettings
from shared import control
from shared.crypto.handshake import NetworkId
from shared.errors import (
    CodeUsed,
    LinkFailed,
    PairingFailed,
    PeerGone,
    RoomUnavailable,
    SourceFailed,
    WrongCode,
)
from shared.keystream.network import DEFAULT_FAMILY, load_network
from shared.telemetry.records import DropReason
from signaling.client import ConnectionLost, PeerJoined, PeerLeft
from tests.doubles import (
    LIMIT_S,
    Links,
    RoomDouble,
    ShakeBackend,
    Tap,
    Watcher,
    pair_as_receiver,
    turns,
    until,
    watch,
)

WRONG = "abandon-abandon-abandon"  # one in 2^33 that it is right


class WatchedJournal(SenderJournal):
    """Keeps what was dropped, frame by frame."""

    def __init__(self) -> None:
        super().__init__()
        self.dropped_frames: list[tuple[DropReason, int | None]] = []

    def dropped(self, reason: DropReason, index: int | None = None) -> None:
        self.dropped_frames.append((reason, index))
        super().dropped(reason, index)


@dataclass
class Stage:
    """A session in a room without a server, and all that surrounds it."""

    session: SenderSession
    room: RoomDouble
    links: Links
    tap: Tap
    journal: WatchedJournal
    notices: list[str]
    network: NetworkId
    joins: int = 0

    def code(self) -> str:
        assert self.session.code is not None
        return self.session.code.secret

    async def join(self, peer: str, secret: str | None = None) -> Watcher:
        watcher = await watch(self.room, self.links, peer, secret or self.code(), self.network)
        await until(lambda: any(isinstance(m, control.Epoch) for m in watcher.heard))
        await self.said("a receiver joined", self.joins + 1)
        self.joins += 1
        await until(lambda: self.session._attendees[peer].ready)
        return watcher

    async def knock(self, peer: str, secret: str) -> None:
        """Join in vain; raises what the receiver is told."""
        place = len(self.links.theirs)
        self.room.tell(PeerJoined(peer))
        await until(lambda: len(self.links.theirs) > place)
        await pair_as_receiver(self.links.theirs[place], secret, self.network)

    async def said(self, text: str, times: int = 1) -> None:
        await until(lambda: sum(text in notice for notice in self.notices) >= times)


@asynccontextmanager
async def a_stage(
    monkeypatch: pytest.MonkeyPatch, *, silence_s: float = LIMIT_S, **changes: object
) -> AsyncIterator[Stage]:
    room, links, tap = RoomDouble(), Links(silence_s=silence_s), Tap()
    journal, notices = WatchedJournal(), list[str]()
    monkeypatch.setattr("sender.session.SignalingClient", room)
    monkeypatch.setattr("sender.session.open_backend", lambda *_: ShakeBackend())
    network = load_network(DEFAULT_FAMILY)
    settings = SenderSettings(**({"codec": "lossless"} | changes))  # type: ignore[arg-type]
    async with asyncio.timeout(LIMIT_S):
        async with SenderSession(
            tap.frames(), settings, journal=journal, on_notice=notices.append, link_factory=links
        ) as session:
            yield Stage(
                session,
                room,
                links,
                tap,
                journal,
                notices,
                NetworkId(network.family, network.digest),
            )
        for link in links.theirs:
            await link.close()


# -- who comes ------------------------------------------------------------------------------------


async def test_a_receiver_joins_and_gets_the_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_stage(monkeypatch) as stage:
        watcher = await stage.join("a")
        assert stage.session.receivers == 1
        assert stage.session.code is None
        for index in (0, 1, 2):
            stage.tap.give(index)
            assert (await watcher.frame()).index == index
        stage.tap.end()
        await stage.session.finished()
        await until(lambda: watcher.last_words is not None)
        assert watcher.last_words == control.Bye(reason="ended")
    assert stage.journal.summary().frames_sent == 3


async def test_a_peer_that_the_server_names_twice_is_let_in_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch) as stage:
        stage.room.silent |= {"a", "b"}
        for peer in ("a", "a", "b"):
            stage.room.tell(PeerJoined(peer))
        await until(lambda: "b" in stage.room.offered)
        await turns()
        assert stage.room.offered == ["a", "b"]
        assert len(stage.links.ours) == 2


async def test_a_receiver_that_watches_is_not_disturbed_by_its_name_coming_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch, max_receivers=2) as stage:
        watcher = await stage.join("a")
        stage.room.tell(PeerJoined("a"))
        stage.room.tell(PeerLeft("a"))  # of the room; its link holds
        stage.tap.give(0)
        assert (await watcher.frame()).index == 0
        assert stage.room.offered == ["a"]


async def test_only_so_many_join_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_stage(monkeypatch, max_receivers=2) as stage:
        watcher = await stage.join("first")  # it watches, so it does not count
        crowd = [f"peer {number}" for number in range(MAX_JOINING + 4)]
        stage.room.silent |= {*crowd, "late"}
        for peer in crowd:
            stage.room.tell(PeerJoined(peer))
        await until(lambda: len(stage.room.offered) > MAX_JOINING)
        await turns()
        assert stage.room.offered == ["first", *crowd[:MAX_JOINING]]
        stage.room.tell(PeerLeft(crowd[0]))
        await stage.said("could not join")
        while "late" not in stage.room.offered:  # its place is free once its link is closed
            stage.room.tell(PeerJoined("late"))
            await asyncio.sleep(0.005)
        assert stage.room.offered == ["first", *crowd[:MAX_JOINING], "late"]
        stage.tap.give(0)
        assert (await watcher.frame()).index == 0


@pytest.mark.parametrize(
    "error",
    [RuntimeError("a bug"), KeyError("answer"), OSError("no sockets"), LinkFailed("no address")],
    ids=lambda error: type(error).__name__,
)
async def test_whatever_one_that_joins_brings_about_the_others_go_on_watching(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async with a_stage(monkeypatch, max_receivers=2) as stage:
        watcher = await stage.join("a")
        stage.links.error = error
        stage.room.tell(PeerJoined("b"))
        await stage.said("could not join")
        stage.links.error = None
        stage.tap.give(0)
        assert (await watcher.frame()).index == 0
        third = await stage.join("c")  # the place was not lost with the one who failed
        stage.tap.give(1)
        assert (await watcher.frame()).index == (await third.frame()).index == 1


async def test_three_wrong_codes_while_somebody_watches_end_the_joining_not_the_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch, max_receivers=2) as stage:
        watcher = await stage.join("a")
        right = stage.code()
        for number in range(3):
            with pytest.raises(WrongCode):
                await stage.knock(f"guesser {number}", WRONG)
        await stage.said("three wrong codes")
        assert stage.session.code is None
        with pytest.raises((CodeUsed, PeerGone)):  # whether it reads why before the link's end
            await stage.knock("b", right)
        await stage.said("each code pairs once")
        for index in (0, 1):
            stage.tap.give(index)
            assert (await watcher.frame()).index == index
        await watcher.leave()
        await stage.session.finished()


async def test_three_wrong_codes_with_nobody_there_end_the_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch) as stage:
        for number in range(3):
            with pytest.raises(WrongCode):
                await stage.knock(f"guesser {number}", WRONG)
        with pytest.raises(PairingFailed, match="three wrong codes"):
            await stage.session.finished()


# -- who goes -------------------------------------------------------------------------------------


async def test_when_the_source_ends_with_nobody_there_the_session_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch, max_receivers=2) as stage:
        watcher = await stage.join("a")
        await watcher.leave()
        await stage.said("a receiver left")
        await until(lambda: stage.session.receivers == 0)
        assert stage.session.code is not None
        stage.tap.give(0)
        stage.tap.end()
        await stage.session.finished()
    assert stage.journal.dropped_frames == [(DropReason.NO_RECEIVER, 0)]


async def test_a_frame_that_waits_when_the_last_receiver_leaves_is_not_shown_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch, max_receivers=2) as stage:
        first = await stage.join("a")
        monkeypatch.setattr(stage.links.ours[0], "can_send_frame", lambda: False)
        stage.tap.give(0)  # offered, and stuck before the path
        await until(lambda: stage.session._attendees["a"].unsent is not None)
        stage.tap.give(1)  # waits for a path
        await until(lambda: stage.session._slot._item is not None)
        await first.leave()
        await until(lambda: stage.session.receivers == 0)
        assert stage.journal.dropped_frames == [
            (DropReason.NO_RECEIVER, 0),
            (DropReason.NO_RECEIVER, 1),
        ]
        second = await stage.join("b")
        stage.tap.give(2)
        assert (await second.frame()).index == 2
        stage.tap.end()
        await stage.session.finished()
        await until(lambda: second.last_words is not None)
    tallies = [word for word in second.heard if isinstance(word, control.Tally)]
    assert tallies[-1] == control.Tally(sent=1, dropped={}), "told of drops before it joined"


async def test_frames_that_one_path_can_t_carry_are_replaced_by_newer_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch) as stage:
        watcher = await stage.join("a")
        wide = False
        ours = stage.links.ours[0]
        can_send = ours.can_send_frame
        monkeypatch.setattr(ours, "can_send_frame", lambda: wide and can_send())
        for index in range(4):  # 0 is taken up; 1 and 2 give way to 3
            stage.tap.give(index)
            await until(lambda: stage.session._attendees["a"].unsent is not None)
            await turns()
        assert stage.journal.dropped_frames == [
            (DropReason.LINK_BUSY, 1),
            (DropReason.LINK_BUSY, 2),
        ]
        wide = True
        ours._wake()
        ours._sending_changed.set()
        assert (await watcher.frame()).index == 0
        assert (await watcher.frame()).index == 3


async def test_a_slow_receiver_holds_up_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sender.audience.HAND_OVER_TIMEOUT_S", 0.05)
    async with a_stage(monkeypatch, max_receivers=2) as stage:
        await stage.join("slow")
        quick = await stage.join("quick")
        monkeypatch.setattr(stage.links.ours[0], "can_send_frame", lambda: False)
        for index in range(4):
            stage.tap.give(index)
            assert (await quick.frame()).index == index
            await until(lambda: stage.session._attendees["quick"].ready)
        assert stage.journal.dropped_frames == []


async def test_one_that_leaves_begins_a_new_epoch_for_those_who_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch, max_receivers=2) as stage:
        stays = await stage.join("stays")
        leaves = await stage.join("leaves")
        await leaves.leave()
        await stage.said("a receiver left")
        await until(lambda: len(epochs(stays)) == 3)
        assert epochs(stays) == [(1, "start"), (2, "join"), (3, "leave")]
        assert epochs(leaves) == [(2, "join")]
        stage.tap.give(0)
        assert (await stays.frame()).index == 0


def epochs(watcher: Watcher) -> list[tuple[int, str]]:
    told = [word for word in watcher.heard if isinstance(word, control.Epoch)]
    return [(word.epoch, word.reason) for word in told]


async def test_one_lost_among_several_is_said_and_the_last_one_lost_ends_the_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch, max_receivers=2) as stage:
        first, second = await stage.join("a"), await stage.join("b")
        await first.association.link.close()
        await stage.said("a receiver is lost")
        await until(lambda: stage.session.receivers == 1)
        stage.tap.give(0)
        assert (await second.frame()).index == 0
        await second.association.link.close()
        with pytest.raises(PeerGone):
            await stage.session.finished()


async def test_leaving_the_block_says_goodbye_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_stage(monkeypatch, max_receivers=2) as stage:
        watchers = [await stage.join("a"), await stage.join("b")]
    for watcher in watchers:
        assert watcher.last_words == control.Bye(reason="quit")


async def test_a_source_that_fails_is_told_to_all_after_its_last_frame(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch) as stage:
        watcher = await stage.join("a")
        stage.tap.give(0)
        stage.tap.fail(SourceFailed("the probe was unplugged"))
        with pytest.raises(SourceFailed, match="unplugged"):
            await stage.session.finished()
        assert (await watcher.frame()).index == 0
        await until(lambda: watcher.last_words is not None)
        assert watcher.last_words == control.Bye(reason="error", detail="the probe was unplugged")


async def test_what_a_bug_says_stays_at_this_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_stage(monkeypatch) as stage:
        watcher = await stage.join("a")
        stage.tap.fail(ValueError("/home/somebody/patient.dcm"))
        with pytest.raises(ValueError, match="patient"):
            await stage.session.finished()
        await until(lambda: watcher.last_words is not None)
        assert watcher.last_words == control.Bye(reason="error", detail="")


# -- the room -------------------------------------------------------------------------------------


async def test_a_room_that_closes_ends_a_session_that_nobody_watches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch) as stage:
        stage.room.tell(None)
        with pytest.raises(RoomUnavailable):
            await stage.session.finished()


async def test_a_room_that_closes_disturbs_nobody_who_watches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch, max_receivers=2) as stage:
        watcher = await stage.join("a")
        stage.room.tell(ConnectionLost())
        stage.room.tell(None)
        await stage.said("signaling ended")
        assert stage.session.code is None
        stage.tap.give(0)
        assert (await watcher.frame()).index == 0
        await watcher.leave()
        await stage.session.finished()


async def test_a_frame_that_one_receiver_got_is_not_dropped_when_the_last_one_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch, max_receivers=2) as stage:
        slow = await stage.join("slow")
        quick = await stage.join("quick")
        monkeypatch.setattr(stage.links.ours[0], "can_send_frame", lambda: False)
        stage.tap.give(0)
        assert (await quick.frame()).index == 0
        await until(lambda: stage.session.journal.frames == 1)
        await quick.leave()
        await slow.leave()
        await stage.session.finished()
        assert stage.journal.dropped_frames == []


async def test_a_frame_offered_only_to_one_that_leaves_while_another_stays_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch, max_receivers=2) as stage:
        await stage.join("stays")
        leaves = await stage.join("leaves")
        monkeypatch.setattr(stage.links.ours[1], "can_send_frame", lambda: False)
        stage.session._attendees["stays"]._ready = False  # its path is full now
        stage.tap.give(0)  # offered to the other alone
        await until(lambda: stage.session._attendees["leaves"].unsent is not None)
        await leaves.leave()
        await until(lambda: stage.session.receivers == 1)
        await until(lambda: len(stage.journal.dropped_frames) == 1)


async def test_a_frame_that_nobody_could_take_is_counted_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch) as stage:
        watcher = await stage.join("a")
        attendee = stage.session._attendees["a"]
        await until(lambda: attendee.ready)
        monkeypatch.setattr(attendee, "offer", lambda _frame: False)
        stage.tap.give(0)
        await until(lambda: len(stage.journal.dropped_frames) == 1)
        attendee.tell_tally(stage.session._drops())
        tally = control.Tally(sent=0, dropped={"link_busy": 1})
        await until(lambda: tally in watcher.heard)


async def test_a_receiver_that_has_not_confirmed_the_epoch_keeps_no_processor_busy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch) as stage:
        watcher = await stage.join("a")
        attendee = stage.session._attendees["a"]
        await until(lambda: attendee.ready)
        holds, confirmed = attendee.holds, []
        monkeypatch.setattr(attendee, "holds", lambda epoch: bool(confirmed) and holds(epoch))
        process, sealed = stage.session._pipeline.process, []
        monkeypatch.setattr(
            stage.session._pipeline,
            "process",
            lambda f, **how: sealed.append(f.index) or process(f, **how),
        )
        for index in range(3):
            stage.tap.give(index)
            await turns()
        assert sealed in ([], [0]), "frames were sealed for nobody"  # 0 may be waited for already
        confirmed.append(True)
        stage.session._some_ready.set()
        while (await watcher.frame()).index != 2:  # 0 may have been on its way
            continue
