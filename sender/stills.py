"""The last few pictures as they were before encoding, in case one is asked for once more, lossless.

They are masked already: what is kept here may leave the machine.  What is kept is bounded in number
and in bytes; the oldest goes first.
"""

from __future__ import annotations

import threading
from collections import deque

from shared.frame import Image

__all__ = ["MAX_BYTES", "MAX_PICTURES", "RecentPictures"]

MAX_PICTURES = 60  # a person who freezes the picture means one of a moment ago: 2 s at 30 fps
MAX_BYTES = 128 * 1024 * 1024  # 0.7 s of 1920x1080 RGB at 30 fps


class RecentPictures:
    """Pictures by frame index; safe to use from several threads."""

    def __init__(self) -> None:
        self._pictures: deque[tuple[int, int, Image]] = deque()
        self._nbytes = 0
        self._lock = threading.Lock()

    def add(self, index: int, captured_at_ns: int, image: Image) -> None:
        """Keep the picture of frame `index`; it is not copied, and must not be written to."""
        with self._lock:
            self._pictures.append((index, captured_at_ns, image))
            self._nbytes += image.nbytes
            while len(self._pictures) > 1 and (
                len(self._pictures) > MAX_PICTURES or self._nbytes > MAX_BYTES
            ):
                self._nbytes -= self._pictures.popleft()[2].nbytes

    def get(self, index: int) -> tuple[int, Image] | None:
        """The capture time and the picture of frame `index`, if it is still held."""
        with self._lock:
            for held, captured_at_ns, image in self._pictures:
                if held == index:
                    return captured_at_ns, image
        return None
