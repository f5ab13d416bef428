"""Which parts of a DICOM picture are an image, by what its header says.

An ultrasound file declares rectangles (US Region Calibration, PS3.3 C.8.5.5) and says of each what
it is.  A rectangle is kept only if it is said to be an image; all else is hidden.  What would hide
nothing is refused: the person asked for something to be hidden.

| Region Spatial Format        | kept | Region Data Type                     | kept |
|------------------------------|------|--------------------------------------|------|
| 0 none                       | no   | 0 none                               | no   |
| 1 2D, 2 M-mode, 3 spectral   | yes  | 1 to 4 tissue, flow, PW, CW Doppler  | yes  |
| 4 waveform                   | yes  | 5 to 12 Doppler, volume, ECG … traces| yes  |
| 5 graphics                   | no   | 13 grey bar, 14 colour bar           | no   |
| missing, or any other        | no   | 15 integrated backscatter            | yes  |
|                              |      | 16 to 18 area and other traces       | yes  |
|                              |      | missing, or any other                | no   |

Both must be kept.  A rectangle that is kept stays whole where another, hidden one overlaps it.
"""

from __future__ import annotations

from pydicom.dataset import Dataset

from sender.masks.rectangles import outside
from sender.sources.dicom.elements import items, whole
from sender.sources.geometry import Geometry
from shared.errors import BadInput
from shared.frame import Rect

__all__ = ["masks_of", "ultrasound_regions"]

IMAGE_FORMATS = frozenset({1, 2, 3, 4})  # C.8.5.5.1.1
IMAGE_DATA_TYPES = frozenset(range(1, 19)) - {13, 14}  # C.8.5.5.1.2

MAX_REGIONS = 256  # a file with more was made to keep somebody busy
SLIP = 1  # pixels that a region may reach beyond the picture: one that counts corners from 1
THINNEST = 4  # pixels; nothing that can be read stands in a strip that is thinner

_CORNERS = ("MinX0", "MinY0", "MaxX1", "MaxY1")
_HINT = "give the regions to hide with --mask x,y,w,h, or find letters with --mask-text"


def masks_of(header: Dataset, geometry: Geometry) -> tuple[Rect, ...]:
    """Return what must be hidden of a picture stored by `geometry`: all but its image regions.

    Rectangles of the picture as shown, grown to all that compression can have carried into.

    Raises `BadInput` where there is nothing to go by, or nothing would be hidden.
    """
    width, height = geometry.width, geometry.height
    hidden = outside(ultrasound_regions(header, width, height), width, height)
    if all(min(rect.width, rect.height) < THINNEST for rect in hidden):
        raise BadInput(
            "the image regions that the DICOM file declares are its whole picture: "
            "masking by them would hide nothing",
            hint=_HINT,
        )
    return tuple(geometry.grown(geometry.to_shown(rect)) for rect in hidden)


def ultrasound_regions(header: Dataset, width: int, height: int) -> tuple[Rect, ...]:
    """Return the regions that are said to be an image, of a `width` x `height` picture as stored.

    Raises `BadInput` where there are none, or where they are for a picture of another size.
    """
    declared = items(header, "SequenceOfUltrasoundRegions")
    if not declared:
        raise BadInput("the DICOM file declares no ultrasound regions to mask by", hint=_HINT)
    if len(declared) > MAX_REGIONS:
        raise BadInput(
            f"the DICOM file declares more than {MAX_REGIONS} ultrasound regions: "
            "they can't be masked by",
            hint=_HINT,
        )
    regions: list[Rect] = []
    for item in declared:
        corners = _corners(item)
        if corners is None:
            continue
        left, top, right, bottom = corners
        # Of whatever kind: coordinates of another picture say nothing of this one.
        if right > width - 1 + SLIP or bottom > height - 1 + SLIP:
            raise BadInput(
                "the ultrasound regions that the DICOM file declares reach beyond its picture: "
                "they are for a picture of another size",
                hint=_HINT,
            )
        if _is_image(item) and left < width and top < height:
            # The lower right corner belongs to the region.
            region = Rect(left, top, right - left + 1, bottom - top + 1)
            regions.append(region.clipped(width, height))
    if not regions:
        raise BadInput(
            "none of the ultrasound regions that the DICOM file declares says that it is an image",
            hint=_HINT,
        )
    return tuple(regions)


def _is_image(item: Dataset) -> bool:
    return (
        whole(item, "RegionSpatialFormat") in IMAGE_FORMATS
        and whole(item, "RegionDataType") in IMAGE_DATA_TYPES
    )


def _corners(item: Dataset) -> tuple[int, int, int, int] | None:
    """Return a region's left, top, right and bottom pixels, None where they make no rectangle."""
    found = [whole(item, f"RegionLocation{corner}") for corner in _CORNERS]
    left, top, right, bottom = (-1 if corner is None else corner for corner in found)
    if left < 0 or top < 0 or right < left or bottom < top:
        return None
    return left, top, right, bottom
