"""How well a search for burned-in letters finds them: what it misses, and what it hides in vain.

Text is drawn onto pictures that hold none.  A line counts as found only if every pixel of every
letter is hidden.  Each kind of line is tried alone in a picture, which is the harder case for a
network that weighs what it sees against the whole, and among others.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median

import cv2
import numpy as np
from rich.table import Table

from lab.bench.lettering import CAP_HEIGHTS, FONTS, INKS, Inscription, inscribe
from shared.frame import Image, Rect

__all__ = ["FindText", "Findings", "looks", "search_tables", "seconds_a_look", "try_out"]

FindText = Callable[[Image], tuple[Rect, ...]]

_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 80]
_ROOM = 15_000  # pixels of picture to each of several lines
_SEED = 20_261_130
_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Tried:
    """One line of text, alone in its picture or not, as JPEG or not: was it hidden?"""

    ground: str
    line: Inscription
    alone: bool
    lossy: bool
    hidden: bool


@dataclass(slots=True)
class Findings:
    """What `try_out` found.

    `in_vain` holds, for each picture without text, the boxes found and the share of it that they
    hide; `beside` the share of a picture with text that is hidden, but for the lines and what is
    within twice their letters' height of them.
    """

    tried: list[Tried] = field(default_factory=list)
    in_vain: dict[str, tuple[int, float]] = field(default_factory=dict)
    beside: list[float] = field(default_factory=list)

    @property
    def recall(self) -> float:
        """The share of all lines that were hidden, to the last pixel."""
        return sum(one.hidden for one in self.tried) / len(self.tried)


def looks(grounds: Mapping[str, Image], *, quick: bool) -> Iterator[tuple[str, Image, bool, bool]]:
    """Yield what to draw on: name, picture, whether a line stands alone, whether as JPEG."""
    names = list(grounds)
    for number in range(12 if quick else _kinds()):
        yield names[number % len(names)], grounds[names[number % len(names)]], True, number % 2 == 1
    for number, name in enumerate(names * (1 if quick else 4)):
        yield name, grounds[name], False, number % 2 == 1


def try_out(
    find: FindText,
    grounds: Mapping[str, Image],
    *,
    quick: bool = False,
    on_look: Callable[[], object] = lambda: None,
) -> Findings:
    """Look with `find` for every kind of line on each of `grounds`, which hold no text."""
    findings = Findings()
    for name, picture in grounds.items():
        rects = find(picture)
        findings.in_vain[name] = (len(rects), float(_covered(rects, picture).mean()))
        on_look()
    kinds = itertools.cycle(_shuffled_kinds())
    for number, (name, picture, alone, lossy) in enumerate(looks(grounds, quick=quick)):
        count = 1 if alone else max(2, picture.shape[0] * picture.shape[1] // _ROOM)
        drawn, lines = inscribe(picture, itertools.islice(kinds, count), _SEED + number)
        if lossy:
            drawn = _compressed(drawn)
        rects = find(drawn)
        findings.tried += [
            Tried(name, line, alone, lossy, hidden=line.hidden_by(rects)) for line in lines
        ]
        findings.beside.append(_beside(rects, drawn, lines))
        on_look()
    return findings


def search_tables(findings: Findings) -> list[Table]:
    """Recall by what can make a difference, what is hidden in vain, and what was missed."""
    recall = Table("", "lines", "hidden", "recall", title="lines whose every pixel is hidden")
    aspects: dict[str, Callable[[Tried], object]] = {
        "": lambda _: "all",
        "capitals, px: ": lambda one: one.line.cap_height,
        "font: ": lambda one: one.line.font,
        "ink: ": lambda one: one.line.ink_name,
        "on ": lambda one: one.ground,
        "in the picture: ": lambda one: "alone" if one.alone else "among others",
        "compressed: ": lambda one: "JPEG" if one.lossy else "no",
    }
    for title, aspect in aspects.items():
        for value in sorted({aspect(one) for one in findings.tried}, key=_order):
            among = [one.hidden for one in findings.tried if aspect(one) == value]
            recall.add_row(
                f"{title}{value}",
                str(len(among)),
                str(sum(among)),
                f"{sum(among) / len(among):.3f}",
            )
    vain = Table("picture without text", "boxes", "share hidden", title="hidden in vain")
    for name, (boxes, share) in findings.in_vain.items():
        vain.add_row(name, str(boxes), f"{share:.2%}")
    vain.add_row("beside text, mean of all", "", f"{np.mean(findings.beside):.3%}")
    missed = Table("picture", "text", "font", "capitals, px", "ink", "alone", title="missed")
    for one in findings.tried:
        if not one.hidden:
            line = one.line
            missed.add_row(
                one.ground,
                line.text,
                line.font,
                str(line.cap_height),
                line.ink_name,
                "yes" if one.alone else "no",
            )
    return [recall, vain, missed] if missed.rows else [recall, vain]


def seconds_a_look(find: FindText, picture: Image, *, busy: bool) -> tuple[float, float]:
    """Return the median time of `find` by the clock, and of the processor in the calling thread.

    With every core of this machine at work if `busy`.
    """
    find(picture)
    times: list[tuple[float, float]] = []
    with _all_cores_busy() if busy else _nothing():
        for _ in range(_ROUNDS):
            began_s, worked_s = time.perf_counter(), time.thread_time()
            find(picture)
            times.append((time.perf_counter() - began_s, time.thread_time() - worked_s))
    clock, processor = zip(*times, strict=True)
    return median(clock), median(processor)


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _all_cores_busy() -> Iterator[None]:
    over = threading.Event()

    def work() -> None:
        noise = np.random.default_rng(0).integers(0, 256, (720, 1280), np.uint8)
        while not over.is_set():
            cv2.GaussianBlur(noise, (5, 5), 1.0)

    threads = [threading.Thread(target=work) for _ in range(os.cpu_count() or 1)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _kinds() -> int:
    return len(FONTS) * len(CAP_HEIGHTS) * len(INKS)


def _shuffled_kinds() -> list[tuple[str, int, str]]:
    kinds = list(itertools.product(FONTS, CAP_HEIGHTS, INKS))
    return [kinds[place] for place in np.random.default_rng(_SEED).permutation(len(kinds))]


def _compressed(picture: Image) -> Image:
    """What is left of an RGB picture after JPEG, as a device's or a camera's."""
    _, data = cv2.imencode(".jpg", picture[:, :, ::-1], _JPEG)
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(decoded[:, :, ::-1])


def _covered(
    rects: Iterable[Rect], picture: Image
) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    covered = np.zeros((picture.shape[0], picture.shape[1]), np.bool_)
    for rect in rects:
        covered[rect.y : rect.y + rect.height, rect.x : rect.x + rect.width] = True
    return covered


def _beside(rects: Iterable[Rect], picture: Image, lines: Sequence[Inscription]) -> float:
    covered = _covered(rects, picture)
    for line in lines:
        near, rect = 2 * line.cap_height, line.rect
        covered[
            max(0, rect.y - near) : rect.y + rect.height + near,
            max(0, rect.x - near) : rect.x + rect.width + near,
        ] = False
    return float(covered.mean())


def _order(value: object) -> tuple[int, str]:
    return (value, "") if isinstance(value, int) else (0, str(value))
