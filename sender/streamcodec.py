"""Which codec the stream is in, and when `auto` goes over to another one.

A stream begins before its path is known.  Once it is, `reconsider` is asked with
every frame; its answer must stand for a while before it is followed, and after a change
everything rests, so that a path that wavers does not change what people look at.  A codec that
failed here, or that this machine was too slow for, is not tried again.  `auto` means only codecs
that every receiver can decode (`usable`); when one comes who lacks the codec in use, it changes at
once, and back as soon as all who watch have the better one.  A receiver that would leave only a
slow codec to others, who could do better, is not let in.

`auto` means H.264, and for colour whole colour where there is room for it; where a receiver has no
H.264, the first of `PREFERENCE` that all have.  It weighs what was measured (docs/BENCHMARKS.md,
"Codecs") and promises nothing: figures are of ultrasound and endoscopy on one machine, rounded to
the dear side.  JPEG takes several times the bits.

Pure: how the stream fares and times in, choices out.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from shared.codecs import CODECS, Codec

__all__ = [
    "AUTO",
    "FIRST_CODEC",
    "REST_NS",
    "STAND_NS",
    "CodecChoice",
    "CodecUse",
    "StreamCodec",
    "first_codec",
    "reconsider",
]

FIRST_CODEC = "h264"

_WHOLE = "h264-444"

PREFERENCE = (FIRST_CODEC, _WHOLE, "jpeg", "lossless")

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


AUTO = "auto"

STAND_NS = 3_000_000_000  # as long as the frame rate and the size wait before they go up
_STAND_INS = frozenset(CODECS) - {FIRST_CODEC, "h264-444"}  # which `auto` does not choose by itself
_SLOW = frozenset({"lossless"})  # a stream in it has a few pictures a second on many paths

REST_NS = 20_000_000_000  # a change costs a key frame and is seen: a few a minute at most


class StreamCodec:
    """The codec of one stream: `asked_for` is the name of one, or `auto`.

    `usable` are those that all who watch can decode; it may be set anew before each choice.
    """

    def __init__(self, asked_for: str) -> None:
        self.usable: Collection[str] = CODECS
        self.may_change = asked_for == AUTO
        """Whether it is chosen here, and not by a person."""
        self.codec: Codec | None = None
        """The one in use, None before the first frame."""
        self._asked_for = asked_for
        self._barred: set[str] = set()
        self._wanted: str | None = None
        self._wanted_since_ns = 0
        self._rests_until_ns: int | None = None

    def suits(
        self, features: Collection[str], watching: Collection[str], *, alone: bool = False
    ) -> bool:
        """Whether a receiver with `features` can watch beside those that have `watching` alike.

        Not where these would be left with nothing but a slow codec for its sake; `alone`: there
        are none.
        """
        if not self.may_change:
            return self._asked_for in features
        best = self._first([name for name in watching if name in features])
        if best is None or alone or best not in _SLOW:
            return best is not None
        return self._first(watching) in _SLOW

    def begin(self) -> CodecChoice | None:
        """The codec to begin with, for the first receivers or for others after them.

        No reason where it was asked for; None where it is in use already.
        """
        choice = CodecChoice(self._asked_for, "")
        if self.may_change:
            choice = CodecChoice(FIRST_CODEC, "the fewest bytes, at a rate that follows the path")
            first = self._first(self.usable) or first_codec(self.usable) or FIRST_CODEC
            if first != FIRST_CODEC:
                choice = CodecChoice(first, f"a receiver has no {FIRST_CODEC}")
        self._wanted, self._rests_until_ns = None, None
        if self.codec is CODECS[choice.codec]:
            return None
        self.codec = CODECS[choice.codec]
        return choice

    def replace(self, now_ns: int) -> CodecChoice | None:
        """The codec to go over to since other receivers watch; None: it stays.

        At once where somebody can't decode the one in use, and where it stood in for a better one
        that all have: whoever needed it has gone, and must not be missed for long.
        """
        codec, first = self.codec, self._first(self.usable)
        if not self.may_change or codec is None or first is None:
            return None
        if codec.name not in self.usable:
            return self._take(CodecChoice(first, f"a receiver has no {codec.name}"), now_ns)
        if codec.name not in _STAND_INS or first == codec.name:
            return None
        return self._take(CodecChoice(first, f"all receivers have {first}"), now_ns)

    def review(self, now_ns: int, channels: int, use: CodecUse) -> CodecChoice | None:
        """The codec to go over to with the next frame, which must then be key; None: it stays."""
        if not self.may_change or self.codec is None:
            return None
        choice = reconsider(self.codec.name, channels, use)
        if choice is not None and not self._may_use(choice.codec):
            choice = None
        wanted = None if choice is None else choice.codec
        if wanted != self._wanted:
            self._wanted, self._wanted_since_ns = wanted, now_ns
        if choice is not None and use.behind:
            return self._give_up(choice, now_ns)
        if choice is None or self._resting(now_ns) or now_ns - self._wanted_since_ns < STAND_NS:
            return None
        return self._take(choice, now_ns)

    def failed(self, now_ns: int) -> CodecChoice | None:
        """The codec in use does not work here: the one to go on with, None where there is none."""
        codec = self.codec
        if not self.may_change or codec is None or codec.name == FIRST_CODEC:
            return None
        left = [name for name in self.usable if name != codec.name]
        instead = self._first(left) or FIRST_CODEC  # for those who have it; better than for nobody
        return self._give_up(CodecChoice(instead, f"{codec.name} does not work here"), now_ns)

    def _first(self, names: Collection[str]) -> str | None:
        """The best of `names` that works here."""
        return first_codec([name for name in names if name not in self._barred])

    def _resting(self, now_ns: int) -> bool:
        return self._rests_until_ns is not None and now_ns < self._rests_until_ns

    def _may_use(self, codec: str) -> bool:
        return codec in self.usable and codec not in self._barred

    def _give_up(self, choice: CodecChoice, now_ns: int) -> CodecChoice:
        assert self.codec is not None  # noqa: S101 -- there is one to give up
        self._barred.add(self.codec.name)
        return self._take(choice, now_ns)

    def _take(self, choice: CodecChoice, now_ns: int) -> CodecChoice:
        self.codec, self._wanted = CODECS[choice.codec], None
        self._rests_until_ns = now_ns + REST_NS
        return choice
