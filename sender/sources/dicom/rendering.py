"""From a DICOM file's stored samples to 8-bit grey or RGB: the display pipeline of PS3.3.

Grey: modality transform (C.11.1), then VOI LUT or window (C.11.2), then 8 bits, inverted for
MONOCHROME1 or as the presentation LUT's shape says (C.11.6).  Each frame has its own, as the
functional groups of an enhanced file say.  Palette colour (C.7.9) becomes RGB, true colour of
another depth than 8 bits is scaled.

Without a window in the file, grey of more than 8 bits is spread from the darkest to the brightest
sample of its first, middle and last frame, one range for all frames, so that brightness does not
jump from frame to frame.

It draws no overlays, applies no ICC profile and no supplemental palette, and does not convert YBR:
that belongs to decoding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from sender.sources.dicom.elements import (
    frame_count,
    is_big_endian,
    items,
    number,
    numbers,
    places,
    word,
)
from sender.sources.dicom.samples import SampleLayout, Samples
from sender.sources.dicom.tables import LookupTable, Palette
from shared.frame import Image

__all__ = ["Rendering", "Samples", "rendering_of"]

Rendering = Callable[[Samples, int], Image]
"""Samples of the frame of that number (from 0) in, an 8-bit picture out."""

Span = tuple[float, float]

MAX_TABLES = 32  # ways to show a frame kept ready, 64 KiB each at most
MAX_LOOKS = 256  # frames whose part of the header is kept read

_FUNCTIONS = frozenset({"LINEAR", "LINEAR_EXACT", "SIGMOID"})  # C.11.2.1.2, C.11.2.1.3


@dataclass(frozen=True, slots=True)
class Rescale:
    """The linear modality transform (C.11.1.1.2)."""

    slope: float = 1.0
    intercept: float = 0.0

    def applied(self, values: Samples) -> Samples:
        return np.asarray(values * self.slope + self.intercept, np.float64)

    def outputs(self, inputs: Span) -> Span:
        """The least and the greatest value that come of `inputs`."""
        ends = (inputs[0] * self.slope + self.intercept, inputs[1] * self.slope + self.intercept)
        return min(ends), max(ends)


@dataclass(frozen=True, slots=True)
class Window:
    """A VOI window: modality values to 0…1, beyond is for the caller to clip."""

    centre: float
    width: float
    function: str

    def applied(self, values: Samples) -> Samples:
        centre, width = self.centre, self.width
        if self.function == "SIGMOID":  # C.11.2.1.3.1
            return 1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - centre) / width, -500, 500)))
        if self.function == "LINEAR_EXACT" or width < 1:  # C.11.2.1.3.2
            return np.asarray((values - centre) / width + 0.5)
        if width == 1:  # C.11.2.1.2.1, note 4: a threshold
            return np.asarray(values > centre - 0.5, np.float64)
        return np.asarray((values - (centre - 0.5)) / (width - 1.0) + 0.5)  # C.11.2.1.2.1


@dataclass(frozen=True, slots=True)
class Look:
    """How one frame is shown; `voi` is None where the file leaves that to the viewer."""

    modality: Rescale | LookupTable
    voi: Window | LookupTable | None

    def modality_values(self, values: Samples) -> Samples:
        if isinstance(self.modality, LookupTable):
            return self.modality.looked_up(values)
        return self.modality.applied(values)

    def unit(self, values: Samples, auto: Callable[[], Span]) -> Samples:
        """Return samples as 0…1; `auto` gives the modality values to show black and white."""
        found = self.modality_values(values)
        if isinstance(self.voi, LookupTable):
            return self.voi.looked_up(found) / self.voi.peak
        if self.voi is not None:
            return self.voi.applied(found)
        low, high = auto()
        return np.asarray((found - low) / (high - low if high > low else 1.0))


def rendering_of(header: Dataset, sample_frames: Callable[[], Iterable[Samples]]) -> Rendering:
    """Return how to show the frames of the file with this `header` (all but the pixel data).

    `sample_frames` gives a few decoded frames (the first, the middle, the last); it is called only
    where the header does not say what range of values to show.  Decoders give grey and palette
    samples as `Samples` says; colour comes as RGB.  Whether a frame is grey or in colour is what
    its array says, since headers of compressed files may be wrong about it.

    Raises `SourceFailed` for palette colour without a palette.
    """
    layout = SampleLayout.of(header)
    colour = _colour(layout)
    palette_colour = word(header, "PhotometricInterpretation") == "PALETTE COLOR"
    grey = _palette(header, layout) if palette_colour else _grey(header, layout, sample_frames)

    def render(samples: Samples, ordinal: int) -> Image:
        return (colour if samples.ndim == 3 else grey)(samples, ordinal)

    return render


def _grey(
    header: Dataset, layout: SampleLayout, sample_frames: Callable[[], Iterable[Samples]]
) -> Rendering:
    inverted = _is_inverted(header)
    of_each_frame = len(items(header, "PerFrameFunctionalGroupsSequence")) > 0
    look_of = lru_cache(MAX_LOOKS)(lambda ordinal: _look(header, ordinal, layout))

    @cache
    def stored_range() -> Span:
        return _stored_range(header, layout, sample_frames())

    @cache
    def shown_range() -> Span:
        """Modality values, over the frames that the samples came from."""
        last = frame_count(header) - 1
        ordinals = {0, last // 2, last} if of_each_frame else {0}
        spans = [_outputs(look_of(ordinal), stored_range()) for ordinal in ordinals]
        return min(span[0] for span in spans), max(span[1] for span in spans)

    def shown(look: Look, words: Samples) -> Image:
        # Up to 8 bits, a clip is shown as it is stored: its full range is what was on the screen.
        full = layout.bits <= 8 and words.dtype.kind in "biu"
        auto = (lambda: _outputs(look, layout.span)) if full else shown_range
        unit = np.nan_to_num(look.unit(layout.values(words), auto))
        eight = np.rint(np.clip(unit, 0.0, 1.0) * 255.0).astype(np.uint8)
        return np.asarray(255 - eight if inverted else eight)

    @lru_cache(MAX_TABLES)
    def table(look: Look, kind: np.dtype[Any]) -> Image:
        return shown(look, _every_word(kind))

    def render(samples: Samples, ordinal: int) -> Image:
        look = look_of(ordinal if of_each_frame else 0)
        words = _native(samples)
        if words.dtype.kind not in "iu" or words.dtype.itemsize > 2:
            return shown(look, words)
        return _taken(table(look, words.dtype), words)

    return render


def _palette(header: Dataset, layout: SampleLayout) -> Rendering:
    palette = Palette.of(header, layout.span)

    @lru_cache(MAX_TABLES)
    def table(kind: np.dtype[Any]) -> Image:
        return palette.looked_up(layout.values(_every_word(kind)))

    def render(samples: Samples, _ordinal: int) -> Image:
        words = _native(samples)
        if words.dtype.kind not in "iu" or words.dtype.itemsize > 2:
            return palette.looked_up(layout.values(words))
        return _taken(table(words.dtype), words)

    return render


def _colour(layout: SampleLayout) -> Rendering:
    def render(samples: Samples, _ordinal: int) -> Image:
        if samples.dtype == np.uint8 and layout.bits >= 8:
            return samples
        bits = min(layout.bits, 8 * samples.dtype.itemsize)
        values = SampleLayout(layout.bits, layout.shift, signed=False).values(samples)
        if bits == 8:
            return values.astype(np.uint8)
        return np.asarray(np.rint(values * (255.0 / ((1 << bits) - 1))), np.uint8)

    return render


def _native(samples: Samples) -> Samples:
    kind = np.dtype(np.uint8) if samples.dtype.kind == "b" else samples.dtype.newbyteorder("=")
    return np.ascontiguousarray(samples, kind)


def _every_word(kind: np.dtype[Any]) -> Samples:
    """Return all values that a word of 8 or 16 bits can hold, in the order of its bits."""
    every = np.arange(1 << 8 * kind.itemsize, dtype=np.uint32).astype(f"u{kind.itemsize}")
    return every.view(kind)


def _taken(table: Image, words: Samples) -> Image:
    """Look each word up: the pipeline treats each sample by itself, so that one table does."""
    return np.take(table, words.view(f"u{words.dtype.itemsize}"), axis=0)


def _is_inverted(header: Dataset) -> bool:
    """Whether the greatest value is black.  The shape says so where it is known, as in dcmtk;
    MONOCHROME1 with INVERSE, the usual pair, is inverted once (C.11.6, C.8.11.3)."""
    shape = word(header, "PresentationLUTShape")
    monochrome1 = word(header, "PhotometricInterpretation") == "MONOCHROME1"
    return shape == "INVERSE" or (monochrome1 and shape != "IDENTITY")


def _look(header: Dataset, ordinal: int, layout: SampleLayout) -> Look:
    modality = _modality(header, ordinal, layout)
    outputs = _outputs(Look(modality, None), layout.span)
    return Look(modality, _voi(header, ordinal, outputs))


def _modality(header: Dataset, ordinal: int, layout: SampleLayout) -> Rescale | LookupTable:
    big_endian = is_big_endian(header)
    for place in places(header, "PixelValueTransformationSequence", ordinal):
        for item in items(place, "ModalityLUTSequence"):
            table = LookupTable.of(item, layout.span, big_endian=big_endian)
            if table is not None:
                return table
        slope, intercept = number(place, "RescaleSlope"), number(place, "RescaleIntercept")
        # A slope of 0 would make every picture one grey: it says nothing, and neither does an
        # intercept beside it.  dcmtk passes over both as well.
        if slope is not None and intercept is not None:
            return Rescale(slope, intercept) if slope else Rescale()
    return Rescale()


def _voi(header: Dataset, ordinal: int, inputs: Span) -> Window | LookupTable | None:
    """Return the frame's first usable VOI LUT or, of the same place, its first usable window."""
    big_endian = is_big_endian(header)
    for place in places(header, "FrameVOILUTSequence", ordinal):
        for item in items(place, "VOILUTSequence"):
            table = LookupTable.of(item, inputs, big_endian=big_endian)
            if table is not None:
                return table
        function = word(place, "VOILUTFunction")
        function = function if function in _FUNCTIONS else "LINEAR"
        centres, widths = numbers(place, "WindowCenter"), numbers(place, "WindowWidth")
        for centre, width in zip(centres, widths, strict=False):
            if not math.isnan(centre) and width > 0:  # NaN is not
                return Window(centre, width, function)
    return None


def _outputs(look: Look, inputs: Span) -> Span:
    """Return the least and the greatest modality value that come of stored values `inputs`."""
    if isinstance(look.modality, Rescale):
        return look.modality.outputs(inputs)
    every: NDArray[Any] = np.arange(inputs[0], min(inputs[1], inputs[0] + 0xFFFF) + 1)
    found = look.modality.looked_up(every)
    return float(found.min()), float(found.max())


def _stored_range(header: Dataset, layout: SampleLayout, frames: Iterable[Samples]) -> Span:
    """Return the least and the greatest stored value of `frames`, without what is padding."""
    padding = layout.padding(header)
    extremes: list[Span] = []
    for frame in frames:
        if frame.ndim != 2:
            continue
        values = layout.values(frame)
        kept = np.isfinite(values)
        if padding is not None:
            kept &= (values < padding[0]) | (values > padding[1])
        if kept.any():
            seen = values[kept]
            extremes.append((float(seen.min()), float(seen.max())))
    if not extremes:
        return layout.span
    return min(low for low, _ in extremes), max(high for _, high in extremes)
