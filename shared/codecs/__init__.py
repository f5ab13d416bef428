"""Turning pictures into payloads and back: what both ends must agree on.

A codec is named by a string, has one encoder and one decoder, and is added by an entry in `CODECS`.
Where a codec is `inter`, a payload that is not a key picture builds on the one before: losing one
costs those that follow, up to the next key picture.  The others' payloads decode on their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from shared.codecs.av1 import Av1Decoder, Av1Encoder
from shared.codecs.choice import CodecChoice, choose_codec, reconsider
from shared.codecs.codec import DEFAULT_QUALITY, DEFAULT_TARGET, Decoder, Encoder, EncoderTarget
from shared.codecs.h264 import H264Decoder, H264Encoder
from shared.codecs.jpeg import JpegDecoder, JpegEncoder
from shared.codecs.lossless import LosslessDecoder, LosslessEncoder
from shared.errors import BadInput

__all__ = [
    "CODECS",
    "Codec",
    "CodecChoice",
    "DEFAULT_QUALITY",
    "Decoder",
    "Encoder",
    "EncoderTarget",
    "choose_codec",
    "open_decoder",
    "open_encoder",
    "reconsider",
]


@dataclass(frozen=True, slots=True)
class Codec:
    """A codec's name, whether it is bit-exact, whether it makes pictures that build on the one
    before (`inter`), and how to make its two ends."""

    name: str
    lossless: bool
    inter: bool
    encoder: Callable[[EncoderTarget], Encoder]
    decoder: Callable[[], Decoder]


CODECS: Mapping[str, Codec] = MappingProxyType(
    {
        codec.name: codec
        for codec in (
            Codec("jpeg", False, False, JpegEncoder, JpegDecoder),
            Codec("lossless", True, True, LosslessEncoder, LosslessDecoder),
            Codec("h264", False, True, H264Encoder, H264Decoder),
            Codec(
                "h264-444",
                False,
                True,
                partial(H264Encoder, halved=False),
                partial(H264Decoder, halved=False),
            ),
            Codec("av1", False, True, Av1Encoder, Av1Decoder),
        )
    }
)


def open_encoder(name: str, *, target: EncoderTarget = DEFAULT_TARGET) -> Encoder:
    """Return a new encoder of the codec `name`; `target` matters to lossy ones only.

    Raises `BadInput` for an unknown name.
    """
    return _named(name).encoder(target)


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
