"""A slot holds one item, the newest."""

from __future__ import annotations

import asyncio

import pytest

from shared.newest import Newest, SlotClosed


async def test_a_put_into_a_full_slot_hands_the_older_item_back() -> None:
    slot: Newest[int] = Newest()
    assert slot.put(1) is None
    assert slot.put(2) == 1
    assert await slot.get() == 2


async def test_get_waits_for_an_item() -> None:
    slot: Newest[int] = Newest()
    getting = asyncio.create_task(slot.get())
    await asyncio.sleep(0)
    assert not getting.done()
    slot.put(7)
    assert await asyncio.wait_for(getting, 1) == 7


async def test_a_taken_item_is_not_given_twice() -> None:
    slot: Newest[int] = Newest()
    slot.put(1)
    await slot.get()
    getting = asyncio.create_task(slot.get())
    await asyncio.sleep(0)
    assert not getting.done()
    getting.cancel()


async def test_what_was_put_before_closing_still_comes_out() -> None:
    slot: Newest[int] = Newest()
    slot.put(1)
    slot.close()
    assert slot.closed
    assert await slot.get() == 1
    with pytest.raises(SlotClosed):
        await slot.get()


async def test_closing_with_an_error_raises_it_after_the_last_item() -> None:
    slot: Newest[int] = Newest()
    slot.put(1)
    slot.close(LookupError("gone"))
    assert await slot.get() == 1
    with pytest.raises(LookupError, match="gone"):
        await slot.get()


async def test_closing_wakes_whoever_waits() -> None:
    slot: Newest[int] = Newest()
    getting = asyncio.create_task(slot.get())
    await asyncio.sleep(0)
    slot.close()
    with pytest.raises(SlotClosed):
        await asyncio.wait_for(getting, 1)


async def test_an_item_may_be_taken_out_without_waiting() -> None:
    slot: Newest[int] = Newest()
    assert slot.take() is None
    slot.put(3)
    assert slot.take() == 3
    assert slot.take() is None
