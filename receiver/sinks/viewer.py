"""What the person at the window looks at: the newest picture, or one that they hold, and how.

Pure: frames, keys and times in, what to draw and what to tell out.  It refuses to show a picture
in the place of one that the person froze, except for that picture's own lossless copy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto
from math import ceil, sqrt

import numpy as np

from receiver.sinks import SessionInfo, ShownFrame
from receiver.sinks.overlay import OverlayFacts
from shared.control import Notice
from shared.frame import Image
from shared.noticeboard import NoticeBoard

__all__ = ["MESSAGE_NS", "PLAIN", "Asked", "Still", "Viewer", "sealed_picture"]

MESSAGE_NS = 2_500_000_000  # time to read "saved …"
PLAIN = 24  # dark grey, in a picture of sealed bytes: none here


class Asked(Enum):
    """What the program has to do for a key that was pressed."""

    QUIT = auto()
    STILL = auto()  # the picture was frozen and is not lossless: get it once more
    GO_ON = auto()
    SNAPSHOT = auto()


@dataclass(frozen=True, slots=True)
class Still:
    """The lossless copy of frame `index`; None where there is none, and `why` if that is known."""

    index: int
    shown: ShownFrame | None
    why: str = ""


class Viewer:
    """One person's view of one session; `info` comes with the pairing."""

    def __init__(self) -> None:
        self.info: SessionInfo | None = None
        self.waiting = "waiting for the sender"
        self.quality_reason = ""
        self.frozen = False
        self.sealed_view = False
        self.current: ShownFrame | None = None
        self._arrived_at_ns = 0
        self._still_state = ""
        self._board = NoticeBoard()
        self._message = ""
        self._message_until_ns = 0

    def paired(self, info: SessionInfo) -> None:
        """The two ends have agreed: pictures are to come."""
        self.info = info
        self.waiting = "paired: waiting for the first picture"

    def noticed(self, notice: Notice, now_ns: int) -> None:
        """The sender told: what lasts stays up, other things are said for a moment."""
        self._board.take(notice)
        if not notice.lasting:
            self.say(notice.text, now_ns)

    def arrived(self, shown: ShownFrame, now_ns: int) -> bool:
        """A new frame came; False if the person holds another one."""
        self._arrived_at_ns = now_ns
        if self.frozen:
            return False
        self.current = shown
        return True

    def still_arrived(self, still: Still) -> bool:
        """Put the lossless copy in the place of the frozen picture; False if it came too late."""
        current = self.current
        if not self.frozen or current is None or still.index != current.frame.index:
            return False  # the person has gone on meanwhile
        if still.shown is not None:
            self._still_state = "lossless"
            # Its own latency tells of the person's wish, and not of the stream.
            self.current = replace(
                still.shown,
                latency_ms=current.latency_ms,
                latency_bound_ms=current.latency_bound_ms,
            )
        else:
            self._still_state = still.why or "no lossless copy to be had"
        return True

    def press(self, key: str) -> Asked | None:
        """Take a key; returns what it asks the program for."""
        match key:
            case "q":
                return Asked.QUIT
            case " ":
                return self._freeze()
            case "e":
                self.sealed_view = not self.sealed_view
            case "s" if self.current is not None:
                return Asked.SNAPSHOT
        return None

    def say(self, message: str, now_ns: int) -> None:
        """Show a line for a moment."""
        self._message, self._message_until_ns = message, now_ns + MESSAGE_NS

    def picture(self) -> Image | None:
        """What to draw: the picture, or its sealed bytes as one; None before the first."""
        shown = self.current
        if shown is None or not self.sealed_view:
            return None if shown is None else shown.frame.image
        return sealed_picture(shown.sealed, shown.frame.width, shown.frame.height)

    def facts(self, now_ns: int) -> OverlayFacts:
        """What to write beside it at `now_ns`."""
        shown = self.current
        keystream = None if self.info is None else self.info.keystream
        message = self._message if now_ns < self._message_until_ns else ""
        if shown is None:
            return OverlayFacts(
                keystream, waiting=self.waiting, message=message, banners=self._banners(now_ns)
            )
        captured_at_ns = shown.frame.captured_at_ns
        return OverlayFacts(
            keystream,
            age_ms=None if shown.latency_ms is None else (now_ns - captured_at_ns) / 1e6,
            silence_ms=(now_ns - self._arrived_at_ns) / 1e6,
            repeated=shown.frame.repeated,
            latency_ms=shown.latency_ms,
            latency_bound_ms=shown.latency_bound_ms,
            fps=shown.fps,
            psnr_db=shown.psnr_db,
            epoch=shown.epoch,
            codec=shown.codec,
            quality_reason=self.quality_reason,
            frozen=self.frozen,
            still=self._still_state,
            sealed_view=self.sealed_view,
            message=message,
            banners=self._banners(now_ns),
        )

    def _banners(self, now_ns: int) -> tuple[str, ...]:
        return tuple(_with_time(notice, now_ns) for notice in self._board)

    def _freeze(self) -> Asked | None:
        if self.frozen:
            self.frozen = False
            return Asked.GO_ON
        if self.current is None:
            return None
        self.frozen = True
        exact = self.current.psnr_db is None
        self._still_state = "lossless" if exact else "fetching it lossless"
        return None if exact else Asked.STILL


def _with_time(notice: Notice, now_ns: int) -> str:
    """A notice that lasts, and since when: "the source stands still since 12 s"."""
    if notice.since_ns is None:
        return notice.text
    seconds = max(0, now_ns - notice.since_ns) // 1_000_000_000
    if seconds < 120:
        return f"{notice.text} since {seconds} s"
    minutes = seconds // 60
    return (
        f"{notice.text} since {minutes} min"
        if minutes < 120
        else f"{notice.text} since {minutes // 60} h"
    )


def sealed_picture(sealed: bytes, width: int, height: int) -> Image:
    """What the network sees of a frame: `sealed` as grey uint8 `(h, w)`, a pixel a byte.

    w : h is about `width` : `height`, and w · h at least the length: nothing is stretched, repeated
    or made up, and the few pixels left over in the last row are plain.  To be shown larger it must
    be enlarged without smoothing: bytes have no values in between.
    """
    columns = max(1, round(sqrt(len(sealed) * width / height)))
    rows = max(1, ceil(len(sealed) / columns))
    picture = np.full(rows * columns, PLAIN, np.uint8)
    picture[: len(sealed)] = np.frombuffer(sealed, np.uint8)
    return picture.reshape(rows, columns)
