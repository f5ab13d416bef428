"""How a sender session ends, and what it says then."""

from __future__ import annotations

import pytest

from shared import control
from shared.errors import (
    SourceFailed,
)
from shared.telemetry.records import DropReason
from tests.doubles import (
    until,
)
from tests.sender.stage import a_stage

pytestmark = pytest.mark.jumping_clock


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
