"""One frame three times, side by side: original, as sent over the network, decrypted.

From what a receiver saved (`--save-frames`, `--save-sealed`) and the source that it was taken
from.  It shows files as they are: the middle picture is the sealed bytes themselves, row by row.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image as PilImage
from PIL import ImageDraw, ImageFont

from receiver.sinks.files import encode_png
from receiver.sinks.sealed_view import sealed_picture
from sender.privacy import apply_masks
from sender.sources import Source
from shared.errors import BadInput, OutputFailed
from shared.frame import Image
from shared.telemetry.report import Picture

__all__ = ["compare"]

CAPTIONS = ("original, device text masked", "as sent over the network", "decrypted")
PANEL_WIDTH = 480  # pixels; three of them fit the width of a page
GAP = 12
CAPTION_HEIGHT = 36
BACKGROUND = (18, 21, 26)
INK = (236, 239, 244)


def compare(source: Source, frames: Path, folder: Path) -> list[Picture]:
    """Write `original.png`, `as-sent.png` and `comparison.png` of the middle saved frame.

    `frames` holds the saved frames and their sealed bytes.  Returns the three pictures for a
    report.  Raises `BadInput` if there is no saved frame, `OutputFailed` for a full disk.
    """
    saved = sorted(frames.glob("frame-*.sealed"))
    if not saved:
        raise BadInput(f"no sealed frames are saved in {frames}")
    sealed_path = saved[len(saved) // 2]
    shown_path = sealed_path.with_suffix(".png")
    index = int(sealed_path.stem.removeprefix("frame-"))
    original = apply_masks(next(islice(source.pictures(), index, None)), source.masks)
    height, width = original.shape[:2]
    channels = 1 if original.ndim == 2 else 3
    sealed = sealed_picture(sealed_path.read_bytes(), width, height, channels)
    with PilImage.open(shown_path) as picture:
        shown = np.asarray(picture)
    try:
        (folder / "original.png").write_bytes(encode_png(original))
        (folder / "as-sent.png").write_bytes(encode_png(sealed))
        _side_by_side((original, sealed, shown)).save(folder / "comparison.png")
    except OSError as error:
        raise OutputFailed(f"pictures can't be saved in {folder}: {error.strerror}") from error
    paths = (folder / "original.png", folder / "as-sent.png", shown_path)
    return [Picture(path, caption) for path, caption in zip(paths, CAPTIONS, strict=True)]


def _side_by_side(images: tuple[Image, ...]) -> PilImage.Image:
    height, width = images[0].shape[:2]
    panel = (PANEL_WIDTH, round(PANEL_WIDTH * height / width))
    canvas = PilImage.new(
        "RGB",
        (GAP + (panel[0] + GAP) * len(images), 2 * GAP + panel[1] + CAPTION_HEIGHT),
        BACKGROUND,
    )
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(18)
    for place, (image, caption) in enumerate(zip(images, CAPTIONS, strict=True)):
        left = GAP + (panel[0] + GAP) * place
        # Nearest neighbour: sealed bytes must not be smoothed into something that they are not.
        fitted = PilImage.fromarray(image).convert("RGB")
        canvas.paste(fitted.resize(panel, PilImage.Resampling.NEAREST), (left, GAP))
        middle = left + panel[0] // 2
        draw.text((middle, GAP + panel[1] + 10), caption, INK, font, anchor="ma")
    return canvas
