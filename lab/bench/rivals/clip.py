"""The pictures that all rivals send: one file of raw pictures, so that none pays for decoding.

The file is raw video in a NUT container, which Veilscope's own sender reads as it reads any video.
It is played in a loop, at the same moments for everybody, with the measuring strip drawn at the
last moment.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import cast

import av
import numpy as np

from lab.bench.rivals.records import Offered
from shared.errors import BadInput
from shared.frame import Frame, Image
from shared.strip import draw_strip

__all__ = ["Clip", "feed", "read_clip", "write_clip"]

MAX_BYTES = 400_000_000  # of raw pictures, 64 of 1080p RGB: what a small machine's disk cache holds
AHEAD = 4  # pictures decoded before they are due, as in Veilscope's own playback


@dataclass(frozen=True, slots=True)
class Clip:
    """A file of raw pictures of one even size, and how many are in it."""

    path: Path
    width: int
    height: int
    channels: int
    count: int


def write_clip(path: Path, pictures: Iterable[Image], *, limit: int) -> Clip:
    """Write at most `limit` of `pictures` (and at most 400 MB of them) to `path`.

    Width and height are cut to even numbers, since the video codecs of most rivals need that.
    Raises `BadInput` where there is no picture.
    """
    waiting = iter(pictures)
    first = next(waiting, None)
    if first is None:
        raise BadInput("the source holds no picture")
    height, width = (side - side % 2 for side in first.shape[:2])
    channels = 1 if first.ndim == 2 else 3
    layout = "gray" if channels == 1 else "rgb24"
    limit = max(1, min(limit, MAX_BYTES // (width * height * channels)))
    written = 0
    with av.open(str(path), "w", format="nut") as container:
        stream = container.add_stream("rawvideo", rate=30)
        stream.width, stream.height, stream.pix_fmt = width, height, layout
        for image in chain((first,), waiting):
            pixels = np.ascontiguousarray(image[:height, :width])
            frame = av.VideoFrame.from_ndarray(pixels, format=layout)
            frame.pts = written
            container.mux(stream.encode(frame))
            written += 1
            if written == limit:
                break
        container.mux(stream.encode())
    return Clip(path, width, height, channels, written)


def read_clip(path: Path) -> Iterator[Image]:
    """The pictures of the file, one pass; each is a fresh array that the caller may write to."""
    with av.open(str(path)) as container:
        for frame in container.decode(container.streams.video[0]):
            grey = frame.format.name == "gray"
            yield cast(Image, frame.to_ndarray(format="gray" if grey else "rgb24"))


async def feed(
    path: Path, *, fps: float, seconds: float, note: Callable[[Offered], object]
) -> AsyncIterator[Frame]:
    """Yield the pictures at their moments, in a loop, for `seconds`; `note` is told of each.

    A picture that is late comes at once, and the ones after it keep their distance from it: a
    source has no backlog.  Whether the caller sends every one is the caller's matter, but it must
    not dwell: the work on a frame belongs elsewhere.
    """
    loop = asyncio.get_running_loop()
    forever = _looped(path)
    ready: deque[Image] = deque(await asyncio.to_thread(_some, forever, AHEAD))
    refilling: asyncio.Future[list[Image]] | None = None
    interval_ns = round(1e9 / fps)
    start_ns = due_ns = time.monotonic_ns()
    for index in count():
        if refilling is None and len(ready) <= AHEAD // 2:
            refilling = loop.run_in_executor(None, _some, forever, AHEAD // 2)
        if (refilling is not None and refilling.done()) or not ready:
            assert refilling is not None  # noqa: S101 -- asked for above
            ready.extend(await refilling)
            refilling = None
        image = ready.popleft()
        if (wait_ns := due_ns - time.monotonic_ns()) > 0:
            await asyncio.sleep(wait_ns / 1e9)
        captured_at_ns = time.monotonic_ns()
        if captured_at_ns - start_ns >= seconds * 1e9:
            break
        if captured_at_ns - due_ns > interval_ns:
            due_ns = captured_at_ns
        due_ns += interval_ns
        draw_strip(image, index, captured_at_ns)
        note(Offered(index, captured_at_ns))
        yield Frame(index, captured_at_ns, image)
    if refilling is not None:
        await refilling


def _looped(path: Path) -> Iterator[Image]:
    while True:
        yield from read_clip(path)


def _some(pictures: Iterator[Image], number: int) -> list[Image]:
    return [next(pictures) for _ in range(number)]
