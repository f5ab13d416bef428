from __future__ import annotations

from lab.bench.rivals.place import Loopback, rates_by_second
from lab.netlab import Sample


def sample(at: int, nbytes: int, **flows: int) -> Sample:
    return Sample((at + 1) / 10, 0, nbytes, 0, 0, 0, 0, 0, 0, 0.0, flows)


def test_the_loopback_counts_nothing() -> None:
    place = Loopback()
    place.begin()
    assert place.end() is None


def test_samples_become_rates_of_whole_seconds() -> None:
    forward = [
        sample(at, 12_500, a=10_000, **({"b": 2_500} if at >= 10 else {})) for at in range(25)
    ]
    backward = [sample(at, 1_250) for at in range(25)]
    rates, flows = rates_by_second(forward, backward)
    assert rates == [(0.0, 1.0, 0.1), (1.0, 1.0, 0.1)]
    assert flows == {"a": [0.8, 0.8], "b": [0.0, 0.2]}
