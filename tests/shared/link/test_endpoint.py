"""What every link does, over channels in memory: no sockets, no real waiting."""

from __future__ import annotations

import asyncio
import gc
import random

import pytest

from shared.errors import LinkFailed, PeerGone
from shared.link import MAX_CONTROL_BYTES, Link, LinkEnd
from shared.link.controlchannel import MAX_WAITING
from shared.link.inbox import MAX_WAITING_FRAMES
from shared.link.memory import MemoryLink, memory_pair
from shared.link.messages import pack_app, pack_bye, pack_ping, pack_pong
from shared.link.packets import DATA, SYMBOL_BYTES
from tests.shared.link.simulated_path import messages_of

pytestmark = pytest.mark.usefixtures("loop_complaints")


@pytest.fixture
async def pair():
    sender, receiver = memory_pair()
    await sender.connected(5)
    await receiver.connected(5)
    receiver.accept_frames()
    yield sender, receiver
    await sender.close()
    await receiver.close()


async def send(link: MemoryLink, data: bytes) -> int:
    await link.writable()
    return await link.send_frame(data)


async def fill(link: MemoryLink) -> None:
    """Send frames that nobody gets until the link takes no more."""
    link._post_frames = lambda *messages: None
    async with asyncio.timeout(10):
        while link.can_send_frame():
            await link.send_frame(bytes(30_000))


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_memory_link_is_a_link(pair):
    link: Link = pair[0]
    assert link.can_send_frame()


async def test_control_messages_arrive_in_order_both_ways(pair):
    for link, other in (pair, pair[::-1]):
        messages = [bytes([i]) * (i + 1) for i in range(50)] + [b"x" * MAX_CONTROL_BYTES]
        for message in messages:
            link.send_control(message)
        assert [await other.receive_control() for _ in messages] == messages


async def test_frames_are_numbered_and_arrive_whole(pair):
    sender, receiver = pair
    dice = random.Random(1)
    for number, size in enumerate([1, SYMBOL_BYTES, SYMBOL_BYTES + 1, 200_000]):
        data = dice.randbytes(size)
        assert await send(sender, memoryview(data)) == number
        received = await receiver.receive_frame()
        assert received.data == data
        assert received.received_at_ns <= receiver.now_ns()


async def test_a_peer_that_reports_nothing_stops_the_frames_and_none_is_queued(pair):
    sender, _ = pair
    await fill(sender)
    with pytest.raises(RuntimeError, match="writable"):
        await sender.send_frame(b"one too many")
    assert sender._writer._sender._queue.backlog_bytes == 0


async def test_writable_returns_as_soon_as_a_frame_may_leave(pair):
    sender, _ = pair
    await fill(sender)
    del sender._post_frames
    async with asyncio.timeout(5):
        await sender.writable()
    assert sender.can_send_frame()


async def test_a_frame_is_handed_over_when_its_last_packet_has_left(pair):
    sender, receiver = pair
    posted: list[bytes] = []
    post = sender._post_frames
    sender._post_frames = lambda *messages: (posted.extend(messages), post(*messages))
    async with asyncio.timeout(10):
        await sender.send_frame(bytes(150_000))
        pieces = [m for m in posted if m[0] == DATA]
        assert len(pieces) >= 150_000 / SYMBOL_BYTES
        assert (await receiver.receive_frame()).data == bytes(150_000)


async def test_lost_packets_are_sent_again(pair):
    sender, receiver = pair
    dice = random.Random(3)
    post = sender._post_frames

    def lossy(*messages: bytes) -> None:
        post(*(m for m in messages if m[0] != DATA or dice.random() > 0.05))

    sender._post_frames = lossy
    async with asyncio.timeout(20):
        for size in (1, 3_000, 60_000, 200_000) * 3:
            data = dice.randbytes(size)
            await send(sender, data)
            assert (await receiver.receive_frame()).data == data
    assert sender.path.loss > 0


async def test_the_path_is_measured(pair):
    sender, receiver = pair
    async with asyncio.timeout(10):
        for _ in range(5):
            await send(sender, bytes(25_000))
            await receiver.receive_frame()
        while sender._writer._sender.in_flight:
            await asyncio.sleep(0.01)
    path = sender.path
    assert path is not None
    assert path.rate_bps > 0
    assert path.rtt_ns > 0
    assert path.loss == 0


async def test_a_consumer_that_is_too_slow_gets_the_newest_frames_and_the_rest_are_counted(pair):
    _, receiver = pair
    for i in range(MAX_WAITING_FRAMES + 3):
        receiver._on_frames_message(messages_of(i, bytes([i]))[0])
    newest = [bytes([i]) for i in range(3, MAX_WAITING_FRAMES + 3)]
    assert [(await receiver.receive_frame()).data for _ in newest] == newest
    assert receiver.frames_dropped == {"consumer slow": 3}


async def test_messages_that_make_no_sense_are_counted_and_ignored(pair):
    sender, receiver = pair
    for message in (b"", b"\x00", b"\x01short", b"\x02\x00", b"\xff" * 40):
        receiver._on_frames_message(message)
    receiver._on_control_message(b"\x01?")
    assert receiver.malformed_messages == 6
    await send(sender, b"fine")
    assert (await receiver.receive_frame()).data == b"fine"


async def test_an_answer_to_a_ping_that_was_never_sent_is_ignored(pair):
    link, _ = pair
    await link.calibrated()
    before = link.clock.estimate
    link._on_frames_message(pack_pong(-5, 1 << 60, 1 << 60))
    assert link.clock.estimate == before
    assert link.malformed_messages == 1


async def test_a_flood_of_pings_is_not_answered_for_long(pair):
    link, _ = pair
    posted: list[bytes] = []
    link._post_frames = lambda *messages: posted.extend(messages)
    for _ in range(50_000):
        link._on_frames_message(pack_ping(1))
    assert len(posted) < 1_000


@pytest.mark.parametrize("flood", ["long", "many"])
async def test_a_peer_that_floods_the_control_channel_is_cut_off(pair, flood):
    link, other = pair
    if flood == "long":
        link._on_control_message(pack_app(bytes(MAX_CONTROL_BYTES + 1)))
    else:
        for _ in range(MAX_WAITING + 1):
            link._on_control_message(pack_app(b"x"))
    async with asyncio.timeout(5):
        assert not (await link.closed()).clean
        await other.closed()


async def test_a_clean_close_reaches_the_other_end_after_what_was_said_before(pair):
    sender, receiver = pair
    sender.send_control(b"last word")
    async with asyncio.timeout(5):
        await sender.close()
        assert await receiver.closed() == LinkEnd("peer")
        assert await sender.closed() == LinkEnd("local")
    assert await receiver.receive_control() == b"last word"
    with pytest.raises(PeerGone, match="the other end closed"):
        await receiver.receive_control()


async def test_no_word_of_a_stranger_reaches_an_error_message(pair):
    sender, receiver = pair
    sender._post_control(pack_bye() + b"call 555 0100")
    await settle()
    assert receiver.malformed_messages == 1
    sender._post_control(pack_bye())
    async with asyncio.timeout(5):
        end = await receiver.closed()
    assert end == LinkEnd("peer")
    assert str(end.error()) == "the other end closed the link"


async def test_frames_that_come_before_they_are_accepted_are_counted_and_ignored():
    sender, receiver = memory_pair()
    async with sender, receiver, asyncio.timeout(5):
        await receiver.connected(5)
        receiver._on_frames_message(messages_of(0, b"too early")[0])
        assert receiver.malformed_messages == 1
        receiver.accept_frames()
        await send(sender, b"in time")
        assert (await receiver.receive_frame()).data == b"in time"


async def test_pings_are_answered_before_frames_are_accepted():
    sender, receiver = memory_pair()
    async with sender, receiver, asyncio.timeout(5):
        await sender.calibrated()


def test_a_control_message_with_its_kind_fits_what_every_webrtc_peer_accepts():
    assert len(pack_app(bytes(MAX_CONTROL_BYTES))) == 65_535 + 1


async def test_frames_in_flight_land_before_a_close(pair):
    sender, receiver = pair
    await send(sender, bytes(50_000))
    await send(sender, b"last")
    await sender.close()
    assert [len(frame.data) async for frame in receiver.frames()] == [50_000, 4]


async def test_closing_twice_and_at_both_ends_at_once_is_fine(pair):
    sender, receiver = pair
    async with asyncio.timeout(5):
        await asyncio.gather(sender.close(), receiver.close(), sender.close())
        await sender.close()
    assert (await sender.closed()).clean
    assert (await receiver.closed()).clean


async def test_whoever_waits_is_told_when_the_link_is_closed_here(pair):
    sender, _ = pair
    await fill(sender)
    waiting = [
        asyncio.ensure_future(coroutine)
        for coroutine in (sender.receive_control(), sender.receive_frame(), sender.writable())
    ]
    await settle()
    sender._finish(LinkEnd("local"))
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(result, PeerGone) for result in results)
    for attempt in (lambda: sender.send_control(b"x"), lambda: sender.fingerprints):
        with pytest.raises((PeerGone, LinkFailed)):
            attempt()
    with pytest.raises(PeerGone):
        await sender.send_frame(b"x")


async def test_a_sender_in_the_middle_of_a_frame_is_told_that_the_peer_closed(pair):
    sender, receiver = pair
    feeding = asyncio.ensure_future(sender.send_frame(bytes(20_000_000)))
    await asyncio.sleep(0)
    await receiver.close()
    with pytest.raises(PeerGone, match="the other end closed"):
        async with asyncio.timeout(5):
            await feeding


async def test_a_cancelled_close_still_frees_everything():
    sender, receiver = memory_pair()
    await sender.connected(5)
    receiver.kill()
    await sender.send_frame(b"nobody reports this: the close waits for it")
    closing = asyncio.ensure_future(sender.close())
    await settle()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    async with asyncio.timeout(5):
        assert await sender.closed() == LinkEnd("local")
        await sender.close()
        await receiver.close()
    await settle()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_cancelled_waits_leave_nothing_behind(pair):
    sender, receiver = pair
    for make in (receiver.receive_frame, receiver.receive_control, receiver.closed):
        waiting = asyncio.ensure_future(make())
        await settle()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await send(sender, b"x")
    assert (await receiver.receive_frame()).data == b"x"


async def test_a_peer_that_vanishes_is_noticed_by_its_silence():
    sender, receiver = memory_pair(silence_s=0.3)
    await sender.connected(5)
    await receiver.connected(5)
    receiver.kill()
    async with asyncio.timeout(5):
        assert (await sender.closed()).cause == "lost"
    with pytest.raises(PeerGone) as caught:
        async for _ in sender.frames():
            pass
    assert caught.value.hint
    await sender.close()


async def test_a_quiet_link_stays_up_by_its_pings():
    sender, receiver = memory_pair(silence_s=0.4)
    await sender.connected(5)
    await receiver.connected(5)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.5):
            await asyncio.wait(
                [asyncio.ensure_future(sender.closed()), asyncio.ensure_future(receiver.closed())],
                return_when=asyncio.FIRST_COMPLETED,
            )
    await sender.close()
    await receiver.close()


async def test_a_link_that_never_opens_fails_in_the_time_given():
    link = MemoryLink(
        fingerprints=(b"", b""), script=None, silence_s=4, clock_offset_ns=0
    )  # joined to no other end
    with pytest.raises(LinkFailed) as caught:
        await link.connected(0.05)
    assert "TURN" in caught.value.hint
    with pytest.raises(LinkFailed):
        link.send_control(b"x")
    with pytest.raises(LinkFailed):
        await link.send_frame(b"x")
    with pytest.raises(LinkFailed):
        await link.calibrated(0.05)
    assert not link.can_send_frame()
    await link.close()
    with pytest.raises(PeerGone, match="closed at this end"):
        await link.connected(0.05)


async def test_after_a_close_no_task_is_left():
    sender, receiver = memory_pair()
    async with sender, receiver:
        await sender.connected(5)
        await receiver.connected(5)
    await settle()
    gc.collect()
    assert asyncio.all_tasks() == {asyncio.current_task()}
