"""A file of still pictures: one, or the pages of a TIFF, or the frames of an animation.

What a file holds is decided by its content.  Headers are read before anything is decoded, so that
no picture costs more memory than the largest that can be sent.  Pictures come as they are stored:
turning and stretching them is left to the caller.  No error names a file; each says "it" of a
picture, whose number the caller knows.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image as Pillow
from PIL import ImageFile, UnidentifiedImageError

from sender.sources.geometry import Geometry
from sender.sources.pictures import jpegdata
from sender.sources.pictures.formats import (
    ANIMATED,
    FORMATS,
    PAGED,
    SUFFIXES,
    UNMARKED,
    missing_plugin,
)
from sender.sources.pictures.header import (
    PageHeader,
    deep_channels,
    full_brightness,
    header_of,
    is_by_the_way,
    orientation_of,
    stored_geometry,
)
from sender.sources.pictures.portablemap import HEADER_MAX, MapHeader, is_pam
from sender.sources.pictures.samples import eight_bit, opacity, over_black, scaled
from shared.errors import SourceFailed
from shared.frame import MAX_SIDE, MIN_SIDE, Image

__all__ = ["MAX_PAGES", "StillPage", "is_picture", "page_headers", "pages"]

MAX_PAGES = 100_000  # of one file: an hour at 30 a second
_DAMAGED = "it is damaged or cut short"
_TOO_MANY = f"it and all after it are left out, as a file may have {MAX_PAGES} pages"
_MAX_WHOLE = 1 << 28  # bytes read at once; raw 16-bit samples of the largest side take half of it
_HEAD = 32  # bytes of a file's beginning that say what it is
_SHORTEST_S = 0.02  # of an animation's frame: FFmpeg and browsers show a shorter one for
_USUAL_S = 0.1  # so long, as such files were made when no program was any faster
_UPRIGHT = 1  # of EXIF's orientations
_INVERSE = {6: 8, 8: 6}  # all others undo themselves

# What Pillow warns of is told as a picture that was left out; sizes are bounded here.
warnings.filterwarnings("ignore", module=r"PIL\b")
warnings.filterwarnings("ignore", category=Pillow.DecompressionBombWarning)


@dataclass(frozen=True, slots=True, eq=False)
class StillPage:
    """A picture as it was stored, and for how many seconds its file says to show it."""

    stored: Image
    geometry: Geometry
    shown_s: float | None = None


def is_picture(path: Path) -> bool:
    """Whether a file holds a still picture, by its suffix and its content; blocks, raises nothing.

    A file without suffix must begin with the mark of a format.  What names made of numbers (dates,
    unique identifiers) end with is none.
    """
    suffix = path.suffix.lower()
    if suffix[1:].isdecimal():
        suffix = ""
    if suffix and suffix not in SUFFIXES:
        return False
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            if missing_plugin(head) is not None or is_pam(head):
                return True
            with _opened(file) as picture:
                return bool(suffix) or picture.format not in UNMARKED
    except (OSError, SourceFailed):
        return False


def page_headers(path: Path) -> list[PageHeader]:
    """Return the headers of a file's pictures in their order; blocks.

    All frames of an animation have its first one's; of a file that is damaged on the way, what
    comes before is returned.  Raises `SourceFailed` where that is nothing, or no picture.
    """
    try:
        return _headers(path)
    except SourceFailed:
        raise
    except Exception:  # decoders raise whatever they please
        raise SourceFailed(_DAMAGED) from None


def _headers(path: Path) -> list[PageHeader]:
    with _file(path) as file:
        head = file.read(_HEAD)
        if is_pam(head):
            found = MapHeader.parsed(head + file.read(HEADER_MAX))
            return [
                PageHeader((found.width, found.height), found.depth < 3, deep=found.white > 255)
            ]
        with _opened(file) as picture:
            if picture.format not in PAGED:
                first, last = _frames(picture)
                return [header_of(picture, head)] * min(last - first, MAX_PAGES)
            headers: list[PageHeader] = []  # keeps what came before an error
            try:
                headers.extend(header_of(picture, head) for _number in _page_numbers(picture))
            except SourceFailed:
                if not headers:
                    raise
            return headers


def pages(path: Path) -> Iterator[StillPage | SourceFailed]:
    """Yield a file's pictures one by one, or why one can't be shown; blocks, raises nothing."""
    try:
        with _file(path) as file:
            head = file.read(_HEAD)
            if is_pam(head):
                yield _map(head, file)
                return
            with _opened(file) as picture:
                if picture.format in PAGED:
                    empty = True
                    for _number in _page_numbers(picture):
                        yield _attempt(picture, head, file)
                        empty = False
                    if empty:
                        yield SourceFailed("it holds previews or masks of a picture, and no other")
                else:
                    yield from _animation(picture, head, file)
    except SourceFailed as error:
        yield error
    except Exception:  # decoders raise whatever they please
        yield SourceFailed(_DAMAGED)


# -- opening ------------------------------------------------------------------------------------


def _file(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError:
        raise SourceFailed("its file can't be read") from None


def _opened(file: BinaryIO) -> ImageFile.ImageFile:
    """Read the header of a file's first picture; raises `SourceFailed`."""
    file.seek(0)
    head = file.read(_HEAD)
    file.seek(0)
    try:
        picture = Pillow.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        if not head:
            raise SourceFailed("its file is empty") from None
        wanted = missing_plugin(head)
        if wanted is not None:
            raise SourceFailed(f"it is {wanted[0]}, which needs the package {wanted[1]}") from None
        raise SourceFailed("it is damaged, or no picture of a kind that is known here") from None
    except Pillow.DecompressionBombError:
        raise SourceFailed(f"it has more than {MAX_SIDE} pixels a side") from None
    except Exception:  # decoders raise whatever they please
        raise SourceFailed("it is damaged, or of a kind that can't be decoded here") from None
    return picture


def _frames(picture: ImageFile.ImageFile) -> tuple[int, int]:
    """The number of the first frame of an animation and that after its last; (0, 1) for a still."""
    if picture.format not in ANIMATED:
        return 0, 1  # of layers, sizes or views, the first is the picture
    # APNG may begin with a picture for programs that know no animations.
    first = int(bool(getattr(picture, "default_image", False)))
    try:
        count = int(getattr(picture, "n_frames", 1))
    except Exception:  # of a GIF they are counted one by one: there are those, and a damaged one
        count = picture.tell() + 2
        picture.seek(0)
    return (first, count) if count > first else (0, 1)


def _page_numbers(picture: ImageFile.ImageFile) -> Iterator[int]:
    """Go to one page after the other and yield their numbers; previews and masks are left out.

    Raises `SourceFailed` where the way to the next page is broken, or too long.
    """
    for number in range(MAX_PAGES):
        try:
            picture.seek(number)
        except EOFError:
            return
        except Exception:
            raise SourceFailed("it and all pages after it can't be read") from None
        if not is_by_the_way(picture):
            yield number
    raise SourceFailed(_TOO_MANY)


# -- pictures -----------------------------------------------------------------------------------


def _animation(
    picture: ImageFile.ImageFile, head: bytes, file: BinaryIO
) -> Iterator[StillPage | SourceFailed]:
    """The frames of an animation, each with all that lies under it; or the one picture."""
    first, end = _frames(picture)
    grey = False
    for number in range(first, min(end, MAX_PAGES)):
        page = _attempt(picture, head, file, number)
        if isinstance(page, SourceFailed):
            yield page
            return  # what comes after it is drawn over it
        if picture.format == "GIF":
            # Its palette says whether it is grey; Pillow paints all frames but the first in RGB.
            grey = page.stored.ndim == 2 or (grey and _has_no_colour(page.stored))
            if grey and page.stored.ndim == 3:
                page = replace(page, stored=np.ascontiguousarray(page.stored[:, :, 0]))
        if end - first > 1:
            shown_s = float(picture.info.get("duration") or 0) / 1000.0
            page = replace(page, shown_s=shown_s if shown_s >= _SHORTEST_S else _USUAL_S)
        yield page
    if end > MAX_PAGES:
        yield SourceFailed(_TOO_MANY)


def _attempt(
    picture: ImageFile.ImageFile, head: bytes, file: BinaryIO, number: int | None = None
) -> StillPage | SourceFailed:
    """Decode the picture with that number, or else the one that `picture` is at."""
    try:
        if number:
            picture.seek(number)
        return _page(picture, head, file)
    except SourceFailed as error:
        return error
    except Exception:  # decoders raise whatever they please
        return SourceFailed(_DAMAGED)


def _page(picture: ImageFile.ImageFile, head: bytes, file: BinaryIO) -> StillPage:
    _check_size(*picture.size)
    # All that is read of the header comes before anything is decoded, which changes it.
    deep = deep_channels(picture)
    white, inverted = full_brightness(picture)
    orientation = orientation_of(picture)
    geometry = stored_geometry(picture, head, orientation)
    if picture.format in ("JPEG", "MPO") and picture.mode in ("L", "RGB"):
        stored = jpegdata.decoded(_whole(file), grey=picture.mode == "L")
    else:
        picture.load()
        stored = eight_bit(picture, white=white, inverted=inverted)
        if deep == "LA" and stored.ndim == 3:
            stored = np.ascontiguousarray(stored[:, :, 0])  # which Pillow has made RGB
        if deep and orientation == _UPRIGHT and not getattr(picture, "is_animated", False):
            finer = _deep_colour(_whole(file), grey=stored.ndim == 2)
            stored = stored if finer is None or finer.shape != stored.shape else finer
        stored = over_black(stored, opacity(picture))
    if picture.format == "TIFF" and orientation != _UPRIGHT:
        # Pillow has turned it already: back, so that all pictures are turned in one place.
        height, width = stored.shape[:2]
        stored = Geometry(width, height, _INVERSE.get(orientation, orientation)).shown(stored)
    height, width = stored.shape[:2]
    return StillPage(stored, replace(geometry, width=width, height=height))


def _map(head: bytes, file: BinaryIO) -> StillPage:
    header = MapHeader.parsed(head + file.read(HEADER_MAX))
    _check_size(header.width, header.height)
    return StillPage(header.decoded(_whole(file)), Geometry(header.width, header.height))


def _check_size(width: int, height: int) -> None:
    if not (MIN_SIDE <= width <= MAX_SIDE and MIN_SIDE <= height <= MAX_SIDE):
        raise SourceFailed(
            f"a frame must be {MIN_SIDE} to {MAX_SIDE} pixels a side, not {width}x{height}"
        )


def _whole(file: BinaryIO) -> bytes:
    file.seek(0)
    data = file.read(_MAX_WHOLE + 1)
    if len(data) > _MAX_WHOLE:
        raise SourceFailed(f"its file has more than {_MAX_WHOLE >> 20} MiB")
    return data


def _deep_colour(data: bytes, grey: bool) -> Image | None:
    """Decode colours of 16 bits, of which Pillow keeps the upper halves; None if OpenCV can't."""
    samples = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if samples is None or samples.dtype != np.uint16 or samples.ndim != 3:
        return None
    image = scaled(samples, 65535)
    return np.ascontiguousarray(image[:, :, 0] if grey else image[:, :, 2::-1])


def _has_no_colour(image: Image) -> bool:
    red, green, blue = image[:, :, 0], image[:, :, 1], image[:, :, 2]
    return np.array_equal(red, green) and np.array_equal(red, blue)
