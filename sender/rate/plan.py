"""What rate control is asked for and what it answers: values, and nothing that acts on them."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, Self

from shared.codecs import Codec, EncoderTarget
from shared.frame import Frame

__all__ = ["DEFAULT_LATENCY_MS", "Plan", "Preference", "StreamFacts", "Wishes"]

Preference = Literal["smooth", "sharp"]

DEFAULT_LATENCY_MS = 200.0  # tele-ultrasound guidance works up to here (Bharath 2017)


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """What is encoded, and how: sizes in pixels, `inter` where pictures build on the one before.

    `cores` is how many processors the machine has.
    """

    inter: bool
    lossless: bool
    width: int
    height: int
    cores: int = 1

    @classmethod
    def of(cls, codec: Codec, frame: Frame, cores: int) -> Self:
        """Those of frames like `frame`."""
        inter = frame.channels in codec.inter
        return cls(inter, codec.lossless, frame.width, frame.height, cores)

    def pixels(self, scale: Fraction) -> float:
        """How many pixels a picture has whose sides are of `scale`."""
        return float(self.width * self.height * scale * scale)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the person asked for: ceilings (`quality`, `bitrate_bps`), floors and a preference."""

    quality: int = 90
    bitrate_bps: int | None = None
    min_psnr_db: float | None = None
    max_latency_ms: float = DEFAULT_LATENCY_MS
    prefer: Preference = "smooth"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do from the next frame on.

    `fps` frames a second (with `thinned` that is fewer than the source gives), each scaled by
    `scale`, encoded to `target`.  `bitrate_bps` is what that comes to, None where nothing is known
    of it.  `changes` are the reasons of what is new in this plan, one line each.
    """

    target: EncoderTarget
    fps: float
    scale: Fraction = Fraction(1)
    thinned: bool = False
    bitrate_bps: int | None = None
    changes: tuple[str, ...] = ()
