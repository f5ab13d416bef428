"""The command `veilscope bench textdelay`: how long new text in a running stream stands.

A picture is offered 30 times a second to the masking
that a sender with `--mask-text` has; at a time drawn by lot, text appears in it.  What is measured
is the time from the first picture with the text to the first in which it is hidden.
"""

from __future__ import annotations

import random
import time
from typing import Annotated

import cv2
import numpy as np
import typer

from sender.masks.masking import Masking
from sender.masks.rectangles import share_hidden
from sender.masks.textfinder import TextFinder, yield_to_others
from sender.masks.textwatch import MAX_UNSEEN_S, FindText, TextWatch
from sender.sources import SourcePicture, open_source
from sender.sources.geometry import Geometry
from shared.frame import Image, Rect
from shared.options import parse_size
from shared.terminal import stdout

__all__ = ["main", "stood_s"]

FPS = 30
SIZES = ("320x240", "640x480", "1024x768", "1920x1080")


def main(
    sizes: Annotated[
        list[str] | None, typer.Argument(metavar="[WIDTHxHEIGHT]...", help="Of the picture.")
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="How often text comes up at each size.")] = 10,
) -> None:
    """Time how long text that comes up in a running stream stands until --mask-text hides it."""
    find = TextFinder().find
    demo = open_source("demo").first.masked
    stdout.print("size        a look, s   of processor   text stood, s: least  median    most")
    for size in sizes or SIZES:
        picture = np.asarray(cv2.resize(demo, parse_size(size)), np.uint8)
        began_s, worked_s = time.perf_counter(), time.process_time()
        find(picture)
        look_s, worked_s = time.perf_counter() - began_s, time.process_time() - worked_s
        dice = random.Random(1)  # noqa: S311 -- no secret
        stood = sorted(stood_s(find, picture, dice.uniform(1.0, 5.0)) for _ in range(trials))
        stdout.print(
            f"{size:<12}{look_s:>9.1f}{worked_s:>15.1f}{stood[0]:>24.1f}"
            f"{stood[len(stood) // 2]:>8.1f}{stood[-1]:>8.1f}"
        )


def stood_s(find: FindText, picture: Image, appears_after_s: float) -> float:
    """How long letters that appear in `picture` stood; RGB `(H, W, 3)`, uint8."""
    lettered, place = _lettered(picture)
    geometry = Geometry(picture.shape[1], picture.shape[0])
    without, with_text = SourcePicture(picture, geometry), SourcePicture(lettered, geometry)
    watch = TextWatch(find, without, settle=yield_to_others)
    masking = Masking(without, text=watch)
    appears_s = time.monotonic() + appears_after_s
    try:
        while (now_s := time.monotonic()) < appears_s + MAX_UNSEEN_S:
            masks = masking.masks(without if now_s < appears_s else with_text)
            if now_s >= appears_s and share_hidden(masks, place) == 1:
                break
            time.sleep(1 / FPS)
        return now_s - appears_s
    finally:
        masking.close()


def _lettered(picture: Image) -> tuple[Image, Rect]:
    """The picture with a line of letters near its lower edge, and where they stand."""
    lettered = picture.copy()
    height = picture.shape[0]
    scale = max(0.5, height / 600)
    at = (height // 24, height - height // 12)
    white = (255, 255, 255)
    cv2.putText(lettered, "DOE JANE 4711", at, cv2.FONT_HERSHEY_SIMPLEX, scale, white)
    rows, columns = np.nonzero((lettered != picture).any(axis=2))
    top, left = int(rows.min()), int(columns.min())
    return lettered, Rect(left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1)
