"""The small messages of the two channels: pings, and goodbye.

Pure.  The first byte of every message names its kind; on the frames channel packets of frames
(`shared.link.packets`) and reports (`shared.link.feedback`) are two kinds more.  Big-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from shared.errors import MalformedFrame

__all__ = [
    "APP",
    "BYE",
    "PING",
    "PONG",
    "Ping",
    "Pong",
    "pack_app",
    "pack_bye",
    "pack_ping",
    "pack_pong",
    "parse_control",
    "parse_small",
]

# frames channel (1 is a packet of a frame, 2 a report)
PING = 3
PONG = 4
# control channel
APP = 0x10
BYE = 0x11

_PING = struct.Struct(">Bq")
_PONG = struct.Struct(">Bqqq")


@dataclass(frozen=True, slots=True)
class Ping:
    """`t1`: when it left, in ns of the asking end's clock."""

    t1: int


@dataclass(frozen=True, slots=True)
class Pong:
    """`t1` as asked; `t2` when the ping came, `t3` when this left, of the answering end's clock."""

    t1: int
    t2: int
    t3: int


def pack_ping(t1: int) -> bytes:
    return _PING.pack(PING, t1)


def pack_pong(t1: int, t2: int, t3: int) -> bytes:
    return _PONG.pack(PONG, t1, t2, t3)


def parse_small(message: bytes) -> Ping | Pong:
    """Read a ping or its answer; raises `MalformedFrame`."""
    try:
        match message[:1]:
            case b"\x03":
                return Ping(_PING.unpack(message)[1])
            case b"\x04":
                return Pong(*_PONG.unpack(message)[1:])
    except struct.error:
        pass
    raise MalformedFrame("an unknown or damaged link message")


def pack_app(message: bytes) -> bytes:
    return bytes((APP,)) + message


def pack_bye() -> bytes:
    """A goodbye says nothing: whoever has not paired must not put words on a person's screen."""
    return bytes((BYE,))


def parse_control(message: bytes) -> tuple[int, bytes]:
    """Split a control channel's message into its kind and the rest; raises `MalformedFrame`."""
    if message[:1] == bytes((APP,)) or message == pack_bye():
        return message[0], message[1:]
    raise MalformedFrame("an unknown control message")
