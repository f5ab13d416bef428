"""The rate and the times of a clip: the first place that says something possible is believed."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from sender.sources.dicom.timing import frame_rate, frame_times
from tests.sender.sources.dicom.headers import item

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom's, of what is broken on purpose

VECTOR = {"FrameIncrementPointer": Tag("FrameTimeVector")}


def enhanced(macro: str, keyword: str, values: list[Any], **elements: Any) -> Dataset:
    """A header whose frames have `values` of their own; None: this one has none."""
    groups = [item(**{macro: [item(**({} if v is None else {keyword: v}))]}) for v in values]
    return item(NumberOfFrames=len(values), PerFrameFunctionalGroupsSequence=groups, **elements)


def date_times(*milliseconds: float) -> list[str]:
    return [f"2020010100{ms // 60000:02.0f}{ms % 60000 / 1000:09.6f}" for ms in milliseconds]


# -- rates -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("elements", "fps"),
    [
        ({"FrameTime": 40}, 25.0),
        ({"FrameTime": 33.333}, 30.0003),
        ({"FrameTimeVector": [0, 20, 30, 25]}, 40.0),
        ({"FrameTimeVector": [7, 20, 30, 25]}, 40.0),
        ({"CineRate": 18}, 18.0),
        ({"RecommendedDisplayFrameRate": 12}, 12.0),
        ({"FrameTime": 40, "CineRate": 18, "RecommendedDisplayFrameRate": 12}, 25.0),
        ({"CineRate": 18, "RecommendedDisplayFrameRate": 12}, 18.0),
        ({"EffectiveDuration": 0.2}, 20.0),
        ({"ActualFrameDuration": 50}, 20.0),
        ({"FrameTime": 40, "FrameTimeVector": [0, 20, 20, 20]}, 25.0),
        ({"FrameTime": 40, "FrameTimeVector": [0, 20, 20, 20], **VECTOR}, 50.0),
        ({"FrameTime": 40, "FrameTimeVector": [0, 20], **VECTOR}, 25.0),
        ({"FrameTime": 4000}, 0.25),
        ({"FrameTime": 5}, 200.0),
        ({}, None),
    ],
)
def test_the_rate_is_the_files_own(elements: dict[str, Any], fps: float | None) -> None:
    assert frame_rate(item(NumberOfFrames=4, **elements)) == pytest.approx(fps, abs=1e-4)


@pytest.mark.parametrize(
    "elements",
    [
        {"FrameTime": 0.04},  # seconds
        {"FrameTime": 40000},  # microseconds
        {"FrameTime": 0},
        {"FrameTime": -40},
        {"FrameTimeVector": [0, 0, 0, 0]},
        {"FrameTimeVector": [0, 40, -40, 40]},
        {"FrameTimeVector": [0, 40, 0, 40]},
        {"FrameTimeVector": [0, 20]},  # for another number of frames
        {"FrameTimeVector": [0, 20, 20, 20, 20]},
        {"FrameTimeVector": [0, 0.02, 0.02, 0.02]},
        {"FrameTimeVector": [0, 20, 20, 3600000]},
        {"FrameTime": 0.04, "FrameTimeVector": [0, 40000, 40000, 40000]},
    ],
)
def test_what_is_impossible_gives_way_to_the_next(elements: dict[str, Any]) -> None:
    assert frame_rate(item(NumberOfFrames=4, CineRate=18, **elements)) == 18.0
    recommended = {"CineRate": 25000, "RecommendedDisplayFrameRate": 12}
    assert frame_rate(item(NumberOfFrames=4, **recommended, **elements)) == 12.0


@pytest.mark.parametrize(
    "keyword", ["FrameTime", "FrameTimeVector", "CineRate", "RecommendedDisplayFrameRate"]
)
def test_what_is_no_number_gives_way_to_the_next(keyword: str) -> None:
    header = item(NumberOfFrames=4, EffectiveDuration=0.2)
    header.add_new(Tag(keyword), "LO", "JD")
    assert frame_rate(header) == 20.0
    header.add_new(Tag(keyword), "LO", ["0", "JD", "5", "5"])
    assert frame_rate(header) == 20.0


def test_a_vector_for_another_number_of_frames_is_better_than_nothing() -> None:
    header = item(NumberOfFrames=2, FrameTimeVector=[0, 20, 30, 25])
    assert frame_rate(header) == pytest.approx(40.0)
    assert frame_times(header, 2) is None


@pytest.mark.parametrize("keyword", ["FrameReferenceDateTime", "FrameAcquisitionDateTime"])
def test_frames_of_an_enhanced_file_have_times(keyword: str) -> None:
    header = enhanced("FrameContentSequence", keyword, date_times(0, 50, 100, 150), CineRate=7)
    assert frame_rate(header) == pytest.approx(20.0)
    assert frame_times(header, 4) is None  # evenly


def test_the_reference_comes_before_the_acquisition_and_both_before_the_duration() -> None:
    groups = [
        item(
            FrameContentSequence=[
                item(
                    FrameReferenceDateTime=reference,
                    FrameAcquisitionDateTime=acquired,
                    FrameAcquisitionDuration=10,
                )
            ]
        )
        for reference, acquired in zip(date_times(0, 50, 100), date_times(0, 20, 40), strict=True)
    ]
    header = item(NumberOfFrames=3, PerFrameFunctionalGroupsSequence=groups)
    assert frame_rate(header) == pytest.approx(20.0)
    for group in groups:
        del group.FrameContentSequence[0].FrameReferenceDateTime
    assert frame_rate(header) == pytest.approx(50.0)
    for group in groups:
        del group.FrameContentSequence[0].FrameAcquisitionDateTime
    assert frame_rate(header) == pytest.approx(100.0)
    header.CineRate = 30
    assert frame_rate(header) == pytest.approx(30.0)


@pytest.mark.parametrize(
    ("macro", "keyword", "values"),
    [
        ("TemporalPositionSequence", "TemporalPositionTimeOffset", [0.0, 0.05, 0.1]),
        ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime", [10.0, 60.0, 110.0]),
    ],
)
def test_offsets_are_times_as_well(macro: str, keyword: str, values: list[float]) -> None:
    assert frame_rate(enhanced(macro, keyword, values)) == pytest.approx(20.0)


@pytest.mark.parametrize(
    "values",
    [
        date_times(0, 50, 50, 100),  # slices of one volume
        date_times(0, 50, 25, 100),
        [*date_times(0, 50, 100), None],
        [*date_times(0, 50, 100), "yesterday"],
        [*date_times(0, 50, 100), "20209901000000"],
        ["2020"] * 4,
        date_times(0, 0.05, 0.1, 0.15),
        date_times(0, 50, 100, 3000000),
    ],
)
def test_times_that_do_not_go_on_give_way_to_the_next(values: list[str]) -> None:
    header = enhanced("FrameContentSequence", "FrameReferenceDateTime", values, CineRate=18)
    assert frame_rate(header) == 18.0
    assert frame_times(header, 4) is None


def test_a_zone_and_midnight_are_understood() -> None:
    values = ["20191231235959.95", "20200101000000.00", "20200101010000.05+0100"]
    header = enhanced("FrameContentSequence", "FrameReferenceDateTime", values)
    assert frame_rate(header) == pytest.approx(20.0)


# -- times -----------------------------------------------------------------------------------------


def test_a_variable_vector_gives_times() -> None:
    header = item(NumberOfFrames=4, FrameTimeVector=[0, 40, 200, 40])
    assert frame_times(header, 4) == pytest.approx((0.0, 0.04, 0.24, 0.28))
    assert frame_rate(header) == pytest.approx(3 / 0.28)


def test_variable_date_times_give_times() -> None:
    header = enhanced(
        "FrameContentSequence", "FrameReferenceDateTime", date_times(500, 540, 740, 780)
    )
    assert frame_times(header, 4) == pytest.approx((0.0, 0.04, 0.24, 0.28))


def test_a_clip_that_is_shorter_than_it_says_has_the_times_of_what_is_there() -> None:
    header = item(NumberOfFrames=4, FrameTimeVector=[0, 40, 200, 40])
    assert frame_times(header, 3) == pytest.approx((0.0, 0.04, 0.24))
    assert frame_times(header, 5) is None
    assert frame_times(header, 1) is None


@pytest.mark.parametrize(
    "elements",
    [
        {},
        {"FrameTime": 40},
        {"FrameTimeVector": [0, 33, 34, 33]},  # rounded to milliseconds
        {"FrameTime": 40, "FrameTimeVector": [0, 40, 200, 40]},
        {"CineRate": 18},
    ],
)
def test_even_or_unknown_times_are_none(elements: dict[str, Any]) -> None:
    assert frame_times(item(NumberOfFrames=4, **elements), 4) is None


def test_the_vector_that_is_pointed_at_gives_the_times() -> None:
    header = item(NumberOfFrames=4, FrameTime=40, FrameTimeVector=[0, 40, 200, 40], **VECTOR)
    assert frame_times(header, 4) == pytest.approx((0.0, 0.04, 0.24, 0.28))


@pytest.mark.parametrize("value", ["00010101000000+0100", "99991231235959-0100", "20200230000000"])
def test_a_date_beyond_the_calendar_gives_way_to_the_next(value: str) -> None:
    header = enhanced("FrameContentSequence", "FrameReferenceDateTime", [value] * 3, CineRate=18)
    assert frame_rate(header) == 18.0
