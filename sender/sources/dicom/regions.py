"""Which parts of a DICOM picture are an image, by what its header says."""

from __future__ import annotations

import logging
from typing import Any

from pydicom.dataset import Dataset

from sender.privacy import outside
from sender.sources.geometry import Geometry
from shared.errors import BadInput
from shared.frame import Rect

__all__ = ["masks_of", "number_of", "ultrasound_regions"]

_CORNERS = ("MinX0", "MinY0", "MaxX1", "MaxY1")

_logger = logging.getLogger(__name__)


def masks_of(header: Dataset, geometry: Geometry) -> tuple[Rect, ...]:
    """Return what must be hidden of a picture stored by `geometry`: all but its image regions.

    Rectangles of the picture as shown.  Raises `BadInput` where there is nothing to go by.
    """
    width, height = geometry.width, geometry.height
    hidden = outside(ultrasound_regions(header, width, height), width, height)
    return tuple(geometry.grown(geometry.to_shown(rect)) for rect in hidden)


def ultrasound_regions(header: Dataset, width: int, height: int) -> tuple[Rect, ...]:
    """Return the declared ultrasound regions (C.8.5.5), clipped to a `width` x `height` picture.

    Raises `BadInput` where there are none to go by.
    """
    regions: list[Rect] = []
    overhang = False
    for item in header.get("SequenceOfUltrasoundRegions") or ():
        corners = [number_of(item.get(f"RegionLocation{corner}")) for corner in _CORNERS]
        if any(corner is None for corner in corners):
            continue
        left, top, right, bottom = (corner or 0 for corner in corners)
        if left < 0 or top < 0 or right < left or bottom < top:
            continue
        overhang |= right > width or bottom > height  # one pixel over is a common slip
        if left < width and top < height:
            # The lower right corner belongs to the region.
            region = Rect(left, top, right - left + 1, bottom - top + 1)
            regions.append(region.clipped(width, height))
    if not regions:
        raise BadInput(
            "the DICOM file declares no ultrasound regions to mask by",
            hint="give the regions to hide with --mask x,y,w,h",
        )
    if overhang:
        _logger.warning(
            "the declared ultrasound regions reach beyond the picture: "
            "check that the masked picture shows no text"
        )
    return tuple(regions)


def number_of(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None
