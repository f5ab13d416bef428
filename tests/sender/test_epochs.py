"""Epochs begin one at a time, after the receivers have the key, and not later than a limit."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from sender.epochs import Epochs
from sender.pipeline import SealingPipeline
from shared.crypto.keyschedule import EpochSecret, SenderSchedule
from shared.wire import SENDER_ID
from tests.doubles import LIMIT_S, ShakeBackend, SteppingClock, turns, until

S = 1_000_000_000


class Listener:
    """Stands in for an `Attendee`: acknowledges when told to."""

    def __init__(self, *, confirms: bool = True) -> None:
        self.given: list[EpochSecret] = []
        self.confirms = asyncio.Event()
        self.given_up = False
        if confirms:
            self.confirms.set()

    async def hand_over(self, secret: EpochSecret, sender: int) -> None:
        assert sender == SENDER_ID
        self.given.append(secret)
        try:
            await self.confirms.wait()
        except asyncio.CancelledError:
            self.given_up = True
            raise


class Audience(list[Listener]):
    """What of an audience epochs use."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = asyncio.Event()


class Rig:
    """Epochs over a real pipeline, with a clock in the test's hands."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = SteppingClock(1000 * S)
        monkeypatch.setattr("sender.epochs.time", SimpleNamespace(monotonic_ns=self.clock))
        self.listeners = Audience()
        self.entered: list[tuple[int, str]] = []
        self.worker = ThreadPoolExecutor(1)
        self.pipeline = SealingPipeline(ShakeBackend(), sender=SENDER_ID, clock_ns=self.clock)
        self.epochs = Epochs(
            self.pipeline,
            self.worker,
            rekey_after_s=60.0,
            audience=self.listeners,  # type: ignore[arg-type]
            journal=self,  # type: ignore[arg-type]
        )

    def epoch_entered(self, epoch: int, reason: str) -> None:
        assert self.pipeline.epoch == epoch, "told before it was in force"
        self.entered.append((epoch, reason))


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    made = Rig(monkeypatch)
    yield made
    made.worker.shutdown()
    made.pipeline.close()


def numbers(secrets: list[EpochSecret]) -> list[tuple[int, str]]:
    return [(secret.epoch, secret.reason) for secret in secrets]


async def test_epochs_are_numbered_upwards_and_say_why_they_began(rig: Rig) -> None:
    async with asyncio.timeout(LIMIT_S):
        listener = Listener()
        rig.listeners.append(listener)
        await rig.epochs.begin("join")
        await rig.epochs.begin("join")
        await rig.epochs.begin("leave")
        assert rig.entered == [(1, "start"), (2, "join"), (3, "leave")]
        assert numbers(listener.given) == rig.entered
        assert len({secret.secret for secret in listener.given}) == 3


async def test_an_epoch_is_in_force_only_once_every_receiver_has_its_key(rig: Rig) -> None:
    async with asyncio.timeout(LIMIT_S):
        await rig.epochs.begin("join")
        quick, slow = Listener(), Listener(confirms=False)
        rig.listeners += [slow, quick]
        beginning = asyncio.create_task(rig.epochs.begin("join"))
        await until(lambda: bool(quick.given and slow.given))
        await turns()
        assert rig.pipeline.epoch == 1
        assert not beginning.done()
        slow.confirms.set()
        await beginning
        assert rig.pipeline.epoch == 2
        assert not slow.given_up


@pytest.mark.parametrize(
    ("reason", "limit"), [("join", "ACK_TIMEOUT_S"), ("leave", "LEAVE_ACK_TIMEOUT_S")]
)
async def test_a_silent_receiver_is_waited_for_no_longer_than_the_limit(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, reason: str, limit: str
) -> None:
    for name in ("ACK_TIMEOUT_S", "LEAVE_ACK_TIMEOUT_S"):
        monkeypatch.setattr(f"sender.epochs.{name}", 0.05 if name == limit else 1000.0)
    async with asyncio.timeout(LIMIT_S):
        await rig.epochs.begin("join")
        silent, quick = Listener(confirms=False), Listener()
        rig.listeners += [silent, quick]
        await rig.epochs.begin(reason)  # type: ignore[arg-type]
        assert rig.pipeline.epoch == 2
        await turns()
        assert silent.given_up
        assert not quick.given_up


async def test_a_beginning_that_is_cancelled_leaves_no_hand_over_behind(rig: Rig) -> None:
    async with asyncio.timeout(LIMIT_S):
        silent = Listener(confirms=False)
        rig.listeners.append(silent)
        beginning = asyncio.create_task(rig.epochs.begin("join"))
        await until(lambda: bool(silent.given))
        beginning.cancel()
        await asyncio.gather(beginning, return_exceptions=True)
        await turns()
        assert silent.given_up
        assert rig.entered == []


async def test_one_epoch_begins_at_a_time(rig: Rig) -> None:
    async with asyncio.timeout(LIMIT_S):
        slow = Listener(confirms=False)
        rig.listeners.append(slow)
        beginnings = [asyncio.create_task(rig.epochs.begin("join")) for _ in range(3)]
        await until(lambda: bool(slow.given))
        await turns()
        assert len(slow.given) == 1
        slow.confirms.set()
        await asyncio.gather(*beginnings)
        assert rig.entered == [(1, "start"), (2, "join"), (3, "join")]


async def test_the_pipeline_seals_under_the_secret_that_was_handed_over(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedules: list[tuple[SenderSchedule, int]] = []
    enter = rig.pipeline.enter_epoch

    def entering(schedule: SenderSchedule, epoch: int) -> None:
        schedules.append((schedule, epoch))
        enter(schedule, epoch)

    monkeypatch.setattr(rig.pipeline, "enter_epoch", entering)
    async with asyncio.timeout(LIMIT_S):
        await rig.epochs.begin("join")
        await rig.epochs.begin("leave")
    assert [epoch for _, epoch in schedules] == [1, 2]
    assert len({id(schedule) for schedule, _ in schedules}) == 1


async def test_a_new_epoch_begins_when_the_last_is_old_enough_and_not_before(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sender.epochs.CHECK_EVERY_S", 0)
    async with asyncio.timeout(LIMIT_S):
        listener = Listener()  # given an epoch's secret before the epoch is in force
        rig.listeners.append(listener)
        await rig.epochs.begin("join")
        keeping = asyncio.create_task(rig.epochs.keep())
        born_ns = rig.clock.now_ns
        for epoch in (2, 3):
            rig.clock.now_ns = born_ns + 60 * S - 1
            await turns()
            assert len(listener.given) == epoch - 1
            rig.clock.now_ns = born_ns = born_ns + 60 * S
            await until(lambda: len(rig.entered) == epoch)  # noqa: B023 -- awaited here
        assert rig.entered == [(1, "start"), (2, "time"), (3, "time")]
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
