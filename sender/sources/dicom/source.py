"""A DICOM file as a source: single- or multi-frame, in any encoding that has a decoder, or video.

Frames are read one at a time, straight from the file, so that a long clip takes no more memory than
a short one, and decoded ahead in threads.  The rate is the file's own.  Nothing of the file but its
pixels, their geometry and their timing is ever read out: no error, log or remark repeats a value or
the name of the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sender.sources.dicom.clip import open_clip
from sender.sources.dicom.presentation import burned_in
from sender.sources.source import Reading, SourceInfo, SourcePicture, checked_fps

__all__ = ["DicomSource"]


class DicomSource:
    """The pictures of one DICOM file; see `sender.sources.source.Source`.

    With `mask_auto`, the pictures' `masks` cover all that lies outside the file's image regions; a
    file that declares none raises `BadInput`.
    """

    def __init__(
        self, path: str | Path, *, fps: float | None = None, mask_auto: bool = False
    ) -> None:
        checked_fps(fps)
        self._clip = open_clip(Path(path), mask_auto=mask_auto)
        self._evenly = fps is not None
        try:
            self.first = self._timed(self._clip.first_good())
            faults = self._clip.faults()
        except Exception:
            self._clip.close()
            raise
        image = self.first.image
        self.info = SourceInfo(
            kind="dicom",
            width=int(image.shape[1]),
            height=int(image.shape[0]),
            channels=1 if image.ndim == 2 else 3,
            fps=checked_fps(fps, self._clip.fps),
            frame_count=self._clip.count,
            live=False,
            remarks=self._clip.remarks + faults,
            burned_in=burned_in(self._clip.header),
        )

    def pictures(self) -> Iterator[Reading]:
        for reading in self._clip.pictures():
            yield self._timed(reading) if isinstance(reading, SourcePicture) else reading

    def close(self) -> None:
        self._clip.close()

    def _timed(self, picture: SourcePicture) -> SourcePicture:
        """The file's own times, unless the person gave a rate."""
        return replace(picture, at_s=None) if self._evenly else picture
