"""Saves what was shown: a PNG a frame, and if asked the sealed bytes beside it.

A thread writes.  Every frame shown is to be saved, so frames wait in memory while the disk is
slow, up to a number of bytes; beyond that, and when the disk is full, what was not saved is
counted and said, and the session goes on.  Names hold the frame's index only.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from receiver.sinks import ShownFrame
from shared.errors import OutputFailed
from shared.frame import Image

__all__ = ["FilesSink", "encode_png"]

BYTES_WAITING = 512 * 1024 * 1024  # about 190 frames of 1280x720 RGB, six seconds at 30 fps
CLOSE_WITHIN_S = 60.0


def encode_png(image: Image) -> bytes:
    """`image` (grey or RGB) as a PNG, without loss; level 1, since speed matters more than size."""
    pixels = image if image.ndim == 2 else np.ascontiguousarray(image[:, :, ::-1])
    done, png = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise OutputFailed("a frame could not be written as a PNG")
    return png.tobytes()


class FilesSink:
    """A `Sink` that writes `frame-000123.png` (by the source's frame index) into `folder`.

    `sealed_folder` also gets `frame-000123.sealed`, the frame as the network carried it.
    `on_failure` is called once, from the writing thread, when a frame can't be saved at first.
    """

    def __init__(
        self,
        folder: Path,
        *,
        sealed_folder: Path | None = None,
        on_failure: Callable[[OutputFailed], None] | None = None,
    ) -> None:
        self._folder = folder
        self._sealed_folder = sealed_folder
        self._on_failure = on_failure
        self._waiting: deque[ShownFrame] = deque()
        self._bytes_waiting = 0
        self._closing = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._failure: OSError | None = None
        self.saved = 0
        self.not_saved = 0

    def start(self) -> None:
        """Make the folders.

        Raises:
            OutputFailed: they can't be made or written to.
        """
        for folder in filter(None, (self._folder, self._sealed_folder)):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                probe = folder / ".veilscope-probe"
                probe.touch()
                probe.unlink()
            except OSError as error:
                raise OutputFailed(
                    f"frames can't be saved in {folder}: {error.strerror}",
                    hint="give another folder",
                ) from error
        self._thread = threading.Thread(target=self._run, name="frame files", daemon=True)
        self._thread.start()

    def show(self, shown: ShownFrame) -> None:
        size = shown.frame.image.nbytes + len(shown.sealed)
        with self._changed:
            if self._closing:
                return
            if self._bytes_waiting + size > BYTES_WAITING:
                self.not_saved += 1
                return
            self._waiting.append(shown)
            self._bytes_waiting += size
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            if self._closing:
                return
            self._closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(CLOSE_WITHIN_S)
        with self._changed:
            missing = self.not_saved + len(self._waiting)
        if missing:
            reason = self._failure.strerror if self._failure else "the disk was too slow"
            raise OutputFailed(
                f"{missing} of the frames shown were not saved in {self._folder}: {reason}"
            )

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting:
                    return
                shown = self._waiting[0]
            try:
                self._save(shown)
            except OSError as error:
                self._fail(error)
            else:
                self.saved += 1
            with self._changed:
                self._waiting.popleft()
                self._bytes_waiting -= shown.frame.image.nbytes + len(shown.sealed)

    def _save(self, shown: ShownFrame) -> None:
        name = f"frame-{shown.frame.index:06d}"
        _write_whole(self._folder / f"{name}.png", encode_png(shown.frame.image))
        if self._sealed_folder is not None:
            _write_whole(self._sealed_folder / f"{name}.sealed", shown.sealed)

    def _fail(self, error: OSError) -> None:
        self.not_saved += 1
        first = self._failure is None
        self._failure = error
        if first and self._on_failure is not None:
            self._on_failure(
                OutputFailed(
                    f"frames can't be saved in {self._folder}: {error.strerror}; "
                    "the session goes on"
                )
            )


def _write_whole(path: Path, content: bytes) -> None:
    """Write the file or leave none: half a picture would look like a damaged one."""
    try:
        path.write_bytes(content)
    except OSError:
        path.unlink(missing_ok=True)
        raise
