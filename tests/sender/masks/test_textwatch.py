"""The watch for text: the stream never waits for it, and what was not looked at is not shown."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from sender.masks.textwatch import MAX_UNSEEN_S, Sight, TextWatch
from sender.sources.geometry import Geometry
from sender.sources.source import SourcePicture
from shared.frame import Image, Rect
from tests.doubles import LIMIT_S

FIRST, SECOND = Rect(4, 4, 20, 8), Rect(30, 20, 10, 6)


def numbered(number: int, width: int = 64, height: int = 48) -> SourcePicture:
    return SourcePicture(np.full((height, width), number, np.uint8), Geometry(width, height))


class Reader:
    """Finds what the test says, when the test says so; keeps what it was asked about."""

    def __init__(self, *first: Rect) -> None:
        self.asked: queue.Queue[int] = queue.Queue()
        self.answers: queue.Queue[tuple[Rect, ...] | Exception] = queue.Queue()
        self.answers.put(first)

    def __call__(self, image: Image) -> tuple[Rect, ...]:
        self.asked.put(int(image[0, 0]))
        answer = self.answers.get(timeout=LIMIT_S)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def number(self) -> int:
        """The number of the picture that is being looked at."""
        return self.asked.get(timeout=LIMIT_S)


class Eye:
    """A watch in the hands of a test."""

    def __init__(self, *first: Rect) -> None:
        self.now_ns = 0
        self.reader = Reader(*first)
        self.watch = TextWatch(self.reader, numbered(0), clock=lambda: self.now_ns)
        assert self.reader.number() == 0

    def answer(self, *found: Rect) -> None:
        self.reader.answers.put(found)

    def see_until(
        self,
        picture: SourcePicture,
        wanted: Callable[[Sight], bool],
        hidden: tuple[Rect, ...] = (),
    ) -> Sight:
        """Go on seeing `picture` until the watch has taken in what was answered."""
        stop = time.monotonic() + LIMIT_S
        while not wanted(sight := self.watch.see(picture, hidden)):
            assert time.monotonic() < stop, sight
            time.sleep(0.002)
            if self.reader.answers.empty() and not self.reader.asked.empty():
                self.reader.asked.get()
                self.answer()  # of looks that the test has nothing to say to
        return sight

    def close(self) -> None:
        self.answer()  # a look that is under way ends
        self.answer()
        self.watch.close()


@pytest.fixture
def eyes() -> Iterator[Callable[..., Eye]]:
    opened: list[Eye] = []

    def make(*first: Rect) -> Eye:
        opened.append(Eye(*first))
        return opened[-1]

    yield make
    for eye in opened:
        eye.close()
    assert not [t for t in threading.enumerate() if t.name == "veilscope-text"]


Eyes = Callable[..., Eye]


def test_the_first_picture_was_looked_at_before_it_is_shown(eyes: Eyes) -> None:
    eye = eyes(FIRST)
    assert eye.watch.boxes == (FIRST,)
    assert eye.watch.see(numbered(0)) == Sight((FIRST,))


def test_text_that_comes_is_hidden_from_then_on_and_told_once(eyes: Eyes) -> None:
    eye = eyes(FIRST)
    eye.watch.see(numbered(0))
    eye.answer(FIRST, SECOND)
    assert eye.see_until(numbered(1), lambda s: bool(s.found)).found == 1
    sight = eye.watch.see(numbered(2))
    assert sight.found == 0
    assert set(sight.boxes or ()) == {FIRST, SECOND}


def test_the_stream_does_not_wait_and_the_newest_picture_is_looked_at(eyes: Eyes) -> None:
    eye = eyes()
    eye.watch.see(numbered(0))
    assert eye.reader.number() == 0  # and is being looked at, while the stream goes on
    for number in (1, 2, 3):
        assert eye.watch.see(numbered(number)) == Sight(())
    eye.answer()
    assert eye.reader.number() == 3


def test_text_that_was_there_before_pairing_stays_hidden_when_it_goes(eyes: Eyes) -> None:
    eye = eyes(FIRST)
    for number in range(1, 4):
        eye.watch.see(numbered(0 if number == 1 else number))
        eye.reader.number()
        eye.answer()
    assert eye.watch.see(numbered(9)).boxes == (FIRST,)


def test_a_picture_of_another_size_is_hidden_until_one_was_looked_at(eyes: Eyes) -> None:
    eye = eyes(FIRST)
    eye.watch.see(numbered(0))
    assert eye.reader.number() == 0
    sight = eye.watch.see(numbered(1, 80, 60))
    assert sight.boxes is None
    assert "until it has been looked at" in sight.why
    eye.answer(FIRST)  # on the picture before the change: it says nothing of those after it
    assert eye.reader.number() == 1
    assert eye.watch.see(numbered(2, 80, 60)).boxes is None
    eye.answer(SECOND)
    sight = eye.see_until(numbered(3, 80, 60), lambda s: s.boxes is not None)
    assert sight.boxes == (SECOND,)


def test_a_size_that_comes_back_is_looked_at_anew(eyes: Eyes) -> None:
    eye = eyes(FIRST)
    eye.watch.see(numbered(0))
    eye.watch.see(numbered(1, 80, 60))
    assert eye.watch.see(numbered(2)).boxes is None


def test_a_live_picture_other_than_the_first_is_hidden_until_it_was_looked_at(eyes: Eyes) -> None:
    eye = eyes(FIRST)
    assert eye.watch.see(numbered(7)).boxes is None
    assert eye.reader.number() == 7
    eye.answer(SECOND)
    sight = eye.see_until(numbered(8), lambda s: s.boxes is not None)
    assert set(sight.boxes or ()) == {FIRST, SECOND}


def test_while_looking_fails_nothing_is_shown(eyes: Eyes, caplog: pytest.LogCaptureFixture) -> None:
    eye = eyes(FIRST)
    eye.reader.answers.put(RuntimeError("DOE JANE"))
    sight = eye.see_until(numbered(0), lambda s: s.boxes is None)
    assert "can't be looked for" in sight.why
    eye.answer(FIRST)
    assert eye.see_until(numbered(0), lambda s: s.boxes is not None).boxes == (FIRST,)
    assert "RuntimeError" in caplog.text
    assert "DOE" not in caplog.text


def test_a_look_that_does_not_end_hides_the_picture(eyes: Eyes) -> None:
    eye = eyes()
    eye.watch.see(numbered(0))
    assert eye.reader.number() == 0
    eye.now_ns = int(MAX_UNSEEN_S * 1e9)
    assert eye.watch.see(numbered(1)).boxes == ()
    eye.now_ns += 1
    assert "takes too long" in eye.watch.see(numbered(2)).why


def test_a_source_that_rests_is_shown_at_once_when_it_goes_on(eyes: Eyes) -> None:
    eye = eyes()
    eye.watch.see(numbered(0))
    assert eye.reader.number() == 0
    eye.answer()
    stop = time.monotonic() + LIMIT_S
    while eye.watch._looking is not None:
        assert time.monotonic() < stop
        time.sleep(0.002)
    eye.now_ns += int(2 * MAX_UNSEEN_S * 1e9)
    assert eye.watch.see(numbered(1)).boxes == ()


def test_the_same_line_found_a_little_otherwise_is_no_news(eyes: Eyes) -> None:
    eye = eyes(FIRST)
    eye.watch.see(numbered(0))
    wider = Rect(FIRST.x - 2, FIRST.y, FIRST.width + 4, FIRST.height)
    eye.answer(wider)
    sight = eye.see_until(numbered(1), lambda s: s.boxes != (FIRST,))
    assert sight == Sight((wider,))


def test_text_that_is_hidden_anyhow_is_hidden_but_no_news(eyes: Eyes) -> None:
    eye = eyes()
    eye.watch.see(numbered(0), (FIRST,))
    eye.answer(FIRST)
    sight = eye.see_until(numbered(1), lambda s: s.boxes != (), hidden=(FIRST,))
    assert sight == Sight((FIRST,))


def test_boxes_are_kept_inside_the_picture(eyes: Eyes) -> None:
    assert eyes(Rect(60, 40, 50, 50), Rect(64, 0, 5, 5)).watch.boxes == (Rect(60, 40, 4, 8),)


def test_a_watch_for_what_is_needed_looks_at_nothing_else() -> None:
    reader = Reader(FIRST)
    watch = TextWatch(reader, numbered(0), needed_only=True)
    assert watch.see(numbered(5)) == Sight((FIRST,))
    assert watch.see(numbered(6, 80, 60)).boxes is None
    assert reader.asked.qsize() == 1
    reader.answers.put((SECOND,))
    needed = watch.expect(numbered(7, 80, 60), needed=True)
    assert watch.wait(needed, LIMIT_S)
    assert watch.sight(needed).boxes == (SECOND,)
    assert [reader.number(), reader.number()] == [0, 7]
    watch.close()


def test_the_watch_settles_in_a_thread_of_its_own() -> None:
    settled = threading.Event()
    names: list[str] = []

    def settle() -> None:
        names.append(threading.current_thread().name)
        settled.set()

    watch = TextWatch(lambda _image: (), numbered(0), settle=settle)
    watch.see(numbered(0))
    assert settled.wait(LIMIT_S)
    watch.close()
    assert names == ["veilscope-text"]


def test_after_the_end_nothing_is_looked_at() -> None:
    looks: list[int] = []

    def find(image: Image) -> tuple[Rect, ...]:
        looks.append(int(image[0, 0]))
        return ()

    watch = TextWatch(find, numbered(0))
    watch.close()
    watch.see(numbered(1))
    assert looks == [0]


def test_a_picture_that_is_needed_is_hidden_until_it_was_looked_at_itself(eyes: Eyes) -> None:
    eye = eyes()
    needed = eye.watch.expect(numbered(1), needed=True)
    assert eye.reader.number() == 1
    assert not eye.watch.wait(needed, 0)
    assert eye.watch.sight(needed).boxes is None
    eye.answer(SECOND)
    assert eye.watch.wait(needed, LIMIT_S)
    assert eye.watch.sight(needed) == Sight((SECOND,), found=1)


def test_pictures_that_are_needed_are_all_looked_at_in_their_order(eyes: Eyes) -> None:
    eye = eyes()
    eye.watch.expect(numbered(0))
    expected = [eye.watch.expect(numbered(n), needed=True) for n in (1, 2, 3)]
    for _ in range(4):
        eye.answer()
    assert all(eye.watch.wait(each, LIMIT_S) for each in expected)
    numbers = [eye.reader.asked.get() for _ in range(eye.reader.asked.qsize())]
    assert numbers[-3:] == [1, 2, 3]


def test_a_picture_may_turn_out_to_be_needed_later(eyes: Eyes) -> None:
    eye = eyes()
    eye.watch.see(numbered(0))
    assert eye.reader.number() == 0
    late, newer = eye.watch.expect(numbered(1)), eye.watch.expect(numbered(2))
    eye.watch.need(late)
    assert eye.watch.sight(late).boxes is None
    eye.answer()
    eye.answer(FIRST)
    assert eye.watch.wait(late, LIMIT_S)
    assert eye.watch.sight(late).boxes == (FIRST,)
    assert eye.watch.sight(newer).boxes == (FIRST,)


def test_a_picture_of_another_size_that_is_shown_later_changes_nothing_of_those_before(
    eyes: Eyes,
) -> None:
    eye = eyes(FIRST)
    before = [eye.watch.expect(numbered(0))]
    assert eye.reader.number() == 0
    before.append(eye.watch.expect(numbered(0)))
    after = [eye.watch.expect(numbered(n, 80, 60), needed=True) for n in (1, 2)]
    assert eye.watch.sight(before[0]) == Sight((FIRST,))
    eye.answer()
    eye.answer(SECOND)
    eye.answer(SECOND)
    assert all(eye.watch.wait(each, LIMIT_S) for each in after)
    assert eye.watch.sight(before[1]).boxes == (FIRST,)
    assert eye.watch.sight(after[0]).boxes == (SECOND,)
    assert eye.watch.sight(after[1]).boxes == (SECOND,)


def test_of_pictures_read_ahead_only_the_one_whose_look_failed_stays_hidden(eyes: Eyes) -> None:
    eye = eyes()
    expected = [eye.watch.expect(numbered(n), needed=True) for n in (1, 2, 3, 4)]
    eye.answer(FIRST)
    eye.reader.answers.put(RuntimeError())
    assert [eye.reader.number() for _ in range(3)] == [1, 2, 3]
    assert not eye.watch.wait(expected[2], 0)  # it is still looked at
    eye.answer(FIRST)
    assert eye.reader.number() == 4  # and now it was
    assert [eye.watch.wait(each, 0) for each in expected] == [True, True, True, False]
    sights = [eye.watch.sight(each) for each in expected[:3]]
    assert [sight.boxes for sight in sights] == [(FIRST,), None, (FIRST,)]
    assert "can't be looked for" in sights[1].why


def test_a_picture_whose_look_failed_before_it_was_needed_is_looked_at_once_more(
    eyes: Eyes,
) -> None:
    eye = eyes()
    late = eye.watch.expect(numbered(1))
    eye.reader.answers.put(RuntimeError())
    assert eye.reader.number() == 1
    eye.watch.expect(numbered(2), needed=True)
    assert eye.reader.number() == 2
    eye.watch.need(late)
    eye.answer()
    assert eye.reader.number() == 1
    assert not eye.watch.wait(late, 0)
    eye.answer(SECOND)
    assert eye.watch.wait(late, LIMIT_S)
    assert eye.watch.sight(late).boxes == (SECOND,)


def test_nobody_waits_for_a_look_that_fails_or_for_a_watch_that_is_closed(eyes: Eyes) -> None:
    eye = eyes()
    needed = [eye.watch.expect(numbered(n), needed=True) for n in (1, 2)]
    eye.reader.answers.put(RuntimeError())
    assert eye.watch.wait(needed[0], LIMIT_S)
    assert "can't be looked for" in eye.watch.sight(needed[0]).why
    eye.answer()  # the second is looked at; the first never was
    assert eye.watch.wait(needed[1], LIMIT_S)
    eye.see_until(numbered(2), lambda s: s.boxes is not None)
    assert eye.watch.sight(needed[0]).boxes is None
    eye.close()
    assert eye.watch.wait(eye.watch.expect(numbered(3), needed=True), LIMIT_S)
