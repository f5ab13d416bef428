"""Who comes to a session's room, who goes, and who is disturbed by it."""

from __future__ import annotations

import asyncio

import pytest

from sender.admission import NEW_CODE_AFTER_S
from sender.room import MAX_JOINING, RENEW_EVERY_S
from shared import control
from shared.capabilities import OUR_FEATURES, RESTART, Capabilities
from shared.errors import (
    CodeUsed,
    LinkFailed,
    PeerGone,
    RoomUnavailable,
    WrongCode,
)
from shared.restart import is_restart
from signaling.client import ConnectionLost, PeerJoined, PeerLeft, Relayed
from tests.doubles import (
    turns,
    until,
)
from tests.sender.stage import Stage, a_stage, epochs

pytestmark = pytest.mark.jumping_clock

WRONG = "abandon-abandon-abandon"  # one in 2^33 that it is right


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


async def guess(stage: Stage, name: str) -> None:
    for number in range(3):
        with pytest.raises(WrongCode):
            await stage.knock(f"{name} {number}", WRONG)


@pytest.mark.parametrize("watched", [True, False], ids=["watched", "unwatched"])
async def test_three_wrong_codes_close_the_code_and_neither_room_nor_stream(
    monkeypatch: pytest.MonkeyPatch, watched: bool
) -> None:
    async with a_stage(monkeypatch, max_receivers=2) as stage:
        watcher = await stage.join("a") if watched else None
        right = stage.code()
        await guess(stage, "guesser")
        await stage.said("three wrong codes")
        assert stage.session.code is None
        with pytest.raises((CodeUsed, PeerGone)):  # whether it reads why before the link's end
            await stage.knock("b", right)
        await stage.said("while there was no code")
        await until(lambda: stage.session.code is not None)
        assert stage.code() != right
        late = await stage.join("c")
        stage.tap.give(0)
        assert (await late.frame()).index == 0
        if watcher is not None:
            assert (await watcher.frame()).index == 0


async def test_the_wait_for_the_next_code_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sender.admission.NEW_CODE_AFTER_S", (1.0, 2.0, 4.0))
    waits = list[float]()
    async with a_stage(monkeypatch) as stage:
        for time in range(4):
            await guess(stage, f"guesser {time}")
            await stage.said("three wrong codes", time + 1)
            closed_at_s = asyncio.get_running_loop().time()
            await until(lambda: stage.session.code is not None)
            waits.append(asyncio.get_running_loop().time() - closed_at_s)
    assert [round(wait) for wait in waits] == [1, 2, 4, 4]


async def test_a_place_that_becomes_free_makes_no_code_before_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch, max_receivers=3) as stage:
        first, _ = await stage.join("a"), await stage.join("b")
        await guess(stage, "guesser")
        await stage.said("three wrong codes")
        await first.leave()
        await stage.said("a receiver left")
        await turns()
        assert stage.session.code is None
        await until(lambda: stage.session.code is not None)


async def test_a_session_that_ends_waits_for_no_code(monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_stage(monkeypatch) as stage:
        await guess(stage, "guesser")
        await stage.said("three wrong codes")
        ended_at_s = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() < ended_at_s + NEW_CODE_AFTER_S[0]
    assert stage.session.code is None


# -- who goes -------------------------------------------------------------------------------------


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


# -- the room itself ------------------------------------------------------------------------------


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


@pytest.mark.parametrize("how", ["left", "gone"])
async def test_the_session_waits_for_others_when_the_last_receiver_has_left(
    monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    async with a_stage(monkeypatch, until_left=False, lost_after_s=2.0) as stage:
        for time, peer in enumerate(("a", "b", "c")):
            watcher = await stage.join(peer)
            assert stage.session.code is None
            stage.tap.give(time)
            assert (await watcher.frame()).index == time
            if how == "left":
                await watcher.leave()
            else:
                stage.links.theirs[-1].kill()
            await until(lambda: stage.session.code is not None)
            assert stage.session.receivers == 0
        finished = asyncio.create_task(stage.session.finished())
        await turns()
        assert not finished.done()
        finished.cancel()


async def test_the_session_ends_with_the_last_receiver_where_nobody_can_follow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch, until_left=False, max_receivers=2) as stage:
        watcher = await stage.join("a")
        stage.room.tell(None)  # the signaling server closes the room
        await stage.said("signaling ended")
        await watcher.leave()
        await stage.session.finished()


# -- who comes back for another path ---------------------------------------------------------------


def cut(stage: Stage) -> None:
    """Nothing passes between the sender and its first receiver any more."""
    stage.links.ours[0].transport.cut()
    stage.links.theirs[0].transport.cut()


async def test_one_that_comes_back_to_the_room_is_found_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch) as stage:
        watcher = await stage.join("a")
        cut(stage)
        stage.room.silent.add("b")  # the same, by another name: it wants no new link
        stage.room.tell(PeerJoined("b"))
        request = await watcher.association.restarts.ask()
        stage.room.tell(Relayed("b", {"type": "answer", "sdp": request}))
        await until(lambda: any(is_restart(sdp) for _, sdp in stage.room.told))
        peer, answer = stage.room.told[-1]
        assert peer == "b"
        await watcher.association.restarts.complete(answer)
        stage.tap.give(0)
        assert (await watcher.frame()).index == 0
        assert stage.session.receivers == 1
        assert not any("could not join" in notice for notice in stage.notices)


async def test_a_strangers_request_is_nobodys_and_the_stranger_is_one_like_any_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch, max_receivers=2) as stage:
        watcher = await stage.join("a")
        request = await watcher.association.restarts.ask()
        await stage.session._audience._attendees["a"].restarts.answer(request)
        stage.room.silent.add("b")
        stage.room.tell(PeerJoined("b"))
        for text in (request, "restart:" + "A" * 64, "restart:"):
            stage.room.tell(Relayed("b", {"type": "answer", "sdp": text}))
        await until(lambda: "b" in stage.room.offered)
        await turns()
        assert not any(is_restart(sdp) for _, sdp in stage.room.told)
        stage.room.tell(PeerLeft("b"))
        await stage.said("could not join")
        stage.tap.give(0)
        assert (await watcher.frame()).index == 0


async def test_the_place_in_the_room_is_made_sure_of_while_a_receiver_is_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch) as stage:
        await stage.join("a")
        await asyncio.sleep(12)
        assert stage.room.renewals == 0
        cut(stage)
        await until(lambda: stage.room.renewals == 1)
        await asyncio.sleep(RENEW_EVERY_S + 1)
        assert stage.room.renewals == 2


async def test_who_asks_for_a_restart_in_the_moment_it_comes_takes_nobodys_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a reconnection the server tells of both at once."""
    async with a_stage(monkeypatch, max_receivers=2) as stage:
        watcher = await stage.join("a")
        request = await watcher.association.restarts.ask()
        stage.room.tell(PeerJoined("a again"))
        stage.room.tell(Relayed("a again", {"type": "answer", "sdp": request}))
        await until(lambda: any(is_restart(sdp) for _, sdp in stage.room.told))
        await turns()
        assert set(stage.session._room._peers) == {"a"}


async def test_nothing_is_renewed_for_one_that_knows_no_restarts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch) as stage:
        await stage.join("a", capabilities=Capabilities(OUR_FEATURES - {RESTART}))
        cut(stage)
        await asyncio.sleep(20)
        assert stage.room.renewals == 0
