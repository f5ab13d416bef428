"""What every link does, over channels in memory: no sockets, and time that takes none."""

from __future__ import annotations

import asyncio
import gc
import random

import pytest

from shared.errors import LinkFailed, PeerGone
from shared.link import MAX_CONTROL_BYTES, Link, LinkEnd
from shared.link.memory import MemoryLink, MemoryTransport, memory_pair
from shared.link.messages import DATA, SYMBOL_BYTES, pack_app
from shared.link.receiving import MAX_WAITING_FRAMES
from tests.shared.link.simulated_path import messages_of

pytestmark = [pytest.mark.usefixtures("loop_complaints"), pytest.mark.jumping_clock]


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
    link.transport.post_frames = lambda messages: None
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
    waiting = asyncio.ensure_future(sender.send_frame(b"one too many"))
    await settle()
    assert not waiting.done()
    assert sender._connection._sender._queue.backlog_bytes == 0
    waiting.cancel()


async def test_between_may_i_send_and_send_the_path_may_narrow_and_the_frame_waits(pair):
    sender, receiver = pair
    assert sender.can_send_frame()
    await fill(sender)
    waiting = asyncio.ensure_future(sender.send_frame(b"told that it may"))
    await settle()
    assert not waiting.done()
    del sender.transport.post_frames
    async with asyncio.timeout(5):
        await waiting
        while (await receiver.receive_frame()).data != b"told that it may":
            pass


async def test_of_two_frames_handed_over_at_once_the_second_waits_for_the_first(pair):
    sender, _ = pair
    first = asyncio.ensure_future(sender.send_frame(bytes(300_000)))
    second = asyncio.ensure_future(sender.send_frame(b"another"))
    async with asyncio.timeout(10):
        assert await second == await first + 1


async def test_writable_returns_as_soon_as_a_frame_may_leave(pair):
    sender, _ = pair
    await fill(sender)
    del sender.transport.post_frames
    async with asyncio.timeout(5):
        await sender.writable()
    assert sender.can_send_frame()


async def test_a_frame_is_handed_over_when_its_last_packet_has_left(pair):
    sender, receiver = pair
    posted: list[bytes] = []
    post = sender.transport.post_frames
    sender.transport.post_frames = lambda messages: (posted.extend(messages), post(messages))
    async with asyncio.timeout(10):
        await sender.send_frame(bytes(150_000))
        pieces = [m for m in posted if m[0] == DATA]
        assert len(pieces) >= 150_000 / SYMBOL_BYTES
        assert (await receiver.receive_frame()).data == bytes(150_000)


async def test_lost_packets_are_sent_again(pair):
    sender, receiver = pair
    dice = random.Random(3)
    post = sender.transport.post_frames

    def lossy(messages: list[bytes]) -> None:
        post([m for m in messages if m[0] != DATA or dice.random() > 0.05])

    sender.transport.post_frames = lossy
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
        while sender._connection.in_flight:
            await asyncio.sleep(0.01)
    path = sender.path
    assert path is not None
    assert path.rate_bps > 0
    assert path.rtt_ns > 0
    assert path.loss == 0


async def test_a_consumer_that_is_too_slow_gets_the_newest_frames_and_the_rest_are_counted(pair):
    _, receiver = pair
    for i in range(MAX_WAITING_FRAMES + 3):
        receiver.on_frames_message(messages_of(i, bytes([i]))[0])
    newest = [bytes([i]) for i in range(3, MAX_WAITING_FRAMES + 3)]
    assert [(await receiver.receive_frame()).data for _ in newest] == newest
    assert receiver.frames_dropped == {"consumer slow": 3}


async def test_a_peer_that_floods_the_control_channel_is_cut_off_and_notices(pair):
    link, other = pair
    link.on_control_message(pack_app(bytes(MAX_CONTROL_BYTES + 1)))
    async with asyncio.timeout(5):
        assert not (await link.closed()).clean
        await other.closed()


async def test_a_link_that_falls_silent_is_interrupted_and_comes_back(pair):
    sender, receiver = pair
    post, silent = sender.transport.post_frames, []
    sender.transport.post_frames = silent.extend
    async with asyncio.timeout(10):
        while not receiver.interrupted:
            await asyncio.sleep(0.1)
        del sender.transport.post_frames
        while receiver.interrupted:
            await asyncio.sleep(0.1)
        await send(sender, b"back")
        assert (await receiver.receive_frame()).data == b"back"
    assert post


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
    sender.on_closed(LinkEnd("local"))
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
    sender, receiver = memory_pair(lost_after_s=0.3)
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
    sender, receiver = memory_pair(lost_after_s=0.4)
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
    transport = MemoryTransport((b"", b""), 0, 0)  # joined to no other end
    link = MemoryLink(transport, script=None, silence_s=4, lost_after_s=4)
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
