"""A camera that has every trouble: it freezes, stutters, changes its picture, goes and comes back.

A `Source` for the tests, played in real time.  As a program it is `veilscope send` with this camera
for its source:  python -m tests.integration.troubledcamera --log sender.jsonl ...
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np

from sender.sources.geometry import Geometry
from sender.sources.source import Reading, Skipped, SourceInfo, SourcePicture
from shared.control import Notice
from shared.frame import Image

COLOUR, GREY, LARGER, ODD = (480, 640, 3), (480, 640), (600, 800, 3), (517, 391, 3)


@dataclass(frozen=True)
class Act:
    """For `seconds` the camera `runs`, `freezes` (the same picture), `stalls` (none at all),
    `stutters` (uneven), `breaks` (every tenth picture is damaged) or is `gone` and says so."""

    what: str
    seconds: float
    shape: tuple[int, ...] = COLOUR


STORY = (
    Act("runs", 20),
    Act("freezes", 15),
    Act("runs", 10),
    Act("stutters", 15),
    Act("runs", 15, LARGER),
    Act("runs", 10, GREY),
    Act("freezes", 8, GREY),
    Act("breaks", 15),
    Act("stalls", 12),
    Act("runs", 10, ODD),
    Act("gone", 20, ODD),
    Act("runs", 10),
    Act("freezes", 40),
)
"""Two hundred seconds, which repeat."""


def moving(index: int, shape: tuple[int, ...]) -> Image:
    """A picture in which everything moves."""
    down, across = np.ogrid[: shape[0], : shape[1]]
    grey = ((down * 2 + across + 5 * index) % 256).astype(np.uint8)
    if len(shape) == 2:
        return grey
    return np.stack([grey, np.roll(grey, 40, axis=1), 255 - grey], axis=2)


class TroubledCamera:
    """See the top of this file; `story` is played once, or for ever."""

    def __init__(
        self, story: Sequence[Act] = STORY, *, fps: float = 25.0, for_ever: bool = False
    ) -> None:
        height, width = story[0].shape[:2]
        self.info = SourceInfo("camera", width, height, 3, fps, None, live=True)
        self._story = story
        self._for_ever = for_ever
        self._closed = threading.Event()
        self._index = 0

    @property
    def first(self) -> SourcePicture:
        return _picture(moving(0, self._story[0].shape))

    def pictures(self) -> Iterator[Reading]:
        for act in cycle(self._story) if self._for_ever else self._story:
            yield from self._play(act)
            if self._closed.is_set():
                return

    def close(self) -> None:
        self._closed.set()

    def _play(self, act: Act) -> Iterator[Reading]:
        if act.what == "gone":
            since_ns = time.monotonic_ns()
            text = "the camera is gone; it is tried again"
            yield Notice(kind="source_lost", text=text, lasting=True, since_ns=since_ns)
        interval_s = 1 / self.info.fps
        for count in range(max(1, round(act.seconds * self.info.fps))):
            late = act.what == "stutters" and count % 8 == 7
            pause_s = interval_s * (6 if late else 0.25 if act.what == "stutters" else 1)
            if self._closed.wait(pause_s):
                return
            if act.what in ("stalls", "gone"):
                continue
            if act.what == "breaks" and count % 10 == 5:
                yield Skipped("the frame is cut short")
                continue
            if act.what != "freezes":
                self._index += 1
            yield _picture(moving(self._index, act.shape))
        if act.what == "gone":
            yield Notice(kind="source_lost", text="the camera is back", since_ns=since_ns)


def _picture(image: Image) -> SourcePicture:
    return SourcePicture(image, Geometry(image.shape[1], image.shape[0]))


if __name__ == "__main__":
    import sender.cli
    import sender.preparation
    from shared.terminal import run_command

    sender.preparation.open_source = lambda *_, **__: TroubledCamera(for_ever=True)
    run_command(sender.cli.send)
