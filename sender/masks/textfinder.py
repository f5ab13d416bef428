"""Finding letters that are burned into a picture, so that they can be hidden.

A network finds them: the detection half of PP-OCRv6, out of the file that the wheel of `rapidocr`
carries, run by onnxruntime.  Only that one file is taken from the wheel, and only if it is the very
file whose recall was measured.  None of the package's code runs: it would bring a log of its own
and a downloader, and all that is needed around the network stands here.

The network gives each pixel a probability of lying in the core of a line of letters ("Real-time
Scene Text Detection with Differentiable Binarization", Liao et al., AAAI 2020).  A core is the line
shrunk from all sides, so what is found is grown again.  Nothing is read: no word that stands in a
picture comes to be in this program's memory as text.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
import os
import sys
import threading
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.errors import BadInput
from shared.frame import Image, Rect, checked_image

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

__all__ = ["TextFinder", "yield_to_others"]

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels of what the network sees; the last two are not inside."""

Probability = NDArray[np.float32]
"""`(height, width)`, 0 to 1."""

_MODEL = "models/PP-OCRv6_det_small.onnx"  # within the package rapidocr, 3.9 and 3.10 alike
_MODEL_SHA256 = "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f"
_INSTALL = "pip install 'veilscope[text]'"

_STRIDE = 32  # pixels; the network halves its input five times
_LEAST_SIDE = 736  # pixels of the shorter side as the network sees it; its authors' figure
_LEAST_FACTOR = 1.5  # for letters whose capitals are 8 pixels high
_MOST_FACTOR = 3.1  # for letters of 5 pixels in a picture of 320x240; bounds what a strip becomes
_LARGE = 1920 * 1200  # pixels; above it nothing is made larger: it would take too long
_TILE = 1152  # pixels; bounds the network's memory, and the share of a picture in what it sees
_OVERLAP = 128  # pixels that two tiles share
_COARSE = 8  # pixels; surroundings are made out on squares of it
_AROUND = 11  # such squares across: half of them must be without ink, as they are around letters
_BORDER = 32  # pixels of the picture's edge repeated: letters that touch it are missed without

_CORE = 0.2  # probability from which a pixel is core (0.3 at the authors')
_SURE = 0.3  # mean probability from which a core counts (0.5 at the authors', who also read it)
_LEAST_CORE = 3  # pixels
_UNSHRINK = 1.6  # how far a core is grown, as its area over its outline: the authors' figure
_GAP = 6.0  # of a core's thickness: across it, two cores are one line with words between
_ENDS = 0.8  # of a core's thickness, on top, at a line's two ends, where a letter is often missed
_MARGIN = 2  # pixels of the picture, on top, on all sides
_NICE = 10  # of 19; the scheduler then gives a stream about nine times as much

_SAMPLE = ("ID 12345 DOE JANE", "Exam 17 LIVER", "30.11.2026 14:02")
_SAMPLE_ROW = 38  # pixels
_SAMPLE_SEEN = 0.07  # share of the sample that must be core: measured are 0.14 to 0.18


class TextFinder:
    """Finds lines of letters in pictures; one call at a time.

    `threads` is how many onnxruntime takes; by default one, so that a stream has the others.
    Raises `BadInput` where the extra `text` is not installed, or holds another network.
    """

    def __init__(self, *, threads: int = 1) -> None:
        self._session = _open_session(threads)

    def find(self, image: Image) -> tuple[Rect, ...]:
        """Return rectangles that cover every line of letters found in `image`.

        `image` is uint8, grey `(H, W)` or RGB `(H, W, 3)`, as a person sees it.  The rectangles
        are in its pixels, inside it, grown by a margin, and ordered from the top left.  The same
        picture gives the same rectangles.  A part in which the network does not even find the
        sample is covered as a whole.  Raises `BadInput` for what is not such a picture.
        """
        image = checked_image(image)
        height, width = image.shape[:2]
        seen = _levelled(_enlarged(image))
        probability, blind = self._probability(seen)
        boxes = [*blind, *(_grown(core) for core in _lines(probability))]
        factors = tuple((seen.shape[axis] - 2 * _BORDER) / image.shape[axis] for axis in (1, 0))
        rects = {rect for box in boxes if (rect := _in_picture(box, factors, width, height))}
        return tuple(sorted(rects, key=lambda rect: (rect.y, rect.x, rect.width, rect.height)))

    def _probability(self, seen: Image) -> tuple[Probability, list[Box]]:
        """Return each pixel's probability of lying in a line's core, and the tiles seen in vain."""
        height, width = seen.shape[:2]
        whole = np.zeros((height, width), np.float32)
        blind: list[Box] = []
        for top, bottom in _spans(height):
            for left, right in _spans(width):
                probability, sample = self._look(seen[top:bottom, left:right])
                part = whole[top:bottom, left:right]
                np.maximum(part, probability, out=part)
                if np.mean(sample > _CORE) < _SAMPLE_SEEN:
                    blind.append((left, top, right, bottom))
        return whole, blind

    def _look(self, tile: Image) -> tuple[Probability, Probability]:
        """Return the probabilities of `tile` and those of the sample under it.

        The network weighs what it sees against the whole: in a picture without letters it takes
        tissue for some, and a single faint line in such a picture escapes it.  With letters in
        view, it does neither; so a sample of letters is put under everything it is shown.
        """
        height, width = tile.shape[:2]
        sample = _sample(width)
        below = -(height + len(sample)) % _STRIDE
        sheet = np.zeros((height + len(sample) + below, width + -width % _STRIDE, 3), np.uint8)
        sheet[:height, :width] = tile
        sheet[height : height + len(sample), :width] = sample
        planes = np.ascontiguousarray(sheet[:, :, ::-1].transpose(2, 0, 1), np.float32)
        planes /= np.float32(127.5)
        planes -= np.float32(1)  # BGR in [-1, 1]
        [[[probability]]] = self._session.run(None, {"x": planes[np.newaxis]})
        return probability[:height, :width], probability[height : height + len(sample), :width]


def yield_to_others() -> None:
    """Let the calling thread, for good, run only when the others leave it time.

    For a thread that does nothing but look for text while a stream runs.  Where the system gives
    threads no priority of their own (only Linux does here) nothing happens.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


def _open_session(threads: int) -> InferenceSession:
    package = importlib.util.find_spec("rapidocr")  # found, but not run
    try:
        import onnxruntime
    except ImportError:
        onnxruntime = None
    if package is None or package.origin is None or onnxruntime is None:
        raise BadInput("to find letters, a network that is not installed is needed", hint=_INSTALL)
    try:
        model = (Path(package.origin).parent / _MODEL).read_bytes()
    except OSError:
        model = b""
    if hashlib.sha256(model).hexdigest() != _MODEL_SHA256:
        raise BadInput(
            "the installed rapidocr holds another network than the one that was measured",
            hint=_INSTALL,
        )
    onnxruntime.disable_telemetry_events()  # its builds for Windows have some
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # only what is fatal
    options.enable_cpu_mem_arena = False  # which would keep the largest picture's memory for good
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@lru_cache(maxsize=4)
def _sample(width: int) -> Image:
    """Return letters, RGB `(rows, width, 3)`: white on black."""
    sheet = np.zeros((_SAMPLE_ROW * len(_SAMPLE) + 6, width, 3), np.uint8)
    for row, text in enumerate(_SAMPLE, start=1):
        for left in range(8, width, 320):
            cv2.putText(
                sheet, text, (left, _SAMPLE_ROW * row - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.8,
                (255, 255, 255), 2, cv2.LINE_AA,
            )  # fmt: skip
    return sheet


def _enlarged(image: Image) -> Image:
    """Return `image` in RGB, as large as the network needs it, with a border."""
    height, width = image.shape[:2]
    factor = min(max(_LEAST_FACTOR, _LEAST_SIDE / min(height, width)), _MOST_FACTOR)
    if height * width > _LARGE:
        factor = 1.0
    size = (round(width * factor), round(height * factor))
    colour = image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    large = cv2.resize(colour, size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(
        cv2.copyMakeBorder(
            large, _BORDER, _BORDER, _BORDER, _BORDER, borderType=cv2.BORDER_REPLICATE
        ),
        np.uint8,
    )


def _levelled(image: Image) -> Image:
    """Return what stands out of its surroundings in `image`, on an even grey.

    The surroundings are a median, which keeps the edges of organs and of the picture where they
    are: to the network, a bright plane with an edge is a sign, and its border a letter.
    """
    height, width = image.shape[:2]
    small = cv2.resize(
        image,
        (max(1, width // _COARSE), max(1, height // _COARSE)),
        interpolation=cv2.INTER_AREA,
    )
    around = cv2.resize(cv2.medianBlur(small, _AROUND), (width, height))
    levelled = image.astype(np.int16) - around + 128
    return np.asarray(np.clip(levelled, 0, 255), np.uint8)


def _spans(side: int) -> list[tuple[int, int]]:
    """Return first and end of the tiles along a side: evenly long, overlapping, none too long."""
    count = max(1, math.ceil((side - _OVERLAP) / (_TILE - _OVERLAP)))
    length = math.ceil((side - _OVERLAP) / count) + _OVERLAP
    firsts = (min(number * (length - _OVERLAP), side - length) for number in range(count))
    return [(max(0, first), min(side, first + length)) for first in firsts]


def _lines(probability: Probability) -> list[Box]:
    """Return the cores of lines: cores with no more than a word's gap between them are one."""
    cores = _cores(probability)
    reached = np.zeros(probability.shape, np.uint8)
    for left, top, right, bottom in cores:
        reach = round(_GAP / 2 * min(right - left, bottom - top))
        if right - left >= bottom - top:
            reached[top:bottom, max(0, left - reach) : right + reach] = 1
        else:  # letters one above the other, or a line that runs upwards
            reached[max(0, top - reach) : bottom + reach, left:right] = 1
    _, labels = cv2.connectedComponents(reached)
    lines: dict[int, Box] = {}
    for core in cores:
        label = int(labels[core[1], core[0]])
        lines[label] = _around(core, lines.get(label, core))
    return list(lines.values())


def _cores(probability: Probability) -> list[Box]:
    """Return the boxes around all cores."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        (probability > _CORE).astype(np.uint8)
    )
    mass = np.bincount(labels.ravel(), weights=probability.ravel(), minlength=count)
    thickness = stats[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].min(axis=1)
    sure = (thickness >= _LEAST_CORE) & (mass >= _SURE * stats[:, cv2.CC_STAT_AREA])
    sure[0] = False  # the label of what is no core
    return [
        (left, top, left + width, top + height)
        for left, top, width, height, _ in stats[sure].tolist()
    ]


def _around(one: Box, other: Box) -> Box:
    return (
        min(one[0], other[0]),
        min(one[1], other[1]),
        max(one[2], other[2]),
        max(one[3], other[3]),
    )


def _grown(core: Box) -> Box:
    """Return the box of the line that has this core; it may reach outside."""
    left, top, right, bottom = core
    width, height = right - left, bottom - top
    grow = math.ceil(_UNSHRINK * width * height / (2 * (width + height)))
    end = math.ceil(_ENDS * min(width, height))
    along, across = (grow + end, grow) if width >= height else (grow, grow + end)
    return left - along, top - across, right + along, bottom + across


def _in_picture(box: Box, factors: tuple[float, float], width: int, height: int) -> Rect | None:
    """Return `box` in pixels of a picture that was made larger by `factors`, or None if outside."""
    left, right = ((edge - _BORDER) / factors[0] for edge in (box[0], box[2]))
    top, bottom = ((edge - _BORDER) / factors[1] for edge in (box[1], box[3]))
    x, y = max(0, math.floor(left) - _MARGIN), max(0, math.floor(top) - _MARGIN)
    right, bottom = min(width, math.ceil(right) + _MARGIN), min(height, math.ceil(bottom) + _MARGIN)
    return Rect(x, y, right - x, bottom - y) if right > x and bottom > y else None
