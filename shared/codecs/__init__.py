"""Turning pictures into payloads and back: what both ends must agree on.

Every codec is intra-only: each payload decodes on its own, so a lost frame costs that frame and no
other.  A codec is named by a string, has one encoder and one decoder, and is added by an entry in
`CODECS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from shared.codecs.codec import Decoder, Encoder
from shared.codecs.jpeg import DEFAULT_QUALITY, JpegDecoder, JpegEncoder
from shared.codecs.lossless import LosslessDecoder, LosslessEncoder
from shared.errors import BadInput

__all__ = [
    "CODECS",
    "Codec",
    "DEFAULT_QUALITY",
    "Decoder",
    "Encoder",
    "open_decoder",
    "open_encoder",
]


@dataclass(frozen=True, slots=True)
class Codec:
    """A codec's name, whether it is bit-exact, and how to make its two ends."""

    name: str
    lossless: bool
    encoder: Callable[[int], Encoder]
    decoder: Callable[[], Decoder]


CODECS: Mapping[str, Codec] = MappingProxyType(
    {
        codec.name: codec
        for codec in (
            Codec("jpeg", False, lambda quality: JpegEncoder(quality=quality), JpegDecoder),
            Codec("lossless", True, lambda _quality: LosslessEncoder(), LosslessDecoder),
        )
    }
)


def open_encoder(name: str, *, quality: int = DEFAULT_QUALITY) -> Encoder:
    """Return a new encoder of the codec `name`; `quality` (1 to 100) matters to lossy ones only.

    Raises `BadInput` for an unknown name or a quality out of range.
    """
    return _named(name).encoder(quality)


def open_decoder(name: str) -> Decoder:
    """Return a new decoder of the codec `name`; raises `BadInput` for an unknown name."""
    return _named(name).decoder()


def _named(name: str) -> Codec:
    try:
        return CODECS[name]
    except KeyError:
        raise BadInput(
            "there is no codec of that name", hint=f"use one of: {', '.join(CODECS)}"
        ) from None
