"""A program that is one end of a rival's stream: its orders, its mail and its record.

The bench starts two of them, one a side of the network, and carries their descriptions from one to
the other over standard input and output, one JSON object a line: no rival needs a server, and what
they say to each other before the stream begins does not cross the measured network.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import av
import cv2
import numpy as np

from lab.bench.rivals.records import (
    Offered,
    OfferedFile,
    Picture,
    PictureFile,
    Shown,
    ShownFile,
)
from shared.frame import Image
from shared.strip import read_strip, strip_height

__all__ = [
    "Mail",
    "Note",
    "Orders",
    "Watch",
    "from_i420",
    "i420",
    "jpeg",
    "run_end",
    "top_of",
    "unpacked",
    "until",
]

MAX_MESSAGE = 65_536 * 4  # bytes: what aiortc and browsers say they take in one message
MAX_PICTURES = 60  # kept for measuring quality; 60 of 1080p RGB are 370 MB
MAX_WAITING = 4  # of them in memory, until they are written

Note = Callable[[Offered], object]
"""Takes down one picture that was offered."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What one end is to do.  `address`: use this address of the machine only."""

    role: str
    clip: Path
    fps: float
    seconds: float
    channels: int
    codec: str
    quality: int
    address: str | None
    sample_every: int
    record: Path
    pictures: Path


class Mail:
    """JSON objects from and to the bench."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    async def receive(self) -> dict[str, Any]:
        """The next object; `{"stop": true}` once the bench has closed its end."""
        line = await self._reader.readline()
        found = json.loads(line) if line else {"stop": True}
        assert isinstance(found, dict)  # noqa: S101 -- written by our own bench
        return found

    def send(self, **told: object) -> None:
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()

    async def stopped(self) -> None:
        while not (await self.receive()).get("stop"):
            pass


class Watch:
    """The far end's eyes: writes down what was shown, and a sample of the pictures.

    A thread of its own makes and writes the pictures, so that the stream need not wait for them.
    """

    def __init__(self, record: Path, pictures: Path, *, sample_every: int) -> None:
        self._sample_every = sample_every
        self._kept = 0
        self._waiting: deque[Future[None]] = deque()
        with ExitStack() as opening:
            self._shown = opening.enter_context(ShownFile(record))
            self._pictures = opening.enter_context(PictureFile(pictures))
            self._writer = opening.enter_context(ThreadPoolExecutor(1, "pictures"))
            self._files = opening.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._files:
            while self._waiting:
                self._waiting.popleft().result()

    def see(
        self,
        at_ns: int,
        top: Image,
        whole: Callable[[], Image],
        *,
        keep: bool | None = None,
        told_ms: float | None = None,
        bound_ms: float | None = None,
    ) -> None:
        """A picture was handed over at `at_ns`: `top` holds its strip, `whole()` makes it all.

        `whole` is called later, and in another thread.  `keep`: whether to keep it for its quality;
        by default its index decides.  `told_ms` and `bound_ms` are what the product says of its
        latency.
        """
        strip = read_strip(top)
        if strip is None:
            self._shown.add_unreadable(at_ns)
            return
        self._shown.add(Shown(strip.index, strip.captured_at_ns, at_ns, told_ms, bound_ms))
        keep = strip.index % self._sample_every == 0 if keep is None else keep
        if keep and self._kept < MAX_PICTURES:
            if len(self._waiting) == MAX_WAITING:
                self._waiting.popleft().result()
            self._waiting.append(self._writer.submit(self._write, strip.index, whole))
            self._kept += 1

    def _write(self, index: int, whole: Callable[[], Image]) -> None:
        self._pictures.add(Picture(index, whole()))


def jpeg(image: Image, quality: int) -> bytes:
    """The picture as JPEG, at a lower quality where it would not fit into one message."""
    bgr = image if image.ndim == 2 else image[:, :, ::-1]
    while True:
        data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        if len(data) <= MAX_MESSAGE or quality <= 10:
            return data
        quality -= 10


def unpacked(data: bytes, channels: int) -> Image:
    """The picture of such a JPEG."""
    flag = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR_RGB
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), flag), np.uint8)


def i420(image: Image) -> bytes:
    """The planes of the picture in limited range, as video engines take them."""
    layout = "gray" if image.ndim == 2 else "rgb24"
    video = av.VideoFrame.from_ndarray(image, format=layout)
    return np.asarray(video.reformat(format="yuv420p").to_ndarray()).tobytes()


def from_i420(planes: Image, channels: int) -> Image:
    """The picture of planes `(H * 3 / 2, W)`."""
    rgb = np.asarray(cv2.cvtColor(planes, cv2.COLOR_YUV2RGB_I420), np.uint8)
    return np.ascontiguousarray(rgb[:, :, 1] if channels == 1 else rgb)


async def until(true: Callable[[], bool]) -> None:
    """Wait until `true()` is; for what an engine tells by a property."""
    while not true():  # noqa: ASYNC110 -- not every engine tells of every change
        await asyncio.sleep(0.01)


def top_of(luma: Image) -> Image:
    """The rows of a picture that `read_strip` looks at."""
    return luma[: strip_height(luma.shape[1]) + 1]


def run_end(
    send: Callable[[Orders, Mail, Note], Coroutine[Any, Any, None]],
    receive: Callable[[Orders, Mail, Watch], Coroutine[Any, Any, None]],
) -> None:
    """Run one end as its command line says; it writes its record as it goes."""
    orders = _parse(sys.argv[1:])

    async def program() -> None:
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        mail = Mail(reader)
        if orders.role == "sender":
            with OfferedFile(orders.record) as offered:
                await send(orders, mail, offered.add)
        else:
            sample_every = orders.sample_every
            with Watch(orders.record, orders.pictures, sample_every=sample_every) as watch:
                await receive(orders, mail, watch)

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(program())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _parse(arguments: list[str]) -> Orders:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["sender", "receiver"])
    parser.add_argument("--clip", type=Path, required=True)
    parser.add_argument("--fps", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--channels", type=int, required=True)
    parser.add_argument("--codec", default="")
    parser.add_argument("--quality", type=int, default=90)
    parser.add_argument("--address")
    parser.add_argument("--sample-every", type=int, default=15)
    parser.add_argument("--record", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, required=True)
    return Orders(**vars(parser.parse_args(arguments)))
