"""TUN devices: a network interface whose packets a program reads and writes.

The device lives as long as somebody holds its descriptor, so a link that dies, however it dies,
takes its interfaces with it.
"""

from __future__ import annotations

import fcntl
import os
import struct

from shared.errors import DeviceUnavailable

__all__ = ["MTU", "open_tun"]

MTU = 1500  # bytes of an IP packet, as on Ethernet

_CLONE_DEVICE = "/dev/net/tun"
_TUNSETIFF = 0x400454CA  # linux/if_tun.h, as are the two flags
_IFF_TUN = 0x0001  # IP packets, no Ethernet frames
_IFF_NO_PI = 0x1000  # no four bytes of packet information before each


def open_tun(name: str) -> int:
    """A new TUN device called `name` (at most 15 characters); returns its descriptor.

    A read gives one IP packet and never blocks.

    Raises `DeviceUnavailable` where the kernel or the user's rights don't allow it.
    """
    try:
        descriptor = os.open(_CLONE_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise DeviceUnavailable(
            f"the impaired network needs {_CLONE_DEVICE}: {error.strerror}",
            hint="run it as root on a Linux with the tun module (in a container: "
            "--device /dev/net/tun --cap-add NET_ADMIN)",
        ) from error
    request = struct.pack("16sH22x", name.encode("ascii"), _IFF_TUN | _IFF_NO_PI)
    try:
        fcntl.ioctl(descriptor, _TUNSETIFF, request)
    except OSError as error:
        os.close(descriptor)
        raise DeviceUnavailable(
            f"the TUN device {name} can't be made: {error.strerror}",
            hint="this needs root, or CAP_NET_ADMIN",
        ) from error
    return descriptor
