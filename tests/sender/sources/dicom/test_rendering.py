"""Stored samples to 8 bits: every step of the display pipeline, frame by frame."""

from __future__ import annotations

import math
import shutil
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from sender.sources.dicom.rendering import MAX_LOOKS, rendering_of
from shared.errors import SourceFailed
from shared.frame import Image
from tests.sender.sources.dicom.headers import header_of, item, lut, palette, save

RAMP = np.tile(np.linspace(0, 4095, 64).round().astype(np.uint16), (16, 1))
BYTES = np.tile(np.arange(256, dtype=np.uint8), (16, 1))


def unasked() -> list[np.ndarray]:
    raise AssertionError("the header says what to show")


def rendered(words: np.ndarray, ordinal: int = 0, **elements: Any) -> Image:
    """The picture of a frame of `words`, which are asked for where the range is not known."""
    return rendering_of(header_of(words, **elements), lambda: [words])(words, ordinal)


def windowed(values: np.ndarray, centre: float, width: float) -> Image:
    """PS3.3 C.11.2.1.2.1, with y from 0 to 255."""
    y = ((values - (centre - 0.5)) / (width - 1) + 0.5) * 255
    return np.rint(np.clip(y, 0, 255)).astype(np.uint8)


# -- against a plain model -------------------------------------------------------------------------


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    allocated = draw(st.sampled_from([8, 16]))
    bits = draw(st.integers(1, allocated))
    high = draw(st.integers(bits - 1, allocated - 1))
    slope = draw(st.one_of(st.just(1.0), st.floats(-8, 8).filter(lambda s: abs(s) > 1e-3)))
    return {
        "BitsAllocated": allocated,
        "BitsStored": bits,
        "HighBit": high,
        "PixelRepresentation": draw(st.integers(0, 1)),
        "RescaleSlope": round(slope, 4),
        "RescaleIntercept": round(draw(st.floats(-4096, 4096)), 2),
        "WindowCenter": round(draw(st.floats(-3000, 5000)), 1),
        "WindowWidth": round(draw(st.floats(0.1, 6000)), 1),
        "VOILUTFunction": draw(st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID", "CURVED"])),
        "PhotometricInterpretation": draw(st.sampled_from(["MONOCHROME1", "MONOCHROME2"])),
        "PresentationLUTShape": draw(st.sampled_from(["IDENTITY", "INVERSE", "", "LIN OD"])),
    }


def modelled(word: int, case: dict[str, Any]) -> float:
    """One word's brightness, 0 to 255, step by step as the standard writes it."""
    bits = case["BitsStored"]
    value = (word >> (case["HighBit"] - bits + 1)) % (1 << bits)
    if case["PixelRepresentation"] and value >= 1 << (bits - 1):
        value -= 1 << bits
    x = value * case["RescaleSlope"] + case["RescaleIntercept"]
    c, w, function = case["WindowCenter"], case["WindowWidth"], case["VOILUTFunction"]
    if function == "SIGMOID":
        power = -4 * (x - c) / w
        y = 255 / (1 + math.exp(power)) if power < 700 else 0.0
    elif function == "LINEAR_EXACT" or w < 1:
        y = 0.0 if x <= c - w / 2 else 255.0 if x > c + w / 2 else ((x - c) / w + 0.5) * 255
    elif x <= c - 0.5 - (w - 1) / 2:
        y = 0.0
    elif x > c - 0.5 + (w - 1) / 2:
        y = 255.0
    else:
        y = ((x - (c - 0.5)) / (w - 1) + 0.5) * 255
    shape = case["PresentationLUTShape"]
    monochrome1 = case["PhotometricInterpretation"] == "MONOCHROME1"
    return 255 - y if shape == "INVERSE" or (monochrome1 and shape != "IDENTITY") else y


@settings(max_examples=150, deadline=None)
@given(case=cases(), seed=st.integers(0, 2**32 - 1))
def test_every_sample_is_shown_as_a_plain_model_shows_it(case: dict[str, Any], seed: int) -> None:
    allocated = case["BitsAllocated"]
    kind = f"{'i' if case['PixelRepresentation'] else 'u'}{allocated // 8}"
    # Words with anything in the bits beside the sample.
    unsigned = np.random.default_rng(seed).integers(0, 1 << allocated, (2, 24))
    words = unsigned.astype(f"u{allocated // 8}").view(kind)
    picture = rendering_of(header_of(words, **case), unasked)(words, 0)
    expected = [[modelled(int(word), case) for word in row] for row in unsigned]
    # A step of a threshold may fall to either side in the last bit of a float.
    assert np.abs(picture - np.array(expected)).max() <= 0.5001


# -- which bits are the sample ---------------------------------------------------------------------

WINDOW = {"BitsStored": 12, "WindowCenter": 1000, "WindowWidth": 2000}


def test_bits_beside_the_sample_are_not_shown() -> None:
    plain = rendered(RAMP, **WINDOW)
    assert np.array_equal(rendered(RAMP | 0xF000, **WINDOW), plain)
    assert np.array_equal(rendered(RAMP << 4 | 0xF, HighBit=15, **WINDOW), plain)
    assert np.array_equal(rendered(RAMP << 2 | 0xC003, HighBit=13, **WINDOW), plain)


def test_a_sign_stands_in_the_highest_bit_stored_not_in_the_words() -> None:
    values = np.tile(np.arange(-1000, 1000, 25), (16, 1))
    words = (values & 0xFFF).astype(np.uint16)  # nothing above bit 11
    case = {"BitsStored": 12, "PixelRepresentation": 1, "WindowCenter": 0, "WindowWidth": 2000}
    expected = windowed(values, 0, 2000)
    assert np.array_equal(rendered(words, **case), expected)
    assert np.array_equal(rendered(words.view(np.int16), **case), expected)
    assert np.array_equal(rendered(words << 4, HighBit=15, **case), expected)


@pytest.mark.parametrize(
    "elements",
    [
        {"PixelRepresentation": None},
        {"PixelRepresentation": None, "HighBit": None, "SamplesPerPixel": None},
        {"BitsAllocated": None},
        {"HighBit": 0},
        {"HighBit": 99},
    ],
)
def test_what_is_missing_or_impossible_is_the_usual(elements: dict[str, Any]) -> None:
    assert np.array_equal(rendered(RAMP, **WINDOW, **elements), windowed(RAMP, 1000, 2000))


@pytest.mark.parametrize("stored", [None, 0, 99])
def test_without_a_usable_number_of_bits_all_of_a_byte_is_the_sample(stored: int | None) -> None:
    assert np.array_equal(rendered(BYTES, BitsStored=stored, HighBit=None), BYTES)


def test_one_bit_is_black_and_white() -> None:
    words = np.tile(np.array([0, 1], np.uint8), (16, 8))
    assert np.array_equal(rendered(words, BitsAllocated=1, BitsStored=1), words * 255)


def test_words_of_32_bits_are_windowed() -> None:
    words = RAMP.astype(np.uint32) << 16 | 5
    case = {"BitsAllocated": 32, "BitsStored": 32, "RescaleSlope": 2**-16, "RescaleIntercept": 0}
    picture = rendered(words, WindowCenter=1000, WindowWidth=2000, **case)
    assert np.abs(picture.astype(int) - windowed(RAMP, 1000, 2000)).max() <= 1
    spread = rendered(words, **case)
    assert (spread.min(), spread.max()) == (0, 255)


def test_floating_point_samples_are_shown_and_what_is_no_number_is_black() -> None:
    samples = np.linspace(-1.5, 2.5, 64, dtype=np.float32).reshape(4, 16)
    samples[0, 0], samples[0, 1] = np.nan, np.inf
    case = {"BitsAllocated": 32, "BitsStored": None, "HighBit": None, "PixelRepresentation": None}
    picture = rendered(samples, **case)
    finite = samples[np.isfinite(samples)]
    assert picture[0, 0] == 0
    assert picture[0, 2] == np.rint((finite[0] - finite.min()) / np.ptp(finite) * 255)
    assert picture[-1, -1] == 255
    assert rendered(samples, WindowCenter=0.5, WindowWidth=0.8, **case)[2, 8] > 0


def test_big_endian_words_are_the_same_samples() -> None:
    assert np.array_equal(rendered(RAMP.astype(">u2"), **WINDOW), windowed(RAMP, 1000, 2000))


# -- rescale ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "elements",
    [
        {"RescaleSlope": 0, "RescaleIntercept": 500},  # dcmtk passes over both as well
        {"RescaleIntercept": 500},
        {"RescaleSlope": 7},
        {"ModalityLUTSequence": [item(LUTDescriptor=[9, 0, 16])]},
    ],
)
def test_a_rescale_that_says_nothing_is_passed_over(elements: dict[str, Any]) -> None:
    assert np.array_equal(rendered(RAMP, **WINDOW, **elements), windowed(RAMP, 1000, 2000))


def test_a_modality_table_comes_before_the_window() -> None:
    table = lut(100, [i * 3 for i in range(1000)], 16)
    values = np.clip(RAMP.astype(int) - 100, 0, 999) * 3
    picture = rendered(RAMP, **WINDOW, ModalityLUTSequence=[table], RescaleSlope=9)
    assert np.array_equal(picture, windowed(values, 1000, 2000))


def test_a_modality_tables_first_value_may_be_written_with_the_wrong_sign() -> None:
    values = np.tile(np.arange(-500, 500, 10, dtype=np.int16), (16, 1))
    entries = list(range(1000))
    for table in (lut(-500, entries, 16, signed=True), lut(65036, entries, 16)):
        picture = rendered(
            values, ModalityLUTSequence=[table], WindowCenter=500, WindowWidth=1000, BitsStored=12
        )
        assert np.array_equal(picture, windowed(values + 500, 500, 1000))


# -- window and VOI table --------------------------------------------------------------------------


def written(keyword: str, value: str, **elements: Any) -> Dataset:
    """A header with an element that holds what pydicom refuses to set."""
    header = header_of(RAMP, **elements)
    header.add_new(Tag(keyword), "LO", value)
    return header


@pytest.mark.parametrize("value", ["wide", "", "nan", "1e999"])
def test_a_window_that_is_no_number_is_none(value: str) -> None:
    header = written("WindowWidth", value, BitsStored=12, WindowCenter=1000)
    picture = rendering_of(header, lambda: [RAMP])(RAMP, 0)
    assert np.array_equal(picture, rendered(RAMP, BitsStored=12))


def test_a_decimal_comma_is_understood() -> None:
    header = written("WindowCenter", "1000,5", BitsStored=12, WindowWidth=2000)
    assert np.array_equal(rendering_of(header, unasked)(RAMP, 0), windowed(RAMP, 1000.5, 2000))


@pytest.mark.parametrize(("centres", "widths"), [([1000, 5], [2000, 0]), ([5, 1000], [0, 2000])])
def test_the_first_window_that_can_be_used_is_taken(centres: Any, widths: Any) -> None:
    picture = rendered(RAMP, BitsStored=12, WindowCenter=centres, WindowWidth=widths)
    assert np.array_equal(picture, windowed(RAMP, 1000, 2000))


@pytest.mark.parametrize("width", [0, -10])
def test_a_window_without_a_width_is_none(width: int) -> None:
    picture = rendered(RAMP, BitsStored=12, WindowCenter=1000, WindowWidth=width)
    assert np.array_equal(picture, rendered(RAMP, BitsStored=12))


@pytest.mark.parametrize("data", [None, b""])
def test_a_voi_table_without_data_gives_way_to_the_window(data: bytes | None) -> None:
    empty = item(LUTDescriptor=[1000, 0, 16])
    if data is not None:
        empty.add_new(Tag("LUTData"), "OW", data)
    picture = rendered(RAMP, VOILUTSequence=[empty], **WINDOW)
    assert np.array_equal(picture, windowed(RAMP, 1000, 2000))
    alone = rendered(RAMP, VOILUTSequence=[empty], BitsStored=12)
    assert np.array_equal(alone, rendered(RAMP, BitsStored=12))


@pytest.mark.parametrize("vr", ["US", "OW"])
def test_a_signed_voi_tables_first_value_may_be_written_as_unsigned(vr: str) -> None:
    values = np.tile(np.arange(-1024, 1024, 16, dtype=np.int16), (16, 1))
    entries = np.arange(2048, dtype="<u2") * 32
    data = entries.tobytes() if vr == "OW" else entries.tolist()
    right = rendered(values, VOILUTSequence=[lut(-1024, data, 16, signed=True, vr=vr)])
    wrong = rendered(values, VOILUTSequence=[lut(64512, data, 16, vr=vr)])
    expected = np.rint((values + 1024.0) * 32 / 65535 * 255)
    assert np.array_equal(right, expected)
    assert np.array_equal(wrong, expected)


def test_a_voi_table_of_rescaled_values_may_start_below_zero() -> None:
    table = lut(64512, [i * 16 for i in range(4096)], 16)  # -1024, written as unsigned
    picture = rendered(
        RAMP, BitsStored=12, RescaleSlope=1, RescaleIntercept=-1024, VOILUTSequence=[table]
    )
    assert np.array_equal(picture, np.rint(RAMP * 16.0 / 65535 * 255))


def test_a_voi_table_that_starts_high_is_not_taken_for_a_negative_one() -> None:
    words = np.tile(np.arange(40000, 42000, 10, dtype=np.uint16), (16, 1))
    table = lut(40000, [i * 32 for i in range(2000)], 16)
    expected = np.rint((words - 40000.0) * 32 / 65535 * 255)
    assert np.array_equal(rendered(words, VOILUTSequence=[table]), expected)


@pytest.mark.parametrize(
    ("entries", "bits", "peak"),
    [
        (np.arange(256) * 16, 12, 4095),
        (np.arange(256) * 16, 8, 4095),  # more than it says
        (np.arange(256), 16, 255),  # of which nothing would be seen
        (np.arange(256), 0, 255),
    ],
)
def test_a_voi_table_is_scaled_by_the_bits_of_its_entries(
    entries: np.ndarray, bits: int, peak: int
) -> None:
    picture = rendered(BYTES, VOILUTSequence=[lut(0, entries.tolist(), bits)])
    assert np.array_equal(picture, np.rint(entries[BYTES] / peak * 255))


def test_a_voi_table_of_65536_entries_says_0() -> None:
    words = np.tile(np.arange(0, 65536, 256, dtype=np.uint16), (16, 1))
    table = lut(0, np.arange(65536, dtype="<u2")[::-1].tobytes(), 16, vr="OW")
    assert table.LUTDescriptor[0] == 0
    picture = rendered(words, VOILUTSequence=[table])
    assert np.array_equal(picture, np.rint((65535 - words) / 257))


def test_a_voi_table_that_ends_early_shows_its_last_entry_beyond() -> None:
    table = lut(0, [i * 16 for i in range(100)], 12)
    table.LUTDescriptor = [4096, 0, 12]
    picture = rendered(RAMP, BitsStored=12, VOILUTSequence=[table])
    assert np.array_equal(picture, np.rint(np.minimum(RAMP, 99) * 16 / 4095 * 255))


# -- inversion -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("photometric", "shape", "inverted"),
    [
        ("MONOCHROME1", None, True),
        ("MONOCHROME1", "INVERSE", True),
        ("MONOCHROME1", "IDENTITY", False),
        ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME2", "ODD", False),
        ("MONOCHROME1", "ODD", True),
        (" monochrome1", None, True),
    ],
)
def test_the_presentation_shape_says_what_is_white(
    photometric: str, shape: str | None, inverted: bool
) -> None:
    header = header_of(BYTES)
    header.add_new(Tag("PhotometricInterpretation"), "LO", photometric)
    if shape is not None:
        header.PresentationLUTShape = shape
    picture = rendering_of(header, unasked)(BYTES, 0)
    assert np.array_equal(picture, 255 - BYTES if inverted else BYTES)


# -- no window -------------------------------------------------------------------------------------


def test_padding_does_not_count_for_the_range_that_is_shown() -> None:
    values = np.tile(np.arange(-100, 100, 2, dtype=np.int16), (16, 1))
    values[:2] = -2000
    plain = rendered(values[2:])
    # 63536 is -2000, written as unsigned.
    for padding in (-2000, 63536):
        header = header_of(values)
        header.add_new(Tag("PixelPaddingValue"), "SS" if padding < 0 else "US", padding)
        picture = rendering_of(header, lambda: [values])(values, 0)
        assert np.array_equal(picture[2:], plain)
        assert not picture[:2].any()


def test_a_range_of_padding_does_not_count_either() -> None:
    words = RAMP.copy()
    words[0, :8] = np.arange(60000, 60008)
    picture = rendered(words, PixelPaddingValue=60000, PixelPaddingRangeLimit=60010)
    assert np.array_equal(picture[1:], rendered(RAMP)[1:])


def test_a_frame_that_is_all_padding_is_shown_all_the_same() -> None:
    words = np.full((16, 16), 7, np.uint16)
    assert rendered(words, PixelPaddingValue=7).shape == (16, 16)


def test_all_frames_without_a_window_share_one_range() -> None:
    bright, dark = RAMP, RAMP // 2
    render = rendering_of(header_of(RAMP, BitsStored=12, NumberOfFrames=2), lambda: [bright, dark])
    assert render(bright, 0).max() == 255
    assert render(dark, 1).max() == 127


def test_the_frames_are_looked_at_once_for_their_range() -> None:
    asked: list[int] = []

    def sample_frames() -> list[np.ndarray]:
        asked.append(1)
        return [RAMP]

    render = rendering_of(header_of(RAMP, BitsStored=12), sample_frames)
    for ordinal in range(3):
        render(RAMP, ordinal)
    assert asked == [1]


# -- functional groups -----------------------------------------------------------------------------


def group(centre: float, width: float) -> Dataset:
    return item(FrameVOILUTSequence=[item(WindowCenter=centre, WindowWidth=width)])


def frames_of(header: Dataset, count: int) -> list[Image]:
    render = rendering_of(header, lambda: [RAMP])
    return [render(RAMP, ordinal) for ordinal in range(count)]


def test_each_frame_has_its_own_window() -> None:
    windows = [(1000, 2000), (2000, 4000), (500, 1000)]
    header = header_of(
        RAMP, BitsStored=12, PerFrameFunctionalGroupsSequence=[group(*each) for each in windows]
    )
    for picture, (centre, width) in zip(frames_of(header, 3), windows, strict=True):
        assert np.array_equal(picture, windowed(RAMP, centre, width))


def test_a_frames_own_group_comes_before_the_shared_one_and_that_before_the_file() -> None:
    header = header_of(
        RAMP,
        BitsStored=12,
        PerFrameFunctionalGroupsSequence=[group(1000, 2000), item(), item(FrameVOILUTSequence=[])],
        SharedFunctionalGroupsSequence=[group(2000, 4000)],
        WindowCenter=500,
        WindowWidth=1000,
    )
    own, shared, also, beyond = frames_of(header, 4)
    assert np.array_equal(own, windowed(RAMP, 1000, 2000))
    for picture in (shared, also, beyond):
        assert np.array_equal(picture, windowed(RAMP, 2000, 4000))
    del header.SharedFunctionalGroupsSequence
    assert np.array_equal(frames_of(header, 2)[1], windowed(RAMP, 500, 1000))


def test_attributes_in_odd_places_are_found() -> None:
    expected = windowed(RAMP, 1000, 2000)
    loose = item(WindowCenter=1000, WindowWidth=2000)
    for elements in (
        {"PerFrameFunctionalGroupsSequence": [loose]},
        {"SharedFunctionalGroupsSequence": [loose]},
        {"FrameVOILUTSequence": [loose]},
    ):
        header = header_of(RAMP, BitsStored=12, **elements)
        assert np.array_equal(frames_of(header, 1)[0], expected)


def test_each_macro_is_looked_up_by_itself() -> None:
    rescales = [
        item(PixelValueTransformationSequence=[item(RescaleSlope=slope, RescaleIntercept=-slope)])
        for slope in (1, 2)
    ]
    header = header_of(
        RAMP,
        BitsStored=12,
        PerFrameFunctionalGroupsSequence=rescales,
        SharedFunctionalGroupsSequence=[group(1000, 2000)],
    )
    first, second = frames_of(header, 2)
    assert np.array_equal(first, windowed(RAMP - 1.0, 1000, 2000))
    assert np.array_equal(second, windowed(RAMP * 2.0 - 2, 1000, 2000))


def test_frames_that_are_rescaled_by_their_own_share_a_range_of_what_comes_of_it() -> None:
    rescales = [
        item(PixelValueTransformationSequence=[item(RescaleSlope=slope, RescaleIntercept=0)])
        for slope in (1, 2)
    ]
    header = header_of(
        RAMP, BitsStored=12, NumberOfFrames=2, PerFrameFunctionalGroupsSequence=rescales
    )
    first, second = frames_of(header, 2)
    assert first.max() == 128
    assert second.max() == 255


def test_a_window_that_is_broken_gives_way_to_the_next_place() -> None:
    header = header_of(
        RAMP,
        BitsStored=12,
        PerFrameFunctionalGroupsSequence=[group(1000, 0)],
        SharedFunctionalGroupsSequence=[group(1000, 2000)],
    )
    assert np.array_equal(frames_of(header, 1)[0], windowed(RAMP, 1000, 2000))


def test_groups_that_are_no_sequences_are_passed_over() -> None:
    header = header_of(RAMP, **WINDOW)
    tag = Tag("PerFrameFunctionalGroupsSequence")
    header[tag] = RawDataElement(tag, "UT", 4, b"none", 0, False, True)
    assert np.array_equal(frames_of(header, 1)[0], windowed(RAMP, 1000, 2000))


def test_more_windows_than_are_kept_ready_are_shown_right() -> None:
    count = MAX_LOOKS + 40
    windows = [(1000 + at, 2000) for at in range(count)]
    header = header_of(
        RAMP, BitsStored=12, PerFrameFunctionalGroupsSequence=[group(*each) for each in windows]
    )
    render = rendering_of(header, unasked)
    for ordinal in (*range(count), 0, count - 1):
        assert np.array_equal(render(RAMP, ordinal), windowed(RAMP, *windows[ordinal]))


# -- palette ---------------------------------------------------------------------------------------

TABLES = np.random.default_rng(3).integers(0, 256, (3, 256))
COLOURS = np.moveaxis(TABLES[:, BYTES], 0, -1)


def bytes_of(tables: np.ndarray, kind: str = "<u2") -> list[bytes]:
    return [np.ascontiguousarray(table).astype(kind).tobytes() for table in tables]


@pytest.mark.parametrize(
    ("bits", "tables"),
    [
        (16, bytes_of(TABLES << 8)),
        (16, bytes_of(TABLES << 8 | TABLES)),
        (8, bytes_of(TABLES)),  # 8 bits in words of 16
        (8, bytes_of(TABLES, "u1")),  # side by side
        (16, bytes_of(TABLES)),  # 8 bits, announced as 16
    ],
)
def test_a_palettes_entries_are_read_as_they_lie(bits: int, tables: list[bytes]) -> None:
    assert np.array_equal(rendered(BYTES, **palette(0, bits, tables)), COLOURS)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_big_endian_palette_is_swapped(bits: int) -> None:
    # Entries of 8 bits side by side are words as well: the first is the lower byte.
    tables = bytes_of(TABLES << 8, ">u2") if bits == 16 else bytes_of(TABLES, "u1")
    if bits == 8:
        tables = [np.frombuffer(t, "<u2").astype(">u2").tobytes() for t in tables]
    header = header_of(BYTES, **palette(0, bits, tables))
    header.set_original_encoding(False, False, "ascii")
    assert np.array_equal(rendering_of(header, unasked)(BYTES, 0), COLOURS)


@pytest.mark.parametrize("first", [-20, 65516])
def test_a_palette_for_signed_samples_may_start_below_zero(first: int) -> None:
    values = np.tile(np.arange(-128, 128, dtype=np.int8), (16, 1))
    header = header_of(values, **palette(0, 16, bytes_of(TABLES << 8)))
    for colour in ("Red", "Green", "Blue"):
        tag = Tag(f"{colour}PaletteColorLookupTableDescriptor")
        header.add_new(tag, "SS" if first < 0 else "US", [256, first, 16])
    picture = rendering_of(header, unasked)(values, 0)
    at = np.clip(values.astype(int) + 20, 0, 255)
    assert np.array_equal(picture, np.moveaxis(TABLES[:, at], 0, -1))


def test_samples_beyond_a_short_palette_take_its_ends() -> None:
    short = palette(100, 16, bytes_of(TABLES[:, :50] << 8), count=50)
    at = np.clip(BYTES.astype(int) - 100, 0, 49)
    assert np.array_equal(rendered(BYTES, **short), np.moveaxis(TABLES[:, at], 0, -1))


def test_a_palette_of_65536_entries_says_0() -> None:
    words = np.tile(np.arange(0, 65536, 256, dtype=np.uint16), (16, 1))
    tables = [np.arange(65536, dtype="<u2")[::step].tobytes() for step in (1, -1, 1)]
    picture = rendered(words, **palette(0, 16, tables, count=0))
    assert picture[0, :, 0].tolist() == list(range(256))
    assert picture[0, :, 1].tolist() == list(range(255, -1, -1))


@pytest.mark.parametrize(("bits", "kind"), [(8, "u1"), (16, "<u2")])
def test_a_segmented_palette_is_written_out(bits: int, kind: str) -> None:
    scale = 1 if bits == 8 else 257
    # Four entries, a line of 60 up to 200, and both once more; then a line down of 128.
    twice = [2, 2, 0, 0, 0, 0] if bits == 8 else [2, 2, 0, 0]
    stream = [0, 4, *(v * scale for v in (7, 9, 11, 20)), 1, 60, 200 * scale]
    stream += [*twice, 1, 128, 0]
    line = np.rint(20 + 180 * np.arange(1, 61) / 60)
    part = [7, 9, 11, 20, *line]
    table = [*part, *part, *np.rint(200 - 200 * np.arange(1, 129) / 128)]
    data = np.array(stream, kind).tobytes()
    data += b"\0" * (len(data) % 2)
    header = header_of(BYTES, **palette(0, bits, [data] * 3, prefix="Segmented"))
    picture = rendering_of(header, unasked)(BYTES, 0)
    assert np.abs(picture[0, :, 0].astype(int) - np.array(table)).max() <= 1
    assert np.array_equal(picture[..., 0], picture[..., 2])


def test_a_segmented_palette_that_copies_itself_comes_to_an_end() -> None:
    endless = np.array([0, 2, 5, 6, 2, 0xFFFF, 0, 0], "<u2").tobytes()
    elements = palette(0, 16, [endless] * 3, prefix="Segmented")
    assert rendered(BYTES, **elements).shape == (16, 256, 3)


@pytest.mark.parametrize("empty", [[0, 0], [1, 0, 9], [2, 0, 0, 0]])
def test_a_segmented_palette_of_empty_segments_is_given_up(empty: list[int]) -> None:
    """As many segments as there are entries, and as many copies, are all that can be needed."""
    stream = np.array([*empty * 2 * 256, 0, 256, *range(256)], "<u2").tobytes()
    with pytest.raises(SourceFailed, match="palette is missing"):
        rendered(BYTES, **palette(0, 16, [stream] * 3, prefix="Segmented"))


def test_copies_of_many_empty_segments_are_given_up() -> None:
    stream = [*[0, 0] * 300, *[2, 300, 0, 0] * 2, 0, 256, *range(256)]
    data = np.array(stream, "<u2").tobytes()
    with pytest.raises(SourceFailed, match="palette is missing"):
        rendered(BYTES, **palette(0, 16, [data] * 3, prefix="Segmented"))


def test_transparency_is_not_looked_at() -> None:
    elements = palette(0, 16, bytes_of(TABLES << 8))
    elements["AlphaPaletteColorLookupTableData"] = b"\0" * 512
    assert np.array_equal(rendered(BYTES, **elements), COLOURS)


@pytest.mark.parametrize("tables", [[b""] * 3, [b"\1\2" * 256, b"\1\2" * 256, b""]])
def test_palette_colour_without_a_palette_is_refused(tables: list[bytes]) -> None:
    with pytest.raises(SourceFailed, match="palette is missing"):
        rendered(BYTES, **palette(0, 16, tables))


# -- colour ----------------------------------------------------------------------------------------


def test_colour_of_8_bits_goes_through_and_that_of_more_is_scaled() -> None:
    eight = np.random.default_rng(4).integers(0, 256, (16, 20, 3), dtype=np.uint8)
    assert np.array_equal(rendered(eight), eight)
    assert np.array_equal(rendered(eight.astype(np.uint16) * 257), eight)
    assert np.array_equal(rendered(eight.astype(np.uint16) << 8, BitsStored=8, HighBit=15), eight)
    assert np.array_equal(rendered(eight.astype(np.uint16) | 0x100, BitsStored=8), eight)
    twelve = np.rint(eight * (4095 / 255)).astype(np.uint16)
    assert np.array_equal(rendered(twelve, BitsStored=12), eight)


def test_whether_a_frame_is_in_colour_is_what_its_array_says() -> None:
    colour = np.random.default_rng(5).integers(0, 256, (16, 20, 3), dtype=np.uint8)
    assert np.array_equal(rendered(colour, PhotometricInterpretation="MONOCHROME2"), colour)
    grey = colour[..., 0]
    header = {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}
    assert np.array_equal(rendered(grey, **header), grey)


# -- beside dcmtk ----------------------------------------------------------------------------------

SIGNED = (RAMP.astype(np.int32) - 2048).astype(np.int16)
ENTRIES = [min(65535, int((i / 4095) ** 0.5 * 65535)) for i in range(4096)]

BESIDE_DCMTK: dict[str, tuple[np.ndarray, dict[str, Any], list[str]]] = {
    "window": (RAMP, WINDOW, ["+Wi", "1"]),
    "window of one": (RAMP, {**WINDOW, "WindowWidth": 1}, ["+Wi", "1"]),
    "sigmoid": (RAMP, {**WINDOW, "VOILUTFunction": "SIGMOID"}, ["+Wi", "1"]),
    "odd function": (RAMP, {**WINDOW, "VOILUTFunction": "ODD"}, ["+Wi", "1"]),
    "rescale": (RAMP, {**WINDOW, "RescaleSlope": -1.5, "RescaleIntercept": 3000}, ["+Wi", "1"]),
    "slope 0": (RAMP, {**WINDOW, "RescaleSlope": 0, "RescaleIntercept": 500}, ["+Wi", "1"]),
    "no slope": (RAMP, {**WINDOW, "RescaleIntercept": 500}, ["+Wi", "1"]),
    "high bit 15": (RAMP << 4 | 7, {**WINDOW, "HighBit": 15}, ["+Wi", "1"]),
    "high bit 13": (RAMP << 2 | 0x8001, {**WINDOW, "HighBit": 13}, ["+Wi", "1"]),
    "rubbish above": (RAMP | 0xA000, WINDOW, ["+Wi", "1"]),
    "signed": (SIGNED, {**WINDOW, "WindowCenter": -100}, ["+Wi", "1"]),
    "signed, high bit 15": (SIGNED << 4, {**WINDOW, "HighBit": 15}, ["+Wi", "1"]),
    "inverse": (RAMP, {**WINDOW, "PresentationLUTShape": "INVERSE"}, ["+Wi", "1"]),
    "monochrome1": (RAMP, {**WINDOW, "PhotometricInterpretation": "MONOCHROME1"}, ["+Wi", "1"]),
    "monochrome1, identity": (
        RAMP,
        {
            **WINDOW,
            "PhotometricInterpretation": "MONOCHROME1",
            "PresentationLUTShape": "IDENTITY",
        },
        ["+Wi", "1"],
    ),
    "modality table": (
        RAMP,
        {**WINDOW, "ModalityLUTSequence": [lut(96, [i * 3 % 4096 for i in range(4000)], 16)]},
        ["+Wi", "1"],
    ),
    "voi table": (RAMP, {"BitsStored": 12, "VOILUTSequence": [lut(0, ENTRIES, 16)]}, ["+Wl", "1"]),
    "voi table, short": (
        RAMP,
        {"BitsStored": 12, "VOILUTSequence": [lut(500, ENTRIES[::4], 16)]},
        ["+Wl", "1"],
    ),
    "voi table, signed": (
        SIGNED,
        {"BitsStored": 12, "VOILUTSequence": [lut(-2048, ENTRIES, 16, signed=True)]},
        ["+Wl", "1"],
    ),
    "voi table, empty": (
        RAMP,
        {**WINDOW, "VOILUTSequence": [item(LUTDescriptor=[1000, 0, 16])]},
        ["+Wi", "1"],
    ),
    "no window, 8 bits": (BYTES, {"RescaleSlope": 2, "RescaleIntercept": -5}, []),
    "no window, 12 bits": (RAMP // 2 + 9, {"BitsStored": 12}, ["+Wm"]),
    "palette": (BYTES, palette(0, 16, bytes_of(TABLES << 8)), []),
    "palette of 8 bits": (BYTES, palette(0, 8, bytes_of(TABLES, "u1")), []),
    "palette of 8 bits in words": (BYTES, palette(0, 8, bytes_of(TABLES)), []),
    "short palette": (BYTES, palette(50, 16, bytes_of(TABLES[:, :60] << 8), count=60), []),
}


@pytest.mark.skipif(shutil.which("dcm2pnm") is None, reason="dcmtk is not installed")
@pytest.mark.parametrize("name", BESIDE_DCMTK)
def test_dcmtk_shows_the_same(name: str, tmp_path: Path) -> None:
    words, elements, flags = BESIDE_DCMTK[name]
    path = save(tmp_path / "a.dcm", words, header_of(words, **elements))
    command = ["dcm2pnm", "--no-overlays", *flags, path, tmp_path / "a.pnm"]
    subprocess.run(command, check=True, capture_output=True)
    expected = cv2.imread(str(tmp_path / "a.pnm"), cv2.IMREAD_UNCHANGED)
    if expected.ndim == 3:
        expected = expected[..., ::-1]
    picture = rendering_of(dcmread(path, stop_before_pixels=True), lambda: [words])(words, 0)
    assert picture.shape == expected.shape
    assert np.abs(picture.astype(int) - expected).max() <= 2
