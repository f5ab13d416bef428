"""Portable arbitrary maps (Netpbm's PAM), which Pillow does not open.

OpenCV does, and takes red for blue.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from sender.sources.pictures.samples import over_black, scaled
from shared.errors import SourceFailed
from shared.frame import Image

__all__ = ["HEADER_MAX", "MapHeader", "is_pam"]

HEADER_MAX = 4096
"""How many bytes a header can have: seven short lines, and comments."""

_FIELD = re.compile(rb"^(WIDTH|HEIGHT|DEPTH|MAXVAL)[ \t]+([0-9]{1,9})[ \t]*$", re.MULTILINE)
_END = b"ENDHDR\n"


def is_pam(head: bytes) -> bool:
    """Whether a file that begins with `head` is such a map."""
    return head.startswith(b"P7\n")


@dataclass(frozen=True, slots=True)
class MapHeader:
    """The header of a map: its size in pixels, channels, full brightness, and its own bytes."""

    width: int
    height: int
    depth: int
    white: int
    nbytes: int

    @classmethod
    def parsed(cls, data: bytes) -> MapHeader:
        """Return the header that `data` begins with; raises `SourceFailed` where there is none."""
        header, end, _samples = data[:HEADER_MAX].partition(_END)
        fields = {name: int(value) for name, value in _FIELD.findall(header)}
        if not end or len(fields) != 4 or not 0 < fields[b"MAXVAL"] < 65536:
            raise SourceFailed("it is damaged or cut short")
        return cls(
            fields[b"WIDTH"],
            fields[b"HEIGHT"],
            fields[b"DEPTH"],
            fields[b"MAXVAL"],
            len(header) + len(_END),
        )

    def decoded(self, data: bytes) -> Image:
        """Return the map as uint8 `(height, width)` or RGB `(height, width, 3)`.

        `data` is the whole file.  What is transparent is black.  Raises `SourceFailed` for a map
        that is cut short.
        """
        kind = np.dtype(np.uint8 if self.white < 256 else ">u2")
        wanted = self.height * self.width * self.depth
        if len(data) - self.nbytes < wanted * kind.itemsize or not 1 <= self.depth <= 4:
            raise SourceFailed("it is damaged or cut short")
        samples = np.frombuffer(data, kind, wanted, offset=self.nbytes)
        shaped = samples.reshape(self.height, self.width, self.depth)
        image = scaled(shaped[:, :, 0] if self.depth < 3 else shaped[:, :, :3], self.white)
        if self.depth in (2, 4):
            return over_black(image, scaled(shaped[:, :, -1], self.white))
        return image
