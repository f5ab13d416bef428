"""Which codec `--codec auto` means: H.264, and for colour whole colour where there is room for it.

Where a receiver has no H.264, it is the first of `PREFERENCE` that all have.

Pure.  It weighs what was measured (docs/BENCHMARKS.md, "Codecs") and promises nothing: figures are
of ultrasound and endoscopy on one machine, rounded to the dear side.  JPEG takes several times the
bits.  AV1 is never chosen: in a row of pictures at few bits it is one to two decibels better than
H.264, but its key pictures take eight to ten times their share, so on real narrow paths it came out
half a decibel worse, later and with more pictures lost.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

__all__ = ["FIRST_CODEC", "CodecChoice", "CodecUse", "first_codec", "reconsider"]

FIRST_CODEC = "h264"

_WHOLE = "h264-444"

PREFERENCE = (FIRST_CODEC, _WHOLE, "jpeg", "lossless", "av1")

# Whole colour takes 1.6 to 2.1 times the bits of halved colour at the same quality.  It is taken up
# with some room beyond that, and given up where the bitrate begins to bind; what halved colour then
# uses is above 0.9 / 2.1 of what it may, which is no room to take whole colour up again.
_ROOM_FOR_WHOLE = 2.5
_WHOLE_TOO_MUCH = 0.9


@dataclass(frozen=True, slots=True)
class CodecChoice:
    """A codec's name, and why, as one line for people."""

    codec: str
    reason: str


@dataclass(frozen=True, slots=True)
class CodecUse:
    """How a stream fares with its codec.

    `used_bps` is what the pictures come to, `most_bps` what they may come to by path, wishes and
    codec together.  With `spare_time` twice the work would be no trouble to this machine; with
    `behind` what there is is too much already.
    """

    used_bps: float
    most_bps: float
    spare_time: bool
    behind: bool


def first_codec(usable: Collection[str]) -> str | None:
    """The codec to begin with where only those in `usable` can be used; None: there is none."""
    return next((codec for codec in PREFERENCE if codec in usable), None)


def reconsider(current: str, channels: int, use: CodecUse) -> CodecChoice | None:
    """Whether a stream of `current` had better go on in another codec; None: keep it.

    For pictures of `channels` (1 or 3).  Only `h264` and `h264-444` change places.  Whole colour
    gains 0.6 to 9 dB where the quality is what limits the picture, and loses up to 2 dB where the
    bitrate is; it takes half as long again to encode.  So it is taken up where there is room and
    time for all that it costs, and given up when either is used up.  Between the two nothing
    changes, so a steady path and scene never switch back and forth.
    """
    if channels == 1:
        return None
    used = f"{use.used_bps / 1e6:.1f} of {use.most_bps / 1e6:.1f} Mbit/s used"
    room = use.most_bps >= _ROOM_FOR_WHOLE * use.used_bps > 0
    if current == FIRST_CODEC and room and use.spare_time:
        return CodecChoice(_WHOLE, f"whole colour, {used}")
    if current == _WHOLE and use.behind:
        return CodecChoice(FIRST_CODEC, "colour lowered, encoder slow")
    if current == _WHOLE and use.used_bps > _WHOLE_TOO_MUCH * use.most_bps:
        return CodecChoice(FIRST_CODEC, f"colour lowered, {used}")
    return None
