from __future__ import annotations

import pytest
import torch

from lab.bench import keystream_device
from lab.bench.keystream_device import DEVICE_SIZES, fitting_sizes, time_in_place
from lab.bench.keystream_report import as_json, print_tables
from lab.bench.keystream_results import COPY, XOR, Entry, Measured
from lab.bench.timing import Spread
from shared.terminal import stdout


class Noted:
    """A generator that notes its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    def xor_into(self, data: torch.Tensor, counter: int, first_block: int = 0) -> None:
        self.calls.append((data.numel(), counter))


@pytest.fixture
def found() -> Measured:
    """A keystream at 2 GB/s where torch XORs at 4: its two passes take 4 GB/s, those three 12."""
    measured = Measured(3, 1, [Entry("bp", "triton", None)], {}, gpu="a GPU")
    times = {"bp on triton": 0.5, COPY: 0.2, XOR: 0.25}
    measured.on_device = {10**9: {name: Spread(3, s, s) for name, s in times.items()}}
    return measured


def test_a_keystream_is_timed_whole_call_by_whole_call_beside_both_rivals(monkeypatch) -> None:
    monkeypatch.setattr(keystream_device, "_CALLS_NBYTES", 500)
    generator = Noted()
    times = time_in_place({"mine": generator}, torch.device("cpu"), 100, rounds=3)
    assert list(times) == ["mine", COPY, XOR]
    assert all(spread.count == 3 and spread.median_s > 0 for spread in times.values())
    assert generator.calls == [(100, counter) for counter in range(1 + 3 * 5)]  # no frame twice


def test_only_sizes_that_the_device_has_room_for_are_measured() -> None:
    assert fitting_sizes(4 << 30) == DEVICE_SIZES
    assert fitting_sizes((4 << 30) - 1) == DEVICE_SIZES[:-1]
    assert fitting_sizes(0) == ()


def test_the_share_of_the_bus_counts_passes_over_memory(found) -> None:
    assert found.device_gb_per_s("bp on triton", 10**9) == 2
    assert found.share_of_bus("bp on triton", 10**9) == pytest.approx(1 / 3)
    assert found.share_of_bus(COPY, 10**9) == pytest.approx(10 / 12)
    assert found.share_of_bus(XOR, 10**9) == 1


def test_speeds_in_a_gpus_memory_are_printed_and_written(found, monkeypatch) -> None:
    for table in ("_speeds", "_ratios", "_budgets", "_path_ahead", "_path_without", "_memory"):
        monkeypatch.setattr(f"lab.bench.keystream_report.{table}", lambda _: "")
    monkeypatch.setattr("lab.bench.keystream_report._cycles_a_byte", lambda *_: None)
    with stdout.capture() as captured:
        print_tables(found)
    lines = captured.get().splitlines()
    assert any("a GPU: GB/s" in line for line in lines)
    assert any("bp on triton" in line and "2 (33%)" in line for line in lines)
    row = as_json(found)["on_device"][0]
    assert (row["name"], row["gb_per_s"], row["nbytes"]) == ("bp on triton", 2, 10**9)
    assert as_json(found)["gpu"] == "a GPU"
