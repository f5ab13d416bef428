"""Playing a live source on a clock that the test turns: what is new, what repeats, what is told."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from sender.masks.masking import Masking
from sender.playback.capture import same_image
from sender.playback.play import Played, play
from sender.sources.geometry import Geometry
from sender.sources.source import Reading, Skipped, SourceInfo, SourcePicture
from shared.control import Notice
from shared.errors import BadInput, SourceFailed
from shared.frame import Frame, Gap, Rect
from tests.doubles import turns

S, MS = 1_000_000_000, 1_000_000


def numbered(number: int, *, masks: tuple[Rect, ...] = ()) -> SourcePicture:
    return SourcePicture(np.full((16, 24), number, np.uint8), Geometry(24, 16), masks=masks)


class Hand:
    """A live source that delivers what the test gives it."""

    def __init__(self, fps: float = 30.0) -> None:
        self.info = SourceInfo("hand", 24, 16, 1, fps, None, live=True)
        self._readings: queue.Queue[Reading | Exception | None] = queue.Queue()
        self.closed = 0

    @property
    def first(self) -> SourcePicture:
        return numbered(0)

    def pictures(self) -> Iterator[Reading]:
        while (reading := self._readings.get()) is not None:
            if isinstance(reading, Exception):
                raise reading
            yield reading
            self._readings.task_done()

    def close(self) -> None:
        self.closed += 1
        self.give(None)

    def give(self, reading: Reading | Exception | None) -> None:
        self._readings.put(reading)

    def wait_until_handled(self) -> None:
        self._readings.join()


@dataclass
class Rig:
    """A hand, the clock by which it is played, and what has come of it."""

    source: Hand
    came: list[Played] = field(default_factory=list)
    now_ns: int = 100 * S
    paused: bool = False
    _turned: asyncio.Event = field(default_factory=asyncio.Event)

    def clock(self) -> int:
        return self.now_ns

    async def patience(self, seconds: float) -> None:
        due_ns = self.now_ns + round(seconds * 1e9)
        while self.now_ns < due_ns:
            self._turned.clear()
            await self._turned.wait()

    async def give(self, *readings: Reading) -> None:
        for reading in readings:
            self.source.give(reading)
        await asyncio.to_thread(self.source.wait_until_handled)
        await self.settle()

    async def turn(self, seconds: float) -> None:
        """Time goes on, a tenth of a second at a time."""
        for _ in range(round(10 * seconds)):
            self.now_ns += S // 10
            self._turned.set()
            await self.settle()

    async def settle(self) -> None:
        for _ in range(3):  # masks are made in another thread
            await turns(20)
            await asyncio.sleep(0.002)

    def taken(self) -> list[Played]:
        came, self.came = self.came, []
        return came


@asynccontextmanager
async def rig(*, fps: float = 30.0, **options: object) -> AsyncIterator[Rig]:
    made = Rig(Hand(fps))

    async def consume() -> None:
        playing = play(made.source, clock=made.clock, patience=made.patience, **options)  # type: ignore[arg-type]
        async for event in playing:
            made.came.append(event)

    async with asyncio.timeout(30):
        consuming = asyncio.create_task(consume())
        await made.settle()
        yield made
        made.source.give(None)
        await asyncio.wait({consuming})
        if not consuming.cancelled() and consuming.exception() is not None:
            made.came.append(Notice(kind="failed", text=str(consuming.exception())))


def told(events: list[Played]) -> list[tuple[str, bool]]:
    return [(event.text, event.lasting) for event in events if isinstance(event, Notice)]


def frames(events: list[Played]) -> list[Frame]:
    return [event for event in events if isinstance(event, Frame)]


async def test_a_frame_is_as_old_as_its_delivery_not_as_the_moment_at_which_it_was_taken() -> None:
    source = Hand()
    clock = Rig(source)
    playing = play(source, clock=clock.clock, patience=clock.patience)
    async with asyncio.timeout(30):
        source.give(numbered(1))
        first = asyncio.ensure_future(anext(playing))
        await asyncio.to_thread(source.wait_until_handled)
        await first
        delivered_at_ns = clock.now_ns
        source.give(numbered(2))
        await asyncio.to_thread(source.wait_until_handled)  # it lies there, and nobody takes it
        clock.now_ns += 300 * MS
        second = await anext(playing)
        assert isinstance(second, Frame)
        assert second.captured_at_ns == delivered_at_ns
        await playing.aclose()


async def test_a_frame_is_as_old_as_its_delivery_however_long_its_masks_take() -> None:
    class Slow(Masking):
        def masks(self, picture: SourcePicture) -> tuple[Rect, ...]:
            made.now_ns += 80 * MS
            return super().masks(picture)

    async with rig(masking=Slow(numbered(0))) as made:
        await made.give(numbered(1))
        assert [frame.captured_at_ns for frame in frames(made.taken())] == [100 * S]


async def test_a_grabber_that_delivers_each_picture_twice_gives_each_once() -> None:
    async with rig() as made:
        for number in range(5):
            await made.give(numbered(number), numbered(number))
            await made.turn(0.1)
        came = made.taken()
        assert [int(frame.image[0, 0]) for frame in frames(came)] == [0, 1, 2, 3, 4]
        assert not any(frame.repeated for frame in frames(came))
        assert told(came) == []


async def test_a_picture_that_repeats_for_a_second_is_told_and_given_again_as_old_as_it_is() -> (
    None
):
    async with rig() as made:
        await made.give(numbered(1))
        for _ in range(35):
            await made.turn(0.1)
            await made.give(numbered(1))
        came = made.taken()
        assert told(came) == [("the source stands still", True)]
        assert [frame.repeated for frame in frames(came)] == [False, True, True, True]
        assert {frame.captured_at_ns for frame in frames(came)} == {100 * S}
        assert [frame.index for frame in frames(came)] == [0, 1, 2, 3]
        await made.give(numbered(2))
        after = made.taken()
        assert told(after) == [("the source gives new pictures again, after 4 s", False)]
        assert isinstance(after[0], Notice), "the picture came before the news"
        (frame,) = frames(after)
        assert (frame.index, frame.repeated, frame.captured_at_ns) == (4, False, made.now_ns)


async def test_a_device_that_delivers_nothing_is_told_and_its_last_picture_given_again() -> None:
    async with rig() as made:
        await made.give(numbered(1))
        await made.turn(2.1)
        came = made.taken()
        assert told(came) == [("the source delivers no picture", True)]
        assert [frame.repeated for frame in frames(came)] == [False, True, True]
        await made.give(numbered(1))
        assert made.taken() == [], "the same picture after a pause is nothing new"
        await made.turn(1.0)
        assert told(made.taken()) == [("the source stands still", True)]


async def test_a_device_that_delivers_nothing_from_the_start_is_told_without_a_picture() -> None:
    async with rig() as made:
        await made.turn(2.1)
        came = made.taken()
        assert told(came) == [("the source delivers no picture", True)]
        assert frames(came) == []


async def test_what_the_source_tells_is_passed_on_in_order_and_not_told_in_other_words() -> None:
    lost = Notice(kind="source_lost", text="the camera is gone", lasting=True)
    back = Notice(kind="source_lost", text="it is back")
    async with rig() as made:
        await made.give(numbered(1), lost)
        await made.turn(3.1)
        await made.give(back, numbered(2))
        came = made.taken()
        assert told(came) == [("the camera is gone", True), ("it is back", False)]
        assert [frame.repeated for frame in frames(came)] == [False, True, True, True, False]


async def test_damaged_pictures_are_gaps_in_the_numbers_and_renew_nothing() -> None:
    async with rig() as made:
        await made.give(numbered(1))
        await made.give(Skipped("cut short"), Skipped("cut short"))
        await made.turn(1.0)
        await made.give(Skipped("cut short"), numbered(2))
        came = [event for event in made.taken() if not isinstance(event, Notice)]
        assert [(type(event), event.index) for event in came] == [
            (Frame, 0), (Gap, 1), (Gap, 2), (Frame, 3), (Gap, 4), (Frame, 5)
        ]  # fmt: skip
        assert [frame.repeated for frame in frames(list(came))] == [False, True, False]


async def test_a_picture_no_codec_takes_is_a_damaged_one() -> None:
    tiny = SourcePicture(np.zeros((4, 4), np.uint8), Geometry(4, 4))
    async with rig() as made:
        await made.give(numbered(1))
        await made.give(tiny, numbered(2))
        came = made.taken()
        assert [type(event) for event in came] == [Frame, Gap, Frame]
        gap = came[1]
        assert isinstance(gap, Gap)
        assert "16 to 4096 pixels a side" in gap.why


async def test_a_source_that_stands_still_too_long_ends_with_a_line_that_says_so() -> None:
    async with rig(timeout_s=3.0) as made:
        await made.give(numbered(1))
        await made.turn(3.2)
    assert told(made.came)[-1] == ("the source has delivered no picture for 3 s", False)


async def test_without_a_timeout_it_may_stand_still_for_hours() -> None:
    async with rig(timeout_s=0) as made:
        await made.give(numbered(1))
        for _ in range(5):
            made.now_ns += 3600 * S
            await made.turn(0.1)
        newest = frames(made.came)[-1]
        assert newest.repeated
        assert newest.captured_at_ns == 100 * S


async def test_only_the_source_s_own_frames_count_towards_those_asked_for() -> None:
    async with rig(frames=2) as made:
        await made.give(numbered(1))
        await made.turn(3.1)
        await made.give(numbered(2))
        assert len([frame for frame in frames(made.came) if not frame.repeated]) == 2


class Found(Masking):
    """Masking that finds more to hide when the test says so."""

    found: tuple[Rect, ...] = ()

    def masks(self, picture: SourcePicture) -> tuple[Rect, ...]:
        return self.found

    def notices(self) -> list[Notice]:
        return [Notice(kind="text_masked", text="found")] if self.found else []


@pytest.mark.parametrize("repeats", [True, False])
async def test_what_is_found_in_a_picture_while_it_stands_still_is_hidden_from_then_on(
    repeats: bool,
) -> None:
    masking = Found(numbered(0))
    async with rig(masking=masking) as made:
        await made.give(numbered(1))
        masking.found = (Rect(0, 0, 4, 4),)
        if repeats:
            await made.give(numbered(1))
        else:
            await made.turn(1.1)
        came = frames(made.taken())
        assert [frame.masks for frame in came] == [(), masking.found]
        assert came[1].repeated
        assert came[1].captured_at_ns == came[0].captured_at_ns


async def test_a_source_that_fails_fails_after_what_came_before() -> None:
    async with rig() as made:
        await made.give(numbered(1))
        made.source.give(SourceFailed("the cable is out"))
        await made.settle()
    assert told(made.came)[-1] == ("the cable is out", False)


@pytest.mark.parametrize("timeout_s", [-1.0, float("inf"), float("nan")])
async def test_an_impossible_timeout_is_refused(timeout_s: float) -> None:
    with pytest.raises(BadInput, match="timeout"):
        await anext(play(Hand(), timeout_s=timeout_s))


@pytest.mark.parametrize("shape", [(48, 64), (48, 64, 3), (49, 63), (33, 35, 3)])
@pytest.mark.parametrize("place", [(0, 0), (20, 13), (16, 32)])
def test_images_are_the_same_only_if_every_sample_is(
    shape: tuple[int, ...], place: tuple[int, int]
) -> None:
    image = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    other = image.copy()
    assert same_image(image, other)
    other[place] ^= 1
    assert not same_image(image, other)
    assert not same_image(image, image[:-1])
    assert not same_image(image, image[..., None])


async def test_a_live_source_that_gives_nothing_any_more_is_closed_and_so_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with rig(frames=1) as made:
        await made.give(numbered(1))
        while not made.source.closed:
            await asyncio.sleep(0.01)
    assert "veilscope-capture" not in [thread.name for thread in threading.enumerate()]
    assert "left behind" not in caplog.text


async def test_a_picture_that_was_delivered_before_anybody_watched_is_as_old_as_that() -> None:
    async with rig() as made:
        await made.give(replace(numbered(1), delivered_at_ns=95 * S))
        await made.turn(0.1)
        came = made.taken()
        assert frames(came)[0].captured_at_ns == 95 * S
        assert told(came) == [("the source delivers no picture", True)]
        await made.turn(1.0)
        assert [frame.repeated for frame in frames(made.taken())] == [True]


async def test_a_picture_of_hours_before_anybody_watched_is_one_that_repeats() -> None:
    async with rig(timeout_s=0) as made:
        await made.give(replace(numbered(1), delivered_at_ns=made.now_ns - 7200 * S))
        (frame,) = frames(made.taken())[:1]
        assert frame.repeated
        assert frame.captured_at_ns == made.now_ns - 7200 * S


async def test_a_time_of_delivery_that_is_still_to_come_is_now() -> None:
    async with rig() as made:
        await made.give(replace(numbered(1), delivered_at_ns=made.now_ns + S))
        assert frames(made.taken())[0].captured_at_ns == made.now_ns
