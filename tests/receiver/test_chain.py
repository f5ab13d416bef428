"""The chain guard: nothing is decoded without the frame that it builds on."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.chain import MAX_HELD, ChainGuard, Turn
from shared.telemetry.records import DropReason

MISSING, LATE = DropReason.MISSING_REFERENCE, DropReason.LATE
PATIENCE_NS = 100


@dataclass
class Watch:
    """A guard, and what it had decoded and dropped."""

    guard: ChainGuard[int] = field(default_factory=ChainGuard)
    decoded: list[int] = field(default_factory=list)
    dropped: list[tuple[DropReason, int]] = field(default_factory=list)

    def offer(self, index: int, depends_on: int | None = None, *, now_ns: int = 0) -> None:
        self._note(self.guard.offer(index, depends_on, index, now_ns, PATIENCE_NS))

    def expire(self, now_ns: int) -> None:
        self._note(self.guard.expire(now_ns))

    def _note(self, turn: Turn[int]) -> None:
        self.decoded += turn.decode
        self.dropped += turn.dropped


def test_key_frames_are_decoded_as_they_come_and_older_ones_are_late() -> None:
    watch = Watch()
    for index in (0, 2, 1, 3):
        watch.offer(index)
    assert watch.decoded == [0, 2, 3]
    assert watch.dropped == [(LATE, 1)]
    assert watch.guard.wants_key is None
    assert watch.guard.held_until_ns is None


def test_a_chain_is_followed_in_order() -> None:
    watch = Watch()
    watch.offer(0)
    for index in (1, 2, 5, 9):
        watch.offer(index, {1: 0, 2: 1, 5: 2, 9: 5}[index])
    assert watch.decoded == [0, 1, 2, 5, 9]
    assert watch.dropped == []


def test_frames_that_come_out_of_order_are_decoded_in_order() -> None:
    watch = Watch()
    watch.offer(0)
    watch.offer(3, 2, now_ns=10)
    watch.offer(2, 1, now_ns=20)
    assert watch.decoded == [0]
    assert watch.guard.held_until_ns == 10 + PATIENCE_NS
    watch.offer(1, 0, now_ns=30)
    assert watch.decoded == [0, 1, 2, 3]
    assert watch.guard.held_until_ns is None
    assert watch.guard.wants_key is None


def test_the_first_key_frame_may_come_after_its_dependents() -> None:
    watch = Watch()
    watch.offer(5, 4)
    watch.offer(4)
    assert watch.decoded == [4, 5]


def test_when_the_reference_does_not_come_in_time_the_chain_is_broken() -> None:
    watch = Watch()
    watch.offer(0)
    watch.offer(2, 1, now_ns=0)
    watch.offer(3, 2, now_ns=50)
    watch.expire(PATIENCE_NS - 1)
    assert watch.dropped == []
    watch.expire(PATIENCE_NS)
    assert watch.dropped == [(MISSING, 2), (MISSING, 3)]
    assert watch.guard.wants_key == 3
    watch.offer(4, 3, now_ns=PATIENCE_NS)
    assert watch.dropped[-1] == (MISSING, 4), "held although its reference is lost for certain"
    assert watch.guard.wants_key == 4
    watch.offer(6)
    watch.offer(7, 6)
    assert watch.decoded == [0, 6, 7]
    assert watch.guard.wants_key is None


def test_what_waits_for_a_key_frame_that_is_still_on_its_way_outlives_what_came_before() -> None:
    watch = Watch()
    watch.offer(0)
    watch.offer(2, 1, now_ns=0)
    watch.offer(4, 3, now_ns=45)  # 3 is key, and lacks a packet yet
    watch.expire(PATIENCE_NS)
    assert watch.dropped == [(MISSING, 2)]
    assert watch.guard.held_until_ns == 45 + PATIENCE_NS
    watch.offer(3, now_ns=PATIENCE_NS + 5)
    watch.offer(5, 4)
    assert watch.decoded == [0, 3, 4, 5]
    assert watch.guard.wants_key is None


def test_a_frame_whose_reference_is_lost_takes_those_along_that_wait_for_it() -> None:
    watch = Watch()
    watch.offer(0)
    watch.offer(2, 1, now_ns=0)
    watch.offer(4, 3, now_ns=45)
    watch.expire(PATIENCE_NS)
    watch.offer(3, 2, now_ns=PATIENCE_NS + 5)
    assert watch.dropped == [(MISSING, 2), (MISSING, 3), (MISSING, 4)]
    assert watch.guard.held_until_ns is None
    assert watch.guard.wants_key == 4


def test_a_frame_that_came_first_and_was_given_up_does_not_condemn_those_before_it() -> None:
    watch = Watch()
    watch.offer(0)
    watch.offer(4, 3, now_ns=0)
    watch.offer(2, 1, now_ns=50)
    watch.expire(PATIENCE_NS)
    assert watch.dropped == [(MISSING, 4)]
    watch.offer(3, 2, now_ns=PATIENCE_NS + 5)
    watch.offer(1, 0, now_ns=PATIENCE_NS + 10)
    assert watch.decoded == [0, 1, 2, 3]
    watch.offer(5, 4)
    assert watch.dropped == [(MISSING, 4), (MISSING, 5)]


def test_a_reference_that_comes_after_all_is_shown_and_mends_nothing() -> None:
    watch = Watch()
    watch.offer(0)
    watch.offer(2, 1)
    watch.expire(PATIENCE_NS)
    watch.offer(1, 0)
    assert watch.decoded == [0, 1]
    watch.offer(3, 2)
    assert watch.decoded == [0, 1]
    assert watch.guard.wants_key == 3


def test_a_key_frame_overtakes_what_waits_and_frees_what_builds_on_it() -> None:
    watch = Watch()
    watch.offer(0)
    watch.offer(2, 1)
    watch.offer(5, 4)
    watch.offer(4)
    assert watch.decoded == [0, 4, 5]
    assert watch.dropped == [(MISSING, 2)]
    assert watch.guard.wants_key is None
    watch.offer(1, 0)
    assert watch.dropped[-1] == (LATE, 1)


def test_after_a_failed_decode_only_a_key_frame_is_next() -> None:
    watch = Watch()
    watch.offer(0)
    watch.offer(1, 0)
    watch.guard.failed(1)
    assert watch.guard.wants_key == 1
    watch.offer(2, 1)
    assert watch.decoded == [0, 1]
    watch.offer(3)
    assert watch.decoded == [0, 1, 3]


def test_what_is_held_is_bounded() -> None:
    watch = Watch()
    watch.offer(0)
    for index in range(2, 2 * MAX_HELD + 10, 2):
        watch.offer(index, index - 1)
        assert len(watch.guard._held) <= MAX_HELD
    assert len(watch.dropped) >= MAX_HELD


@st.composite
def _streams(draw: st.DrawFn) -> list[tuple[int, int | None]]:
    """A sender's frames: increasing indices, each key or building on the one before."""
    index, stream = 0, list[tuple[int, int | None]]()
    previous: int | None = None
    for _ in range(draw(st.integers(1, 30))):
        key = previous is None or (draw(st.booleans()) and draw(st.booleans()))
        stream.append((index, None if key else previous))
        previous = index
        index += draw(st.integers(1, 3))
    return stream


@given(_streams(), st.randoms(use_true_random=False), st.integers(0, 6))
@settings(max_examples=300, deadline=None)
def test_whatever_is_lost_doubled_or_reordered_the_chain_is_never_broken_unnoticed(
    stream: list[tuple[int, int | None]], dice: object, window: int
) -> None:
    random = dice  # typed loosely: hypothesis hands out random.Random
    references = dict(stream)
    arrivals = [frame for frame in stream if random.random() > 0.2]  # type: ignore[attr-defined]
    order = sorted(
        range(len(arrivals)),
        key=lambda at: at + random.random() * window,  # type: ignore[attr-defined]
    )
    watch = Watch()
    now_ns = 0
    for at in order:
        now_ns += 30
        watch.expire(now_ns)
        watch.offer(*arrivals[at], now_ns=now_ns)
    watch.expire(now_ns + PATIENCE_NS)
    assert watch.decoded == sorted(watch.decoded)
    before: int | None = None
    for index in watch.decoded:
        assert references[index] in (None, before)
        before = index
    told = watch.decoded + [index for _, index in watch.dropped]
    assert sorted(told) == sorted(index for index, _ in arrivals), "a frame was forgotten"


@given(_streams(), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_with_nothing_lost_a_wait_long_enough_decodes_all_that_was_not_overtaken(
    stream: list[tuple[int, int | None]], dice: object
) -> None:
    order = sorted(range(len(stream)), key=lambda at: at + 2 * dice.random())  # type: ignore[attr-defined]
    watch = Watch()
    for at in order:
        watch.offer(*stream[at])
    assert watch.decoded[-1] == stream[-1][0]
    assert watch.guard.wants_key is None
    overtaken = {index for _, index in watch.dropped}
    assert set(watch.decoded) | overtaken == {index for index, _ in stream}
