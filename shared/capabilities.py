"""What an end can do and what kind of program it is: both hellos say so, and the session uses what
both have.

A feature is a short name: each codec that an end can encode (sender) or decode (receiver) is one,
and so is each further thing that one end may ask of the other.  Adding one is adding its name here;
an end that does not know it passes it over.  This file refuses names that could not be shown to a
person.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from shared.errors import BadInput
from shared.wire import CODEC_IDS

__all__ = [
    "BROWSER",
    "CROSS_PARITY",
    "MAX_FEATURES",
    "MAX_NAME_CHARS",
    "NATIVE",
    "NOTICES",
    "OUR_FEATURES",
    "PACKET_SIZES",
    "RESTART",
    "STILLS",
    "Capabilities",
]

NATIVE, BROWSER = "native", "browser"
"""The kinds of client that there are so far: a program of its own, and a page in a browser."""

STILLS = "stills"
"""A receiver may ask for a picture once more, lossless; so it needs `lossless` as well."""

NOTICES = "notices"
"""A sender tells a person what happens to its source, as `shared.control.Notice`."""

PACKET_SIZES = "packet-sizes"
"""An end takes packets of any size, and answers probes of what size the path carries."""

CROSS_PARITY = "cross-parity"
"""Parity on the link may be over several frames (`shared.link.redundancy`)."""

RESTART = "restart"
"""A receiver may ask for an ICE restart through the signaling server (`shared.restart`)."""

OUR_FEATURES = frozenset({*CODEC_IDS, STILLS, NOTICES, PACKET_SIZES, CROSS_PARITY, RESTART})
"""All that this version has, at either end."""

MAX_FEATURES = 64  # a hello stays one small message, whatever the versions to come add
MAX_NAME_CHARS = 32

_NAME = re.compile(rf"[a-z0-9][a-z0-9._-]{{0,{MAX_NAME_CHARS - 1}}}")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What one end's hello says of it: its features, and its kind (`NATIVE`, `BROWSER`, …).

    Raise `BadInput` for more than `MAX_FEATURES`, or a name that is not 1 to 32 of `a-z 0-9 . _ -`,
    the first a letter or digit.
    """

    features: frozenset[str] = OUR_FEATURES
    kind: str = NATIVE

    def __post_init__(self) -> None:
        if len(self.features) > MAX_FEATURES:
            raise BadInput(f"an end has at most {MAX_FEATURES} features")
        if not all(_NAME.fullmatch(name) for name in (*self.features, self.kind)):
            raise BadInput("a feature's or client kind's name is 1 to 32 of a-z, 0-9, dot, dash, _")
