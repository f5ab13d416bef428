"""Procedural moving pictures of any size: test material that shows nobody.

`ultrasound` is a grey B-mode sector with a beating, fluid-filled chamber in speckle; `endoscopy` is
a textured tunnel in RGB that the eye travels through, with vessels and wet highlights.  They look
enough like the real thing to load codecs and networks in a like manner, and claim no more.

A picture follows from its kind, size, rate and index alone, bit for bit from run to run: what
varies in space is made once, what varies in time is integer arithmetic on it, and the noise is
Philox keyed by the index.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from sender.sources.geometry import Geometry
from sender.sources.source import SourceInfo, SourcePicture, checked_fps
from shared.errors import BadInput
from shared.frame import MAX_SIDE, MIN_SIDE, Image

__all__ = ["DEFAULT_SIZE", "PHANTOMS", "PhantomSource"]

DEFAULT_SIZE = (640, 480)  # pixels, width x height
_BEATS_PER_S = 1.1  # 66 beats a minute
_SEED = 20_240_817  # any fixed number: the first half of every Philox key


class PhantomSource:
    """An endless phantom; see `sender.sources.source.Source`."""

    def __init__(
        self, kind: str, *, size: tuple[int, int] | None = None, fps: float | None = None
    ) -> None:
        if kind not in PHANTOMS:
            raise BadInput(
                "there is no phantom of that kind", hint=f"use one of: {', '.join(PHANTOMS)}"
            )
        width, height = size or DEFAULT_SIZE
        if not (MIN_SIDE <= width <= MAX_SIDE and MIN_SIDE <= height <= MAX_SIDE):
            raise BadInput(f"a phantom is {MIN_SIDE} to {MAX_SIDE} pixels a side")
        rate = checked_fps(fps)
        self._picture = PHANTOMS[kind](width, height, rate)
        self.info = SourceInfo(
            kind="phantom",
            width=width,
            height=height,
            channels=1 if kind == "ultrasound" else 3,
            fps=rate,
            frame_count=None,
            live=False,
        )
        self._geometry = Geometry(width, height)

    def picture(self, index: int) -> Image:
        """Return picture number `index`, counted from 0."""
        return self._picture(index)

    @property
    def first(self) -> SourcePicture:
        return SourcePicture(self._picture(0), self._geometry)

    def pictures(self) -> Iterator[SourcePicture]:
        index = 0
        while True:
            yield SourcePicture(self._picture(index), self._geometry)
            index += 1

    def close(self) -> None:
        """Nothing is held open."""


def _noise(index: int, size: int) -> Image:
    """Return `size` uniform bytes that depend on `index` alone."""
    philox = np.random.Generator(np.random.Philox(key=[_SEED, index]))
    return np.frombuffer(philox.bytes(size), np.uint8)


def _scaled(image: Image, gain: Image) -> Image:
    """Return image · gain / 256 per sample, in integers."""
    product = np.multiply(image, gain, dtype=np.uint16)
    product >>= 8
    return product.astype(np.uint8)


def _smooth(image: NDArray[np.integer], passes: int) -> NDArray[np.int64]:
    """Return `image` smoothed by passes of [1 2 1]² / 16 that wrap around, in integers."""
    field = image.astype(np.int64)
    for _ in range(passes):
        for axis in (0, 1):
            field = np.roll(field, 1, axis) + 2 * field + np.roll(field, -1, axis)
        field >>= 4
    return field


def _stretched(field: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return `field` spread linearly to 0…255."""
    low, high = int(field.min()), int(field.max())
    return (field - low) * 255 // max(1, high - low)


# -- ultrasound ------------------------------------------------------------------------------------

_SPECKLE_MARGIN = 16  # pixels that the speckle may wander
_REAL_PART, _IMAGINARY_PART = 1 << 62, 1 << 63  # Philox keys that no index reaches


def _ultrasound(width: int, height: int, fps: float) -> Callable[[int], Image]:
    """Return index -> grey `(height, width)`."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    # The sector: apex above the top edge, 75° wide, reaching almost to the bottom.
    apex_y = -0.08 * height
    depth = np.hypot(x - width / 2, y - apex_y) / (height - apex_y)
    angle = np.abs(np.arctan2(x - width / 2, y - apex_y))
    inside = (depth > 0.12) & (depth < 0.97) & (angle < math.radians(37.5))
    gain = np.where(inside, 255.0 * np.clip(1.15 - 0.55 * depth, 0.0, 1.0), 0.0).astype(np.uint8)

    # How far each pixel lies from the chamber's centre, 64 at the wall when half contracted.
    chamber = np.hypot((x - 0.5 * width) / (0.13 * width), (y - 0.55 * height) / (0.22 * height))
    distance = np.clip(64.0 * chamber, 0.0, 255.0).astype(np.uint8)

    # Speckle: the envelope of a random complex field, log-compressed to 45 dB (Burckhardt 1978).
    tall, wide = height + 2 * _SPECKLE_MARGIN, width + 2 * _SPECKLE_MARGIN
    power = np.zeros((tall, wide), np.float64)
    for key in (_REAL_PART, _IMAGINARY_PART):
        noise = _noise(key, tall * wide).reshape(tall, wide).astype(np.int64)
        field = _smooth(noise << 8, 3)
        power += np.square(field - field.mean())
    decibels = 10.0 * np.log10((power + 1.0) / power.max())
    speckle = np.clip(255.0 * (1.0 + decibels / 45.0), 0.0, 255.0).astype(np.uint8)

    beat = max(2, round(fps / _BEATS_PER_S))  # pictures

    def picture(index: int) -> Image:
        # Systole takes the first third of a beat: quick in, slow out.
        at = (index % beat) / beat
        squeeze = math.sin(math.pi * at / 0.35) if at < 0.35 else 0.0
        wall = round(72 - 22 * squeeze)
        levels = np.full(256, 150, np.int64)
        levels[:wall] = 14  # blood
        levels[wall : wall + 12] = 235  # the wall
        levels[wall + 12 : wall + 40] = np.linspace(200, 150, 28, dtype=np.int64)
        shift_y = _SPECKLE_MARGIN + round(6 * squeeze)
        shift_x = _SPECKLE_MARGIN + round(3 * math.sin(2 * math.pi * (index % 97) / 97))
        window = speckle[shift_y : shift_y + height, shift_x : shift_x + width]
        tissue = _scaled(np.take(levels.astype(np.uint8), distance), window)
        noise = _noise(index, height * width).reshape(height, width) >> 4
        return _scaled(np.asarray(cv2.add(tissue, noise), np.uint8), gain)

    return picture


# -- endoscopy -------------------------------------------------------------------------------------

_TEXTURE = 512  # pixels a side; wraps around both ways
_FORWARD = 3  # texture rows a picture
_WANDER = 0.06  # of the picture's sides
_NO_FRACTIONS = np.empty(0, np.uint16)  # the map's coordinates are whole
_FIELDS = (1 << 61, (1 << 61) + 1, (1 << 61) + 2)  # Philox keys that no index reaches


def _endoscopy(width: int, height: int, _fps: float) -> Callable[[int], Image]:
    """Return index -> RGB `(height, width, 3)`."""
    margin_x, margin_y = math.ceil(_WANDER * width), math.ceil(_WANDER * height)
    tall, wide = height + 2 * margin_y, width + 2 * margin_x
    y, x = np.mgrid[0:tall, 0:wide].astype(np.float64)
    radius = np.hypot(x - wide / 2, y - tall / 2) / min(width, height)
    angle = np.arctan2(y - tall / 2, x - wide / 2)
    # A straight tube: the distance along it goes as 1 / radius; folds make the wall uneven.
    along = 0.12 / (radius + 0.02)
    column = np.floor((angle / (2 * math.pi) + 0.5) * _TEXTURE).astype(np.int64) % _TEXTURE
    row = np.floor(along * _TEXTURE * 0.6).astype(np.int64) % _TEXTURE
    to_texture = np.stack([column, row], axis=-1).astype(np.int16)
    light = np.clip(255.0 * np.clip(2.6 * radius, 0.0, 1.0) ** 0.8 - 35.0 * radius, 0.0, 255.0)
    shade = np.repeat(light.astype(np.uint8)[:, :, None], 3, axis=2)
    wall = _mucosa()

    def picture(index: int) -> Image:
        top = margin_y + round(margin_y * math.sin(2 * math.pi * (index % 113) / 113))
        left = margin_x + round(margin_x * math.cos(2 * math.pi * (index % 151) / 151))
        window = np.s_[top : top + height, left : left + width]
        texture = np.roll(wall, (index * _FORWARD) % _TEXTURE, axis=0)
        nearest = cv2.remap(texture, to_texture[window], _NO_FRACTIONS, cv2.INTER_NEAREST)
        coloured = _scaled(np.asarray(cv2.blur(nearest, (3, 3)), np.uint8), shade[window])
        noise = _noise(index, height * width).reshape(height, width) >> 6
        return np.asarray(cv2.add(coloured, cv2.merge([noise, noise, noise])), np.uint8)

    return picture


def _mucosa() -> Image:
    """Return the wall `(512, 512, 3)`: pink tissue, dark vessels, folds and wet highlights."""
    shape = (_TEXTURE, _TEXTURE)
    fine, broad, vessel = (
        _stretched(_smooth(_noise(key, _TEXTURE**2).reshape(shape).astype(np.int64) << 16, passes))
        for key, passes in zip(_FIELDS, (3, 60, 30), strict=True)
    )
    # Thin dark lines where the field is middling.
    vessels = np.clip(10 - np.abs(vessel - 128), 0, 10) * 6
    ring = np.arange(_TEXTURE) % 128  # four folds along the tube
    folds = np.where(ring < 20, 40 - 2 * ring, 0)[:, None]
    shine = np.where((fine > 200) & (broad > 130), 110, 0)
    base = (fine - 128) // 6 + (broad - 128) // 4 - folds + shine
    red, green, blue = (205 + base - vessels // 2, 110 + base - vessels, 95 + base - vessels)
    colours: Image = np.clip(np.stack([red, green, blue], axis=-1), 0, 255).astype(np.uint8)
    return colours


PHANTOMS: dict[str, Callable[[int, int, float], Callable[[int], Image]]] = {
    "ultrasound": _ultrasound,
    "endoscopy": _endoscopy,
}
