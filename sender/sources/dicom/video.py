"""Video inside DICOM: MPEG-2, H.264 and HEVC transfer syntaxes (PS3.5 8.2.5 to 8.2.11, A.4.5 to 8).

The fragments together are one elementary stream or container.  It is decoded as any video is
(`sender.sources.video`) through a file that is pieced together while it is read: nothing but what
is played is ever in memory.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate
from typing import BinaryIO, cast

from sender.sources.dicom.decoding import syntax_name
from sender.sources.dicom.elements import whole
from sender.sources.dicom.file import Contents, DicomFile
from sender.sources.dicom.fragments import Fragment, parse_items
from sender.sources.dicom.regions import masks_of
from sender.sources.dicom.timing import frame_rate, frame_times
from sender.sources.geometry import Geometry
from sender.sources.source import Reading, SourcePicture
from sender.sources.video import VideoSource
from shared.errors import BadInput, SourceFailed
from shared.frame import Rect

__all__ = ["EncapsulatedVideo", "FragmentReader", "is_video"]

_SYNTAXES = tuple(f"1.2.840.10008.1.2.4.{number}" for number in range(100, 109))


def is_video(file: DicomFile) -> bool:
    """Whether the pixels are a video stream; those of fragmentable variants end in ".1"."""
    return file.encapsulated and str(file.transfer_syntax).removesuffix(".1") in _SYNTAXES


class EncapsulatedVideo:
    """The pictures of the video in `file`, which `close` closes; see `clip.DicomClip`.

    Raises `SourceFailed`, and
    `BadInput` where `mask_auto` has nothing to go by.
    """

    def __init__(self, file: DicomFile, *, mask_auto: bool = False) -> None:
        self.header = file.header
        self._file = file
        try:
            items = parse_items(file.contents.at, file.start, file.end)
        except OSError:
            raise SourceFailed("the DICOM file can't be read to its end") from None
        self._stream = FragmentReader(file.contents, items.fragments)
        try:
            self._video = VideoSource(cast(BinaryIO, self._stream))
        except SourceFailed as error:
            raise SourceFailed(
                f"the video of the DICOM file ({syntax_name(file.transfer_syntax)}) can't be "
                f"played: {error}",
                hint="fetch or export the file anew",
            ) from None
        self._first = self._video.first
        self._mask_auto = mask_auto
        try:
            self._masks = self._masks_for(self._first.geometry)
        except Exception:
            self._video.close()
            raise
        claimed = whole(file.header, "NumberOfFrames")
        # Only the stream knows: what the header says of it is no more than a claim.
        self.count = self._video.info.frame_count
        self.fps = frame_rate(file.header)
        self._times = frame_times(file.header, count) if (count := self.count or claimed) else None
        self._evenly = self.fps is not None
        if self.fps is None:
            self.fps = self._video.info.fps
        remarks = self._video.info.remarks
        if claimed and self._video.info.frame_count not in (None, claimed):
            remarks += ("the video holds another number of pictures than the file says",)
        if not items.complete and file.end == file.contents.size:
            remarks += ("the pixel data break off: what is there is played",)
        self.remarks = remarks

    def first_good(self) -> SourcePicture:
        return self._shown(self._first, 0)

    def faults(self) -> tuple[str, ...]:
        """The first is among the remarks; the end of a video is not looked at before."""
        return ()

    def pictures(self) -> Iterator[Reading]:
        """Yield the readings of one pass."""
        ordinal = 0
        for reading in self._video.pictures():
            if isinstance(reading, SourcePicture):
                yield self._shown(reading, ordinal)
                ordinal += 1
            else:
                yield reading

    def close(self) -> None:
        self._video.close()
        self._file.close()

    def _shown(self, picture: SourcePicture, ordinal: int) -> SourcePicture:
        at_s = picture.at_s
        if self._times is not None:
            at_s = self._times[ordinal] if ordinal < len(self._times) else None
        elif self._evenly:
            at_s = None
        if picture.geometry != self._masked:
            self._masks = self._masks_for(picture.geometry)
        return replace(picture, at_s=at_s, masks=self._masks)

    def _masks_for(self, geometry: Geometry) -> tuple[Rect, ...]:
        """Return what is hidden of pictures stored like that, which may turn on the way.

        Regions are declared for the size that the header says: a video that begins with another is
        refused, and a later picture of another is hidden as a whole.
        """
        self._masked = geometry
        if not self._mask_auto:
            return ()
        if (geometry.width, geometry.height) == (
            whole(self.header, "Columns"),
            whole(self.header, "Rows"),
        ):
            return masks_of(self.header, geometry)
        if geometry != self._first.geometry:
            return (Rect(0, 0, *geometry.shown_size),)
        raise BadInput(
            "the ultrasound regions of the DICOM file are for another size than its video has",
            hint="give the regions to hide with --mask x,y,w,h, or find letters with --mask-text",
        )


class FragmentReader(io.RawIOBase):
    """Fragments of a file as one file that is read and sought."""

    def __init__(self, contents: Contents, fragments: tuple[Fragment, ...]) -> None:
        self._contents = contents
        self._fragments = fragments
        self._starts = [0, *accumulate(fragment.nbytes for fragment in fragments)]
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = (0, self._position, self._starts[-1])[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, nbytes: int = -1) -> bytes:
        """Return up to `nbytes` bytes, fewer at the end of all fragments only."""
        wanted = self._starts[-1] - self._position if nbytes < 0 else nbytes
        parts: list[bytes] = []
        while wanted > 0 and self._position < self._starts[-1]:
            # The last fragment that begins here or before: empty ones are stepped over.
            at = bisect_right(self._starts, self._position) - 1
            fragment, skipped = self._fragments[at], self._position - self._starts[at]
            part = self._contents.at(fragment.at + skipped, min(wanted, fragment.nbytes - skipped))
            if not part:
                break
            parts.append(part)
            wanted -= len(part)
            self._position += len(part)
        return b"".join(parts)
