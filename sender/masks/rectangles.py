"""Blanking the parts of a picture that may name the patient, before anything else sees it.

Devices burn names, numbers and dates into the pixels.  Rectangles given by the person
(`--mask x,y,w,h`), declared by the source or found to hold text are set to black at the sender,
before encoding: what is masked never leaves the machine.  Nothing here looks for text itself
(`sender.masks.textwatch` does), and nothing here is drawn for a person (`sender.preview`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from shared.errors import BadInput
from shared.frame import Image, Rect

__all__ = [
    "apply_masks",
    "fit_masks",
    "hidden_pixels",
    "outside",
    "parse_rect",
    "share_hidden",
]


def parse_rect(text: str) -> Rect:
    """Return the rectangle written as "x,y,w,h"; raises `BadInput` for anything else."""
    try:
        x, y, width, height = (int(part) for part in text.split(","))
    except ValueError:
        raise BadInput(
            "a mask is four whole numbers", hint="write it as x,y,w,h, such as 0,0,200,40"
        ) from None
    return Rect(x, y, width, height)


def fit_masks(rects: Iterable[Rect], width: int, height: int) -> tuple[Rect, ...]:
    """Return `rects` clipped to the picture, for a check before the first frame.

    Raises `BadInput` for a mask wholly outside: a mask that hides nothing is a mistake, and it
    shall be found before a picture leaves.
    """
    return tuple(rect.clipped(width, height) for rect in rects)


def apply_masks(image: Image, rects: Sequence[Rect]) -> Image:
    """Return `image` with all `rects` black; `image` itself is returned where there are none.

    `image` is uint8 `(H, W)` or `(H, W, 3)` and is never written to.  Raises `BadInput` for a
    rectangle wholly outside the picture.
    """
    if not rects:
        return image
    masked = image.copy()
    height, width = image.shape[:2]
    for rect in fit_masks(rects, width, height):
        masked[rect.y : rect.y + rect.height, rect.x : rect.x + rect.width] = 0
    return masked


def outside(kept: Sequence[Rect], width: int, height: int) -> tuple[Rect, ...]:
    """Return rectangles, none overlapping, that cover all of the picture but the `kept` ones.

    The picture is cut into bands at every top and bottom edge; in each band, the gaps between the
    kept rectangles are what must be masked.  Kept rectangles may overlap and reach outside.
    """
    edges = {0, height}
    for rect in kept:
        edges.update(min(edge, height) for edge in (rect.y, rect.y + rect.height))
    rows = sorted(edges)
    gaps: list[Rect] = []
    for top, bottom in pairwise(rows):
        at = 0
        spans = sorted(
            (rect.x, min(rect.x + rect.width, width))
            for rect in kept
            if rect.y <= top and rect.y + rect.height >= bottom
        )
        for left, right in [*spans, (width, width)]:
            if left > at:
                gaps.append(Rect(at, top, min(left, width) - at, bottom - top))
            at = max(at, right)
    return tuple(gaps)


def hidden_pixels(rects: Iterable[Rect], width: int, height: int) -> NDArray[np.bool_]:
    """Return which pixels of a picture the rectangles cover, bool `(height, width)`."""
    hidden = np.zeros((height, width), np.bool_)
    for rect in rects:
        hidden[rect.y : rect.y + rect.height, rect.x : rect.x + rect.width] = True
    return hidden


def share_hidden(rects: Iterable[Rect], area: Rect) -> float:
    """Return the share of `area` that the rectangles cover, 0 to 1."""
    hidden = np.zeros((area.height, area.width), np.bool_)
    for rect in rects:
        left, top = max(0, rect.x - area.x), max(0, rect.y - area.y)
        right, bottom = rect.x + rect.width - area.x, rect.y + rect.height - area.y
        if right > 0 and bottom > 0:
            hidden[top:bottom, left:right] = True
    return float(hidden.mean())
