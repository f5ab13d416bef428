"""The cameras of a Linux machine, with their sizes and rates, as Video4Linux lists them.

Asks the kernel by its ioctls (linux/videodev2.h) and opens no stream: a camera in use is listed as
well.  The libraries for it are under licences that this project can't take, or have been left.
Only the device's own node is opened; what can't be opened is listed with the reason.
"""

from __future__ import annotations

import errno
import os
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

__all__ = ["NOT_PERMITTED", "Camera", "CameraMode", "Ioctl", "cameras", "model_of"]

NOT_PERMITTED = "this user may not use it: add the user to the group 'video', and log in anew"

Ioctl = Callable[[int, int, bytearray], object]
"""`fcntl.ioctl(descriptor, request, buffer)`, which fills the buffer or raises `OSError`."""

# Direction, size and number of each request, as _IOR and _IOWR of asm-generic/ioctl.h pack them.
_READ, _READ_WRITE = 2 << 30, 3 << 30


def _request(direction: int, layout: struct.Struct, number: int) -> int:
    return direction | layout.size << 16 | ord("V") << 8 | number


_CAPABILITY = struct.Struct("=16s32s32sIII12x")  # driver, card, bus, version, of all, of this node
_FORMAT = struct.Struct("=III32sI16x")  # index, kind of buffer, flags, description, FourCC
_SIZE = struct.Struct("=III6I8x")  # index, FourCC, kind, then width and height or their ranges
_INTERVAL = struct.Struct("=IIIII6I8x")  # index, FourCC, width, height, kind, then fractions

_QUERY_CAPABILITY = _request(_READ, _CAPABILITY, 0)
_ENUM_FORMATS = _request(_READ_WRITE, _FORMAT, 2)
_ENUM_SIZES = _request(_READ_WRITE, _SIZE, 74)
_ENUM_INTERVALS = _request(_READ_WRITE, _INTERVAL, 75)

_VIDEO_CAPTURE, _VIDEO_CAPTURE_MPLANE, _DEVICE_CAPS = 0x1, 0x1000, 0x8000_0000
_BUFFERS = ((_VIDEO_CAPTURE, 1), (_VIDEO_CAPTURE_MPLANE, 9))  # the kind of buffer of each ability
_DISCRETE = 1  # any other kind is a range
_MOST = 256  # entries of one list; a driver that never says "no more" must not hang us


@dataclass(frozen=True, slots=True)
class CameraMode:
    """One way in which a camera delivers, with its rates in frames a second, the fastest first.

    A `size` is (width, height) in pixels; where any size up to `largest` is possible, the smallest.
    """

    fourcc: str
    size: tuple[int, int]
    rates: tuple[Fraction, ...]
    largest: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Camera:
    """A device that delivers pictures, or one of which it can't be told: `why` says why not."""

    number: int
    name: str = ""
    path: str = ""  # under /dev/v4l/by-id, which stays the same whatever its number; or empty
    modes: tuple[CameraMode, ...] = ()
    why: str = ""


def cameras(devices: Path = Path("/dev"), ioctl: Ioctl | None = None) -> list[Camera]:
    """Return the cameras under `devices` in the order of their numbers; blocks for a moment.

    Nodes of other kinds (metadata, outputs, radios) are left out.  Raises nothing.
    """
    numbers = sorted(
        int(found[1])
        for node in devices.glob("video*")
        if (found := re.fullmatch(r"video([0-9]{1,9})", node.name))
    )
    paths = _lasting_paths(devices)
    found_cameras = (
        _camera(devices / f"video{number}", number, paths.get(number, ""), ioctl or _ioctl)
        for number in numbers
    )
    return [camera for camera in found_cameras if camera is not None]


def model_of(number: int, nodes: Path = Path("/sys/class/video4linux")) -> str:
    """Return what the device of that number calls itself, "" where none is there or can be asked.

    Two of one model call themselves the same.  Raises nothing.
    """
    try:
        return (nodes / f"video{number}" / "name").read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def _ioctl(descriptor: int, request: int, buffer: bytearray) -> object:
    import fcntl  # is not there on other systems

    return fcntl.ioctl(descriptor, request, buffer)


def _lasting_paths(devices: Path) -> dict[int, str]:
    """The paths that stay with a device, by the number that it has at present."""
    paths: dict[int, str] = {}
    for link in sorted(devices.glob("v4l/by-id/*")):
        found = re.fullmatch(r"video([0-9]{1,9})", link.resolve().name)
        if found is not None:
            paths.setdefault(int(found[1]), str(link))
    return paths


def _camera(node: Path, number: int, path: str, ioctl: Ioctl) -> Camera | None:
    try:
        descriptor = os.open(node, os.O_RDWR | os.O_NONBLOCK)
    except PermissionError:
        return Camera(number, why=NOT_PERMITTED)
    except OSError as error:
        if error.errno in (errno.ENODEV, errno.ENXIO, errno.ENOENT):
            return None  # pulled out, or never there
        return Camera(number, why=f"it can't be opened ({_named(error)})")
    try:
        return _asked(descriptor, number, path, ioctl)
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EINVAL):
            return None  # no Video4Linux device
        return Camera(number, why=f"it does not answer ({_named(error)})")
    finally:
        os.close(descriptor)


def _asked(descriptor: int, number: int, path: str, ioctl: Ioctl) -> Camera | None:
    buffer = bytearray(_CAPABILITY.size)
    ioctl(descriptor, _QUERY_CAPABILITY, buffer)
    _driver, card, _bus, _version, of_all, of_node = _CAPABILITY.unpack(buffer)
    able = of_node if of_all & _DEVICE_CAPS else of_all
    kinds = [kind for ability, kind in _BUFFERS if able & ability]
    if not kinds:
        return None
    modes = tuple(
        mode
        for fourcc in _formats(descriptor, kinds[0], ioctl)
        for mode in _modes(descriptor, fourcc, ioctl)
    )
    return Camera(number, _text(card), path, modes)


def _formats(descriptor: int, kind: int, ioctl: Ioctl) -> Iterator[int]:
    for entry in _entries(descriptor, _ENUM_FORMATS, _FORMAT, (kind, 0, b"", 0), ioctl):
        yield entry[4]


def _modes(descriptor: int, fourcc: int, ioctl: Ioctl) -> Iterator[CameraMode]:
    name = _text(fourcc.to_bytes(4, "little"))
    for entry in _entries(descriptor, _ENUM_SIZES, _SIZE, (fourcc, 0, *(0,) * 6), ioctl):
        kind, sizes = entry[2], entry[3:]
        if kind == _DISCRETE:
            size, largest = (sizes[0], sizes[1]), None
            rates = _rates(descriptor, fourcc, size, ioctl)
        else:  # the smallest, largest and step of widths, then of heights: one entry for all
            size, largest = (sizes[0], sizes[3]), (sizes[1], sizes[4])
            rates = _rates(descriptor, fourcc, largest, ioctl)
        yield CameraMode(name, size, rates, largest)
        if kind != _DISCRETE:
            return


def _rates(
    descriptor: int, fourcc: int, size: tuple[int, int], ioctl: Ioctl
) -> tuple[Fraction, ...]:
    """The rates at a size, from the times between pictures that the driver lists."""
    rates = set()
    start = (fourcc, *size, 0, *(0,) * 6)
    for entry in _entries(descriptor, _ENUM_INTERVALS, _INTERVAL, start, ioctl):
        kind, (numerator, denominator, longest, of_longest, *_step) = entry[4], entry[5:]
        if numerator and denominator:
            rates.add(Fraction(denominator, numerator))
        if kind != _DISCRETE:
            if longest and of_longest:
                rates.add(Fraction(of_longest, longest))
            break
    return tuple(sorted(rates, reverse=True))


def _entries(
    descriptor: int, request: int, layout: struct.Struct, start: tuple[object, ...], ioctl: Ioctl
) -> Iterator[tuple[int, ...]]:
    """Ask for one entry of a list after the other, until the driver has no more."""
    for index in range(_MOST):
        buffer = bytearray(layout.pack(index, *start))
        try:
            ioctl(descriptor, request, buffer)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOTTY, errno.ENODATA):
                return
            raise
        yield layout.unpack(buffer)


def _text(raw: bytes) -> str:
    """What a device says of itself, without what would upset a terminal."""
    text = raw.partition(b"\0")[0].decode("utf-8", "replace").strip()
    return "".join(character for character in text if character.isprintable())


def _named(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "unknown")
