"""Playback on a clock that the tests turn: pace, numbering, ends and failures."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace

import numpy as np
import pytest

from sender.masks.masking import Masking
from sender.masks.rectangles import apply_masks
from sender.masks.textwatch import Expected, FindText, TextWatch
from sender.playback.play import AHEAD, play
from sender.sources import SourceInfo
from sender.sources.geometry import Geometry
from sender.sources.source import Reading, Skipped, SourcePicture
from shared.control import Notice
from shared.errors import BadInput, SourceFailed
from shared.frame import Frame, Gap, Image, Rect

MS = 1_000_000  # nanoseconds


class Clock:
    """A clock that moves when somebody sleeps by it, or is pushed."""

    def __init__(self) -> None:
        self.now_ns = 1_000 * MS
        self.slept: list[float] = []

    def __call__(self) -> int:
        return self.now_ns

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.slept.append(seconds)
        self.now_ns += round(seconds * 1e9)
        await asyncio.sleep(0)


def numbered(number: int) -> SourcePicture:
    return SourcePicture(np.full((16, 16), number, np.uint8), Geometry(16, 16))


class Scripted:
    """A source of `count` pictures a pass, each filled with its number."""

    def __init__(
        self, count: int, *, fps: float = 10.0, live: bool = False, fails: Exception | None = None
    ) -> None:
        self.info = SourceInfo("scripted", 16, 16, 1, fps, count, live)
        self.fails = fails
        self.closed = 0
        self.read = 0
        self.passes = 0
        self.reached, self.overran = threading.Event(), threading.Event()

    @property
    def first(self) -> SourcePicture:
        return numbered(0)

    def pictures(self) -> Iterator[SourcePicture]:
        self.passes += 1
        for number in range(self.info.frame_count or 0):
            self.read += 1
            if self.read == 1 + AHEAD + 1:
                self.reached.set()
            elif self.read > 1 + AHEAD + 1:
                self.overran.set()
            yield numbered(number)
        if self.fails is not None:
            raise self.fails

    def close(self) -> None:
        self.closed += 1


async def played(source: Scripted, clock: Clock, **options: object) -> list[Frame]:
    async with asyncio.timeout(10):
        return [
            frame
            async for frame in play(source, clock=clock, sleep=clock.sleep, **options)  # type: ignore[arg-type]
        ]


def times_ms(frames: Sequence[Frame]) -> list[float]:
    return [(frame.captured_at_ns - frames[0].captured_at_ns) / MS for frame in frames]


async def test_frames_are_numbered_from_zero_and_released_at_the_rate() -> None:
    frames = await played(Scripted(5), Clock())
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
    assert [int(frame.image[0, 0]) for frame in frames] == [0, 1, 2, 3, 4]
    assert times_ms(frames) == [0, 100, 200, 300, 400]


async def test_the_rate_can_be_overridden() -> None:
    assert times_ms(await played(Scripted(3), Clock(), fps=50.0)) == [0, 20, 40]


async def test_looping_goes_on_counting_and_keeps_the_pace() -> None:
    source = Scripted(3)
    frames = await played(source, Clock(), loop=True, frames=8)
    assert [frame.index for frame in frames] == list(range(8))
    assert [int(frame.image[0, 0]) for frame in frames] == [0, 1, 2, 0, 1, 2, 0, 1]
    assert times_ms(frames) == [100.0 * n for n in range(8)]
    assert source.closed == 1


async def test_no_more_than_the_wanted_frames_are_read_and_played() -> None:
    source = Scripted(100)
    assert len(await played(source, Clock(), frames=2)) == 2
    assert source.read == 2
    assert source.closed == 1


async def test_a_slow_consumer_gets_late_frames_at_once_but_never_in_a_burst() -> None:
    clock = Clock()
    frames: list[Frame] = []
    async with asyncio.timeout(10):
        async for frame in play(Scripted(6), clock=clock, sleep=clock.sleep):
            frames.append(frame)
            if frame.index == 1:
                clock.now_ns += 350 * MS  # three and a half frame intervals
    assert times_ms(frames) == [0, 100, 450, 550, 650, 750]


async def test_a_little_lateness_is_made_up_so_that_the_rate_holds() -> None:
    clock = Clock()
    frames: list[Frame] = []
    async with asyncio.timeout(10):
        async for frame in play(Scripted(6), clock=clock, sleep=clock.sleep):
            frames.append(frame)
            clock.now_ns += 101 * MS if frame.index == 1 else 30 * MS
    assert times_ms(frames) == [0, 100, 201, 300, 400, 500]


async def test_a_live_source_is_not_paced_and_stamped_on_delivery() -> None:
    clock = Clock()
    async with asyncio.timeout(10):
        frames = [
            frame async for frame in play(Scripted(1, live=True), clock=clock, sleep=clock.sleep)
        ]
    assert clock.slept == []
    assert frames[0].captured_at_ns == 1_000 * MS


class Tapped(Scripted):
    """A live source that delivers a picture whenever the test opens the tap."""

    def __init__(self, count: int) -> None:
        super().__init__(count, live=True)
        self.tap = threading.Semaphore(0)
        self.delivered = threading.Semaphore(0)

    @property
    def first(self) -> SourcePicture:
        return numbered(0)

    def pictures(self) -> Iterator[SourcePicture]:
        for number in range(self.info.frame_count or 0):
            self.tap.acquire()
            yield numbered(number)
            self.delivered.release()


async def test_a_live_picture_nobody_took_is_replaced_by_the_next() -> None:
    source = Tapped(6)
    playing = play(source)
    async with asyncio.timeout(10):
        source.tap.release()
        first = await anext(playing)
        for _ in range(5):  # all five come while nobody asks
            source.tap.release()
        for _ in range(6):
            await asyncio.to_thread(source.delivered.acquire)
        rest = [frame async for frame in playing]
    assert first.index == 0
    assert [frame.index for frame in rest] == [5]
    assert int(rest[0].image[0, 0]) == 5


async def test_a_source_that_fails_midway_fails_after_the_frames_before_it() -> None:
    source = Scripted(3, fails=SourceFailed("it broke"))
    clock = Clock()
    playing = play(source, clock=clock, sleep=clock.sleep)
    async with asyncio.timeout(10):
        assert [(await anext(playing)).index for _ in range(3)] == [0, 1, 2]
        with pytest.raises(SourceFailed, match="it broke"):
            await anext(playing)
    assert source.closed == 1


async def test_an_unforeseen_failure_is_named_without_its_text() -> None:
    source = Scripted(1, fails=RuntimeError("/data/DOE^JANE.dcm"))
    with pytest.raises(SourceFailed) as caught:
        await played(source, Clock())
    assert "RuntimeError" in str(caught.value)
    assert "DOE" not in str(caught.value)


async def test_a_source_without_pictures_fails_even_when_looped() -> None:
    with pytest.raises(SourceFailed, match="no picture"):
        await played(Scripted(0), Clock(), loop=True)


@pytest.mark.parametrize("options", [{"fps": 0.0}, {"fps": -1.0}, {"frames": 0}])
async def test_impossible_options_are_refused_and_the_source_closed(
    options: dict[str, float],
) -> None:
    source = Scripted(3)
    with pytest.raises(BadInput):
        await played(source, Clock(), **options)
    assert source.closed == 1


async def test_ending_early_closes_the_source_and_ends_its_thread() -> None:
    source = Scripted(1000)
    clock = Clock()
    playing = play(source, clock=clock, sleep=clock.sleep)
    async with asyncio.timeout(10):
        await anext(playing)
        await playing.aclose()
    assert source.closed == 1
    assert "veilscope-capture" not in [thread.name for thread in threading.enumerate()]
    assert source.read <= 1 + AHEAD + 1


async def test_cancelling_closes_the_source() -> None:
    source = Scripted(3, fps=0.001)  # the second frame is due in a quarter of an hour

    async def consume() -> None:
        async with aclosing(play(source)) as frames:
            async for frame in frames:
                assert frame.index == 0
                taken.set()

    taken = asyncio.Event()
    task = asyncio.create_task(consume())
    async with asyncio.timeout(10):
        await taken.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert source.closed == 1


async def test_the_source_is_read_ahead_by_a_few_pictures_only() -> None:
    source = Scripted(100)
    clock = Clock()
    playing = play(source, clock=clock, sleep=clock.sleep)
    async with asyncio.timeout(10):
        await anext(playing)
        # One was taken, some lie ahead, and one more waits for room.
        assert await asyncio.to_thread(source.reached.wait, 10)
        await asyncio.to_thread(source.overran.wait, 0.05)
        await playing.aclose()
    assert source.read == 1 + AHEAD + 1


class Stuck(Scripted):
    """A source that blocks in a read until released."""

    def __init__(self) -> None:
        super().__init__(1)
        self.free = threading.Event()

    @property
    def first(self) -> SourcePicture:
        return numbered(0)

    def pictures(self) -> Iterator[SourcePicture]:
        yield numbered(0)
        self.free.wait()


async def test_closing_does_not_wait_forever_for_a_source_blocked_in_a_read(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sender.playback.capture._CLOSE_TIMEOUT_S", 0.05)
    source = Stuck()
    playing = play(source)
    try:
        async with asyncio.timeout(10):
            await anext(playing)
            await playing.aclose()
        assert "blocked in a read" in caplog.text
    finally:
        source.free.set()


async def test_the_event_loop_runs_while_the_source_blocks() -> None:
    source = Stuck()
    playing = play(source)
    async with asyncio.timeout(10):
        await anext(playing)
        waiting = asyncio.ensure_future(anext(playing, None))
        for _ in range(50):
            await asyncio.sleep(0)
        assert not waiting.done()
        source.free.set()
        assert await waiting is None


class Readings(Scripted):
    """A file whose passes are these readings."""

    def __init__(self, *readings: Reading) -> None:
        super().__init__(len(readings))
        self.readings = readings

    def pictures(self) -> Iterator[Reading]:  # type: ignore[override]
        self.passes += 1
        yield from self.readings


def timed(number: int, at_s: float) -> SourcePicture:
    return replace(numbered(number), at_s=at_s)


async def test_pictures_with_times_of_their_own_come_at_these_and_loops_follow_smoothly() -> None:
    source = Readings(timed(0, 0.0), timed(1, 0.04), timed(2, 0.5))
    frames = await played(source, Clock(), loop=True, frames=6)
    assert times_ms(frames) == [0, 40, 500, 600, 640, 1100]


async def test_a_rate_given_by_hand_overrides_the_pictures_own_times() -> None:
    source = Readings(timed(0, 0.0), timed(1, 0.04), timed(2, 0.5))
    assert times_ms(await played(source, Clock(), fps=50.0)) == [0, 20, 40]


async def test_a_damaged_picture_is_a_gap_in_its_place_and_the_pace_goes_on() -> None:
    source = Readings(numbered(0), Skipped("cut short"), numbered(2))
    came: list[object] = await played(source, Clock(), loop=True, frames=6)  # type: ignore[assignment]
    assert [getattr(event, "index", None) for event in came] == [0, 1, 2, 3, 4, 5]
    assert came[1] == Gap(1, "cut short")
    frames = [event for event in came if isinstance(event, Frame)]
    assert times_ms(frames) == [0, 200, 300, 500]


async def test_notices_of_the_source_and_of_its_masking_keep_their_place() -> None:
    class Told(Masking):
        def notices(self) -> list[Notice]:
            return [Notice(kind="text_masked", text="found")]

    source = Readings(numbered(0), Notice(kind="source_lost", text="gone"), numbered(1))
    came: list[object] = await played(source, Clock(), masking=Told(numbered(0)))  # type: ignore[assignment]
    kinds = [event.kind if isinstance(event, Notice) else "frame" for event in came]
    assert kinds == ["text_masked", "frame", "source_lost", "text_masked", "frame"]


async def test_without_masking_what_the_source_declares_is_hidden() -> None:
    source = Readings(replace(numbered(0), masks=(Rect(0, 0, 4, 4),)))
    (frame,) = await played(source, Clock())
    assert frame.masks == (Rect(0, 0, 4, 4),)


async def test_a_source_of_damaged_pictures_alone_fails_with_the_reason() -> None:
    with pytest.raises(SourceFailed, match="no picture of the source can be shown: cut short"):
        await played(Readings(Skipped("cut short"), Skipped("cut short")), Clock(), loop=True)


async def test_a_file_that_shows_one_picture_for_long_stands_not_still() -> None:
    source = Readings(*[numbered(7)] * 50)
    frames = await played(source, Clock())
    assert len(frames) == 50
    assert not any(frame.repeated for frame in frames)


# -- text in the pictures of a file --------------------------------------------------------------


def lettered(number: int, height: int = 64) -> SourcePicture:
    """A picture with "letters", rows of 255, at a place of its own."""
    image = np.full((height, 32), 10, np.uint8)
    image[4 * number : 4 * number + 4, :16] = 255
    return SourcePicture(image, Geometry(32, height))


def find_letters(image: Image) -> tuple[Rect, ...]:
    (rows,) = np.nonzero((image[:, :16] == 255).all(axis=1))
    return (Rect(0, int(rows[0]), 16, 4),) if rows.size else ()


def letters_sent(frame: Frame) -> int:
    return int((apply_masks(frame.image, frame.masks) == 255).sum())


def seen(frame: Frame) -> int:
    return int((apply_masks(frame.image, frame.masks) == 10).sum())


@contextmanager
def looked_for(first: SourcePicture, find: FindText = find_letters) -> Iterator[Masking]:
    masking = Masking(first, text=TextWatch(find, first))
    try:
        yield masking
    finally:
        masking.close()


async def shown(source: Scripted, **options: object) -> list[Frame]:
    return [event for event in await played(source, Clock(), **options) if isinstance(event, Frame)]


async def test_no_letters_of_any_picture_that_stands_are_sent() -> None:
    pictures = [lettered(number) for number in range(9)]
    with looked_for(pictures[0]) as masking:
        frames = await shown(Readings(*pictures), masking=masking, fps=2.0, loop=True, frames=20)
    assert [letters_sent(frame) for frame in frames] == [0] * 20
    assert all(seen(frame) > 0 for frame in frames)


async def test_no_letters_of_pictures_of_changing_size_that_stand_are_sent() -> None:
    pictures = [lettered(number, 64 + 16 * (number % 2)) for number in range(8)]
    with looked_for(pictures[0]) as masking:
        frames = await shown(Readings(*pictures), masking=masking, fps=1.0)
    assert [letters_sent(frame) for frame in frames] == [0] * 8
    assert all(seen(frame) > 0 for frame in frames)


async def test_what_is_found_while_a_picture_waits_for_its_moment_is_hidden() -> None:
    class Found(Masking):
        def masks(
            self, picture: SourcePicture, expected: Expected | None = None
        ) -> tuple[Rect, ...]:
            return found

    async def sleep(seconds: float) -> None:
        nonlocal found
        await clock.sleep(seconds)
        found = (Rect(0, 0, 4, 4),)

    found: tuple[Rect, ...] = ()
    clock = Clock()
    playing = play(Scripted(3), clock=clock, sleep=sleep, masking=Found(numbered(0)))
    masks = [event.masks async for event in playing if isinstance(event, Frame)]
    assert masks == [(), found, found]


async def test_a_picture_that_stands_waits_until_it_was_looked_at_and_that_is_told_once() -> None:
    let_go = threading.Semaphore(1)  # the first is looked at before

    def find(image: Image) -> tuple[Rect, ...]:
        let_go.acquire(timeout=10)
        return find_letters(image)

    clock = Clock()
    pictures = [lettered(number) for number in range(3)]
    with looked_for(pictures[0], find) as masking:
        playing = play(
            Readings(*pictures), fps=1.0, masking=masking, clock=clock, sleep=clock.sleep
        )
        assert isinstance(await anext(playing), Frame)
        waiting = asyncio.ensure_future(anext(playing))
        for _ in range(20):
            await asyncio.sleep(0.005)
        assert not waiting.done()
        clock.now_ns += 5_000 * MS
        let_go.release(10)
        told = await waiting
        assert isinstance(told, Notice)
        assert told.kind == "picture_held"
        rest = [event async for event in playing]
    frames = [event for event in rest if isinstance(event, Frame)]
    assert [letters_sent(frame) for frame in frames] == [0, 0]
    assert times_ms(frames) == [0, 1000], "the one after it stands for less"
    assert "picture_held" not in [event.kind for event in rest if isinstance(event, Notice)]


async def test_pictures_in_which_text_can_t_be_looked_for_are_black_and_nobody_waits() -> None:
    def find(image: Image) -> tuple[Rect, ...]:
        if image[0, 0] != 255:  # all but the first
            raise RuntimeError
        return find_letters(image)

    pictures = [lettered(number) for number in range(4)]
    with looked_for(pictures[0], find) as masking:
        frames = await shown(Readings(*pictures), masking=masking, fps=1.0)
    assert [seen(frame) for frame in frames[1:]] == [0, 0, 0]
    assert len(frames) == 4


async def test_moving_pictures_never_wait_to_be_looked_at() -> None:
    let_go = threading.Semaphore(1)

    def find(image: Image) -> tuple[Rect, ...]:
        let_go.acquire(timeout=10)
        return find_letters(image)

    pictures = [lettered(number) for number in range(12)]
    with looked_for(pictures[0], find) as masking:
        frames = await shown(Readings(*pictures), masking=masking, fps=5.0)
        let_go.release(10)
    assert times_ms(frames) == [200.0 * n for n in range(12)]


@pytest.mark.parametrize(
    ("readings", "needed"),
    [
        ([timed(0, 0.0), timed(1, 0.04), timed(2, 2.0), timed(3, 2.04)], {1, 2}),
        ([numbered(0), *[Skipped("cut short")] * 3, numbered(1)], {0, 1}),
        ([numbered(0), numbered(1)], set()),
    ],
)
async def test_pictures_before_and_after_a_pause_are_those_that_stand(
    readings: list[Reading], needed: set[int]
) -> None:
    class Noting(Masking):
        def expect(self, picture: SourcePicture, *, needed: bool = False) -> Expected | None:
            expected = Expected(picture, (), 0, 0)
            if needed:
                self.need(expected)
            return expected

        def need(self, expected: Expected | None) -> None:
            assert expected is not None
            noted.add(int(expected.picture.image[0, 0]))

    noted: set[int] = set()
    await played(Readings(*readings), Clock(), masking=Noting(numbered(0)))
    assert noted == needed
