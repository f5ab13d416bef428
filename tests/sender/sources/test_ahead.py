"""Work that runs ahead keeps its order and its bounds, and stops when nobody wants it any more."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from sender.sources.ahead import ahead


def test_results_come_in_the_order_of_their_items() -> None:
    first_may_end = threading.Event()

    def work(number: int) -> int:
        if number == 1:  # is overtaken by those that follow
            assert first_may_end.wait(10)
        if number == 3:
            first_may_end.set()
        return number

    assert list(ahead(work, range(20), nbytes=lambda _: 1, threads=3)) == list(range(20))


def begun_while_nobody_takes(depth: int, max_bytes: int, nbytes: int) -> int:
    """How many of 100 items are begun after one result was taken and no more."""
    begun: list[int] = []
    enough = threading.Event()

    def work(number: int) -> int:
        begun.append(number)
        if len(begun) > depth:
            enough.set()
        return number

    results = ahead(
        work, range(100), nbytes=lambda _: nbytes, threads=2, depth=depth, max_bytes=max_bytes
    )
    next(results)
    enough.wait(0.2)  # what could run too far has had its time
    results.close()  # type: ignore[attr-defined]
    return len(begun)


def test_no_more_is_begun_than_the_depth_allows() -> None:
    assert begun_while_nobody_takes(depth=5, max_bytes=1000, nbytes=1) <= 6


def test_no_more_is_begun_than_fits_into_the_bytes() -> None:
    assert begun_while_nobody_takes(depth=50, max_bytes=1000, nbytes=400) <= 3


def test_one_result_is_always_worked_on_however_large() -> None:
    assert list(ahead(str, range(3), nbytes=lambda _: 10**12, max_bytes=1)) == ["0", "1", "2"]


def test_the_first_result_waits_for_nothing_else() -> None:
    asked: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10):
            asked.append(number)
            yield number

    results = ahead(lambda number: len(asked), items(), nbytes=lambda _: 1)
    assert next(results) == 1


def test_an_error_comes_in_the_place_of_its_result() -> None:
    def work(number: int) -> int:
        if number == 2:
            raise KeyError(number)
        return number

    results = ahead(work, range(5), nbytes=lambda _: 1)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(KeyError):
        next(results)


def test_its_threads_end_with_it() -> None:
    results = ahead(lambda number: number, range(100), nbytes=lambda _: 1)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert not any("veilscope-decode" in thread.name for thread in threading.enumerate())


def test_nothing_to_do_is_nothing_done() -> None:
    assert list(ahead(str, [], nbytes=len)) == []
