"""The program that owns the window: `python -m receiver.sinks.screen`, started by `WindowSink`.

OpenCV's toolkit ends its whole process where its screen goes away, so that process is this one and
holds nothing worth keeping.  It reads what to draw from its standard input, a line of JSON each:
the shape of the picture in the memory that both processes have mapped, null while there is none,
and the facts beside it.  It answers in lines on its standard output.  It knows neither keys nor the
network, and imports no more than drawing needs.  When its input ends, for whatever reason, so does
it.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from receiver.sinks.overlay import OverlayFacts, bar_height, compose
from shared.frame import MAX_SIDE, Image

__all__ = ["ENVIRONMENT", "PictureMemory", "Screen"]

ENVIRONMENT = {
    "QT_QPA_PLATFORM": "xcb",  # the only one that OpenCV's wheel ships
    "QT_LOGGING_RULES": "qt.qpa.events=true",  # see `Screen`
    # Where glibc gives each canvas back to the system, the next one costs a thousand page faults.
    "MALLOC_MMAP_THRESHOLD_": str(32 * 1024 * 1024),  # bytes, the most that it takes
    "MALLOC_TRIM_THRESHOLD_": str(256 * 1024 * 1024),
}
"""Of the window's process, on Linux."""

TITLE = "Veilscope"
FIRST_SIZE = (1024, 768)  # until the first picture tells
LARGEST = (1600, 900)  # pixels; leaves room for a desktop's own bars on a full-HD screen
KEYS_S = 0.02  # OpenCV keeps only the last key pressed, so it is asked often
END_WITHIN_S = 2.0  # a toolkit that waits for a dead screen keeps no orphan alive for longer

# The largest picture, and room for sealed bytes that are a little longer than what they seal.
# Pages that no picture touches cost nothing.
CAPACITY = MAX_SIDE * MAX_SIDE * 3 + 16 * 1024 * 1024


class PictureMemory:
    """Memory for one picture that two processes see; it has no name in any file system.

    Without `address` it is made, else it is that of the process that made it.  On Linux it is a
    memfd, inherited by descriptor; on Windows a mapping that ends with its last user.  So nothing
    of a picture is left behind, however either process ends.
    """

    def __init__(self, address: str = "") -> None:
        self.descriptors: tuple[int, ...] = ()
        """What the other process must inherit."""
        if sys.platform == "win32":
            self.address = address or f"veilscope-{secrets.token_hex(16)}"
            memory = mmap.mmap(-1, CAPACITY, tagname=self.address)
        else:
            descriptor = int(address) if address else os.memfd_create("veilscope-picture")
            os.ftruncate(descriptor, CAPACITY)
            self.address, self.descriptors = str(descriptor), (descriptor,)
            memory = mmap.mmap(descriptor, CAPACITY)
        self._bytes = np.frombuffer(memory, np.uint8)

    def write(self, image: Image) -> None:
        """Put `image` in the place of the one before; raises `ValueError` if it is too large.

        In OpenCV's order, BGR, for it costs no more here than a copy.
        """
        picture = self.picture(image.shape)
        if image.ndim == 3:
            cv2.cvtColor(image, cv2.COLOR_RGB2BGR, picture)
        else:
            picture[:] = image

    def picture(self, shape: Sequence[int]) -> NDArray[np.uint8]:
        """The picture of that shape as it lies in the memory, not a copy."""
        return self._bytes[: int(np.prod(shape))].reshape(shape)

    def close(self) -> None:
        """Let go of what is to be inherited; the memory itself goes with its last user."""
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors = ()


class Screen:
    """The window, from its first drawing until `requests` end; belongs to the main thread.

    `answer` is called with `("drawn", monotonic_ns)` once a drawing is on the screen,
    `("key", code)` for each key, and `("closed",)` as the last once the person closed the window.

    OpenCV does not notice where another program destroyed its window, but Qt writes down each event
    of the X server if it is asked to (`ENVIRONMENT`); so `log` is what the toolkit says.
    """

    def __init__(
        self, requests: BinaryIO, memory: PictureMemory, answer: Callable[..., None], log: BinaryIO
    ) -> None:
        self._requests = requests
        self._memory = memory
        self._answer = answer
        self._log = log
        self._next: tuple[list[int] | None, OverlayFacts] | None = None
        self._wake = threading.Event()
        self._ended = False
        self._destroyed = False
        self._fitted = False  # the window's size, to the first picture

    def run(self) -> None:
        for listen in (self._read, self._read_log):
            threading.Thread(target=listen, daemon=True).start()
        self._wake.wait()
        if not self._ended:
            cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_FREERATIO | cv2.WINDOW_GUI_NORMAL)
            cv2.resizeWindow(TITLE, *FIRST_SIZE)
        while not self._ended:
            self._wake.wait(KEYS_S)
            self._wake.clear()
            if not self._turn():
                self._answer("closed")
                return
        with contextlib.suppress(cv2.error):
            cv2.destroyAllWindows()
            cv2.waitKey(1)

    def _read(self) -> None:
        # One drawing is under way at a time: there is no queue here.
        for line in self._requests:
            shape, facts = json.loads(line)
            self._next = shape, OverlayFacts(**facts)
            self._wake.set()
        self._ended = True
        self._wake.set()
        time.sleep(END_WITHIN_S)
        os._exit(1)

    def _read_log(self) -> None:
        for line in self._log:
            self._destroyed |= b"XCB_DESTROY_NOTIFY" in line

    def _turn(self) -> bool:
        """Draw what is to be drawn and tell the keys; False once the window is closed."""
        drawing, self._next = self._next, None
        try:
            if drawing is not None:
                self._draw(*drawing)
            key = cv2.waitKey(1)  # lets the toolkit paint
            # In this order: where the person closed it, OpenCV knew before the X server told.
            destroyed = self._destroyed
            is_open = cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) >= 1
        except cv2.error:  # OpenCV no longer knows the window: it was closed
            return False
        if destroyed and is_open:
            os._exit(1)  # another program took it away, and OpenCV draws into nothing
        if drawing is not None and is_open:
            self._answer("drawn", time.monotonic_ns())
        if key >= 0:
            self._answer("key", key & 0xFF)
        return is_open

    def _draw(self, shape: list[int] | None, facts: OverlayFacts) -> None:
        image = None
        if shape is not None:
            image = self._memory.picture(shape)
            if not self._fitted:
                self._fitted = True
                cv2.resizeWindow(TITLE, *_fitting_size(image.shape[1], image.shape[0]))
        cv2.imshow(TITLE, compose(image, facts, _window_size()))


def _window_size() -> tuple[int, int]:
    _, _, width, height = cv2.getWindowImageRect(TITLE)
    return (width, height) if width >= 64 and height >= 64 else FIRST_SIZE


def _fitting_size(width: int, height: int) -> tuple[int, int]:
    """The size of a window for pictures of that size: as they are, or smaller, or up to twice."""
    scale = min(1.0, LARGEST[0] / width, LARGEST[1] / height)
    scale = max(scale, min(2.0, FIRST_SIZE[0] / width, FIRST_SIZE[1] / height))
    across = round(width * scale)
    return across, round(height * scale) + bar_height(across)


def main() -> None:
    cv2.setNumThreads(1)  # that share the work of a picture wait for the slowest: no gain, more CPU
    # Ctrl-C in the terminal is for the receiver, which then ends this process by its input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    reading, writing = os.pipe()
    for stream in (sys.stdout, sys.stderr):  # a library's own words are no answers
        os.dup2(writing, stream.fileno())
    log = os.fdopen(reading, "rb")

    def answer(*said: str | int) -> None:
        answers.write(json.dumps(said) + "\n")

    with contextlib.suppress(BrokenPipeError):  # the receiver is gone
        Screen(sys.stdin.buffer, PictureMemory(sys.argv[1]), answer, log).run()
    os._exit(0)  # a toolkit's own end may wait for its screen


if __name__ == "__main__":
    main()
