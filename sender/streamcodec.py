"""Which codec the stream is in, and when `auto` goes over to another one.

The first choice is made before the path is known.  Once it is, `shared.codecs.choice.reconsider`
is asked with every frame; its answer must stand for a while before it is followed, and after a
change everything rests, so that a path that wavers does not change what people look at.

Pure: shapes of pictures, bitrates and times in, choices out.
"""

from __future__ import annotations

from shared.codecs import CODECS, Codec
from shared.codecs.choice import CodecChoice, choose_codec, reconsider
from shared.frame import Frame

__all__ = ["AUTO", "REST_NS", "STAND_NS", "StreamCodec"]

AUTO = "auto"

STAND_NS = 3_000_000_000  # as long as the frame rate and the size wait before they go up
REST_NS = 20_000_000_000  # a change costs a key frame and is seen: a few a minute at most


class StreamCodec:
    """The codec of one stream: `asked_for` is the name of one, or `auto`."""

    def __init__(self, asked_for: str, *, cores: int) -> None:
        self._asked_for = asked_for
        self._cores = cores
        self._codec: Codec | None = None
        self._wanted: str | None = None
        self._wanted_since_ns = 0
        self._rests_until_ns: int | None = None

    @property
    def codec(self) -> Codec | None:
        """The codec in use, None before the first frame."""
        return self._codec

    def choose(self, frame: Frame, fps: float) -> CodecChoice:
        """The codec to begin with, for pictures like `frame`; no reason where it was asked for."""
        if self._asked_for == AUTO:
            choice = choose_codec(
                frame.channels, frame.width, frame.height, fps, None, self._cores, False
            )
        else:
            choice = CodecChoice(self._asked_for, "")
        self._codec = CODECS[choice.codec]
        return choice

    def review(
        self, now_ns: int, frame: Frame, fps: float, *, used_bps: float, allowed_bps: float
    ) -> CodecChoice | None:
        """The codec to go over to with `frame`, which must then be key; None: it stays.

        `used_bps` is what the pictures come to, `allowed_bps` what they may come to on this path.
        """
        if self._asked_for != AUTO or self._codec is None:
            return None
        choice = reconsider(
            self._codec.name,
            channels=frame.channels,
            width=frame.width,
            height=frame.height,
            fps=fps,
            cores=self._cores,
            used_bps=round(used_bps),
            allowed_bps=round(allowed_bps),
        )
        wanted = None if choice is None else choice.codec
        if wanted != self._wanted:
            self._wanted, self._wanted_since_ns = wanted, now_ns
        resting = self._rests_until_ns is not None and now_ns < self._rests_until_ns
        if choice is None or resting or now_ns - self._wanted_since_ns < STAND_NS:
            return None
        self._codec, self._wanted = CODECS[choice.codec], None
        self._rests_until_ns = now_ns + REST_NS
        return choice
