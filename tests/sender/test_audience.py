"""Several receivers of one stream, and what becomes of a frame that one alone was offered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import pytest

from sender.attendee import Attendee
from sender.audience import Audience
from sender.pipeline import SealedFrame
from shared.capabilities import OUR_FEATURES
from shared.frame import EncodedFrame
from shared.telemetry.records import DropReason
from tests.doubles import (
    until,
)
from tests.sender.stage import WatchedJournal, a_stage

FRAME = SealedFrame(
    index=7,
    epoch=1,
    counter=0,
    captured_at_ns=0,
    sealed_at_ns=0,
    encoded=EncodedFrame("jpeg", 32, 16, 1, b"", 40.0),
    sealed=b"a frame",
    stages_us={"capture": 1, "mask": 2, "encode": 3, "keystream": 4, "seal": 5},
)


@dataclass(eq=False)
class Present:
    """A receiver that is there; what it is offered waits until it `takes` it."""

    peer: str
    unsent: SealedFrame | None = None
    features: frozenset[str] = OUR_FEATURES

    @property
    def outbox(self) -> Present:
        return self

    def offer(self, frame: SealedFrame) -> bool:
        self.unsent = frame
        return True

    def takes(self, journal: WatchedJournal) -> None:
        assert self.unsent is not None
        journal.frame_sent(self.unsent, 1)
        self.unsent = None


def both_watch(journal: WatchedJournal) -> tuple[Audience, Present, Present]:
    audience = Audience(journal)
    present = Present("slow"), Present("quick")
    for attendee in present:
        audience.add(cast(Attendee, attendee))
    assert audience.offer(FRAME)
    return audience, *present


def test_a_frame_that_one_receiver_got_is_not_dropped_when_the_last_one_leaves() -> None:
    journal = WatchedJournal()
    audience, slow, quick = both_watch(journal)
    quick.takes(journal)
    for attendee in (quick, slow):
        audience.remove(cast(Attendee, attendee))
    assert journal.dropped_frames == []


def test_a_frame_that_nobody_got_is_dropped_once_when_the_last_one_leaves() -> None:
    journal = WatchedJournal()
    audience, slow, quick = both_watch(journal)
    audience.remove(cast(Attendee, quick))
    assert journal.dropped_frames == [], "the other may still get it"
    audience.remove(cast(Attendee, slow))
    assert journal.dropped_frames == [(DropReason.NO_RECEIVER, 7)]


async def test_a_frame_offered_only_to_one_that_leaves_while_another_stays_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_stage(monkeypatch, max_receivers=2) as stage:
        await stage.join("stays")
        leaves = await stage.join("leaves")
        monkeypatch.setattr(stage.links.ours[1], "can_send_frame", lambda: False)
        stage.session._audience._attendees["stays"].outbox.ready = False  # its path is full now
        stage.tap.give(0)  # offered to the other alone
        await until(lambda: stage.session._audience._attendees["leaves"].outbox.unsent is not None)
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
            await until(lambda: stage.session._audience._attendees["quick"].outbox.ready)
        assert stage.journal.dropped_frames == []
