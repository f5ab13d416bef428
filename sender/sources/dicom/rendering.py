"""From a DICOM file's stored samples to 8-bit grey or RGB: the display pipeline of PS3.3.

Grey: modality transform (C.11.1), then VOI LUT or window (C.11.2), then 8 bits, inverted for
MONOCHROME1.  Palette colour (C.7.9) becomes RGB, true colour deeper than 8 bits is scaled.  One
rendering holds for all frames of a file: without a window in the file, grey of more than 8 bits
is spread from the darkest to the brightest sample of its first, middle and last frame, so that
brightness does not jump from frame to frame.

It does not draw overlays, and it does not convert YBR: pydicom does that while decoding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut

from shared.frame import Image

__all__ = ["Rendering", "rendering_of"]

Samples = NDArray[Any]
Rendering = Callable[[Samples, int], Image]
"""Stored samples `(H, W)` or `(H, W, 3)` of the frame of that number (from 0) in, an 8-bit picture
out."""


def rendering_of(header: Dataset, sample_frames: Callable[[], Iterable[Samples]]) -> Rendering:
    """Return how to show the frames of the file with this `header` (all but the pixel data).

    `sample_frames` gives a few decoded frames; it is called only where the header does not say
    what range of values to show.
    """
    photometric = str(header.PhotometricInterpretation)
    if photometric == "PALETTE COLOR":
        return _by_table(lambda values: _palette(header, values))
    if int(header.get("SamplesPerPixel", 1)) > 1:
        return _colour(int(header.BitsStored))
    transform = _functional_group(header, "PixelValueTransformationSequence")
    voi = _voi(header, lambda: (apply_modality_lut(f, transform) for f in sample_frames()))
    inverted = photometric == "MONOCHROME1"

    def shown(values: Samples) -> Image:
        """`values` of any shape to 0…255, the last step of the pipeline."""
        unit = voi(np.asarray(apply_modality_lut(values, transform), np.float64))
        eight = np.rint(np.clip(unit, 0.0, 1.0) * 255.0).astype(np.uint8)
        return 255 - eight if inverted else eight

    return _by_table(shown)


def _by_table(shown: Callable[[Samples], Image]) -> Rendering:
    """Return `shown` as a look-up table over all values that 8 or 16 bits can hold.

    The pipeline treats each sample by itself, so that a table made once does for every frame.
    Samples of 32 bits and more go through the pipeline itself.
    """
    tables: dict[np.dtype[Any], Image] = {}

    def render(samples: Samples, _ordinal: int) -> Image:
        kind = samples.dtype.newbyteorder("=")
        if kind.kind not in "iu" or kind.itemsize > 2:
            return shown(samples)
        samples = np.ascontiguousarray(samples, kind)
        unsigned = np.dtype(f"u{kind.itemsize}")
        if kind not in tables:
            every = np.arange(1 << 8 * kind.itemsize, dtype=np.uint32).astype(unsigned)
            tables[kind] = shown(every.view(kind))
        return np.take(tables[kind], samples.view(unsigned), axis=0)

    return render


def _colour(bits_stored: int) -> Rendering:
    def render(samples: Samples, _ordinal: int) -> Image:
        if bits_stored == 8:
            return np.asarray(samples, np.uint8)
        peak = float((1 << bits_stored) - 1)
        return np.rint(np.clip(samples / peak, 0.0, 1.0) * 255.0).astype(np.uint8)

    return render


def _palette(header: Dataset, values: Samples) -> Image:
    colours = apply_color_lut(values, header)[..., :3]
    if colours.dtype == np.uint16:
        # Entries of 8 bits may lie in words of 16 (PS3.3 C.7.6.3.1.6).
        eight_bit_entries = int(header.RedPaletteColorLookupTableDescriptor[2]) == 8
        colours = colours if eight_bit_entries else colours >> 8
    return np.asarray(colours, np.uint8)


def _voi(header: Dataset, sampled: Callable[[], Iterable[Samples]]) -> Callable[[Samples], Samples]:
    """Return the map from modality values to 0…1 (beyond is clipped by the caller)."""
    window = _functional_group(header, "FrameVOILUTSequence")
    if window.get("VOILUTSequence"):
        return _voi_table(window.VOILUTSequence[0], big_endian=header.original_encoding[1] is False)
    centre, width = _first(window.get("WindowCenter")), _first(window.get("WindowWidth"))
    function = str(window.get("VOILUTFunction") or "LINEAR").upper()
    if centre is not None and width is not None:
        if function == "SIGMOID" and width > 0:  # C.11.2.1.3.1
            return lambda v: 1.0 / (1.0 + np.exp(np.clip(-4.0 * (v - centre) / width, -500, 500)))
        if function == "LINEAR" and width > 1:  # C.11.2.1.2.1
            return lambda v: (v - (centre - 0.5)) / (width - 1.0) + 0.5
        if function == "LINEAR" and width == 1:  # C.11.2.1.2.1, note 4: a threshold
            return lambda v: np.asarray(v > centre - 0.5, np.float64)
        if function == "LINEAR_EXACT" and width > 0:  # C.11.2.1.3.2
            return lambda v: (v - centre) / width + 0.5
    low, high = _shown_range(header, sampled)
    return lambda v: (v - low) / (high - low)


def _shown_range(header: Dataset, sampled: Callable[[], Iterable[Samples]]) -> tuple[float, float]:
    """Return the values shown black and white where the file names no window."""
    bits = int(header.get("BitsStored") or header.get("BitsAllocated", 8))
    if bits <= 8:
        signed = int(header.get("PixelRepresentation", 0)) == 1
        ends = np.array([-(1 << bits - 1), (1 << bits - 1) - 1] if signed else [0, (1 << bits) - 1])
        transform = _functional_group(header, "PixelValueTransformationSequence")
        ends = np.asarray(apply_modality_lut(ends, transform), np.float64)
        low, high = float(ends.min()), float(ends.max())
    else:
        extremes = [(float(frame.min()), float(frame.max())) for frame in sampled()]
        low, high = min(e[0] for e in extremes), max(e[1] for e in extremes)
    return low, high if high > low else low + 1.0


def _voi_table(item: Dataset, *, big_endian: bool) -> Callable[[Samples], Samples]:
    """C.11.2.1.1: values below the first mapped take its entry, those above take the last."""
    first, bits = int(item.LUTDescriptor[1]), int(item.LUTDescriptor[2])
    raw = item.LUTData
    if isinstance(raw, bytes):
        raw = np.frombuffer(raw, ">u2" if big_endian else "<u2")
    entries = np.atleast_1d(np.asarray(raw, np.float64)) / float((1 << bits) - 1)
    last = len(entries) - 1

    def looked_up(values: Samples) -> Samples:
        at = np.clip(np.rint(values) - first, 0, last).astype(np.intp)
        return np.asarray(entries[at])

    return looked_up


def _functional_group(header: Dataset, macro: str) -> Dataset:
    """Return where the attributes of `macro` are: in an enhanced file's functional groups
    (C.7.6.16; those shared by all frames, else those of the first), else in the file itself."""
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        group = header.get(groups)
        if group and group[0].get(macro):
            return group[0][macro].value[0]  # type: ignore[no-any-return]
    return header


def _first(value: Any) -> float | None:
    """Return the first of a DICOM number's values, None where it has none."""
    if value is None or value == "":
        return None
    try:
        return float(value)
    except TypeError:
        return float(value[0]) if len(value) else None
