"""What a picture source is, whatever it reads from.

A source is opened (and its first picture looked at, so that its size is known), read in one pass or
several, and closed.  It blocks, and so belongs into a thread of its own: `sender.playback` sees to
that, to the pace and to the numbering.  No error and no log of a source holds the name of a file:
names of files often are names of patients.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from sender.privacy import Rect
from shared.errors import BadInput, SourceFailed
from shared.frame import Image, checked_image

__all__ = ["DEFAULT_FPS", "Source", "SourceInfo", "checked_fps", "checked_picture"]

DEFAULT_FPS = 30.0  # frames a second, where a source does not know its own rate
MAX_FPS = 1000.0  # beyond any device; a rate above is a broken field of a file


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What is known of a source before its first picture.

    `kind` is a word such as "dicom".  `fps` is the rate to play at, in frames a second.
    `frame_count` is the number of pictures in one pass, None where that is unknown or endless.
    A `live` source sets its own pace and can't be made to wait.
    """

    kind: str
    width: int
    height: int
    channels: int
    fps: float
    frame_count: int | None
    live: bool


class Source(Protocol):
    """A source of pictures that all have one size and number of channels.

    `masks` are the regions which the source itself declares must be blanked.
    """

    @property
    def info(self) -> SourceInfo: ...

    @property
    def masks(self) -> tuple[Rect, ...]: ...

    def pictures(self) -> Iterator[Image]:
        """Yield uint8 `(H, W)` or `(H, W, 3)` RGB pictures, one pass from the start; blocks.

        A picture may be shared with the source: it is not to be written to.  Raises
        `SourceFailed` where reading fails.
        """
        ...

    def close(self) -> None:
        """Give back files and devices; a second call does nothing."""
        ...


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


def checked_picture(image: Image, info: SourceInfo | None, ordinal: int) -> Image:
    """Return picture number `ordinal` (from 0) if it can be sent and is as `info` says.

    Raises `SourceFailed` for a size out of range and for one that changes on the way.
    """
    try:
        image = checked_image(image)
    except BadInput as error:
        raise SourceFailed(f"picture {ordinal} of the source can't be sent: {error}") from None
    found = (image.shape[1], image.shape[0], 1 if image.ndim == 2 else 3)
    if info is not None and found != (info.width, info.height, info.channels):
        raise SourceFailed(
            f"picture {ordinal} of the source is {_described(*found)}, the first was "
            f"{_described(info.width, info.height, info.channels)}",
            hint="all pictures of one session must have one size and be all grey or all colour",
        )
    return image


def _described(width: int, height: int, channels: int) -> str:
    return f"{width}x{height} {'grey' if channels == 1 else 'colour'}"
