"""Videos made on the fly for the tests of this room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from sender.sources.source import Reading, SourcePicture
from shared.frame import Image

LIMITED, FULL = 1, 2  # AVColorRange
BT709, BT601, BT2020 = 1, 6, 9  # AVColorSpace


def write(
    path: Path,
    frames: Sequence[av.VideoFrame],
    *,
    codec: str = "ffv1",
    pixels: str,
    rate: Fraction | int = 24,
    times: Sequence[int] | None = None,
    color_range: int | None = None,
    colorspace: int | None = None,
    options: dict[str, str] | None = None,
    prepare: Callable[[Any], object] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Write a video of `frames`; `times` in milliseconds, `prepare` sees the stream first."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, pixels
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if color_range is not None:
            stream.codec_context.color_range = color_range
        if colorspace is not None:
            stream.codec_context.colorspace = colorspace
        if prepare is not None:
            prepare(stream)
        for index, frame in enumerate(frames):
            frame.pts, frame.time_base = index, 1 / Fraction(rate)
            if times is not None:
                frame.pts, frame.time_base = times[index], Fraction(1, 1000)
            if color_range is not None:
                frame.color_range = color_range
            if colorspace is not None:
                frame.colorspace = colorspace
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def rgb_pictures(count: int, shape: tuple[int, int] = (48, 64)) -> list[Image]:
    rng = np.random.default_rng(4)
    return [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for _ in range(count)]


def rgb_video(path: Path, pictures: Sequence[Image], **options: object) -> Path:
    frames = [
        av.VideoFrame.from_ndarray(p, format="rgb24").reformat(format="bgr0") for p in pictures
    ]
    return write(path, frames, pixels="bgr0", **options)  # type: ignore[arg-type]


def yuv_frames(pictures: Sequence[Image], pixels: str = "yuv420p") -> list[av.VideoFrame]:
    return [av.VideoFrame.from_ndarray(p, format="rgb24").reformat(format=pixels) for p in pictures]


def plain_pictures(levels: Sequence[int], shape: tuple[int, int] = (48, 64)) -> list[Image]:
    """Pictures of one grey level each: which one is shown can be told after any compression."""
    return [np.full((*shape, 3), level, np.uint8) for level in levels]


def planar(y: int, u: int, v: int, size: tuple[int, int] = (64, 48)) -> av.VideoFrame:
    """A frame of one YUV colour; `size` is (width, height)."""
    planes = [np.full(size[::-1], value, np.uint8) for value in (y, u, v)]
    return av.VideoFrame.from_ndarray(np.stack(planes), format="yuv444p")


def pictures_of(readings: Sequence[Reading]) -> list[SourcePicture]:
    return [reading for reading in readings if isinstance(reading, SourcePicture)]


def rewritten(
    source: Path,
    target: Path,
    change: Callable[[int, bytearray], None],
) -> Path:
    """Copy a video's packets, each after `change(number, data)`."""
    with av.open(str(source)) as given, av.open(str(target), "w") as container:
        stream = given.streams.video[0]
        copy = container.add_stream_from_template(stream)
        for number, packet in enumerate(p for p in given.demux(stream) if p.size):
            data = bytearray(bytes(packet))
            change(number, data)
            changed = av.Packet(bytes(data))
            changed.pts, changed.dts, changed.time_base = packet.pts, packet.dts, packet.time_base
            changed.is_keyframe, changed.stream = packet.is_keyframe, copy
            container.mux(changed)
    return target
