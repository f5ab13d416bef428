from __future__ import annotations

import math

import pytest

from lab.netlab.impairment import Impairment, ImpairmentStep, Schedule
from shared.errors import BadInput


@pytest.mark.parametrize(
    "figures",
    [
        {"delay_ms": -1},
        {"delay_ms": math.nan},
        {"jitter_ms": 2, "delay_ms": 1},
        {"loss": 1.5},
        {"loss": 2},
        {"burst_loss": 0.6},
        {"burst_loss": -0.1},
        {"burst_packets": 0.5},
        {"burst_density": 0},
        {"rate_mbit": 8},
        {"rate_mbit": 8, "queue_ms": 1, "queue_bytes": 2000},
        {"rate_mbit": 0, "queue_ms": 1},
        {"rate_mbit": 8, "queue_bytes": 100},
        {"rate_mbit": 8, "queue_ms": -1},
        {"queue_ms": 10},
    ],
)
def test_figures_that_make_no_sense_are_refused(figures: dict[str, float]) -> None:
    with pytest.raises(BadInput, match="impaired path"):
        Impairment(**figures)  # type: ignore[arg-type]


@pytest.mark.parametrize("times", [[], [1.0], [0.0, 2.0, 1.0], [0.0, 0.0]])
def test_a_schedule_begins_at_0_and_goes_on_in_time(times: list[float]) -> None:
    with pytest.raises(BadInput, match="schedule"):
        Schedule(tuple(ImpairmentStep(at, Impairment()) for at in times))


def test_a_schedule_survives_the_way_through_json() -> None:
    schedule = Schedule(
        (ImpairmentStep(0, Impairment(loss=0.1)), ImpairmentStep(3, Impairment(outage=True)))
    )
    assert Schedule.from_json(schedule.as_json()) == schedule
