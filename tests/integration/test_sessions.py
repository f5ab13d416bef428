"""Sender and receiver sessions over a real signaling server and real WebRTC peers."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from receiver.journal import ReceiverJournal
from receiver.session import ReceiverSession
from sender.journal import SenderJournal
from sender.session import SenderSession
from shared.errors import (
    CodeUsed,
    KeystreamMismatch,
    PeerGone,
    RoomUnavailable,
    SignalingUnreachable,
    SourceFailed,
    WrongCode,
)
from shared.frame import Rect
from shared.link import Link, LinkFactory
from shared.link.connection import Connection
from shared.link.events import IceServer
from shared.link.webrtc import webrtc_link
from shared.link.webrtc.agent import IceAgent
from shared.link.webrtc.transport import WebRtcTransport
from shared.options import IceServerUrl
from shared.quality import psnr_db
from shared.telemetry.log import JsonLinesLog
from shared.telemetry.reader import read_log
from shared.telemetry.records import FrameLine, SummaryLine
from signaling.config import ServerConfig, ice_servers
from signaling.server import SignalingServer
from tests.integration.peers import LIMIT_S, Ends, Feed, ends_at, picture


def code_of(sender: SenderSession) -> str:
    assert sender.code is not None
    return str(sender.code)


def wrong_code_for(code: str) -> str:
    nameplate, *words = code.split("-")
    return "-".join([nameplate, *("zoo" if word != "zoo" else "abandon" for word in words)])


async def test_lossless_frames_arrive_bit_for_bit(ends: Ends) -> None:
    shown = {}
    async with (
        asyncio.timeout(LIMIT_S),
        SenderSession(Feed(count=40).frames(), ends.sender) as sender,
    ):
        async with ReceiverSession(code_of(sender), ends.receiver) as receiver:
            async for frame in receiver:
                shown[frame.frame.index] = frame
        await sender.finished()
    assert len(shown) >= 20
    for index, frame in shown.items():
        assert np.array_equal(frame.frame.image, picture(index))
        assert frame.psnr_db is None
    assert receiver.goodbye is not None
    assert receiver.goodbye.reason == "ended"


async def test_colour_frames_arrive_bit_for_bit(ends: Ends) -> None:
    def colour(index: int) -> np.ndarray:
        return picture(index, channels=3, height=51, width=33)

    async with (
        asyncio.timeout(LIMIT_S),
        SenderSession(Feed(make=colour).frames(), ends.sender) as sender,
    ):
        async with ReceiverSession(code_of(sender), ends.receiver) as receiver:
            async for frame in receiver:
                assert np.array_equal(frame.frame.image, colour(frame.frame.index))
                if frame.frame.index > 5:
                    break


async def test_the_psnr_in_the_log_is_that_of_source_and_shown_frame(
    ends: Ends, tmp_path: Path
) -> None:
    log = tmp_path / "receiver.jsonl"
    shown = {}
    settings = ends.sending(codec="jpeg", quality=70)
    async with asyncio.timeout(LIMIT_S), SenderSession(Feed(count=30).frames(), settings) as sender:
        journal = ReceiverJournal(JsonLinesLog(log))
        async with ReceiverSession(code_of(sender), ends.receiver, journal=journal) as receiver:
            async for frame in receiver:
                shown[frame.frame.index] = frame.frame.image
        await sender.finished()
    lines = read_log(log).frames
    assert {line.frame for line in lines} == set(shown)
    for line in lines:
        expected = psnr_db(picture(line.frame), shown[line.frame])
        assert expected is not None
        assert line.psnr_db == pytest.approx(expected, abs=1e-4)
        assert not line.lossless


async def test_the_logs_of_both_ends_tell_one_story(ends: Ends, tmp_path: Path) -> None:
    async with asyncio.timeout(LIMIT_S):
        sending = SenderJournal(JsonLinesLog(tmp_path / "s.jsonl"))
        receiving = ReceiverJournal(JsonLinesLog(tmp_path / "r.jsonl"))
        async with SenderSession(Feed(count=40).frames(), ends.sender, journal=sending) as sender:
            async with ReceiverSession(
                code_of(sender), ends.receiver, journal=receiving
            ) as receiver:
                shown = [frame.frame.index async for frame in receiver]
            await sender.finished()
    sent_log, shown_log = read_log(tmp_path / "s.jsonl"), read_log(tmp_path / "r.jsonl")
    assert sent_log.session.session == shown_log.session.session == receiver.session_id
    assert [line.frame for line in shown_log.frames] == shown
    assert set(shown) <= {line.frame for line in sent_log.frames}
    summary = shown_log.summary
    assert isinstance(summary, SummaryLine)
    assert not shown_log.summary_computed
    assert summary.frames_shown == len(shown)
    assert summary.frames_shown + sum(summary.frames_dropped.values()) == 40 - shown[0]
    assert (summary.auth_failures, summary.replays, summary.keystream_mismatches) == (0, 0, 0)
    for line in shown_log.frames:
        assert isinstance(line, FrameLine)
        stages = line.stages_ms.model_dump()
        assert line.latency_ms is not None
        assert sum(stages.values()) == pytest.approx(line.latency_ms, abs=0.02)
        assert line.latency_ms >= -(line.latency_bound_ms or 0.0)
    assert shown_log.epochs[0].reason == "start"
    for raw in (tmp_path / "r.jsonl").read_text().splitlines():
        json.loads(raw, parse_constant=lambda name: pytest.fail(f"{name} in the log"))


async def test_masked_regions_never_leave_the_sender(ends: Ends) -> None:
    feed = Feed(masks=(Rect(10, 20, 30, 40),))
    async with asyncio.timeout(LIMIT_S), SenderSession(feed.frames(), ends.sender) as sender:
        async with ReceiverSession(code_of(sender), ends.receiver) as receiver:
            async for frame in receiver:
                expected = picture(frame.frame.index)
                expected[20:60, 10:40] = 0
                assert np.array_equal(frame.frame.image, expected)
                break


async def test_a_wrong_code_is_refused_and_the_right_one_still_pairs(ends: Ends) -> None:
    notices: list[str] = []
    async with asyncio.timeout(LIMIT_S):
        async with SenderSession(Feed().frames(), ends.sender, on_notice=notices.append) as sender:
            code = code_of(sender)
            with pytest.raises(WrongCode):
                async with ReceiverSession(wrong_code_for(code), ends.receiver):
                    pytest.fail("paired with a wrong code")
            async with ReceiverSession(code, ends.receiver) as receiver:
                async for frame in receiver:
                    assert np.array_equal(frame.frame.image, picture(frame.frame.index))
                    break
    assert any("could not join" in notice for notice in notices)
    assert not any(code.partition("-")[2] in notice for notice in notices)


async def test_three_wrong_codes_close_the_code_and_the_next_one_pairs(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sender.admission.NEW_CODE_AFTER_S", (0.5,))
    codes: asyncio.Queue[str] = asyncio.Queue()
    async with (
        asyncio.timeout(LIMIT_S),
        SenderSession(
            Feed().frames(), ends.sender, on_code=lambda code: codes.put_nowait(str(code))
        ),
    ):
        code = await codes.get()
        for _ in range(3):
            with pytest.raises(WrongCode):
                async with ReceiverSession(wrong_code_for(code), ends.receiver):
                    pytest.fail("paired with a wrong code")
        fresh = await codes.get()
        assert fresh != code
        with pytest.raises(WrongCode):
            async with ReceiverSession(code, ends.receiver):
                pytest.fail("paired with a code that was closed")
        async with ReceiverSession(fresh, ends.receiver) as receiver:
            async for frame in receiver:
                assert np.array_equal(frame.frame.image, picture(frame.frame.index))
                break


async def test_a_code_pairs_once(ends: Ends) -> None:
    async with asyncio.timeout(LIMIT_S), SenderSession(Feed().frames(), ends.sender) as sender:
        code = code_of(sender)
        async with ReceiverSession(code, ends.receiver) as receiver:
            assert sender.code is None
            with pytest.raises(CodeUsed):
                async with ReceiverSession(code, ends.receiver):
                    pytest.fail("paired twice with one code")
            async for frame in receiver:  # the first is not disturbed
                assert np.array_equal(frame.frame.image, picture(frame.frame.index))
                break


async def test_each_receiver_has_a_code_of_its_own_and_each_coming_and_going_a_new_epoch(
    ends: Ends,
) -> None:
    settings = ends.sending(max_receivers=2)
    async with asyncio.timeout(LIMIT_S), SenderSession(Feed().frames(), settings) as sender:
        first_code = code_of(sender)
        async with ReceiverSession(first_code, ends.receiver) as first:
            async for frame in first:
                assert frame.epoch == 1
                break
            second_code = code_of(sender)
            assert second_code != first_code
            async with ReceiverSession(second_code, ends.receiver) as second:
                async for frame in second:
                    assert frame.epoch == 2
                    assert np.array_equal(frame.frame.image, picture(frame.frame.index))
                    break
                assert sender.receivers == 2
            async for frame in first:
                assert np.array_equal(frame.frame.image, picture(frame.frame.index))
                if frame.epoch == 3:
                    break
        await sender.finished()


async def test_a_new_epoch_begins_when_the_old_one_is_old_enough(ends: Ends) -> None:
    epochs = []
    settings = ends.sending(rekey_after_s=0.2)
    async with asyncio.timeout(LIMIT_S), SenderSession(Feed().frames(), settings) as sender:
        async with ReceiverSession(code_of(sender), ends.receiver) as receiver:
            async for frame in receiver:
                assert np.array_equal(frame.frame.image, picture(frame.frame.index))
                epochs.append(frame.epoch)
                if frame.epoch >= 4:
                    break
    assert epochs == sorted(epochs)
    assert set(epochs) >= {1, 2, 3, 4}


async def test_a_different_keystream_network_is_refused_at_the_handshake(
    ends: Ends, other_network: Path
) -> None:
    notices: list[str] = []
    async with asyncio.timeout(LIMIT_S):
        async with SenderSession(Feed().frames(), ends.sender, on_notice=notices.append) as sender:
            receiver = ends.receiving(keystream=str(other_network))
            with pytest.raises(KeystreamMismatch, match="bp"):
                async with ReceiverSession(code_of(sender), receiver):
                    pytest.fail("paired with another network")
            while not any("could not join" in notice for notice in notices):
                await asyncio.sleep(0.01)
            assert "bp" in notices[-1]


async def test_both_ends_may_use_a_network_of_their_own(ends: Ends, other_network: Path) -> None:
    network = str(other_network)
    async with asyncio.timeout(LIMIT_S):
        settings = ends.sending(keystream=network)
        async with SenderSession(Feed().frames(), settings) as sender:
            receiving = ends.receiving(keystream=network)
            async with ReceiverSession(code_of(sender), receiving) as receiver:
                async for frame in receiver:
                    assert np.array_equal(frame.frame.image, picture(frame.frame.index))
                    break


class TamperingLink(Link):
    """Alters every third frame and sends every fifth twice: what a broken or hostile path does."""

    sent = 0

    def __init__(self, *, host_addresses: list[str] | None, **_: object) -> None:
        super().__init__(WebRtcTransport(host_addresses=host_addresses), Connection())

    async def send_frame(self, data: bytes) -> int:
        type(self).sent += 1
        if type(self).sent % 3 == 0:
            altered = bytearray(data)
            altered[len(data) // 2] ^= 1
            data = bytes(altered)
        number = await super().send_frame(data)
        if type(self).sent % 5 == 0:
            await self.writable()
            await super().send_frame(data)
        return number


async def test_altered_and_replayed_frames_are_counted_and_never_shown(ends: Ends) -> None:
    TamperingLink.sent = 0
    shown = []
    async with asyncio.timeout(LIMIT_S):
        async with SenderSession(
            Feed(count=60).frames(),
            ends.sender,
            link_factory=TamperingLink,
        ) as sender:
            async with ReceiverSession(code_of(sender), ends.receiver) as receiver:
                async for frame in receiver:
                    assert np.array_equal(frame.frame.image, picture(frame.frame.index))
                    shown.append(frame.frame.index)
            await sender.finished()
    summary = receiver.journal.summary()
    assert summary.auth_failures >= TamperingLink.sent // 3
    assert summary.replays >= 3
    assert summary.frames_shown == len(shown) == len(set(shown))
    assert shown == sorted(shown)


async def test_the_stream_goes_on_when_the_signaling_server_goes_away() -> None:
    notices: list[str] = []
    async with asyncio.timeout(LIMIT_S):
        server = SignalingServer(ServerConfig(port=0))
        await server.__aenter__()
        ends = ends_at(server.url)
        async with SenderSession(Feed().frames(), ends.sender, on_notice=notices.append) as sender:
            async with ReceiverSession(code_of(sender), ends.receiver) as receiver:
                frames = aiter(receiver)
                before = (await anext(frames)).frame.index
                await server.__aexit__(None, None, None)
                while not any("signaling server lost" in notice for notice in notices):
                    await anext(frames)
                async for frame in frames:
                    assert np.array_equal(frame.frame.image, picture(frame.frame.index))
                    if frame.frame.index > before + 20:
                        break


async def test_an_unreachable_signaling_server_is_said_at_once(unused_tcp_port: int) -> None:
    ends = ends_at(f"ws://127.0.0.1:{unused_tcp_port}")
    async with asyncio.timeout(LIMIT_S):
        with pytest.raises(SignalingUnreachable, match="can't be reached"):
            async with SenderSession(Feed().frames(), ends.sender):
                pytest.fail("a session without a server")
        with pytest.raises(SignalingUnreachable, match="can't be reached"):
            async with ReceiverSession("7-abandon-abandon-zoo", ends.receiver):
                pytest.fail("a session without a server")


async def test_a_code_of_no_room_is_refused(ends: Ends) -> None:
    async with asyncio.timeout(LIMIT_S):
        with pytest.raises(RoomUnavailable, match="no such room"):
            async with ReceiverSession("999-abandon-abandon-zoo", ends.receiver):
                pytest.fail("a session without a sender")


async def test_a_source_that_fails_midway_ends_both_sides_after_its_last_good_frame(
    ends: Ends,
) -> None:
    feed = Feed(count=20, error=SourceFailed("the probe was unplugged"))
    shown = []
    async with asyncio.timeout(LIMIT_S), SenderSession(feed.frames(), ends.sender) as sender:

        async def watch() -> None:
            async with ReceiverSession(code_of(sender), ends.receiver) as receiver:
                async for frame in receiver:
                    shown.append(frame.frame.index)

        watching = asyncio.create_task(watch())
        with pytest.raises(SourceFailed, match="unplugged"):
            await sender.finished()
    async with asyncio.timeout(LIMIT_S):
        with pytest.raises(PeerGone, match="unplugged"):
            await watching
    assert shown[-1] == 19


async def test_the_sender_ends_well_when_its_last_receiver_leaves(ends: Ends) -> None:
    async with asyncio.timeout(LIMIT_S), SenderSession(Feed().frames(), ends.sender) as sender:
        async with ReceiverSession(code_of(sender), ends.receiver) as receiver:
            async for _ in receiver:
                break
        await sender.finished()


async def test_cancelling_either_session_leaves_nothing_behind(ends: Ends) -> None:
    before = asyncio.all_tasks()
    async with asyncio.timeout(LIMIT_S):
        entered = asyncio.Event()
        codes: list[str] = []

        async def send() -> None:
            async with SenderSession(Feed().frames(), ends.sender) as sender:
                codes.append(code_of(sender))
                entered.set()
                await sender.finished()

        async def receive() -> None:
            async with ReceiverSession(codes[0], ends.receiver) as receiver:
                async for _ in receiver:
                    watching.set()

        watching = asyncio.Event()
        sending = asyncio.create_task(send())
        await entered.wait()
        receiving = asyncio.create_task(receive())
        await watching.wait()
        for task in (sending, receiving):
            task.cancel()
        results = await asyncio.gather(sending, receiving, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)
        while left := asyncio.all_tasks() - before:
            await asyncio.wait(left)


async def test_a_slow_consumer_sees_the_newest_frames_and_the_rest_is_counted(ends: Ends) -> None:
    shown = []
    async with asyncio.timeout(LIMIT_S):
        async with SenderSession(Feed(count=60).frames(), ends.sender) as sender:
            async with ReceiverSession(code_of(sender), ends.receiver) as receiver:
                async for frame in receiver:
                    shown.append((frame.frame.index, time.monotonic_ns()))
                    await asyncio.sleep(0.2)
            await sender.finished()
    indices = [index for index, _ in shown]
    assert indices == sorted(indices)
    assert len(indices) < 40
    summary = receiver.journal.summary()
    assert summary.frames_shown == len(indices)
    assert sum(summary.frames_dropped.values()) == indices[-1] - indices[0] + 1 - len(indices)


async def test_both_ends_use_the_ice_servers_of_the_signaling_servers_operator() -> None:
    offered = ice_servers(["stun:127.0.0.1:9"])
    used: dict[str, list[object]] = {"sender": [], "receiver": []}

    def factory(end: str) -> LinkFactory:
        def make(
            *,
            ice_servers: Sequence[IceServer],
            host_addresses: Sequence[str] | None,
            **_: object,
        ) -> Link:
            used[end].append(list(ice_servers))
            return webrtc_link(host_addresses=host_addresses)

        return make

    async with (
        asyncio.timeout(LIMIT_S),
        SignalingServer(ServerConfig(port=0, ice_servers=offered)) as server,
    ):
        ends = ends_at(server.url)
        own = (IceServerUrl("stun:127.0.0.1:10"),)
        for sending, receiving, expected in (
            (ends.sender, ends.receiver, list(offered)),
            (ends.sending(ice_servers=own), ends.receiving(ice_servers=own), list(own)),
        ):
            async with SenderSession(
                Feed().frames(), sending, link_factory=factory("sender")
            ) as sender:
                async with ReceiverSession(
                    code_of(sender), receiving, link_factory=factory("receiver")
                ) as receiver:
                    async for _ in receiver:
                        break
            assert used == {"sender": [expected], "receiver": [expected]}
            used = {"sender": [], "receiver": []}


@pytest.mark.parametrize("unasked", [1, 0], ids=["", "old-server"])
async def test_two_ends_that_both_moved_find_each_other_through_the_signaling_server(
    monkeypatch: pytest.MonkeyPatch, unasked: int, ends: Ends
) -> None:
    """Each has sockets at ports of which the other knows nothing, so no check reaches anybody."""
    agents: list[IceAgent] = []

    def make(**options: Any) -> Link:
        link = webrtc_link(**options)
        agents.append(link._transport.ice)
        return link

    monkeypatch.setattr("signaling.rooms.UNASKED", unasked)
    events: list[str] = []
    async with (
        asyncio.timeout(LIMIT_S),
        SenderSession(Feed().frames(), ends.sender, link_factory=make) as sender,
    ):
        async with ReceiverSession(code_of(sender), ends.receiver, link_factory=make) as receiver:
            monkeypatch.setattr(receiver.journal, "event", lambda event, _: events.append(event))
            shown = aiter(receiver)
            await anext(shown)
            for agent in agents:
                for base in list(agent._sockets):
                    agent._drop_socket(base)
            while "ICE restart" not in events:
                await anext(shown)
            for _ in range(20):
                await anext(shown)
    assert len(agents) >= 2
