"""Draws what the window shows: the picture, and beside it the figures that a viewer must see.

Pure: image and facts in, a canvas of the window's own size out, so that text is sharp at every
size.  Everything stands in a bar below the picture and never covers it; only the warning that the
picture is stale may, because it is meant to be in the way.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import ImageDraw, ImageFont

from shared.frame import Image
from shared.telemetry.tiers import STALE_AFTER_MS, STALE_REPEATING_MS, tier

__all__ = ["OverlayFacts", "bar_height", "compose"]

Canvas = NDArray[np.uint8]
Colour = tuple[int, int, int]  # BGR, the order of OpenCV's windows
WHITE: Colour = (244, 239, 236)
DIM: Colour = (170, 158, 150)
BAR: Colour = (26, 21, 18)
GREEN: Colour = (125, 211, 86)
AMBER: Colour = (70, 190, 250)
RED: Colour = (40, 40, 205)
BLUE: Colour = (170, 90, 35)
TIER: dict[str, Colour] = {"green": GREEN, "amber": AMBER, "red": (97, 105, 255)}
BROWN: Colour = (15, 90, 140)
DARK_BLUE: Colour = (98, 56, 28)
GREY: Colour = (78, 70, 70)
DARK_GREEN: Colour = (50, 80, 40)

LONGEST_REASON = "picture size lowered: path 88.8 Mbit/s"  # that is common; its place is kept
KEYS = "space: freeze    s: snapshot    e: what the network sees    q: quit"


@dataclass(frozen=True, slots=True)
class OverlayFacts:
    """What is known of the picture on the screen; None where there is none yet."""

    keystream: str | None = None
    """Family of the learned keystream; None before the two ends have paired."""
    waiting: str = "waiting for the first picture"
    """What for, while there is no picture."""
    age_ms: float | None = None
    """Capture to now of the picture on the screen."""
    silence_ms: float | None = None
    """Since a picture came."""
    repeated: bool = False
    """The source stands still: the picture was shown before, and comes about every second."""
    latency_ms: float | None = None
    latency_bound_ms: float | None = None
    fps: float | None = None
    psnr_db: float | None = None
    epoch: int | None = None
    codec: str | None = None
    quality_reason: str = ""
    """Why the sender lowered or raised quality last."""
    frozen: bool = False
    still: str = ""
    """Of a frozen picture: how it stands with its lossless copy."""
    sealed_view: bool = False
    message: str = ""
    banners: tuple[str, ...] = ()
    """What the sender told that lasts."""

    @property
    def stale(self) -> bool:
        limit_ms = STALE_REPEATING_MS if self.repeated else STALE_AFTER_MS
        return self.silence_ms is not None and self.silence_ms > limit_ms


def bar_height(width: int) -> int:
    """How much of a window of that width, in pixels, its bar takes while there is a picture."""
    font = _font_size(width)
    return _bar_height(len(_fit(_figures(_ANY_PICTURE), width - 20, font)) + 1, font)


def compose(image: Image | None, facts: OverlayFacts, size: tuple[int, int]) -> Canvas:
    """A canvas of `size` (width, height), BGR uint8: `image`, BGR too, above the bar of figures."""
    width, height = size
    font = _font_size(width)
    rows = _fit(_figures(facts), width - 20, font)
    rows = rows[: max(1, (height // 3) // _row_height(font) - 1)]  # a tiny window is for pictures
    bar = min(_bar_height(len(rows) + 1, font), height)
    canvas = np.empty((height, width, 3), np.uint8)
    room = canvas[: height - bar]
    if image is None or bar == height:
        room[:] = 0
    else:
        _place(image, room, exact=facts.sealed_view)
    cv2.rectangle(canvas, (0, height - bar), (width, height), BAR, cv2.FILLED)
    top = height - bar + 2
    for row in rows:
        x = 10
        for item in row:
            if item.lock:
                _draw_lock(canvas, x, top + 4, font, item.colour)
                x += font + 4
            place = _width(item.widest, font)
            fits = width - x if item is row[-1] else min(place + font - 4, width - x)
            _draw_text(canvas, _cut(item.text, fits, font), (x, top + 4), font, item.colour, BAR)
            x += place + font
        top += _row_height(font)
    _draw_states(canvas, _states(facts, has_image=image is not None), top, font)
    below = 10
    if image is None:
        _draw_banner(canvas, facts.waiting, max(room.shape[0] // 2 - font, 0), BLUE, font + 3)
    elif facts.stale and not facts.frozen:
        cv2.rectangle(canvas, (0, 0), (width - 1, height - 1), RED, 4)
        said = f"STALE: no new picture for {_silence_s(facts):.0f} s"
        below = _draw_banner(canvas, said, below, RED, font + 3)
    for banner in facts.banners:
        below = _draw_banner(canvas, banner, below, BROWN, font + 3)
    return canvas


def _silence_s(facts: OverlayFacts) -> float:
    return (facts.silence_ms or 0.0) / 1000


def _font_size(width: int) -> int:
    return 15 if width >= 700 else 12


def _row_height(font: int) -> int:
    return font + 11


def _bar_height(rows: int, font: int) -> int:
    return _row_height(font) * rows + 4


@dataclass(frozen=True, slots=True)
class _Item:
    """One figure; `widest` is the longest text it can become, so that nothing jumps about."""

    text: str
    widest: str
    colour: Colour
    lock: bool = False


def _figures(facts: OverlayFacts) -> list[_Item]:
    items = []
    if facts.keystream is not None:
        mark = f"encrypted: AES-256-GCM + learned keystream {facts.keystream}"
        items.append(_Item(mark, mark, GREEN, lock=True))
    if facts.age_ms is not None:
        age = facts.age_ms
        text = f"age {age:.0f} ms" if age < 10_000 else f"age {age / 1e3:.0f} s"
        # How old a picture gets that a person holds says nothing of the network.
        items.append(_Item(text, "age 8888 ms", DIM if facts.frozen else TIER[tier(age)]))
    if facts.latency_ms is not None and not facts.repeated:  # then it is the age
        bound = "" if facts.latency_bound_ms is None else f" ± {facts.latency_bound_ms:.1f}"
        text = f"latency {facts.latency_ms:.0f}{bound} ms"
        items.append(_Item(text, "latency 888 ± 88.8 ms", TIER[tier(facts.latency_ms)]))
    if facts.fps is not None:
        items.append(_Item(f"{facts.fps:.0f} fps", "888 fps", WHITE))
    if facts.epoch is not None:
        quality = "lossless" if facts.psnr_db is None else f"PSNR {facts.psnr_db:.1f} dB"
        items.append(_Item(quality, "PSNR 88.8 dB", WHITE))
        codec = "" if facts.codec is None or facts.codec == quality else facts.codec
        items.append(_Item(codec, "h264-444", DIM))
        items.append(_Item(f"epoch {facts.epoch}", "epoch 888", DIM))
        colour = AMBER if "lowered" in facts.quality_reason else DIM
        items.append(_Item(facts.quality_reason, LONGEST_REASON, colour))
    return items


_ANY_PICTURE = OverlayFacts("bp", age_ms=0.0, latency_ms=0.0, fps=0.0, epoch=1)


def _states(facts: OverlayFacts, *, has_image: bool) -> list[tuple[str, Colour | None]]:
    """What the bar's last row says, each on a ground of its colour."""
    states: list[tuple[str, Colour | None]] = []
    if facts.frozen:
        states.append(("FROZEN by you. Space: go on", BLUE))
        if facts.stale:
            states.append((f"nothing new for {_silence_s(facts):.0f} s", RED))
        if facts.still:
            states.append((facts.still, DARK_BLUE))
    if facts.sealed_view:
        states.append(("what the network sees. e: back to the picture", GREY))
    if facts.message:
        states.append((facts.message, DARK_GREEN))
    return states or [(KEYS if has_image else "q: quit", None)]


def _fit(items: list[_Item], width: int, font: int) -> list[list[_Item]]:
    """The items in one row, or in as many as the width asks for."""
    rows: list[list[_Item]] = [[]]
    used = 0
    for item in items:
        needed = _width(item.widest, font) + font + (font + 4 if item.lock else 0)
        if rows[-1] and used + needed > width:
            rows.append([])
            used = 0
        rows[-1].append(item)
        used += needed
    return rows


def _place(image: Image, room: Canvas, *, exact: bool) -> None:
    """Draw `image` into `room`, as large as fits, in its own proportions, on black, centred."""
    height, width = image.shape[:2]
    scale = min(room.shape[1] / width, room.shape[0] / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    # averaging is slow and only needed where whole pixels would be skipped
    method = cv2.INTER_AREA if scale < 0.5 else cv2.INTER_LINEAR
    if exact:  # sealed bytes must not be smoothed into something that they are not
        method = cv2.INTER_NEAREST
    left, top = (room.shape[1] - size[0]) // 2, (room.shape[0] - size[1]) // 2
    right, bottom = left + size[0], top + size[1]
    place = room[top:bottom, left:right]
    if image.ndim == 3:
        cv2.resize(image, size, place, interpolation=method)
    else:
        cv2.cvtColor(cv2.resize(image, size, interpolation=method), cv2.COLOR_GRAY2BGR, place)
    for margin in (room[:top], room[bottom:], room[:, :left], room[:, right:]):
        margin[:] = 0


def _draw_states(
    canvas: Canvas, states: list[tuple[str, Colour | None]], top: int, font: int
) -> None:
    x = 10
    for text, ground in states:
        text = _cut(text, canvas.shape[1] - x, font)
        width = _width(text, font)
        if ground is None:
            _draw_text(canvas, text, (x, top + 4), font, DIM, BAR)
        else:
            canvas[top : top + font + 9, x - 6 : x + width + 6] = ground
            _draw_text(canvas, text, (x, top + 4), font, (255, 255, 255), ground)
        x += width + font + 12


def _draw_banner(canvas: Canvas, text: str, top: int, ground: Colour, font: int) -> int:
    """Draw a line over the picture; returns where the next one may begin."""
    text = _cut(text, max(canvas.shape[1] - 40, 1), font)
    left = max(0, (canvas.shape[1] - _width(text, font)) // 2 - 14)
    canvas[top : top + font + 16, left : left + _width(text, font) + 28] = ground
    _draw_text(canvas, text, (left + 14, top + 7), font, (255, 255, 255), ground)
    return top + font + 20


def _draw_lock(canvas: Canvas, x: int, y: int, size: int, colour: Colour) -> None:
    body = y + size // 2
    radius = max(2, round(size * 0.24))
    cv2.ellipse(
        canvas, (x + size // 2, body), (radius, radius + 2), 0, 180, 360, colour, 1, cv2.LINE_AA
    )
    cv2.rectangle(canvas, (x + 2, body), (x + size - 2, y + size), colour, -1)


def _draw_text(
    canvas: Canvas, text: str, at: tuple[int, int], font: int, colour: Colour, ground: Colour
) -> None:
    """Put `text` on the canvas, whose `ground` is there, from `at` on as far as it fits."""
    x, y = at
    if y >= 0:
        written = _written(text, font, colour, ground)
        room = canvas[y : y + written.shape[0], x : x + written.shape[1]]
        room[:] = written[: room.shape[0], : room.shape[1]]


def _cut(text: str, room: int, font: int) -> str:
    """As much of `text` as there is room for, so that it is seen to go on."""
    if _width(text, font) <= room:
        return text
    fitting = bisect_left(range(len(text)), True, key=lambda n: _width(f"{text[:n]}…", font) > room)
    return f"{text[: max(fitting - 1, 0)].rstrip()}…"


@lru_cache(maxsize=512)
def _width(text: str, font: int) -> int:
    return max(1, int(_font(font).getbbox(text)[2]) + 1)


@lru_cache(maxsize=256)
def _written(text: str, size: int, colour: Colour, ground: Colour) -> NDArray[np.uint8]:
    """A line of text on its ground; cached, not to be written to."""
    font = _font(size)
    bottom = int(font.getbbox(text)[3])
    picture = PilImage.new("RGB", (_width(text, size), max(size + 4, bottom + 1)), ground)
    ImageDraw.Draw(picture).text((0, 0), text, fill=colour, font=font)
    return np.asarray(picture)


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
