"""Turning pictures into payloads and back: what both ends must agree on.

A codec is named by a string, has one encoder and one decoder, and is added by an entry in `CODECS`.
Where a codec is `inter`, a payload that is not a key picture builds on the one before: losing one
costs those that follow, up to the next key picture.  The others' payloads decode on their own.

The first codec that is opened switches OpenCV's own threads off, for the whole program: at the pace
of a live stream waking and feeding them takes as long as they save, and a third more of the
processors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import cv2

from shared.codecs.codec import DEFAULT_TARGET, Decoder, Encoder, EncoderTarget
from shared.codecs.h264 import H264Decoder, H264Encoder
from shared.codecs.jpeg import JpegDecoder, JpegEncoder
from shared.codecs.lossless import LosslessDecoder, LosslessEncoder
from shared.errors import BadInput

__all__ = [
    "CODECS",
    "Codec",
    "Decoder",
    "Encoder",
    "EncoderTarget",
    "open_decoder",
    "open_encoder",
]


@dataclass(frozen=True, slots=True)
class Codec:
    """A codec's name, whether it is bit-exact, and how to make its two ends.

    `inter` are the numbers of channels whose pictures build on the one before.
    """

    name: str
    lossless: bool
    inter: tuple[int, ...]
    encoder: Callable[[EncoderTarget], Encoder]
    decoder: Callable[[], Decoder]


CODECS: Mapping[str, Codec] = MappingProxyType(
    {
        codec.name: codec
        for codec in (
            Codec("jpeg", False, (), JpegEncoder, JpegDecoder),
            Codec("lossless", True, (1,), LosslessEncoder, LosslessDecoder),
            Codec("h264", False, (1, 3), H264Encoder, H264Decoder),
            Codec(
                "h264-444",
                False,
                (1, 3),
                partial(H264Encoder, halved=False),
                partial(H264Decoder, halved=False),
            ),
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
    cv2.setNumThreads(1)
    try:
        return CODECS[name]
    except KeyError:
        raise BadInput(
            "there is no codec of that name", hint=f"use one of: {', '.join(CODECS)}"
        ) from None
