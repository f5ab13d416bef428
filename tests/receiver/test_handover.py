from __future__ import annotations

import asyncio
import time

import pytest

from receiver import showing
from receiver.showing import Handover, PlayoutBuffer
from shared.errors import PeerGone
from shared.newest import SlotClosed

pytestmark = pytest.mark.jumping_clock

LIMIT_S = 30.0
FAR_NS = 3_600_000_000_000


async def test_a_picture_that_was_not_taken_gives_way_to_the_next_and_is_told_of() -> None:
    passed_over: list[int] = []
    handover: Handover[int] = Handover(passed_over.append)
    for picture in range(4):
        handover.put(picture)
    assert await handover.get() == 3
    assert passed_over == [0, 1, 2]


async def test_a_picture_with_a_moment_is_let_go_by_play_and_not_before() -> None:
    passed_over: list[int] = []
    handover: Handover[int] = Handover(passed_over.append)
    now_ns = time.monotonic_ns()
    for picture, due_ns in enumerate((now_ns - 2, now_ns - 1, now_ns + FAR_NS)):
        handover.put_at(picture, due_ns, 1)
    async with asyncio.timeout(LIMIT_S):
        playing = asyncio.create_task(handover.play())
        assert await handover.get() == 1
        taking = asyncio.create_task(handover.get())
        emptied = asyncio.create_task(handover.emptied())
        for _ in range(50):
            await asyncio.sleep(0)
        assert not taking.done() and not emptied.done()
        handover.put(7)
        assert await taking == 7
        for task in (playing, emptied):
            task.cancel()
        await asyncio.gather(playing, emptied, return_exceptions=True)
    assert passed_over == [0]


async def test_once_all_had_their_moment_it_is_empty() -> None:
    handover: Handover[int] = Handover(lambda _: None)
    handover.put_at(1, time.monotonic_ns(), 1)
    async with asyncio.timeout(LIMIT_S):
        playing = asyncio.create_task(handover.play())
        await handover.emptied()
        assert await handover.get() == 1
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)


async def test_what_there_is_no_room_for_is_offered_before_its_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(showing, "PlayoutBuffer", lambda: PlayoutBuffer(most_bytes=2))
    passed_over: list[int] = []
    handover: Handover[int] = Handover(passed_over.append)
    for picture in range(4):
        handover.put_at(picture, time.monotonic_ns() + FAR_NS, 1)
    async with asyncio.timeout(LIMIT_S):
        assert await handover.get() == 1
    assert passed_over == [0]


@pytest.mark.parametrize("error", [None, PeerGone("it is gone")])
async def test_what_waits_when_it_closes_is_passed_over_and_what_is_offered_is_not(
    error: Exception | None,
) -> None:
    passed_over: list[int] = []
    handover: Handover[int] = Handover(passed_over.append)
    handover.put(5)
    for picture in (6, 7):
        handover.put_at(picture, time.monotonic_ns() + FAR_NS, 1)
    handover.close(error)
    assert passed_over == [6, 7]
    async with asyncio.timeout(LIMIT_S):
        await handover.emptied()
        assert await handover.get() == 5


async def test_what_nobody_is_going_to_take_is_passed_over() -> None:
    passed_over: list[int] = []
    handover: Handover[int] = Handover(passed_over.append)
    handover.put_at(6, time.monotonic_ns() + FAR_NS, 1)
    handover.put(5)
    handover.discard()
    handover.discard()
    assert sorted(passed_over) == [5, 6]
    with pytest.raises(SlotClosed):
        await handover.get()


@pytest.mark.parametrize("error", [None, PeerGone("it is gone")])
async def test_what_is_there_is_given_before_the_end(error: Exception | None) -> None:
    handover: Handover[int] = Handover(lambda _: None)
    handover.put(5)
    handover.close(error)
    assert await handover.get() == 5
    with pytest.raises(SlotClosed if error is None else PeerGone):
        await handover.get()
