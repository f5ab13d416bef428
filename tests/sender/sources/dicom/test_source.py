"""DICOM files made on the fly, and those that pydicom carries: pixels, rates, masks, silence."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.examples import get_path
from pydicom.pixels.utils import pixel_array
from pydicom.uid import ExplicitVRLittleEndian, RLELossless, UltrasoundMultiFrameImageStorage

from sender.sources import images
from sender.sources.dicom import DicomSource
from shared.errors import BadInput, SourceFailed
from shared.frame import Image, Rect

NAME = "DOE^JANE"


def write(path: Path, samples: np.ndarray, *, compress: bool = False, **elements: Any) -> Path:
    """Write `samples`, (frames, rows, columns[, 3]), as a multi-frame file with `elements`."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UltrasoundMultiFrameImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = Dataset()
    ds.file_meta = meta
    ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, "1.2.3.4"
    ds.PatientName, ds.PatientID = NAME, "12345678"
    ds.NumberOfFrames, ds.Rows, ds.Columns = samples.shape[:3]
    ds.SamplesPerPixel = samples.shape[3] if samples.ndim == 4 else 1
    if samples.ndim == 4:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated = ds.BitsStored = 8 * samples.dtype.itemsize
    ds.PixelRepresentation = int(samples.dtype.kind == "i")
    ds.PhotometricInterpretation = "RGB" if samples.ndim == 4 else "MONOCHROME2"
    for name, value in elements.items():
        setattr(ds, name, value)
    ds.HighBit = ds.BitsStored - 1
    ds.PixelData = samples.tobytes()
    ds["PixelData"].VR = "OW" if samples.dtype.itemsize > 1 else "OB"
    if compress:
        ds.compress(RLELossless, generate_instance_uid=False)
    ds.save_as(path, enforce_file_format=True)
    return path


def ramp(dtype: str, peak: int, frames: int = 2) -> np.ndarray:
    """Frames (32, 32) that go from 0 to `peak` along the rows."""
    steps = np.linspace(0, peak, 32).round()
    return np.tile(steps, (frames, 32, 1)).astype(dtype)


def shown(path: Path, **options: Any) -> list[Image]:
    return list(images(DicomSource(path, **options)))


# -- pixels ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [False, True])
def test_eight_bit_grey_comes_bit_for_bit(compress: bool, tmp_path: Path) -> None:
    samples = np.random.default_rng(1).integers(0, 256, (3, 20, 30), dtype=np.uint8)
    path = write(tmp_path / "a.dcm", samples, compress=compress)
    assert np.array_equal(np.stack(shown(path)), samples)


@pytest.mark.parametrize("compress", [False, True])
def test_rgb_comes_bit_for_bit(compress: bool, tmp_path: Path) -> None:
    samples = np.random.default_rng(2).integers(0, 256, (3, 20, 30, 3), dtype=np.uint8)
    path = write(tmp_path / "a.dcm", samples, compress=compress)
    assert np.array_equal(np.stack(shown(path)), samples)


def test_a_single_frame_is_a_source_of_one(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", ramp("u1", 255, 1))
    ds = dcmread(path)
    del ds.NumberOfFrames
    ds.save_as(path)
    source = DicomSource(path)
    assert source.info.frame_count == 1
    assert len(list(images(source))) == 1


def test_every_pass_starts_anew(tmp_path: Path) -> None:
    source = DicomSource(write(tmp_path / "a.dcm", ramp("u1", 255, 4)))
    assert len(list(images(source))) == len(list(images(source))) == 4
    assert source.info.frame_count == 4


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    samples = ramp("u1", 255)
    path = write(tmp_path / "a.dcm", samples, PhotometricInterpretation="MONOCHROME1")
    assert np.array_equal(shown(path)[0], 255 - samples[0])


def test_deep_grey_without_a_window_is_spread_over_what_is_there(tmp_path: Path) -> None:
    samples = ramp("u2", 1000, 3) + np.uint16(50)
    picture = shown(write(tmp_path / "a.dcm", samples, BitsStored=12))[1]
    expected = np.rint((samples[1].astype(float) - 50) / 1000 * 255)
    assert np.array_equal(picture, expected.astype(np.uint8))


def test_brightness_does_not_jump_from_frame_to_frame(tmp_path: Path) -> None:
    samples = ramp("u2", 1000, 3)
    samples[1] //= 2  # half as bright as its neighbours, and shown so
    pictures = shown(write(tmp_path / "a.dcm", samples, BitsStored=12))
    assert pictures[0].max() == 255
    assert pictures[1].max() == 128


def test_twelve_bits_with_a_window_follow_the_standards_linear_function(tmp_path: Path) -> None:
    samples = ramp("u2", 4095)
    centre, width = 1000.0, 600.0
    path = write(tmp_path / "a.dcm", samples, BitsStored=12, WindowCenter=centre, WindowWidth=width)
    # PS3.3 C.11.2.1.2.1, with y from 0 to 255.
    x = samples[0].astype(float)
    y = ((x - (centre - 0.5)) / (width - 1) + 0.5) * 255
    y[x <= centre - 0.5 - (width - 1) / 2] = 0
    y[x > centre - 0.5 + (width - 1) / 2] = 255
    assert np.array_equal(shown(path)[0], np.rint(y).astype(np.uint8))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("LINEAR_EXACT", lambda x: np.clip((x - 100) / 80 + 0.5, 0, 1)),
        ("SIGMOID", lambda x: 1 / (1 + np.exp(-4 * (x - 100) / 80))),
    ],
)
def test_other_window_functions_follow_the_standard(
    function: str, expected: Any, tmp_path: Path
) -> None:
    samples = ramp("u1", 255)
    path = write(
        tmp_path / "a.dcm", samples, WindowCenter=100, WindowWidth=80, VOILUTFunction=function
    )
    value = np.rint(expected(samples[0].astype(float)) * 255).astype(np.uint8)
    assert np.array_equal(shown(path)[0], value)


def test_the_first_of_several_windows_is_taken(tmp_path: Path) -> None:
    samples = ramp("u1", 255)
    one = write(tmp_path / "1.dcm", samples, WindowCenter=100, WindowWidth=80)
    many = write(tmp_path / "2.dcm", samples, WindowCenter=[100, 30], WindowWidth=[80, 9])
    assert np.array_equal(shown(one)[0], shown(many)[0])


def test_the_rescale_comes_before_the_window(tmp_path: Path) -> None:
    samples = ramp("u2", 4000)
    path = write(
        tmp_path / "a.dcm",
        samples,
        RescaleSlope=2,
        RescaleIntercept=-1024,
        WindowCenter=1000,
        WindowWidth=2001,
    )
    x = samples[0].astype(float) * 2 - 1024
    expected = np.rint(np.clip((x - 999.5) / 2000 + 0.5, 0, 1) * 255)
    assert np.array_equal(shown(path)[0], expected.astype(np.uint8))


def test_signed_samples_are_windowed_by_their_value(tmp_path: Path) -> None:
    samples = (ramp("i2", 2000) - 1000).astype("<i2")
    path = write(tmp_path / "a.dcm", samples, WindowCenter=0.5, WindowWidth=2001)
    picture = shown(path)[0]
    assert picture[0, 0] == 0
    assert picture[0, -1] == 255
    assert np.all(np.diff(picture[0].astype(int)) > 0)


def test_a_voi_table_is_looked_up(tmp_path: Path) -> None:
    table = Dataset()
    table.LUTDescriptor = [300, 10, 8]  # entries, first value mapped, bits
    table.add_new(0x00283006, "US", [(i * 7) % 256 for i in range(300)])
    samples = ramp("u2", 400)
    path = write(tmp_path / "a.dcm", samples, BitsStored=12, VOILUTSequence=[table])
    at = np.clip(samples[0].astype(int) - 10, 0, 299)
    assert np.array_equal(shown(path)[0], ((at * 7) % 256).astype(np.uint8))


def test_a_window_in_the_functional_groups_is_found(tmp_path: Path) -> None:
    window, group = Dataset(), Dataset()
    window.WindowCenter, window.WindowWidth = 100, 80
    group.FrameVOILUTSequence = [window]
    samples = ramp("u1", 255)
    nested = write(tmp_path / "1.dcm", samples, SharedFunctionalGroupsSequence=[group])
    plain = write(tmp_path / "2.dcm", samples, WindowCenter=100, WindowWidth=80)
    assert np.array_equal(shown(nested)[0], shown(plain)[0])


@pytest.mark.parametrize("bits", [8, 16])
def test_palette_colour_becomes_rgb(bits: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    tables = rng.integers(0, 256, (3, 256))
    samples = ramp("u1", 255)
    elements: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for colour, table in zip(("Red", "Green", "Blue"), tables, strict=True):
        data = (table << 8 if bits == 16 else table).astype(f"<u{bits // 8}").tobytes()
        elements[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, bits]
        elements[f"{colour}PaletteColorLookupTableData"] = data
    picture = shown(write(tmp_path / "a.dcm", samples, **elements))[0]
    assert np.array_equal(picture, np.moveaxis(tables[:, samples[0]], 0, -1))


def test_ybr_becomes_rgb(tmp_path: Path) -> None:
    red = np.empty((1, 20, 20, 3), np.uint8)
    red[...] = (76, 85, 255)
    path = write(tmp_path / "a.dcm", red, PhotometricInterpretation="YBR_FULL")
    assert shown(path)[0][0, 0].tolist() == pytest.approx([255, 0, 0], abs=2)


def test_sixteen_bit_rgb_is_scaled(tmp_path: Path) -> None:
    samples = np.zeros((1, 20, 20, 3), np.uint16)
    samples[..., 0], samples[..., 1] = 65535, 257 * 40
    assert shown(write(tmp_path / "a.dcm", samples))[0][0, 0].tolist() == [255, 40, 0]


def test_one_bit_becomes_black_and_white() -> None:
    path = Path(str(get_testdata_file("liver_1frame.dcm", download=False)))
    assert np.unique(shown(path)[0]).tolist() == [0, 255]


@pytest.mark.parametrize(
    "name",
    [
        "MR_small_RLE.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_expb.dcm",
        "MR_small_implicit.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
    ],
)
def test_one_picture_in_many_encodings_looks_the_same(name: str) -> None:
    plain = Path(str(get_testdata_file("MR_small.dcm", download=False)))
    other = Path(str(get_testdata_file(name, download=False)))
    assert np.array_equal(shown(other)[0], shown(plain)[0])


@pytest.mark.parametrize(
    "name",
    [
        "SC_rgb_jpeg_dcmtk.dcm",  # JPEG baseline, YBR
        "SC_rgb_jpeg_gdcm.dcm",  # JPEG lossless
        "SC_rgb_gdcm_KY.dcm",  # JPEG 2000
        "SC_rgb_jls_lossy_line.dcm",  # JPEG-LS
        "SC_rgb_rle_16bit_2frame.dcm",
        "SC_ybr_full_422_uncompressed.dcm",
    ],
)
def test_colour_bars_in_many_encodings_look_the_same(name: str) -> None:
    picture = shown(Path(str(get_testdata_file(name, download=False))))[0]
    middles = [picture[row, 50].tolist() for row in range(5, 100, 10)]
    bars = [[255, 0, 0], [255, 128, 128], [0, 255, 0], [128, 255, 128], [0, 0, 255]]
    bars += [[128, 128, 255], [0, 0, 0], [64, 64, 64], [192, 192, 192], [255, 255, 255]]
    assert np.abs(np.array(middles) - np.array(bars)).max() <= 5


@pytest.mark.parametrize("name", ["image_dfl.dcm", "SC_rgb_jpeg.dcm", "J2K_pixelrep_mismatch.dcm"])
def test_files_that_cannot_be_read_frame_by_frame_are_read_whole(name: str) -> None:
    assert len(shown(Path(str(get_testdata_file(name, download=False))))) == 1


def test_frames_of_a_compressed_clip_are_those_that_pydicom_shows() -> None:
    path = Path(get_path("ybr_color"))
    pictures = shown(path)
    assert len(pictures) == 30
    for index in (0, 13, 29):
        # Colours are converted by libjpeg here, in floating point there.
        assert np.abs(pictures[index].astype(int) - pixel_array(path, index=index)).max() <= 2


# -- rates -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("elements", "fps"),
    [
        ({"FrameTime": 40}, 25.0),
        ({"FrameTime": 33.333}, 30.0003),
        ({"FrameTimeVector": [0, 20, 30, 25]}, 40.0),
        ({"CineRate": 18}, 18.0),
        ({"RecommendedDisplayFrameRate": 12}, 12.0),
        ({"FrameTime": 40, "CineRate": 18, "RecommendedDisplayFrameRate": 12}, 25.0),
        ({"CineRate": 18, "RecommendedDisplayFrameRate": 12}, 18.0),
        ({"FrameTime": 0, "CineRate": 18}, 18.0),
        ({"FrameTimeVector": [0, 0], "CineRate": 18}, 18.0),
        ({"FrameTime": 0.0001}, 30.0),  # ten million frames a second
        ({}, 30.0),
    ],
)
def test_the_rate_is_the_files_own(elements: dict[str, Any], fps: float, tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", ramp("u1", 255), **elements)
    assert DicomSource(path).info.fps == pytest.approx(fps, abs=1e-4)
    assert DicomSource(path, fps=7).info.fps == 7


# -- automatic masks -------------------------------------------------------------------------------


def region(left: int, top: int, right: int, bottom: int) -> Dataset:
    item = Dataset()
    item.RegionSpatialFormat = item.RegionDataType = 1  # 2D, tissue
    item.RegionLocationMinX0, item.RegionLocationMinY0 = left, top
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = right, bottom
    return item


def masked_with(tmp_path: Path, *regions: Dataset) -> np.ndarray:
    samples = np.full((1, 40, 60), 200, np.uint8)
    path = write(tmp_path / "a.dcm", samples, SequenceOfUltrasoundRegions=list(regions))
    source = DicomSource(path, mask_auto=True)
    return next(images(source))


def test_only_the_declared_regions_are_kept(tmp_path: Path) -> None:
    picture = masked_with(tmp_path, region(10, 5, 29, 14), region(25, 10, 49, 34))
    expected = np.zeros((40, 60), np.uint8)
    expected[5:15, 10:30] = 200  # both corners belong to the region
    expected[10:35, 25:50] = 200
    assert np.array_equal(picture, expected)


@pytest.mark.parametrize("regions", [[], [region(0, 0, 59, 39)], [region(30, 20, 600, 400)]])
def test_automatic_masking_that_would_hide_nothing_is_refused(
    regions: list[Dataset], tmp_path: Path
) -> None:
    with pytest.raises(BadInput) as caught:
        masked_with(tmp_path, *regions)
    assert "--mask" in caught.value.hint


def test_without_automatic_masking_nothing_is_masked(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.dcm", ramp("u1", 255), SequenceOfUltrasoundRegions=[region(5, 5, 9, 9)]
    )
    assert DicomSource(path).first.masks == ()


def test_the_masks_do_not_overlap(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.dcm",
        np.zeros((1, 40, 60), np.uint8),
        SequenceOfUltrasoundRegions=[region(10, 5, 29, 14)],
    )
    masks = DicomSource(path, mask_auto=True).first.masks
    assert all(isinstance(rect, Rect) for rect in masks)
    assert sum(rect.width * rect.height for rect in masks) == 40 * 60 - 20 * 10


# -- failures and silence --------------------------------------------------------------------------


def test_a_damaged_file_fails_without_naming_the_file_or_the_patient(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    caplog.set_level(logging.DEBUG)
    path = write(tmp_path / "DOE_JANE.dcm", np.zeros((1, 32, 32), np.uint8))
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(SourceFailed) as caught:
        shown(path)
    told = f"{caught.value} {caught.value.hint} {caplog.text}"
    assert "DOE" not in told
    assert "JANE" not in told
    assert caught.value.__cause__ is None


COMPLAINT = """
import sys
from sender.sources import open_source
print(open_source(sys.argv[1]).info.fps)
"""


def test_pydicoms_complaints_about_values_are_not_passed_on(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", ramp("u1", 255), CineRate="25")
    whole = path.read_bytes()
    broken = whole.replace(b"IS\x02\x0025", b"IS\x02\x00JD")  # a cine rate of "JD"
    assert broken != whole
    path.write_bytes(broken)
    run = subprocess.run(
        [sys.executable, "-c", COMPLAINT, str(path)], capture_output=True, text=True, check=False
    )
    assert (run.stdout, run.stderr) == ("30.0\n", "")


def test_a_file_without_a_picture_is_refused() -> None:
    with pytest.raises(SourceFailed, match="no picture"):
        DicomSource(Path(str(get_testdata_file("rtplan.dcm", download=False))))


def test_a_picture_too_small_to_send_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceFailed, match="16 to 4096"):
        DicomSource(write(tmp_path / "a.dcm", np.zeros((1, 8, 8), np.uint8)))
