"""Saves what was shown: a PNG a frame, and if asked the sealed bytes beside it.

Every frame handed over is to be saved; a full disk costs the frames that come while it is full,
and no others.  Names hold the frame's index only, and files are for their owner's eyes alone.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from receiver.sinks import ShownFrame
from receiver.sinks.background import BackgroundSink, reason_of
from shared.errors import OutputFailed
from shared.frame import Image
from shared.privatefile import check_writable, write_private

__all__ = ["FilesSink", "encode_png", "prepare_folder"]


def encode_png(image: Image) -> bytes:
    """`image` (grey or RGB) as a PNG, without loss; level 1, since speed matters more than size."""
    pixels = image if image.ndim == 2 else np.ascontiguousarray(image[:, :, ::-1])
    done, png = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise OutputFailed("a frame could not be written as a PNG")
    return png.tobytes()


def prepare_folder(folder: Path, what: str, *, hint: str) -> None:
    """Make sure that `what` can be saved in `folder`, which is made; raises `OutputFailed`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        check_writable(folder)
    except OSError as error:
        raise OutputFailed(
            f"{what} can't be saved in {folder}: {error.strerror}", hint=hint
        ) from error


class FilesSink(BackgroundSink):
    """A `Sink` that writes `frame-000123.png` (by the source's frame index) into `folder`.

    `sealed_folder` also gets `frame-000123.sealed`, the frame as the network carried it.
    """

    bytes_waiting = 512 * 1024 * 1024  # about 190 frames of 1280x720 RGB, six seconds at 30 fps
    close_within_s = 60.0

    def __init__(
        self,
        folder: Path,
        *,
        sealed_folder: Path | None = None,
        on_failure: Callable[[OutputFailed], None] | None = None,
    ) -> None:
        super().__init__(on_failure=on_failure)
        self._folder = folder
        self._sealed_folder = sealed_folder

    def _open(self) -> None:
        for folder in filter(None, (self._folder, self._sealed_folder)):
            prepare_folder(folder, "frames", hint="give another folder")

    def _keep(self, shown: ShownFrame) -> None:
        name = f"frame-{shown.frame.index:06d}"
        write_private(self._folder / f"{name}.png", encode_png(shown.frame.image))
        if self._sealed_folder is not None:
            write_private(self._sealed_folder / f"{name}.sealed", shown.sealed)

    def _failed(self, missing: int | None, cause: Exception | None) -> OutputFailed:
        reason = reason_of(cause)
        if missing is None:
            return OutputFailed(
                f"frames can't be saved in {self._folder}: {reason}; the session goes on"
            )
        return OutputFailed(
            f"{missing} of the frames shown were not saved in {self._folder}: {reason}",
            hint="free some space, or give a folder on a faster disk",
        )
