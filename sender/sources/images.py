"""A folder of still pictures, played in the natural order of their names (2 before 10).

Takes PNG, JPEG, BMP and TIFF through OpenCV; grey stays grey, 16-bit samples are scaled to 8 bits,
transparency is dropped.  All must have one size.  It does not look into folders below.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from sender.sources.geometry import Geometry
from sender.sources.source import SourceInfo, SourcePicture, checked_fps, checked_picture
from shared.errors import SourceFailed

__all__ = ["SUFFIXES", "ImagesSource"]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})


class ImagesSource:
    """The pictures in one folder; see `sender.sources.source.Source`."""

    def __init__(self, folder: str | Path, *, fps: float | None = None) -> None:
        self._paths = _listed(Path(folder))
        self.first = _read(self._paths[0], 0)
        first = self.first.image
        self.info = SourceInfo(
            kind="images",
            width=int(first.shape[1]),
            height=int(first.shape[0]),
            channels=1 if first.ndim == 2 else 3,
            fps=checked_fps(fps),
            frame_count=len(self._paths),
            live=False,
        )

    def pictures(self) -> Iterator[SourcePicture]:
        for ordinal, path in enumerate(self._paths):
            yield _read(path, ordinal)

    def close(self) -> None:
        """Nothing is held open between pictures."""


def _listed(folder: Path) -> list[Path]:
    try:
        paths = [
            path
            for path in folder.iterdir()
            if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
        ]
    except OSError:
        raise SourceFailed(
            "the folder of pictures can't be found or read",
            hint="check the path and its permissions",
        ) from None
    if not paths:
        raise SourceFailed(
            "the folder holds no picture", hint=f"it may hold {', '.join(sorted(SUFFIXES))} files"
        )
    return sorted(paths, key=lambda path: _natural(path.name))


def _natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """Order names as people do: runs of digits by their value, the rest by letters."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name.casefold())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], name


def _read(path: Path, ordinal: int) -> SourcePicture:
    try:
        # Not cv2.imread, which prints the file's name when it fails.
        raw = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    except (OSError, cv2.error):
        raw = None
    if raw is None:
        raise SourceFailed(
            f"picture {ordinal} of the folder can't be read",
            hint="remove it, or save it anew as PNG",
        )
    if raw.dtype == np.uint16:
        raw = np.rint(raw / 257.0).astype(np.uint8)  # 65535 / 255
    if raw.dtype != np.uint8:
        raise SourceFailed(f"picture {ordinal} of the folder has {raw.dtype} samples")
    if raw.ndim == 3 and raw.shape[2] >= 3:
        code = cv2.COLOR_BGRA2RGB if raw.shape[2] == 4 else cv2.COLOR_BGR2RGB
        raw = cv2.cvtColor(raw, code)
    elif raw.ndim == 3:
        raw = raw[:, :, 0]  # grey with transparency
    image = checked_picture(np.asarray(raw, np.uint8), ordinal)
    return SourcePicture(image, Geometry(image.shape[1], image.shape[0]))
