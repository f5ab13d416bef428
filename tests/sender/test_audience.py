"""Several receivers of one stream, and what becomes of a frame that one alone was offered."""

from __future__ import annotations

import pytest

from tests.doubles import (
    until,
)
from tests.sender.stage import a_stage


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
        stage.session._audience._attendees["stays"]._ready = False  # its path is full now
        stage.tap.give(0)  # offered to the other alone
        await until(lambda: stage.session._audience._attendees["leaves"].unsent is not None)
        await leaves.leave()
        await until(lambda: stage.session.receivers == 1)
        await until(lambda: len(stage.journal.dropped_frames) == 1)


async def test_a_slow_receiver_holds_up_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sender.attendee.HAND_OVER_TIMEOUT_S", 0.05)
    async with a_stage(monkeypatch, max_receivers=2) as stage:
        await stage.join("slow")
        quick = await stage.join("quick")
        monkeypatch.setattr(stage.links.ours[0], "can_send_frame", lambda: False)
        for index in range(4):
            stage.tap.give(index)
            assert (await quick.frame()).index == index
            await until(lambda: stage.session._audience._attendees["quick"].ready)
        assert stage.journal.dropped_frames == []
