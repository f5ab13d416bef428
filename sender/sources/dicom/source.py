"""A DICOM file, single- or multi-frame, in any encoding that pydicom and its plugins decode.

Frames are decoded one at a time, straight from the file wherever its encoding allows it, so that a
long clip takes no more memory than a short one.  The rate is the file's own (frame time, cine
rate).  Nothing of the file but its pixels, their geometry and their timing is ever read out: no
error, log or warning of this module repeats a value or the name of the file.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.utils import iter_pixels, pixel_array

from sender.sources.dicom.elements import frame_count
from sender.sources.dicom.presentation import (
    burned_in,
    lossy_block,
    remarks_of,
    stored_geometry,
)
from sender.sources.dicom.regions import masks_of
from sender.sources.dicom.rendering import rendering_of
from sender.sources.dicom.timing import frame_rate, frame_times
from sender.sources.source import SourceInfo, SourcePicture, checked_fps, checked_picture
from shared.errors import SourceFailed
from shared.frame import Image

__all__ = ["DicomSource", "is_dicom"]

_logger = logging.getLogger(__name__)

# pydicom's warnings quote the values they are about, and those may name the patient.
warnings.filterwarnings("ignore", module=r"pydicom\b")
logging.getLogger("pydicom").setLevel(logging.CRITICAL)


class DicomSource:
    """The frames of one DICOM file; see `sender.sources.source.Source`.

    With `mask_auto`, the pictures' `masks` cover all that lies outside the file's ultrasound
    regions; a file that declares none raises `BadInput`.
    """

    def __init__(
        self, path: str | Path, *, fps: float | None = None, mask_auto: bool = False
    ) -> None:
        self._path = Path(path)
        header = _header(self._path)
        self._count = frame_count(header)
        native = frame_rate(header)
        self._times = frame_times(header, self._count)
        self._whole: Dataset | None = None
        try:
            rendered = self._first_rendered(header)
        except Exception:
            # Deflated files, and a few encodings, can't be read frame by frame from the file.
            try:
                self._whole = dcmread(self._path)
                self._whole.setdefault("PixelRepresentation", 0)
                rendered = self._first_rendered(header)
            except Exception as error:  # decoders raise whatever they please
                raise _undecodable(0, error) from None
        first = checked_picture(rendered, 0)
        height, width = int(first.shape[0]), int(first.shape[1])
        syntax = str(header.file_meta.get("TransferSyntaxUID", ""))
        block = lossy_block(header, syntax)
        self._geometry = geometry = stored_geometry(header, width, height, block=block)
        self._masks = masks_of(header, geometry) if mask_auto else ()
        self.first = self._shown(first, 0)
        across, down = geometry.shown_size
        self.info = SourceInfo(
            kind="dicom",
            width=across,
            height=down,
            channels=1 if first.ndim == 2 else 3,
            fps=checked_fps(fps, native),
            frame_count=self._count,
            live=False,
            remarks=remarks_of(header, geometry),
            burned_in=burned_in(header),
        )

    def pictures(self) -> Iterator[SourcePicture]:
        frames = self._frames()
        for ordinal in range(self._count):
            try:
                picture = self._render(next(frames), ordinal)
            except StopIteration:
                raise SourceFailed(
                    f"the DICOM file ends after {ordinal} of its {self._count} frames"
                ) from None
            except Exception as error:
                raise _undecodable(ordinal, error) from None
            yield self._shown(checked_picture(picture, ordinal), ordinal)

    def close(self) -> None:
        """Nothing is held open between passes."""

    def _shown(self, image: Image, ordinal: int) -> SourcePicture:
        at_s = None if self._times is None else self._times[ordinal]
        return SourcePicture(self._geometry.shown(image), self._geometry, at_s, self._masks)

    def _first_rendered(self, header: Dataset) -> Image:
        self._render = rendering_of(header, self._sample_frames)
        return self._render(next(self._frames()), 0)

    def _frames(self, indices: Sequence[int] | None = None) -> Iterator[NDArray[Any]]:
        if self._whole is None:
            return iter_pixels(self._path, indices=indices, correct_unused_bits=False)
        wanted = range(self._count) if indices is None else indices
        return (
            pixel_array(self._whole, index=index, correct_unused_bits=False) for index in wanted
        )

    def _sample_frames(self) -> Iterator[NDArray[Any]]:
        return self._frames(sorted({0, self._count // 2, self._count - 1}))


def is_dicom(path: Path) -> bool:
    """Whether the file looks like DICOM: "DICM" after 128 bytes (PS3.10), or the usual suffix."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            preamble = file.read(132)
    except OSError:
        return False
    return preamble[128:] == b"DICM" or path.suffix.lower() in {".dcm", ".dicom"}


def _header(path: Path) -> Dataset:
    """Return all of the file's elements before its pixels."""
    try:
        header = dcmread(path, stop_before_pixels=True)
        complete = all(name in header for name in ("Rows", "Columns", "PhotometricInterpretation"))
    except OSError:
        raise SourceFailed(
            "the DICOM file can't be found or read", hint="check the path and its permissions"
        ) from None
    except Exception:  # pydicom raises many kinds on damaged files
        raise SourceFailed(
            "the file is not DICOM, or is damaged",
            hint="for other kinds of file write video:FILE",
        ) from None
    if not complete:
        raise SourceFailed("the DICOM file holds no picture")
    return header


def _undecodable(ordinal: int, error: Exception) -> SourceFailed:
    return SourceFailed(
        f"frame {ordinal} of the DICOM file can't be decoded ({type(error).__name__})",
        hint="the file is damaged, or its compression has no decoder here",
    )
