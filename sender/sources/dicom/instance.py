"""One DICOM file of still frames: each of its pictures by its number, as it is to be shown.

A frame that can't be decoded or shown is a gap that says why, and the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from sender.sources.ahead import ahead
from sender.sources.compression import Grid
from sender.sources.dicom.decoding import decoder_of, syntax_name
from sender.sources.dicom.file import DicomFile
from sender.sources.dicom.frames import frames_in
from sender.sources.dicom.presentation import (
    lossy_grid,
    remarks_of,
    stored_geometry,
)
from sender.sources.dicom.regions import masks_of
from sender.sources.dicom.rendering import rendering_of
from sender.sources.dicom.samples import Samples
from sender.sources.dicom.timing import frame_rate, frame_times
from sender.sources.dicom.uncompressed import BadFrame, Layout
from sender.sources.geometry import Geometry
from sender.sources.source import Skipped, SourcePicture, checked_picture
from shared.errors import SourceFailed, VeilscopeError
from shared.frame import Rect

__all__ = ["Instance"]

Picture = SourcePicture | Skipped
_Shape = tuple[Geometry, tuple[Rect, ...]]

MAX_TRIED = 1000  # frames looked through for one that is good, before the file is given up


class Instance:
    """The pictures of `file`, which `close` closes.  `picture` may be called by any thread.

    With `mask_auto` their masks cover all but the file's image regions.  `sampled` gives frames to
    find a range of brightness by (`rendering_of`); the file's own by default.

    Raises `SourceFailed` for what can't be a picture here, `BadInput` where `mask_auto` has nothing
    to go by.
    """

    def __init__(
        self,
        file: DicomFile,
        *,
        mask_auto: bool = False,
        sampled: Callable[[], Iterable[Samples]] | None = None,
    ) -> None:
        self._file = file
        self.header = file.header
        layout = Layout.of(file.header, keyword=file.keyword, big_endian=file.big_endian)
        self._frames = frames_in(file, layout)
        self._syntax = syntax_name(file.transfer_syntax)
        self._decode = decoder_of(
            self._frames.layout, file.transfer_syntax, encapsulated=file.encapsulated
        )
        self.count: int | None = self._frames.count
        self.fps = frame_rate(file.header)
        self.remarks = self._frames.remarks
        self._size = layout.columns, layout.rows
        self._mask_auto = mask_auto
        self._shapes: dict[Grid, _Shape] = {}
        geometry, _ = self._shape(b"")
        self.remarks += remarks_of(file.header, geometry)
        self._times = frame_times(file.header, self._frames.count)
        self._render = rendering_of(file.header, sampled or self.sample_frames)

    def picture(self, ordinal: int) -> Picture:
        """Return the picture of that number, from 0.

        Raises `SourceFailed` for what no picture of the file will ever be shown without: a decoder
        that is not installed, a size that can't be sent.
        """
        try:
            frame = self._frames.read(ordinal)
            samples = self._decoded(frame)
        except BadFrame as error:
            return Skipped(f"picture {ordinal} ({self._syntax}): {error}")
        try:
            image = self._render(samples, ordinal)
        except VeilscopeError as error:
            return Skipped(f"picture {ordinal} can't be shown: {error}")
        except Exception as error:
            return Skipped(
                f"picture {ordinal} can't be shown as its header says ({type(error).__name__})"
            )
        geometry, masks = self._shape(frame)
        shown = checked_picture(geometry.shown(image), ordinal)
        at_s = self._times[ordinal] if self._times else None
        return SourcePicture(shown, geometry, at_s, masks)

    def first_good(self) -> SourcePicture:
        """Return the first picture that can be shown.  Raises `SourceFailed` where none can."""
        reasons: list[str] = []
        for ordinal in range(min(self._frames.count, MAX_TRIED)):
            picture = self.picture(ordinal)
            if isinstance(picture, SourcePicture):
                return picture
            reasons.append(picture.why)
        raise SourceFailed(
            f"no picture of the DICOM file can be shown; {reasons[0]}",
            hint="fetch or export the file anew",
        )

    def faults(self) -> tuple[str, ...]:
        """Return why the first or the last picture can't be shown, nothing where both can."""
        ends = (self.picture(ordinal) for ordinal in sorted({0, self._frames.count - 1}))
        return tuple(end.why for end in ends if isinstance(end, Skipped))

    def pictures(self) -> Iterator[Picture]:
        """Yield all pictures in order, decoded ahead."""
        yield from ahead(self.picture, range(self._frames.count), nbytes=picture_bytes)

    def sample_frames(self) -> Iterator[Samples]:
        """Yield the first, the middle and the last frame, those that can be decoded."""
        count = self._frames.count
        for ordinal in sorted({0, count // 2, count - 1}):
            try:
                yield self._decoded(self._frames.read(ordinal))
            except BadFrame:
                continue

    def _decoded(self, frame: bytes) -> Samples:
        """Raises `BadFrame`, whatever a decoder raises; `SourceFailed` where it is missing."""
        try:
            return self._decode(frame)
        except (BadFrame, VeilscopeError):
            raise
        except Exception as error:
            raise BadFrame(f"its decoder fails on it ({type(error).__name__})") from None

    def _shape(self, frame: bytes) -> _Shape:
        """How a picture lies that is stored as `frame`, and what of it is hidden.

        What a frame lost it says itself, and its file may not know.
        """
        header, stated = self.header, frame if self._file.encapsulated else b""
        grid = lossy_grid(header, str(self._file.transfer_syntax or ""), stated)
        if grid not in self._shapes:
            geometry = stored_geometry(header, *self._size, grid=grid)
            self._shapes[grid] = geometry, masks_of(header, geometry) if self._mask_auto else ()
        return self._shapes[grid]

    def close(self) -> None:
        self._file.close()


def picture_bytes(picture: Picture) -> int:
    """How much memory a picture holds."""
    return picture.image.nbytes if isinstance(picture, SourcePicture) else 0
