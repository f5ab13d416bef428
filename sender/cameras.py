"""The command `veilscope sources`: the cameras of this machine, with their sizes and rates."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from fractions import Fraction
from itertools import groupby

from sender.sources.v4l2 import Camera, CameraMode, cameras
from shared.terminal import DebugOption, stdout

__all__ = ["described", "sources"]

FULL_HD = (1920, 1080)


def sources(
    debug: DebugOption = False,  # noqa: ARG001 -- acted on where it is parsed
) -> None:
    """List the cameras and capture cards of this machine, with their sizes and rates."""
    if sys.platform != "linux":
        stdout.print(
            "the cameras of this system can't be listed; try camera:0, camera:1, and so on",
            soft_wrap=True,
            markup=False,
        )
        return
    for line in described(cameras()):
        stdout.print(line, soft_wrap=True, markup=False)


def described(found: list[Camera]) -> Iterator[str]:
    """Yield the lines that tell a person of the cameras that were found."""
    if not found:
        yield "no camera is plugged in"
        return
    for camera in found:
        if camera.why:
            yield f"camera:{camera.number}  {camera.why}"
            continue
        yield f"camera:{camera.number}  {camera.name}"
        if camera.path:
            yield f"    also camera:{camera.path}"
        for fourcc, modes in groupby(camera.modes, key=lambda mode: mode.fourcc):
            yield f"    {fourcc}"
            for mode in sorted(modes, key=lambda mode: mode.size, reverse=True):
                yield f"        {_described(mode)}"
    usable = next((camera for camera in found if camera.modes), None)
    if usable is not None:
        yield ""
        yield f"veilscope send --source camera:{usable.number} --size {_sized(_proposed(usable))}"


def _proposed(camera: Camera) -> tuple[int, int]:
    """The largest size up to full HD, which most paths carry, or else the first one."""
    sizes = [mode.largest or mode.size for mode in camera.modes]
    fitting = [size for size in sizes if size[0] <= FULL_HD[0] and size[1] <= FULL_HD[1]]
    return max(fitting, default=sizes[0])


def _described(mode: CameraMode) -> str:
    size = _sized(mode.size)
    if mode.largest is not None:
        size = f"{size} to {_sized(mode.largest)}"
    rates = ", ".join(_rounded(rate) for rate in mode.rates)
    return f"{size}  {rates} fps" if rates else size


def _sized(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _rounded(rate: Fraction) -> str:
    return f"{float(rate):.2f}".rstrip("0").rstrip(".")
