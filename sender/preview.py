"""The command `veilscope preview`: what a sender would show, as a picture, before anybody sees it.

What is hidden is hatched, by its place alone: no pixel of the picture under it is looked at.  All
else is the picture as it would go to the encoder.  It asks nothing and sends nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from rich.text import Text

from sender.masks.rectangles import apply_masks, hidden_pixels, share_hidden
from sender.masks.textwatch import MAX_UNSEEN_S
from sender.preparation import MaskWishes, Prepared, prepare, share_text
from sender.sourceoptions import (
    BURNED_IN_OK,
    BurnedInOption,
    FpsOption,
    MaskAutoOption,
    MaskOption,
    MaskTextOption,
    SizeOption,
    SourceOption,
)
from sender.sources import Skipped, SourcePicture
from shared.errors import BadInput, OutputFailed, SourceFailed
from shared.frame import Image, Rect
from shared.privatefile import write_private
from shared.terminal import DebugOption, hush_libraries, stdout

__all__ = ["hatched", "preview", "sheet"]

LOOKED_AT = 10  # pictures of a file whose masks are compared with the first one's
READ_AT_MOST = 4  # readings a picture, for a source that gives gaps and notices only
MAX_SHEET_PIXELS = 100_000_000  # 300 MB of RGB; twelve pictures of 4K

_STRIPE, _GROUND = (255, 176, 0), (72, 48, 0)  # amber on brown, RGB: no picture of a device's
_PERIOD, _WIDTH = 12, 4  # pixels, of a stripe across


def preview(
    spec: Annotated[
        str | None,
        typer.Argument(metavar="SOURCE", help="What to show; as --source.", show_default=False),
    ] = None,
    source: SourceOption = "demo",
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            dir_okay=False,
            help="The picture to write, .png (mode 0600).",
        ),
    ] = Path("preview.png"),
    frames: Annotated[
        int,
        typer.Option(min=1, max=100, help="How many of the first pictures to draw, side by side."),
    ] = 1,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the picture if it is there.")
    ] = False,
    fps: FpsOption = None,
    size: SizeOption = None,
    mask: MaskOption = None,
    mask_auto: MaskAutoOption = False,
    mask_text: MaskTextOption = False,
    burned_in_ok: BurnedInOption = False,
    debug: DebugOption = False,  # noqa: ARG001 -- acted on where it is parsed
) -> None:
    """Draw what a sender with these options would show, with what is hidden hatched."""
    _check_output(output, overwrite)
    wishes = MaskWishes(tuple(mask or ()), mask_auto, mask_text)
    hush_libraries()
    prepared = prepare(spec or source, size=size, fps=fps, masks=wishes, preview=True)
    try:
        _say(_facts(prepared))
        for line in prepared.lines:
            _say(line)
        seen = _seen(prepared, frames)
        picture = sheet([hatched(each.picture.image, each.masks) for each in seen[:frames]])
        for line in _differences(seen):
            _say(line)
    finally:
        prepared.close()
    _write(output, picture, overwrite)
    if prepared.question is not None:
        leave = f"leave is given by {BURNED_IN_OK}" if burned_in_ok else "send would ask for leave"
        _say(f"{leave}: {prepared.question}")
    _say(f"preview: {output}")


def hatched(image: Image, masks: Sequence[Rect]) -> Image:
    """Return RGB `(H, W, 3)`: `image`, uint8 `(H, W)` or `(H, W, 3)`, hatched where it is hidden.

    Raises `BadInput` for a mask wholly outside, as the sender would.
    """
    masked = apply_masks(image, masks)
    height, width = masked.shape[:2]
    shown = masked.copy() if masked.ndim == 3 else np.repeat(masked[:, :, np.newaxis], 3, axis=2)
    rows, columns = np.ogrid[:height, :width]
    stripes = (rows + columns) % _PERIOD < _WIDTH
    hidden = hidden_pixels(masks, width, height)
    shown[hidden & stripes] = _STRIPE
    shown[hidden & ~stripes] = _GROUND
    return shown


def sheet(pictures: Sequence[Image]) -> Image:
    """Return RGB pictures side by side, in rows, each in full; grey is where there is none.

    Raises `BadInput` where that would be too large a picture.
    """
    if len(pictures) == 1:
        return pictures[0]
    across = math.ceil(math.sqrt(len(pictures)))
    down = math.ceil(len(pictures) / across)
    height = max(picture.shape[0] for picture in pictures)
    width = max(picture.shape[1] for picture in pictures)
    if across * width * down * height > MAX_SHEET_PIXELS:
        raise BadInput("so many pictures of this size are too large a sheet", hint="ask for fewer")
    drawn = np.full((down * height, across * width, 3), 96, np.uint8)
    for at, picture in enumerate(pictures):
        top, left = at // across * height, at % across * width
        drawn[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return drawn


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    picture: SourcePicture
    masks: tuple[Rect, ...]

    @property
    def size(self) -> tuple[int, int]:
        return self.picture.geometry.shown_size

    @property
    def kept(self) -> float:
        return 1 - share_hidden(self.masks, Rect(0, 0, *self.size))


def _seen(prepared: Prepared, frames: int) -> list[_Seen]:
    """The first pictures as they would be masked: those to draw, of a file some more.

    Each that is drawn is looked at for text, if text is to be hidden; the others are not.
    """
    source, masking = prepared.source, prepared.masking
    first = _Seen(source.first, prepared.masks)
    if source.info.live and frames == 1:  # a device may take its time for each
        return [first]
    wanted = frames if source.info.live else max(frames, LOOKED_AT)
    seen: list[_Seen] = []
    try:
        for picture in _pictures(prepared, wanted):
            expected = masking.expect(picture, needed=len(seen) < frames)
            masking.wait(expected, MAX_UNSEEN_S)  # what was not looked at by then is hidden whole
            seen.append(_Seen(picture, masking.masks(picture, expected)))
    except SourceFailed as error:  # send would end there; what is before it can be shown
        _say(f"after picture {len(seen)}: {error}" if seen else str(error))
    return seen or [first]


def _pictures(prepared: Prepared, count: int) -> Iterator[SourcePicture]:
    """The first `count` pictures; what else the source gives is told."""
    for reading in islice(prepared.source.pictures(), READ_AT_MOST * count):
        if isinstance(reading, SourcePicture):
            yield reading
            count -= 1
            if count == 0:
                return
        else:
            _say(reading.why if isinstance(reading, Skipped) else reading.text)


def _differences(seen: Sequence[_Seen]) -> Iterator[str]:
    """Lines on pictures of which more or less is hidden than of the first one."""
    first = seen[0]
    for ordinal, each in enumerate(seen[1:], start=2):
        if (each.size, each.masks) != (first.size, first.masks):
            width, height = each.size
            yield (
                f"picture {ordinal} is masked otherwise: {share_text(each.kept)} of its "
                f"{width}x{height} stays visible"
            )


def _facts(prepared: Prepared) -> str:
    info = prepared.source.info
    colour = "grey" if info.channels == 1 else "colour"
    count = info.frame_count
    pictures = "" if count is None else ", 1 picture" if count == 1 else f", {count} pictures"
    return f"source: {info.kind}, {info.width}x{info.height} {colour}, {info.fps:g}/s{pictures}"


def _check_output(path: Path, overwrite: bool) -> None:
    if path.suffix.lower() != ".png":
        raise BadInput("a preview is a PNG picture", hint="write it as -o picture.png")
    if path.is_dir() or ((path.exists() or path.is_symlink()) and not overwrite):
        raise OutputFailed(
            f"{path} is there already", hint="give another name, or replace it with --overwrite"
        )


def _write(path: Path, picture: Image, overwrite: bool) -> None:
    encoded, content = cv2.imencode(".png", np.ascontiguousarray(picture[:, :, ::-1]))
    _check_output(path, overwrite)  # once more: the source took its time
    try:
        if not encoded:
            raise OSError(0, "the picture can't be written as PNG")
        write_private(path, content.tobytes())
    except OSError as error:
        raise OutputFailed(
            f"the preview can't be written to {path}: {error.strerror}",
            hint="give another path with -o",
        ) from None


def _say(line: str) -> None:
    stdout.print(Text(line), soft_wrap=True)
