"""What a capture device is asked for and what it grants: size, rate, and how it packs its pictures.

Over USB 2, uncompressed pictures of 1920x1080 come five times a second; the same device gives 30 as
MJPG, a JPEG each.  Whether that is worth its loss is decided by trying.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2

from sender.sources.compression import grid_of, is_known
from sender.sources.geometry import Geometry

__all__ = ["CaptureDevice", "CaptureMode", "settle"]

Size = tuple[int, int]

_PACKED = "MJPG"
_GREY = frozenset({"GREY", "Y800", "Y8", "Y8I", "Y10", "Y12", "Y14", "Y16"})
_LEAST_LOSSY = 8  # pixels: blocks of less are those of halved or quartered colours
_ENOUGH_FPS = 24.0  # where none is asked for: below, most people see the steps
_NEARLY = 0.95  # 29.97 is 30


class CaptureDevice(Protocol):
    """What is used of `cv2.VideoCapture`."""

    def isOpened(self) -> bool: ...  # noqa: N802

    def read(self) -> tuple[bool, object]: ...

    def get(self, name: int, /) -> float: ...

    def set(self, name: int, value: float, /) -> bool: ...

    def release(self) -> None: ...


@dataclass(frozen=True, slots=True)
class CaptureMode:
    """How a device says that it delivers; 0 and "" stand for what it does not say.

    `width` and `height` are in pixels, `fps` in frames a second, `fourcc` names the packing.
    """

    width: int
    height: int
    fps: float
    fourcc: str

    @classmethod
    def of(cls, device: CaptureDevice) -> CaptureMode:
        """Ask a device how it is set at present."""
        code = int(device.get(cv2.CAP_PROP_FOURCC)) & 0xFFFF_FFFF
        fourcc = code.to_bytes(4, "little").decode("ascii", "replace").strip("\0 ")
        return cls(
            int(device.get(cv2.CAP_PROP_FRAME_WIDTH)),
            int(device.get(cv2.CAP_PROP_FRAME_HEIGHT)),
            float(device.get(cv2.CAP_PROP_FPS)),
            fourcc.upper(),
        )

    def geometry(self, width: int, height: int) -> Geometry:
        """How a delivered picture of that size is shown; an unknown packing counts as lossy."""
        grid = grid_of(self.fourcc)
        return Geometry(width, height, block=grid.block, reach=grid.reach)

    @property
    def grey(self) -> bool:
        """Whether the device knows no colours, though OpenCV delivers three channels."""
        return self.fourcc in _GREY

    def grants(self, size: Size | None) -> bool:
        """Whether the size is the one asked for, as far as the device says."""
        return size is None or not self.width or (self.width, self.height) == size

    def keeps(self, fps: float) -> bool:
        """Whether the rate is the one asked for, as far as the device says."""
        return not self.fps > 0 or self.fps >= fps * _NEARLY

    def remarks(self, size: Size | None, fps: float | None, delivered: Size) -> tuple[str, ...]:
        """What differs from what was asked for, given the size that is `delivered`."""
        remarks = []
        if size is not None and delivered != size:
            remarks.append(
                f"asked for {size[0]}x{size[1]}, the device gives {delivered[0]}x{delivered[1]}"
            )
        if fps is not None and not self.keeps(fps):
            remarks.append(f"asked for {fps:g} frames a second, the device gives {self.fps:g}")
        if is_known(self.fourcc) and grid_of(self.fourcc).block >= _LEAST_LOSSY:
            remarks.append(f"the device compresses its pictures itself ({self.fourcc}), with loss")
        return tuple(remarks)


def settle(device: CaptureDevice, size: Size | None, fps: float | None) -> CaptureMode:
    """Set a device to `size` and `fps` as nearly as it can, and return what it grants.

    It is left to its own packing, unless that falls short of the rate (of `fps`, or of what looks
    smooth) or of the size, and MJPG does better.
    """
    wanted = fps or _ENOUGH_FPS
    own_code = device.get(cv2.CAP_PROP_FOURCC)
    own = _asked(device, size, fps)
    if own.fourcc == _PACKED or (own.grants(size) and own.keeps(wanted)):
        return own
    device.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*_PACKED))
    packed = _asked(device, size, fps)
    if packed.fourcc == _PACKED and _merit(packed, size, wanted) > _merit(own, size, wanted):
        return packed
    device.set(cv2.CAP_PROP_FOURCC, own_code)
    return _asked(device, size, fps)


def _asked(device: CaptureDevice, size: Size | None, fps: float | None) -> CaptureMode:
    if size is not None:
        device.set(cv2.CAP_PROP_FRAME_WIDTH, size[0])
        device.set(cv2.CAP_PROP_FRAME_HEIGHT, size[1])
    if fps is not None:
        device.set(cv2.CAP_PROP_FPS, fps)
    device.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest picture, not the oldest waiting
    return CaptureMode.of(device)


def _merit(mode: CaptureMode, size: Size | None, wanted_fps: float) -> tuple[bool, float]:
    return mode.grants(size), min(mode.fps, wanted_fps)
