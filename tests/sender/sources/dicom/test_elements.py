"""Reading a header that is missing things, odd or broken."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from sender.sources.dicom.elements import frame_count, items, number, numbers, places, whole, word
from sender.sources.dicom.presentation import burned_in, lossy_grid, remarks_of, stored_geometry
from sender.sources.dicom.regions import masks_of
from sender.sources.dicom.rendering import rendering_of
from sender.sources.dicom.timing import frame_rate, frame_times
from sender.sources.geometry import Geometry
from shared.errors import BadInput, SourceFailed
from tests.sender.sources.dicom.headers import header_of, item

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom's, of what is broken on purpose


def holding(keyword: str, vr: str, value: bytes) -> Dataset:
    """A data set with one element as a file holds it, converted only when it is asked for."""
    found = Dataset()
    tag = Tag(keyword)
    found[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
    return found


@pytest.mark.parametrize(
    ("vr", "value", "expected"),
    [
        ("DS", b"12.5", 12.5),
        ("DS", b" 12.5 ", 12.5),
        ("DS", b"12,5", 12.5),
        ("DS", b"12.5\\3", 12.5),
        ("DS", b"wide", None),
        ("DS", b"", None),
        ("DS", b"  ", None),
        ("DS", b"inf ", None),
        ("US", b"\x0c\x00", 12.0),
        ("US", b"\x0c", None),
        ("FD", b"\0\0\0\0\0\0\xf8\x7f", None),
        ("OB", b"\x0c\x00", None),
    ],
)
def test_a_number_is_read_if_it_is_one(vr: str, value: bytes, expected: float | None) -> None:
    assert number(holding("WindowWidth", vr, value), "WindowWidth") == expected


def test_a_number_that_is_missing_is_none() -> None:
    assert number(Dataset(), "WindowWidth") is None
    assert numbers(Dataset(), "WindowWidth") == ()
    assert whole(Dataset(), "Rows") is None
    assert word(Dataset(), "Modality") == ""
    assert len(items(Dataset(), "VOILUTSequence")) == 0


@pytest.mark.parametrize(
    ("value", "count"), [(b"12", 12), (b"0 ", 1), (b"-4", 1), (b"many", 1), (b"", 1), (b"3.0 ", 3)]
)
def test_a_file_holds_one_frame_at_least(value: bytes, count: int) -> None:
    assert frame_count(holding("NumberOfFrames", "IS", value)) == count


def test_the_nearest_place_comes_first() -> None:
    macro, per_frame, shared = "FrameVOILUTSequence", item(WindowCenter=1), item(WindowCenter=2)
    top = item(WindowCenter=3)
    header = item(
        PerFrameFunctionalGroupsSequence=[item(), item(**{macro: [per_frame]})],
        SharedFunctionalGroupsSequence=[item(**{macro: [shared]})],
        WindowCenter=4,
        **{macro: [top]},
    )

    def found(ordinal: int) -> list[int]:
        centres = [number(place, "WindowCenter") for place in places(header, macro, ordinal)]
        return [int(centre) for centre in centres if centre is not None]

    assert found(0) == [2, 3, 4]
    assert found(1) == [1, 2, 3, 4]
    assert found(7) == [2, 3, 4]


# -- nothing that a header holds is an error of ours -----------------------------------------------

KEYWORDS = (
    "ActualFrameDuration",
    "BitsAllocated",
    "BitsStored",
    "BurnedInAnnotation",
    "CineRate",
    "ConversionType",
    "EffectiveDuration",
    "FrameIncrementPointer",
    "FrameTime",
    "FrameTimeVector",
    "HighBit",
    "LossyImageCompression",
    "LossyImageCompressionMethod",
    "Modality",
    "ModalityLUTSequence",
    "NumberOfFrames",
    "PerFrameFunctionalGroupsSequence",
    "PhotometricInterpretation",
    "PixelAspectRatio",
    "PixelPaddingRangeLimit",
    "PixelPaddingValue",
    "PixelPresentation",
    "PixelRepresentation",
    "PixelSpacing",
    "PresentationLUTShape",
    "RecommendedDisplayFrameRate",
    "RescaleIntercept",
    "RescaleSlope",
    "SequenceOfUltrasoundRegions",
    "SharedFunctionalGroupsSequence",
    "SOPClassUID",
    "VOILUTFunction",
    "VOILUTSequence",
    "WindowCenter",
    "WindowWidth",
)
TABLE_KEYWORDS = tuple(
    f"{prefix}{colour}PaletteColorLookupTable{part}"
    for colour in ("Red", "Green", "Blue")
    for prefix, part in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
)
VRS = ("AT", "CS", "DS", "FD", "IS", "LO", "OB", "OW", "SL", "SS", "UI", "UN", "US")
RUBBISH = st.one_of(
    st.binary(max_size=24),
    st.sampled_from([b"0", b"-1", b"1e308", b"nan", b"64", b"16\\8", b"PALETTE COLOR", b"\1\0"]),
)


def elements(keywords: tuple[str, ...]) -> st.SearchStrategy[list[Any]]:
    element = st.tuples(st.sampled_from(keywords), st.sampled_from(VRS), RUBBISH)
    return st.lists(element, max_size=8)


@st.composite
def broken_headers(draw: st.DrawFn, kind: str) -> Dataset:
    header = header_of(np.zeros((16, 20), kind), NumberOfFrames=3)
    region = {f"RegionLocation{corner}": 1 for corner in ("MinX0", "MinY0", "MaxX1", "MaxY1")}
    for sequence, keywords in (
        ("VOILUTSequence", ("LUTDescriptor", "LUTData")),
        ("ModalityLUTSequence", ("LUTDescriptor", "LUTData")),
        ("SequenceOfUltrasoundRegions", ("RegionSpatialFormat", "RegionDataType", *region)),
    ):
        if draw(st.booleans()):
            inside = Dataset()
            for keyword, vr, value in draw(elements(keywords)):
                tag = Tag(keyword)
                inside[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
            setattr(header, sequence, [inside])
    for keyword, vr, value in draw(elements((*KEYWORDS, *TABLE_KEYWORDS))):
        tag = Tag(keyword)
        header[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
    return header


@pytest.mark.parametrize("kind", ["u1", "<u2", "<i2", "<u4", "<f4"])
def test_whatever_a_header_holds_is_shown_or_refused_in_words(kind: str) -> None:
    words = np.random.default_rng(6).integers(0, 100, (16, 20)).astype(kind)

    @settings(max_examples=40, deadline=None)
    @given(broken_headers(kind))
    def check(header: Dataset) -> None:
        with suppress(SourceFailed):
            picture = rendering_of(header, lambda: [words])(words, 1)
            assert picture.dtype == np.uint8
            assert picture.shape[:2] == words.shape
        rate = frame_rate(header)
        assert rate is None or 0.2 < rate < 250
        times = frame_times(header, 3)
        assert times is None or (len(times) == 3 and 0 == times[0] < times[1] < times[2])
        geometry = stored_geometry(header, 20, 16, grid=lossy_grid(header, "1.2.3"))
        assert min(geometry.shown_size) >= 16
        remarks_of(header, geometry)
        burned_in(header)
        with suppress(BadInput):
            assert masks_of(header, Geometry(20, 16))

    check()
