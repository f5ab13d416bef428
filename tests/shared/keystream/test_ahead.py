from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.keystream import ahead as ahead_module
from shared.keystream.ahead import AheadStats, KeystreamAhead
from shared.keystream.torch_cpu import TorchCpuBackend

KEY = bytes(range(32))
WAIT_S = 20.0


@pytest.fixture(scope="module")
def generator(make_network_module):
    return TorchCpuBackend(make_network_module(1)).keyed(KEY)


@pytest.fixture(scope="module")
def make_network_module(make_network):
    return make_network


class Watched:
    """A generator that records calls; those of the worker can be held up or made to fail."""

    block_nbytes = 128

    def __init__(self, inner) -> None:
        self.inner = inner
        self.calls: list[tuple[int, int, int]] = []
        self.pads: dict[int, int] = {}  # counter: size, of those that the worker prepared
        self.prepared = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()
        self.worker_entered = threading.Event()
        self.failure: Exception | None = None

    def generate(self, counter: int, nbytes: int, first_block: int = 0):
        self.calls.append((counter, nbytes, first_block))
        worker = threading.current_thread().name == "keystream"
        if worker:
            self.worker_entered.set()
            assert self.gate.wait(WAIT_S)
            if self.failure is not None:
                raise self.failure
            self.pads[counter] = nbytes
        output = self.inner.generate(counter, nbytes, first_block)
        if worker:
            self.prepared.release()
        return output

    def await_prepared(self, pads: int) -> None:
        for _ in range(pads):
            assert self.prepared.acquire(timeout=WAIT_S)


@settings(max_examples=25, deadline=None)
@given(
    takes=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3000)), max_size=12),
    depth=st.integers(1, 5),
    expected=st.integers(0, 2000),
)
def test_any_order_of_counters_and_sizes_gives_the_generators_bytes(
    generator, takes, depth, expected
) -> None:
    with KeystreamAhead(generator, depth=depth, expected_nbytes=expected) as ahead:
        for counter, nbytes in takes:
            assert np.array_equal(ahead.take(counter, nbytes), generator.generate(counter, nbytes))
        stats = ahead.stats
    assert stats.hits + stats.partial + stats.misses == len(takes)


def test_pads_prepared_ahead_are_hits(generator) -> None:
    watched = Watched(generator)
    with KeystreamAhead(watched, depth=3, expected_nbytes=1000) as ahead:
        watched.await_prepared(3)
        for counter in range(3):
            assert np.array_equal(ahead.take(counter, 1000), generator.generate(counter, 1000))
        assert ahead.stats == AheadStats(hits=3)


def test_a_frame_larger_than_its_pad_has_only_the_tail_made_on_the_spot(generator) -> None:
    watched = Watched(generator)
    with KeystreamAhead(watched, depth=1, expected_nbytes=300) as ahead:
        watched.await_prepared(1)
        assert watched.calls == [(0, 384, 0)]
        assert np.array_equal(ahead.take(0, 1001), generator.generate(0, 1001))
        assert (0, 1001 - 384, 3) in watched.calls
        assert ahead.stats == AheadStats(partial=1)


def test_prepared_sizes_follow_the_frames(generator) -> None:
    watched = Watched(generator)
    with KeystreamAhead(watched, depth=1, expected_nbytes=100_000) as ahead:
        watched.await_prepared(1)
        ahead.take(0, 2000)
        watched.await_prepared(1)
        assert 2000 <= watched.pads[1] < 3000
        ahead.take(1, 9000)
        watched.await_prepared(1)
        assert 9000 <= watched.pads[2] < 12_000
        ahead.take(2, 1)
        watched.await_prepared(1)
        assert watched.pads[3] >= 9000


def test_counters_passed_over_are_dropped_and_preparing_goes_on_behind_the_newest(
    generator,
) -> None:
    watched = Watched(generator)
    with KeystreamAhead(watched, depth=2, expected_nbytes=128) as ahead:
        watched.await_prepared(2)
        ahead.take(2**40, 100)
        watched.await_prepared(2)
        assert [call[0] for call in watched.calls if call[0] > 2**40] == [2**40 + 1, 2**40 + 2]
        late = ahead.take(0, 100)
        assert np.array_equal(late, generator.generate(0, 100))
        assert ahead.stats == AheadStats(misses=2)
        ahead.take(2**40 + 1, 100)
        assert ahead.stats == AheadStats(hits=1, misses=2)


def test_nothing_is_prepared_beyond_the_last_counter(generator) -> None:
    watched = Watched(generator)
    with KeystreamAhead(watched, depth=2, expected_nbytes=128) as ahead:
        watched.await_prepared(2)
        ahead.take(2**64 - 2, 10)
        watched.await_prepared(1)
        assert np.array_equal(ahead.take(2**64 - 1, 10), generator.generate(2**64 - 1, 10))
    assert max(call[0] for call in watched.calls) == 2**64 - 1


def test_a_pad_in_the_making_is_waited_for_and_others_are_not(generator) -> None:
    watched = Watched(generator)
    watched.gate.clear()
    with KeystreamAhead(watched, depth=2, expected_nbytes=128) as ahead:
        assert watched.worker_entered.wait(WAIT_S)
        ahead.take(5, 100)  # the worker is at 0: this must not wait for it
        waited = []
        taker = threading.Thread(target=lambda: waited.append(ahead.take(0, 100)))
        taker.start()
        watched.gate.set()
        taker.join(WAIT_S)
        assert not taker.is_alive()
        assert np.array_equal(waited[0], generator.generate(0, 100))


def test_a_take_leaves_the_worker_asleep_while_enough_pads_are_left(generator, monkeypatch) -> None:
    monkeypatch.setattr(ahead_module, "_LOOK_EVERY_S", 3600.0)
    watched = Watched(generator)
    woken: list[int] = []  # the counters at whose taking the worker was woken
    with KeystreamAhead(watched, depth=4, expected_nbytes=128) as ahead:
        watched.await_prepared(4)
        with ahead._changed:  # the fourth may not be stored yet
            assert ahead._changed.wait_for(lambda: len(ahead._ready) == 4, WAIT_S)
        wake, taker = ahead._changed.notify_all, threading.current_thread()

        def notify_all() -> None:
            if threading.current_thread() is taker:
                woken.append(counter)
            wake()

        monkeypatch.setattr(ahead._changed, "notify_all", notify_all)
        for counter in range(3):
            ahead.take(counter, 128)
        assert woken == [2]  # one pad was left: that is too few
        watched.await_prepared(3)
        assert ahead.stats == AheadStats(hits=3)


class Waits(threading.Condition):
    """A condition that tells who waits on it and for how long."""

    def __init__(self, lock) -> None:
        super().__init__(lock)
        self.looks: list[float] = []  # the worker's
        self.looked = threading.Semaphore(0)
        self.waited = threading.Semaphore(0)  # a taker's

    def wait(self, timeout: float | None = None) -> bool:
        if timeout is None:
            self.waited.release()
        else:
            self.looks.append(timeout)
            self.looked.release()
        return super().wait(timeout)


def watch_waits(monkeypatch) -> None:
    names = SimpleNamespace(Thread=threading.Thread, Lock=threading.Lock, Condition=Waits)
    monkeypatch.setattr(ahead_module, "threading", names)


def test_the_worker_looks_seldom_once_no_frame_has_come_for_a_while(generator, monkeypatch) -> None:
    often, seldom = 0.001, 3600.0
    monkeypatch.setattr(ahead_module, "_LOOK_EVERY_S", often)
    monkeypatch.setattr(ahead_module, "_LOOK_SELDOM_S", seldom)
    monkeypatch.setattr(ahead_module, "_SELDOM_AFTER", 3)
    watch_waits(monkeypatch)
    with KeystreamAhead(generator, depth=1, expected_nbytes=128) as ahead:
        for counter in (0, 1):  # a frame, and it looks often again
            for _ in range(3):
                assert ahead._changed.looked.acquire(timeout=WAIT_S)
            ahead.take(counter, 128)
        for _ in range(3):
            assert ahead._changed.looked.acquire(timeout=WAIT_S)
        assert ahead._changed.looks == 3 * [often, often, seldom]


def test_a_take_that_waits_while_it_is_closed_gets_its_bytes(generator, monkeypatch) -> None:
    watch_waits(monkeypatch)
    watched = Watched(generator)
    watched.gate.clear()
    ahead = KeystreamAhead(watched, depth=2, expected_nbytes=128)
    taken = []
    taker = threading.Thread(target=lambda: taken.append(ahead.take(0, 100)), daemon=True)
    closer = threading.Thread(target=ahead.close, daemon=True)
    assert watched.worker_entered.wait(WAIT_S)
    for thread in (taker, closer):  # to close wakes the taker, who waits again
        thread.start()
        assert ahead._changed.waited.acquire(timeout=WAIT_S)
    assert taken == []
    watched.gate.set()
    for thread in (taker, closer):
        thread.join(WAIT_S)
        assert not thread.is_alive()
    assert np.array_equal(taken[0], generator.generate(0, 100))
    assert [call[0] for call in watched.calls if call[0] != 0] == []  # and no other is begun


def test_the_worker_looks_by_itself_after_a_take(generator) -> None:
    watched = Watched(generator)
    with KeystreamAhead(watched, depth=8, expected_nbytes=128) as ahead:
        watched.await_prepared(8)
        for counter in range(20):
            ahead.take(counter, 128)
            watched.await_prepared(1)


def test_it_says_what_the_prepared_pads_take_at_most(generator) -> None:
    with KeystreamAhead(generator, depth=3, expected_nbytes=1000) as ahead:
        assert ahead.max_ready_nbytes == 3 * 1152  # an eighth more, in whole blocks


def test_the_caller_may_overwrite_what_it_took(generator) -> None:
    with KeystreamAhead(generator, depth=2, expected_nbytes=500) as ahead:
        first = ahead.take(0, 500)
        first[:] = 0
        assert np.array_equal(ahead.take(1, 500), generator.generate(1, 500))
        assert np.array_equal(ahead.take(0, 500), generator.generate(0, 500))


def test_two_threads_taking_at_once_each_get_the_right_bytes(generator) -> None:
    wrong: list[int] = []
    with KeystreamAhead(generator, depth=4, expected_nbytes=700) as ahead:

        def work(start: int) -> None:
            for counter in range(start, 120, 2):
                nbytes = 100 + 37 * counter
                got = ahead.take(counter, nbytes)
                if not np.array_equal(got, generator.generate(counter, nbytes)):
                    wrong.append(counter)

        threads = [threading.Thread(target=work, args=(start,)) for start in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
            assert not thread.is_alive()
        stats = ahead.stats
    assert wrong == []
    assert stats.hits + stats.partial + stats.misses == 120


def test_a_failure_of_the_worker_is_raised_at_every_take(generator) -> None:
    watched = Watched(generator)
    watched.failure = RuntimeError("the device went away")
    with KeystreamAhead(watched, depth=2) as ahead:
        for counter in (0, 1):
            with pytest.raises(RuntimeError, match="the device went away"):
                ahead.take(counter, 10)


def test_close_joins_the_worker_and_may_be_repeated(generator) -> None:
    before = {t for t in threading.enumerate() if t.name == "keystream"}
    ahead = KeystreamAhead(generator)
    ahead.close()
    ahead.close()
    assert {t for t in threading.enumerate() if t.name == "keystream"} == before
    assert np.array_equal(ahead.take(3, 10), generator.generate(3, 10))


def test_impossible_requests_are_refused_and_leave_it_working(generator) -> None:
    with KeystreamAhead(generator) as ahead:
        for counter, nbytes in ((-1, 1), (2**64, 1), (0, -1)):
            with pytest.raises(ValueError, match=r"64-bit|negative"):
                ahead.take(counter, nbytes)
        assert np.array_equal(ahead.take(0, 10), generator.generate(0, 10))
    with pytest.raises(ValueError, match="depth"):
        KeystreamAhead(generator, depth=0)


def test_a_size_that_is_disregarded_is_not_prepared_for(generator) -> None:
    with KeystreamAhead(generator, depth=2, expected_nbytes=1000) as ahead:
        usual = ahead.max_ready_nbytes
        ahead.take(0, 3_000_000)
        assert ahead.max_ready_nbytes > 1_000_000
        ahead.disregard_last()
        assert ahead.max_ready_nbytes == usual, "the first size taken: back to what is expected"
        ahead.take(1, 2000)
        of_frames = ahead.max_ready_nbytes
        ahead.take(2, 3_000_000)
        ahead.disregard_last()
        assert ahead.max_ready_nbytes == of_frames
