"""The last few pictures as they were before encoding, in case one is asked for once more, lossless.

They are masked already, and what was hidden of any picture after them is hidden of them too: text
stands in several pictures before it is found.  What is kept is bounded in number and in bytes; the
oldest goes first.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

from sender.masks.rectangles import apply_masks, share_hidden
from shared.frame import Image, Rect

__all__ = ["MAX_BYTES", "MAX_PICTURES", "RecentPictures"]

MAX_PICTURES = 60  # a person who freezes the picture means one of a moment ago: 2 s at 30 fps
MAX_BYTES = 128 * 1024 * 1024  # 0.7 s of 1920x1080 RGB at 30 fps


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    index: int
    captured_at_ns: int
    image: Image
    masks: tuple[Rect, ...]  # which `image` has already


class RecentPictures:
    """Pictures by frame index; safe to use from several threads."""

    def __init__(self) -> None:
        self._pictures: deque[_Kept] = deque()
        self._nbytes = 0
        self._lock = threading.Lock()

    def add(
        self, index: int, captured_at_ns: int, image: Image, masks: tuple[Rect, ...] = ()
    ) -> None:
        """Keep the picture of frame `index`, of which `masks` are hidden.

        It is not copied, and must not be written to.
        """
        with self._lock:
            self._pictures.append(_Kept(index, captured_at_ns, image, masks))
            self._nbytes += image.nbytes
            while len(self._pictures) > 1 and (
                len(self._pictures) > MAX_PICTURES or self._nbytes > MAX_BYTES
            ):
                self._nbytes -= self._pictures.popleft().image.nbytes

    def get(self, index: int) -> tuple[int, Image] | None:
        """The capture time and the picture of frame `index`, if it is still held.

        All that was hidden of any picture since is hidden of it.  None, too, where a picture since
        has another size or is hidden whole: what of this one should be hidden is not known then.
        """
        with self._lock:
            kept = list(self._pictures)
        at = next((at for at, picture in enumerate(kept) if picture.index == index), None)
        if at is None:
            return None
        picture = kept[at]
        height, width = picture.image.shape[:2]
        # Those of pictures that follow each other are the same, nearly always.
        masks = dict.fromkeys(later.masks for later in kept[at + 1 :] if later.masks)
        masks.pop(picture.masks, None)
        since = tuple(dict.fromkeys(rect for rects in masks for rect in rects))
        whole = Rect(0, 0, width, height)
        if any(later.image.shape[:2] != (height, width) for later in kept[at + 1 :]):
            return None
        if any(share_hidden(rects, whole) == 1 for rects in masks):
            return None
        return picture.captured_at_ns, apply_masks(picture.image, since)
