from __future__ import annotations

import asyncio

from shared.link.timer import STALL_NS, LoopTimer

MS = 1_000_000


class Clock:
    def __init__(self) -> None:
        self.ns = 10**9

    def __call__(self) -> int:
        return self.ns


async def fired(timer_set) -> bool:
    """Whether a timer set for now acts within some turns of the loop."""
    done = asyncio.Event()
    timer_set(done)
    try:
        async with asyncio.timeout(0.05):
            await done.wait()
    except TimeoutError:
        return False
    return True


async def test_it_acts_once_when_its_time_has_come():
    clock, acted, done = Clock(), [], asyncio.Event()
    timer = LoopTimer(lambda: (acted.append(1), done.set()), clock)
    timer.set(clock.ns - MS)
    async with asyncio.timeout(5):
        await done.wait()
    await asyncio.sleep(0)
    assert acted == [1]


async def test_the_earliest_time_holds():
    clock = Clock()

    def both(done: asyncio.Event) -> None:
        timer = LoopTimer(done.set, clock)
        timer.set(clock.ns)
        timer.set(clock.ns + 3_600_000 * MS)
        timer.set(None)

    assert await fired(both)


async def test_an_earlier_time_takes_the_place_of_a_later_one():
    clock = Clock()

    def both(done: asyncio.Event) -> None:
        timer = LoopTimer(done.set, clock)
        timer.set(clock.ns + 3_600_000 * MS)
        timer.set(clock.ns)

    assert await fired(both)


async def test_a_cancelled_one_does_not_act():
    clock = Clock()

    def cancelled(done: asyncio.Event) -> None:
        timer = LoopTimer(done.set, clock)
        timer.set(clock.ns)
        timer.cancel()

    assert not await fired(cancelled)


async def test_one_that_comes_late_listens_before_it_acts():
    order: list[str] = []
    done = asyncio.Event()
    clock = Clock()
    timer = LoopTimer(lambda: (order.append("acts"), done.set()), clock, listen_first=True)
    timer.set(clock.ns)
    clock.ns += STALL_NS + 1
    loop = asyncio.get_running_loop()
    loop.call_soon(lambda: loop.call_soon(lambda: loop.call_soon(order.append, "hears")))
    async with asyncio.timeout(5):
        await done.wait()
    assert order == ["hears", "acts"]
