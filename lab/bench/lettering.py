"""Letters drawn onto pictures, as devices burn them in, and whether rectangles hide them.

Everything follows from a seed.  Names, numbers and dates are made up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from shared.frame import Image, Rect

__all__ = ["CAP_HEIGHTS", "FONTS", "INKS", "Ink", "Inscription", "inscribe"]

Alpha = NDArray[np.float32]
"""How far ink covers each pixel, `(height, width)`, 0 to 1."""

CAP_HEIGHTS = (8, 10, 12, 16, 24, 40)  # pixels; of capital letters
_TEXTS = (
    "DOE^JANE", "Jane Doe", "SMITH, JOHN A.", "ID 12345678", "MRN: 004-77-1932", "1961-04-12",
    "12/04/1961", "30.11.2026 14:02:51", "F 43Y", "City Hospital", "St. Mary's", "Dr. Miller",
    "Abd Gen", "MI 0.8", "TIs 0.4", "C5-1", "28 Hz", "PLA", "R. KIDNEY LONG", "Acc# A1093377",
    "Exam 17", "LIVER", "Gen", "2D 58%", "Name: Maria Gonzalez-Ruiz", "Ward 7B", "DOB 12 APR 61",
)  # fmt: skip
_SEEN = 0.25  # share of ink from which a pixel belongs to a letter
_LEGIBLE = 48  # levels of brightness between the ink and the ground around any of its pixels
_BLUR = 5  # pixels; grains of speckle that are smaller hinder nobody's reading
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_TRIES = 60


@dataclass(frozen=True, slots=True)
class Ink:
    """A colour in RGB, how opaque it is, and the colour of the strip behind it, if there is one."""

    colour: tuple[int, int, int]
    opacity: float = 1.0
    strip: tuple[int, int, int] | None = None


INKS: dict[str, Ink] = {
    "white": Ink((255, 255, 255)),
    "yellow": Ink((255, 255, 0)),
    "grey": Ink((90, 90, 90)),
    "half": Ink((255, 255, 255), opacity=0.5),
    "dark": Ink((20, 20, 20), strip=(190, 190, 190)),
}


@dataclass(frozen=True, slots=True)
class Inscription:
    """One line of text in a picture: what it is, and the pixels that a letter covers.

    `ink` is bool, of the size of `rect`.
    """

    text: str
    font: str
    cap_height: int
    ink_name: str
    rect: Rect
    ink: NDArray[np.bool_]

    def hidden_by(self, rects: Iterable[Rect]) -> bool:
        """Whether every pixel of every letter lies inside one of `rects`."""
        bare = self.ink.copy()
        for other in rects:
            top, left = (
                max(0, other.y - self.rect.y),
                max(0, other.x - self.rect.x),
            )
            bottom = max(0, other.y + other.height - self.rect.y)
            right = max(0, other.x + other.width - self.rect.x)
            bare[top:bottom, left:right] = False
        return not bare.any()


def inscribe(
    picture: Image,
    cases: Iterable[tuple[str, int, str]],
    seed: int,
) -> tuple[Image, list[Inscription]]:
    """Draw a line of text for each of `cases` (font, cap height, ink) where there is room for it.

    Return a new RGB picture and what was drawn: a line is left out where no place was found at
    which a person could read it.
    """
    rng = np.random.default_rng(seed)
    drawn: Image = np.array(picture if picture.ndim == 3 else np.dstack([picture] * 3), np.uint8)
    height, width = drawn.shape[:2]
    taken = np.zeros((height, width), bool)
    found: list[Inscription] = []
    for font, cap_height, ink_name in cases:
        text = str(rng.choice(_TEXTS))
        alpha = FONTS[font](text, cap_height)
        rows, columns = alpha.shape
        if rows >= height or columns >= width:
            continue
        ink = INKS[ink_name]
        for _ in range(_TRIES):
            x, y = int(rng.integers(width - columns)), int(rng.integers(height - rows))
            gap = max(4, cap_height)
            around = (
                slice(max(0, y - gap), y + rows + gap),
                slice(max(0, x - gap), x + columns + gap),
            )
            window = drawn[y : y + rows, x : x + columns]
            if taken[around].any() or not _legible(window, ink):
                continue
            if ink.strip:
                pad = max(2, cap_height // 3)
                drawn[max(0, y - pad) : y + rows + pad, max(0, x - pad) : x + columns + pad] = (
                    ink.strip
                )
            share = alpha[:, :, np.newaxis] * np.float32(ink.opacity)
            blended = window * (1 - share) + np.array(ink.colour, np.float32) * share
            window[:] = np.rint(blended).astype(np.uint8)
            taken[y : y + rows, x : x + columns] = True
            rect = Rect(x, y, columns, rows)
            found.append(Inscription(text, font, cap_height, ink_name, rect, alpha >= _SEEN))
            break
    return drawn, found


def _legible(ground: Image, ink: Ink) -> bool:
    if ink.strip:
        return True
    behind = cv2.blur(ground.astype(np.float32), (_BLUR, _BLUR)) @ _LUMA
    contrast = (float(np.array(ink.colour, np.float32) @ _LUMA) - behind) * ink.opacity
    return bool(np.abs(contrast).min() >= _LEGIBLE)


def _outline(name: str) -> Callable[[str, int], Alpha]:
    """A font of matplotlib's wheel."""

    def draw(text: str, cap_height: int) -> Alpha:
        font = _font(name, cap_height)
        left, top, right, bottom = font.getbbox(text)
        sheet = Pillow.new("L", (int(right - left) + 2, int(bottom - top) + 2))
        ImageDraw.Draw(sheet).text((1 - left, 1 - top), text, fill=255, font=font)
        return _trimmed(np.asarray(sheet))

    return draw


@cache
def _font(name: str, cap_height: int) -> ImageFont.FreeTypeFont:
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    large = ImageFont.truetype(folder / f"{name}.ttf", 1000)
    _, top, _, bottom = large.getbbox("H")
    return ImageFont.truetype(folder / f"{name}.ttf", round(1000 * cap_height / (bottom - top)))


def _bitmap(text: str, cap_height: int) -> Alpha:
    """Pillow's own bitmap font, its pixels doubled and so on: a console's letters."""
    font = ImageFont.load_default_imagefont()
    _, _, right, bottom = font.getbbox(text)
    sheet = Pillow.new("L", (int(right), int(bottom)))
    ImageDraw.Draw(sheet).text((0, 0), text, fill=255, font=font)
    times = max(1, round(cap_height / _BITMAP_CAP))
    return np.kron(_trimmed(np.asarray(sheet)), np.ones((times, times), np.float32))


_BITMAP_CAP = 6  # pixels
_STROKES_CAP = 20  # pixels, at scale 1


def _strokes(text: str, cap_height: int) -> Alpha:
    """OpenCV's letters."""
    face, thickness = cv2.FONT_HERSHEY_SIMPLEX, max(1, cap_height // 10)
    scale = cap_height / _STROKES_CAP
    (width, height), below = cv2.getTextSize(text, face, scale, thickness)
    sheet = np.zeros((height + below + 2 * cap_height, width + 2 * cap_height), np.uint8)
    at = (cap_height, cap_height + height)
    cv2.putText(sheet, text, at, face, scale, 255, thickness, cv2.LINE_AA)
    return _trimmed(sheet)


def _trimmed(sheet: NDArray[np.uint8]) -> Alpha:
    rows, columns = np.nonzero(sheet.any(axis=1))[0], np.nonzero(sheet.any(axis=0))[0]
    inside = sheet[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return inside.astype(np.float32) / np.float32(255)


FONTS: dict[str, Callable[[str, int], Alpha]] = {
    "sans": _outline("DejaVuSans"),
    "bold": _outline("DejaVuSans-Bold"),
    "mono": _outline("DejaVuSansMono"),
    "serif": _outline("DejaVuSerif"),
    "bitmap": _bitmap,
    "strokes": _strokes,
}
"""Each gives a text at a height of its capital letters, in pixels, as ink."""
