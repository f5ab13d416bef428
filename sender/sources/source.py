"""What a picture source is, whatever it reads from.

A source is opened (and its first picture looked at, so that its size is known), read in one pass or
several, and closed.  It blocks, and so belongs into a thread of its own: `sender.playback` sees to
that, to the pace and to the numbering.  No error, notice or log of a source holds the name of a
file: names of files often are names of patients.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from sender.masks.rectangles import apply_masks
from sender.sources.geometry import Geometry
from shared.control import Notice
from shared.errors import BadInput, SourceFailed
from shared.frame import Image, Rect, checked_image

__all__ = [
    "DEFAULT_FPS",
    "Reading",
    "Skipped",
    "Source",
    "SourceInfo",
    "SourcePicture",
    "checked_fps",
    "checked_picture",
    "images",
]

DEFAULT_FPS = 30.0  # frames a second, where a source does not know its own rate
MAX_FPS = 1000.0  # beyond any device; a rate above is a broken field of a file


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What is known of a source before its first picture is played.

    `kind` is a word such as "dicom".  `width`, `height` and `channels` are those of the first
    picture as it is shown; later ones may differ.  `fps` is the rate to play at, in frames a
    second.  `frame_count` is the number of pictures in one pass, None where that is unknown or
    endless.  A `live` source sets its own pace and can't be made to wait.  `remarks` are lines for
    the person at the sender and for the log: what the source had to do or leave out to show its
    pictures right.  `burned_in` says why text may be burned into the pictures, None where nothing
    says so.
    """

    kind: str
    width: int
    height: int
    channels: int
    fps: float
    frame_count: int | None
    live: bool
    remarks: tuple[str, ...] = ()
    burned_in: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SourcePicture:
    """One picture of a source, as it is to be shown: upright, and with square pixels.

    `image` may be shared with the source: it is not to be written to.  `geometry` is how the
    picture was stored.  `at_s` is its time in seconds from the start of the pass; None: pictures
    come evenly, at the source's rate.  `masks` are the regions, of the picture as shown, that the
    source itself declares must be hidden, grown already (`Geometry.grown`) where that is due.
    `delivered_at_ns` (`time.monotonic_ns`) is when a live source got it, where that may be long
    before it is read; None: it is read as it comes.
    """

    image: Image
    geometry: Geometry
    at_s: float | None = None
    masks: tuple[Rect, ...] = ()
    delivered_at_ns: int | None = None

    @property
    def masked(self) -> Image:
        """The picture without what the source declares must be hidden."""
        return apply_masks(self.image, self.masks)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A picture of the source that can't be shown; `why` is a line for the person, no name."""

    why: str


Reading = SourcePicture | Skipped | Notice
"""What reading a source gives: a picture, a gap in its place, or something to tell both ends."""


class Source(Protocol):
    """A source of pictures, which may change their size and number of channels on the way."""

    @property
    def info(self) -> SourceInfo: ...

    @property
    def first(self) -> SourcePicture:
        """The first picture, which was read when the source was opened."""
        ...

    def pictures(self) -> Iterator[Reading]:
        """Yield the readings of one pass from the start; blocks.

        Raises `SourceFailed` where nothing more can be read, not for a single bad picture.
        """
        ...

    def close(self) -> None:
        """Give back files and devices; a second call does nothing.

        A live source may be closed while it is read in another thread, which then ends its pass.
        """
        ...


def images(source: Source) -> Iterator[Image]:
    """Yield the pictures of one pass as a sender would show them without masks of the person's."""
    for reading in source.pictures():
        if isinstance(reading, SourcePicture):
            yield reading.masked


def checked_fps(fps: float | None, native: float | None = None) -> float:
    """Return the rate to play at: `fps` if given, else the source's own, else `DEFAULT_FPS`.

    Raises `BadInput` where `fps` is out of range; an impossible `native` rate is passed over.
    """
    if fps is not None:
        if not 0.0 < fps <= MAX_FPS:
            raise BadInput(f"the frame rate must be above 0 and at most {MAX_FPS:.0f}")
        return fps
    if native is not None and 0.0 < native <= MAX_FPS:
        return native
    return DEFAULT_FPS


def checked_picture(image: Image, ordinal: int) -> Image:
    """Return picture number `ordinal` (from 0) if it can be sent; else raises `SourceFailed`."""
    try:
        return checked_image(image)
    except BadInput as error:
        raise SourceFailed(f"picture {ordinal} of the source can't be sent: {error}") from None
