"""The shape of a file's pixels, the grid of its compression, and text that may be burned in."""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any

import cv2
import jpeg_ls
import numpy as np
import pytest
from PIL import Image as Pillow
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    MPEG2MPML,
    MPEG4HP41,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedUSVolumeStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    MRImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
    VideoEndoscopicImageStorage,
    VLEndoscopicImageStorage,
    VLPhotographicImageStorage,
)

from sender.sources.compression import Grid
from sender.sources.dicom.presentation import (
    burned_in,
    lossy_grid,
    remarks_of,
    stored_geometry,
)
from tests.sender.sources.dicom.headers import item

# -- shape of the pixels ---------------------------------------------------------------------------


def aspect(**elements: Any) -> Fraction:
    return stored_geometry(item(**elements), 64, 48).pixel_aspect


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({}, 1),
        ({"PixelAspectRatio": [1, 2]}, 2),  # vertical, then horizontal
        ({"PixelAspectRatio": [6, 5]}, Fraction(5, 6)),
        ({"PixelSpacing": [0.2, 0.3]}, Fraction(3, 2)),
        ({"ImagerPixelSpacing": [0.2, 0.3]}, Fraction(3, 2)),
        ({"NominalScannedPixelSpacing": [0.2, 0.3]}, Fraction(3, 2)),
        # The ratio counts only where no spacing is given.
        ({"PixelSpacing": [0.2, 0.2], "PixelAspectRatio": [1, 2]}, 1),
        ({"PixelSpacing": [0.2, 0.3], "ImagerPixelSpacing": [0.4, 0.2]}, Fraction(3, 2)),
        ({"PixelSpacing": [0, 0], "PixelAspectRatio": [1, 2]}, 2),
        ({"PixelSpacing": [-1, 1]}, 1),
        ({"PixelSpacing": 0.2}, 1),
        ({"PixelSpacing": [0.1953, 0.1952]}, 1),  # rounded
        ({"PixelAspectRatio": [1, 1000]}, 1),
        ({"PixelAspectRatio": [0, 1]}, 1),
    ],
)
def test_the_aspect_is_what_the_header_says(elements: dict[str, Any], expected: Fraction) -> None:
    assert aspect(**elements) == expected


@pytest.mark.parametrize("keyword", ["PixelSpacing", "PixelAspectRatio"])
def test_an_aspect_that_is_no_number_is_passed_over(keyword: str) -> None:
    header = item()
    header.add_new(Tag(keyword), "LO", ["tall", "wide"])
    assert stored_geometry(header, 64, 48).pixel_aspect == 1


@pytest.mark.parametrize(
    "where", ["SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"]
)
def test_an_aspect_in_the_functional_groups_is_found(where: str) -> None:
    measures = item(PixelMeasuresSequence=[item(PixelSpacing=[0.2, 0.3])])
    assert aspect(**{where: [measures]}) == Fraction(3, 2)
    properties = item(FramePixelDataPropertiesSequence=[item(ImagerPixelSpacing=[0.3, 0.2])])
    assert aspect(**{where: [properties]}) == Fraction(2, 3)


def test_the_scale_of_an_ultrasound_region_is_no_aspect() -> None:
    region = item(PhysicalDeltaX=0.01, PhysicalDeltaY=0.03, PhysicalUnitsXDirection=3)
    assert aspect(SequenceOfUltrasoundRegions=[region]) == 1


def test_the_geometry_is_that_of_square_pixels_and_keeps_the_grid() -> None:
    geometry = stored_geometry(item(PixelAspectRatio=[1, 2]), 64, 48, grid=Grid(16, 4))
    assert geometry.shown_size == (128, 48)
    assert (geometry.width, geometry.height, geometry.block) == (64, 48, 16)


def test_a_strip_too_long_to_be_stretched_is_shown_as_it_is() -> None:
    assert stored_geometry(item(PixelAspectRatio=[1, 8]), 4096, 16).pixel_aspect == 1


@pytest.mark.parametrize(
    ("ratio", "line"),
    [
        ([5, 6], "shown with square pixels: stored pixels are 1.20 times as wide as high"),
        ([6, 5], "shown with square pixels: stored pixels are 1.20 times as high as wide"),
    ],
)
def test_a_stretched_picture_is_said(ratio: list[int], line: str) -> None:
    header = item(PixelAspectRatio=ratio)
    assert remarks_of(header, stored_geometry(header, 64, 48)) == (line,)


def test_of_a_plain_picture_nothing_is_said() -> None:
    assert remarks_of(item(), stored_geometry(item(), 64, 48)) == ()


def test_colours_that_are_not_applied_are_said() -> None:
    header = item(PixelPresentation="COLOR")
    (line,) = remarks_of(header, stored_geometry(header, 64, 48))
    assert "supplemental" in line


# -- loss ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("syntax", "block"),
    [
        *(
            (syntax, 1)
            for syntax in (
                ImplicitVRLittleEndian,
                ExplicitVRLittleEndian,
                ExplicitVRBigEndian,
                DeflatedExplicitVRLittleEndian,
                RLELossless,
                JPEGLossless,
                JPEGLosslessSV1,
                JPEGLSLossless,
                JPEG2000Lossless,
                HTJ2KLossless,
            )
        ),
        *(
            (syntax, 16)
            for syntax in (
                JPEGBaseline8Bit,
                JPEGExtended12Bit,
                JPEGLSNearLossless,
                MPEG2MPML,
                MPEG4HP41,
            )
        ),
        (JPEG2000, 32),
        (HTJ2K, 32),
        ("1.2.840.10008.1.2.4.112", 64),  # JPEG XL
        ("1.2.3.4.5", 16),
        ("", 16),
    ],
)
def test_the_grid_is_that_of_the_encoding(syntax: str, block: int) -> None:
    assert lossy_grid(item(), syntax).block == block
    assert lossy_grid(item(LossyImageCompression="01"), syntax).block == max(16, block)


def test_that_a_loss_is_denied_does_not_count_for_an_encoding_with_loss() -> None:
    assert lossy_grid(item(LossyImageCompression="00"), JPEGBaseline8Bit).block == 16
    assert lossy_grid(item(LossyImageCompression="00"), ExplicitVRLittleEndian).block == 1


def test_a_method_of_compression_is_a_sign_of_loss() -> None:
    header = item(LossyImageCompressionMethod="ISO_10918_1")
    assert lossy_grid(header, ExplicitVRLittleEndian).block == 16


def jpeg_2000(*, irreversible: bool) -> bytes:
    written = io.BytesIO()
    image = Pillow.fromarray(np.arange(64 * 64, dtype=np.uint8).reshape(64, 64))
    image.save(written, "JPEG2000", irreversible=irreversible, no_jp2=True)
    return written.getvalue()


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, HTJ2KLossless])
def test_a_codestream_is_believed_before_the_file_that_calls_it_lossless(syntax: str) -> None:
    assert lossy_grid(item(), syntax, jpeg_2000(irreversible=True)) == Grid(32, 16)
    assert lossy_grid(item(), syntax, jpeg_2000(irreversible=False)) == Grid(1, 0)


@pytest.mark.parametrize("near", [0, 3])
def test_a_jpeg_ls_picture_says_how_near_it_is(near: int) -> None:
    frame = bytes(jpeg_ls.encode_array(np.zeros((16, 16), np.uint8), lossy_error=near))
    assert lossy_grid(item(), JPEGLSLossless, frame).block == (16 if near else 1)


def test_a_baseline_jpeg_is_lossy_whatever_its_file_says() -> None:
    written = io.BytesIO()
    Pillow.new("RGB", (16, 16)).save(written, "JPEG", subsampling="4:2:0")
    assert lossy_grid(item(), JPEGLosslessSV1, written.getvalue()) == Grid(16, 4)


def test_quartered_colours_of_a_jpeg_widen_its_grid() -> None:
    options = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411]
    frame = bytes(cv2.imencode(".jpg", np.zeros((64, 64, 3), np.uint8), options)[1])
    assert lossy_grid(item(), JPEGBaseline8Bit, frame) == Grid(32, 8)


@pytest.mark.parametrize("kind", ["jpeg2000", "jpeg", "jpegls"])
def test_a_frame_that_breaks_off_says_something_or_nothing(kind: str) -> None:
    grey, written = np.zeros((16, 16), np.uint8), io.BytesIO()
    Pillow.fromarray(grey).save(written, "JPEG")
    frame = {
        "jpeg2000": jpeg_2000(irreversible=True),
        "jpeg": written.getvalue(),
        "jpegls": bytes(jpeg_ls.encode_array(grey, lossy_error=3)),
    }[kind]
    for end in range(len(frame)):
        assert lossy_grid(item(), ExplicitVRLittleEndian, frame[:end]).block in (1, 8, 16, 32)


def test_halved_colours_reach_further_than_their_pixels_without_any_other_loss() -> None:
    header = item(PhotometricInterpretation="YBR_FULL_422")
    assert lossy_grid(header, ExplicitVRLittleEndian) == Grid(2, 4)


# -- burned-in text --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("elements", "kind"),
    [
        ({"SOPClassUID": UltrasoundImageStorage}, "ultrasound"),
        ({"SOPClassUID": UltrasoundMultiFrameImageStorage}, "ultrasound"),
        ({"SOPClassUID": EnhancedUSVolumeStorage}, "ultrasound"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.6"}, "ultrasound"),  # retired
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.3"}, "ultrasound"),
        ({"SOPClassUID": VLEndoscopicImageStorage}, "endoscopy"),
        ({"SOPClassUID": VideoEndoscopicImageStorage}, "endoscopy"),
        ({"SOPClassUID": SecondaryCaptureImageStorage}, "secondary-capture"),
        ({"SOPClassUID": MultiFrameTrueColorSecondaryCaptureImageStorage}, "secondary-capture"),
        ({"SOPClassUID": "1.2.3.4.5", "Modality": "US"}, "ultrasound"),
        ({"SOPClassUID": MRImageStorage, "Modality": "IVUS"}, "ultrasound"),
        ({"Modality": "ES"}, "endoscopy"),
        ({"Modality": "OT"}, "secondary-capture"),
        ({"SOPClassUID": "1.2.3.4.5", "Modality": "CT", "ConversionType": "WSD"}, "secondary"),
        ({"Modality": "CT", "SequenceOfUltrasoundRegions": [item()]}, "ultrasound"),
        ({}, "unknown"),
    ],
)
def test_a_kind_that_often_holds_text_must_say_that_it_does_not(
    elements: dict[str, Any], kind: str
) -> None:
    line = burned_in(item(**elements))
    assert line is not None and kind in line and "does not say" in line
    assert burned_in(item(BurnedInAnnotation="NO", **elements)) is None
    said = burned_in(item(BurnedInAnnotation="YES", **elements))
    assert said is not None and "says that text is burned" in said
    for value in ("", "MAYBE", ["NO", "YES"], ["YES", "NO"]):
        header = item(**elements)
        header.add_new(Tag("BurnedInAnnotation"), "LO", value)
        assert burned_in(header) is not None


@pytest.mark.parametrize(
    "elements",
    [
        {"SOPClassUID": CTImageStorage, "Modality": "CT"},
        {"SOPClassUID": MRImageStorage},
        {"SOPClassUID": VLPhotographicImageStorage, "Modality": "XC"},
        {"Modality": "MR"},
    ],
)
def test_another_kind_is_taken_at_its_word(elements: dict[str, Any]) -> None:
    assert burned_in(item(**elements)) is None
    assert burned_in(item(BurnedInAnnotation="NO", **elements)) is None
    assert burned_in(item(BurnedInAnnotation="YES", **elements)) is not None
    header = item(**elements)
    header.add_new(Tag("BurnedInAnnotation"), "LO", "PERHAPS")
    assert burned_in(header) is not None


def test_case_and_padding_do_not_matter() -> None:
    header = item(Modality="US")
    header.add_new(Tag("BurnedInAnnotation"), "LO", "no ")
    assert burned_in(header) is None


def test_the_line_holds_no_value_of_the_file() -> None:
    header: Dataset = item(Modality="US", PatientName="DOE^JANE")
    header.add_new(Tag("BurnedInAnnotation"), "LO", "DOE")
    assert "DOE" not in str(burned_in(header))
