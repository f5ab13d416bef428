"""The pictures of one DICOM file, be they still frames or a video."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

from pydicom.dataset import Dataset

from sender.sources.dicom.file import open_dicom
from sender.sources.dicom.instance import Instance
from sender.sources.dicom.samples import Samples
from sender.sources.dicom.video import EncapsulatedVideo, is_video
from sender.sources.source import Reading, SourcePicture
from shared.errors import SourceFailed, VeilscopeError

__all__ = ["DicomClip", "open_clip"]


class DicomClip(Protocol):
    """`count` is the number of pictures, None where nobody knows; `fps` the file's own rate."""

    header: Dataset
    count: int | None
    fps: float | None
    remarks: tuple[str, ...]

    def first_good(self) -> SourcePicture:
        """Return the first picture that can be shown.  Raises `SourceFailed` where none can."""
        ...

    def faults(self) -> tuple[str, ...]:
        """Return why the first or the last picture can't be shown, as far as can be told before."""
        ...

    def pictures(self) -> Iterator[Reading]:
        """Yield the readings of one pass."""
        ...

    def close(self) -> None:
        """Give the file back; a second call does nothing."""
        ...


def open_clip(
    path: Path,
    *,
    mask_auto: bool = False,
    sampled: Callable[[], Iterable[Samples]] | None = None,
) -> DicomClip:
    """Open the file at `path`; `sampled` is as for `Instance`.

    Raises `SourceFailed`, and `BadInput` where `mask_auto` has nothing to go by.
    """
    file = open_dicom(path)
    try:
        if is_video(file):
            return EncapsulatedVideo(file, mask_auto=mask_auto)
        return Instance(file, mask_auto=mask_auto, sampled=sampled)
    except VeilscopeError:
        file.close()
        raise
    except Exception as error:  # pydicom parses values as they are asked for
        file.close()
        raise SourceFailed(
            f"what the DICOM file says of its pictures makes no sense ({type(error).__name__})"
        ) from None
