"""One frame three times, side by side: original, as sent over the network, decrypted.

From what a receiver saved (`--save-frames`, `--save-sealed`) and the source that it was taken
from.  It shows files as they are: the middle picture is the sealed bytes themselves, one grey
pixel a byte, row by row.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image as PilImage
from PIL import ImageDraw, ImageFont

from receiver.sinks.files import encode_png
from receiver.sinks.viewer import sealed_picture
from sender.sources import Source, images
from shared.errors import BadInput, OutputFailed
from shared.frame import Image
from shared.telemetry.report import ReportPicture

__all__ = ["compare"]

PANEL_WIDTH = 480  # pixels; three of them fit the width of a page
GAP = 12
CAPTION_HEIGHT = 36
BACKGROUND = (18, 21, 26)
INK = (236, 239, 244)


def compare(source: Source, frames: Path, folder: Path) -> list[ReportPicture]:
    """Write `original.png`, `as-sent.png` and `comparison.png` of the middle saved frame.

    `frames` holds the saved frames and their sealed bytes.  Returns the three pictures for a
    report.  Raises `BadInput` if no frame is saved whole or the source is another, `OutputFailed`
    for a full disk.
    """
    saved = sorted(p for p in frames.glob("frame-*.sealed") if p.with_suffix(".png").is_file())
    if not saved:
        raise BadInput(f"no frames are saved with their sealed bytes in {frames}")
    sealed_path = saved[len(saved) // 2]
    shown_path = sealed_path.with_suffix(".png")
    index = int(sealed_path.stem.removeprefix("frame-"))
    original = next(islice(images(source), index, None), None)
    if original is None:
        raise BadInput(f"the source has no picture {index}: the frames are of another")
    height, width = original.shape[:2]
    sealed_bytes = sealed_path.read_bytes()
    sealed = _enlarged(sealed_picture(sealed_bytes, width, height), (width, height))
    with PilImage.open(shown_path) as picture:
        shown = np.asarray(picture)
    captions = (
        "original, device text masked",
        f"as sent over the network: {len(sealed_bytes):,} bytes",
        "decrypted",
    )
    try:
        (folder / "original.png").write_bytes(encode_png(original))
        (folder / "as-sent.png").write_bytes(encode_png(sealed))
        _side_by_side((original, sealed, shown), captions).save(folder / "comparison.png")
    except OSError as error:
        raise OutputFailed(f"pictures can't be saved in {folder}: {error.strerror}") from error
    paths = (folder / "original.png", folder / "as-sent.png", shown_path)
    return [ReportPicture(path, caption) for path, caption in zip(paths, captions, strict=True)]


def _enlarged(image: Image, size: tuple[int, int]) -> Image:
    """Without smoothing: sealed bytes must not be made into something that they are not."""
    return np.asarray(PilImage.fromarray(image).resize(size, PilImage.Resampling.NEAREST))


def _side_by_side(images: tuple[Image, ...], captions: tuple[str, ...]) -> PilImage.Image:
    height, width = images[0].shape[:2]
    panel = (PANEL_WIDTH, round(PANEL_WIDTH * height / width))
    canvas = PilImage.new(
        "RGB",
        (GAP + (panel[0] + GAP) * len(images), 2 * GAP + panel[1] + CAPTION_HEIGHT),
        BACKGROUND,
    )
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(18)
    for place, (image, caption) in enumerate(zip(images, captions, strict=True)):
        left = GAP + (panel[0] + GAP) * place
        fitted = PilImage.fromarray(_enlarged(image, panel)).convert("RGB")
        canvas.paste(fitted, (left, GAP))
        middle = left + panel[0] // 2
        draw.text((middle, GAP + panel[1] + 10), caption, INK, font, anchor="ma")
    return canvas
