"""Which codec `--codec auto` means: by source, machine and path, with the reason in words.

Pure.  It weighs what was measured (docs/BENCHMARKS.md, "Codecs") and promises nothing: figures are
of ultrasound and endoscopy on one machine, rounded to the dear side.  AV1 is never chosen: in a row
of pictures at few bits it is one to two decibels better than H.264, but its key pictures take eight
to ten times their share, so on real narrow paths it came out half a decibel worse, later and with
more pictures lost.
"""

from __future__ import annotations

from dataclasses import dataclass

from shared.errors import BadInput

__all__ = ["CodecChoice", "choose_codec", "reconsider"]


@dataclass(frozen=True, slots=True)
class CodecChoice:
    """A codec's name, and why, as one line for people."""

    codec: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Cost:
    """`encode_ns` a pixel of one core, PSNR included; `bits` a pixel (at quality 90 if lossy)."""

    encode_ns: float
    bits: float


# By codec and channels.  H.264's time is that of its quick settings, which it takes where it must.
_COSTS = {
    ("jpeg", 1): _Cost(2.5, 1.6),
    ("jpeg", 3): _Cost(5.0, 1.6),
    ("lossless", 1): _Cost(5.0, 2.3),
    ("lossless", 3): _Cost(30.0, 8.5),
    ("h264", 1): _Cost(5.0, 0.5),
    ("h264", 3): _Cost(8.0, 0.6),
    ("h264-444", 3): _Cost(10.0, 1.0),
}
_SHARE_OF_CORES = 0.6  # for encoding; the keystream, the transport and the source need the rest
_SHARE_OF_PATH = 0.8  # what a frame leaves for repair and for the path's moods

# Whole colour takes 1.6 to 2.1 times the bits of halved colour at the same quality.  It is taken up
# with some room beyond that, and given up where the bitrate begins to bind; what halved colour then
# uses is above 0.9 / 2.1 of what it may, which is no room to take whole colour up again.
_ROOM_FOR_WHOLE = 2.5
_WHOLE_TOO_MUCH = 0.9


def choose_codec(
    channels: int,
    width: int,
    height: int,
    fps: float,
    rate_bps: int | None,
    cores: int,
    lossless_wanted: bool,
) -> CodecChoice:
    """Choose for pictures of `channels` (1 or 3), `width` x `height` pixels, `fps` a second.

    `rate_bps` is what the path carries (None: not yet known), `cores` what the machine has.
    Raises `BadInput` for figures that no source or machine has.
    """
    if channels not in (1, 3) or min(width, height, fps, cores) <= 0:
        raise BadInput("no codec can be chosen for such a source or machine")
    kind = "grey" if channels == 1 else "colour"
    pixels = width * height * fps
    source = f"{width}x{height} {kind} at {fps:g} frames a second"
    missing = ""
    if lossless_wanted:
        missing = _what_is_missing("lossless", channels, pixels, rate_bps, cores)
        if not missing:
            return CodecChoice("lossless", f"lossless as asked: machine and path carry {source}")
        missing = f"; lossless was asked for, but {missing}"
    roomy = channels == 3 and rate_bps is not None
    if roomy and not _what_is_missing("h264-444", channels, pixels, rate_bps, cores):
        return CodecChoice("h264-444", f"the path has room for whole colour, {source}{missing}")
    short = _what_is_missing("h264", channels, pixels, None, cores)
    if not short:
        path = "not yet known" if rate_bps is None else f"now {_mbit(rate_bps)} Mbit/s"
        reason = f"the fewest bytes, at a rate that follows the path ({path}), {source}{missing}"
        return CodecChoice("h264", reason)
    if rate_bps and not _what_is_missing("jpeg", channels, pixels, rate_bps, cores):
        return CodecChoice("jpeg", f"the least work: {short} for H.264, {source}{missing}")
    reason = f"nothing carries {source} here, so frames will be left out: {short}{missing}"
    return CodecChoice("h264", reason)


def reconsider(
    current: str,
    *,
    channels: int,
    width: int,
    height: int,
    fps: float,
    cores: int,
    used_bps: int,
    allowed_bps: int,
) -> CodecChoice | None:
    """Whether a stream of `current` had better go on in another codec; None: keep it.

    The first six are as for `choose_codec`.  `used_bps` is what the pictures come to now,
    `allowed_bps` the bitrate that rate control gives them on the path as it is.

    Only `h264` and `h264-444` change places.  Whole colour gains 0.6 to 9 dB where the quality is
    what limits the picture, and loses up to 2 dB where the bitrate is: so it is taken up where the
    path has room for all that it costs, and given up when that is used up.  Between the two
    nothing changes, so a steady path and scene never switch back and forth.  Ask every few
    seconds; a switch costs a key picture.  Raises `BadInput` as `choose_codec` does.
    """
    if channels not in (1, 3) or min(width, height, fps, cores) <= 0:
        raise BadInput("no codec can be chosen for such a source or machine")
    if channels == 1:
        return None
    slow = _what_is_missing("h264-444", channels, width * height * fps, None, cores)
    used = f"{_mbit(used_bps)} of {_mbit(allowed_bps)} Mbit/s used"
    if current == "h264" and not slow and allowed_bps >= _ROOM_FOR_WHOLE * used_bps > 0:
        return CodecChoice("h264-444", f"{used}, so the path has room for whole colour")
    if current == "h264-444" and slow:
        return CodecChoice("h264", f"whole colour takes too long: {slow}")
    if current == "h264-444" and used_bps > _WHOLE_TOO_MUCH * allowed_bps:
        return CodecChoice("h264", f"{used}, so the path has no room for whole colour")
    return None


def _what_is_missing(
    codec: str, channels: int, pixels: float, rate_bps: int | None, cores: int
) -> str:
    """What the codec lacks for `pixels` a second, in words; empty if nothing.

    A path that is not known is taken to carry everything.
    """
    cost = _COSTS[codec, channels]
    busy = pixels * cost.encode_ns / 1e9
    if busy > _SHARE_OF_CORES * cores:
        return f"encoding takes {busy:.1f} of {cores} cores"
    needed = pixels * cost.bits / _SHARE_OF_PATH
    if rate_bps is not None and needed > rate_bps:
        return f"the path carries {_mbit(rate_bps)} of the {_mbit(needed)} Mbit/s that it may take"
    return ""


def _mbit(bps: float) -> str:
    return f"{bps / 1e6:.1f}"
