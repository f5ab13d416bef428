"""What a DICOM header says of the picture as a whole: shape of its pixels, loss, burned-in text."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from pydicom.dataset import Dataset

from sender.sources.compression import LOSSLESS, Grid, grid_of
from sender.sources.dicom.codestream import stated_loss
from sender.sources.dicom.elements import items, numbers, places, raw, word
from sender.sources.geometry import Geometry
from shared.frame import MIN_SIDE

__all__ = ["burned_in", "lossy_grid", "remarks_of", "stored_geometry"]

# -- shape of the pixels ---------------------------------------------------------------------------

# Where the height and width of a pixel are, C.7.6.3.1.7: the aspect ratio counts only where no
# spacing says more.
_SPACINGS = (
    ("PixelMeasuresSequence", "PixelSpacing"),
    ("FramePixelDataPropertiesSequence", "ImagerPixelSpacing"),
    ("PixelMeasuresSequence", "NominalScannedPixelSpacing"),
    ("PixelMeasuresSequence", "PixelAspectRatio"),
)
SQUARE_WITHIN = 0.01  # nobody sees 1 %, and stretching by so little would only blur
STRANGEST_ASPECT = 8.0  # no device's pixels are longer; a ratio beyond is a broken element


def stored_geometry(header: Dataset, width: int, height: int, *, grid: Grid = LOSSLESS) -> Geometry:
    """Return how a `width` x `height` picture of the file is shown: with square pixels.

    `grid` is that of its compression with loss (`lossy_grid`).  The scale of an
    ultrasound region (Physical Delta) is not looked at: it is a region's, and of a spectrum or an
    M-mode its two directions are no lengths.
    """
    aspect = pixel_aspect(header)
    geometry = Geometry(width, height, pixel_aspect=aspect, block=grid.block, reach=grid.reach)
    if min(geometry.shown_size) < MIN_SIDE <= min(width, height):
        return replace(geometry, pixel_aspect=Fraction(1))  # too long a strip to be stretched
    return geometry


def pixel_aspect(header: Dataset) -> Fraction:
    """Return the width of a stored pixel over its height, 1 where nothing possible is said."""
    for macro, keyword in _SPACINGS:
        for place in places(header, macro, 0):
            values = numbers(place, keyword)[:2]
            # Vertical, then horizontal (10.7.1.3).
            if len(values) == 2 and values[0] > 0.0 and values[1] > 0.0:
                ratio = values[1] / values[0]
                if not 1 / STRANGEST_ASPECT <= ratio <= STRANGEST_ASPECT:
                    continue
                if abs(ratio - 1.0) < SQUARE_WITHIN:
                    return Fraction(1)
                return Fraction(ratio).limit_denominator(1000)
    return Fraction(1)


def remarks_of(header: Dataset, geometry: Geometry) -> tuple[str, ...]:
    """Return what the person at the sender should know of how the pictures are shown."""
    remarks: list[str] = []
    aspect = float(geometry.pixel_aspect)
    if aspect > 1.0:
        remarks.append(
            f"shown with square pixels: stored pixels are {aspect:.2f} times as wide as high"
        )
    elif aspect < 1.0:
        remarks.append(
            f"shown with square pixels: stored pixels are {1 / aspect:.2f} times as high as wide"
        )
    if word(header, "PixelPresentation") in {"COLOR", "MIXED"}:
        remarks.append("shown in grey: the file's supplemental colours are not applied")
    return tuple(remarks)


# -- loss ------------------------------------------------------------------------------------------


def lossy_grid(header: Dataset, transfer_syntax_uid: str, frame: bytes = b"") -> Grid:
    """Return the grid on which the picture lost something, and how far beyond it is seen.

    A picture that is stored without loss may have been compressed before: the header says so
    (Lossy Image Compression, C.7.6.1.1.5).  That it denies a loss counts only where the encoding
    can be without one for certain; and a compressed `frame` that says of itself to be lossy is
    believed before the file.
    """
    grid = grid_of(str(transfer_syntax_uid).strip(" \0"))
    stated = stated_loss(frame)
    if stated is not None and stated.block > grid.block:
        return stated
    if grid == LOSSLESS and _was_compressed(header):
        return grid_of("jpeg")  # whatever it was: smoothed there, perhaps
    if grid == LOSSLESS and word(header, "PhotometricInterpretation").endswith(("422", "420")):
        return grid.with_colours(2)
    return grid


def _was_compressed(header: Dataset) -> bool:
    if word(header, "LossyImageCompression") in {"01", "1"}:
        return True
    if raw(header, "LossyImageCompressionMethod") or raw(header, "LossyImageCompressionRatio"):
        return word(header, "LossyImageCompression") not in {"00", "0"}
    return False


# -- burned-in text --------------------------------------------------------------------------------

_KINDS_BY_CLASS = {
    "an ultrasound": (
        "1.2.840.10008.5.1.4.1.1.3",  # multi-frame, retired
        "1.2.840.10008.5.1.4.1.1.3.1",  # multi-frame
        "1.2.840.10008.5.1.4.1.1.6",  # retired
        "1.2.840.10008.5.1.4.1.1.6.1",
        "1.2.840.10008.5.1.4.1.1.6.2",  # enhanced volume
        "1.2.840.10008.5.1.4.1.1.6.3",  # photoacoustic
    ),
    "an endoscopy": (
        "1.2.840.10008.5.1.4.1.1.77.1.1",
        "1.2.840.10008.5.1.4.1.1.77.1.1.1",  # video
        "1.2.840.10008.5.1.4.1.1.77.1",  # visible light, trial, retired
        "1.2.840.10008.5.1.4.1.1.77.2",  # the same, multi-frame
        "1.2.840.10008.5.1.4.1.1.77.1.4.1",  # video photography: recorders of operating rooms
    ),
    "a secondary-capture": (
        "1.2.840.10008.5.1.4.1.1.7",
        "1.2.840.10008.5.1.4.1.1.7.1",  # multi-frame: single bit
        "1.2.840.10008.5.1.4.1.1.7.2",  # grey, byte
        "1.2.840.10008.5.1.4.1.1.7.3",  # grey, word
        "1.2.840.10008.5.1.4.1.1.7.4",  # true colour
        "1.2.840.10008.5.1.1.29",  # hardcopy, grey, retired: a printed page
        "1.2.840.10008.5.1.1.30",  # hardcopy, colour, retired
    ),
}
_KIND_OF_CLASS = {uid: kind for kind, uids in _KINDS_BY_CLASS.items() for uid in uids}

# C.7.3.1.1.1, the retired ones with them.
_KIND_OF_MODALITY = {
    **dict.fromkeys(("US", "IVUS", "BDUS", "EC", "DD", "CD"), "an ultrasound"),
    **dict.fromkeys(("ES", "LP", "CP", "CS"), "an endoscopy"),
    **dict.fromkeys(("OT", "SC"), "a secondary-capture"),
}


def burned_in(header: Dataset) -> str | None:
    """Return why text may be burned into the pictures, None where nothing says so (C.7.6.1.1).

    A line for the person: without a mask, such a file goes out only on the person's word.
    """
    said = word(header, "BurnedInAnnotation")
    if said == "YES" and len(_values(header)) == 1:
        return "the DICOM file says that text is burned into its pictures"
    if said == "NO" and len(_values(header)) == 1:
        return None
    kind = _kind(header)
    if kind is not None:
        return f"{kind} file that does not say that no text is burned into its pictures"
    if said:
        return "the DICOM file does not say clearly whether text is burned into its pictures"
    return None


def _values(header: Dataset) -> tuple[str, ...]:
    value = raw(header, "BurnedInAnnotation")
    return (value,) if isinstance(value, str) else tuple(value or ())


def _kind(header: Dataset) -> str | None:
    """Return what kind of file it is, of those whose devices burn text into their pictures."""
    storage = str(raw(header, "SOPClassUID") or "").strip(" \0")
    modality = word(header, "Modality")
    if (kind := _KIND_OF_CLASS.get(storage) or _KIND_OF_MODALITY.get(modality)) is not None:
        return kind
    if items(header, "SequenceOfUltrasoundRegions"):
        return "an ultrasound"
    if word(header, "ConversionType"):  # C.8.6.1: only a secondary capture has it
        return "a secondary-capture"
    if not storage and not modality:
        return "an unknown kind of"
    return None
