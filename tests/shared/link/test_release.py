from __future__ import annotations

import asyncio

import pytest

from shared.link.release import Release


class Resources:
    def __init__(self) -> None:
        self.freed = 0

    async def free(self) -> None:
        await asyncio.sleep(0)
        self.freed += 1


@pytest.mark.parametrize("prepared", [True, False])
async def test_everything_is_freed_once_however_often_it_is_told(prepared):
    resources = Resources()
    release = Release(resources.free)
    if prepared:
        release.prepare()
    await asyncio.gather(release.begin(), release.begin())
    await release.begin()
    assert resources.freed == 1


async def test_nothing_is_freed_before_it_is_told():
    resources = Resources()
    task = Release(resources.free).prepare()
    for _ in range(10):
        await asyncio.sleep(0)
    assert resources.freed == 0
    task.cancel()


async def test_the_task_is_there_before_it_is_told():
    resources = Resources()
    release = Release(resources.free)
    prepared = release.prepare()
    assert release.begin() is prepared
    await prepared
