"""The lines of a session's log: one typed model per kind of line.

A log is JSON lines: one `session` line, a `frame` line for each frame, `drop`, `epoch` and `event`
lines as they happen, one `summary` line.  Times are `at_s`, seconds since the session began on
the writing side's monotonic clock.  A log holds no key, no code, no person's or file's name, and
never NaN or an infinity: a figure that does not exist is null.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

__all__ = [
    "DropLine",
    "DropReason",
    "EpochLine",
    "EventLine",
    "FrameLine",
    "KeystreamIdentity",
    "LatencyFigures",
    "Line",
    "PathLine",
    "PsnrFigures",
    "Role",
    "SentFrameLine",
    "SentStages",
    "SentSummaryLine",
    "SessionLine",
    "ShownStages",
    "SummaryLine",
]

Role = Literal["sender", "receiver"]


def _finite_or_none(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _round_to_us(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _is_false(value: object) -> bool:
    return value is False


def _is_none(value: object) -> bool:
    return value is None


Figure = Annotated[float | None, BeforeValidator(_finite_or_none)]
"""A measured number; NaN and infinities become null."""

Milliseconds = Annotated[Figure, PlainSerializer(_round_to_us)]
"""A duration for people, written to the microsecond."""

Seconds = Annotated[float, Field(allow_inf_nan=False), PlainSerializer(_round_to_us)]


class DropReason(StrEnum):
    """Why a frame, or something that claimed to be one, was not shown."""

    LINK_BUSY = "link_busy"  # sender: the path was full, and a newer frame took its place
    SENDER_BUSY = "sender_busy"  # sender: still working on the one before, and a newer one came
    NO_RECEIVER = "no_receiver"  # sender: nobody was there to send it to
    RATE_LIMITED = "rate_limited"  # sender: left out, since the frame rate was lowered
    RECEIVER_SILENT = "receiver_silent"  # sender: nothing was heard of the receiver for a while
    SOURCE_DAMAGED = "source_damaged"  # sender: the source's picture could not be read
    NOT_RECEIVED = "not_received"  # receiver: left the sender and never came
    SUPERSEDED = "superseded"  # receiver: a newer one or the end came before it could be shown
    FROZEN = "frozen"  # receiver: the person had frozen the picture
    LATE = "late"  # receiver: after a newer frame was shown, or too old to be live
    REFERENCE_ONLY = "reference_only"  # of earlier versions: decoded for a newer one
    MISSING_REFERENCE = "missing_reference"  # what it builds on did not get there
    AUTH_FAILURE = "auth_failure"
    REPLAYED = "replayed"
    KEYSTREAM_MISMATCH = "keystream_mismatch"
    MALFORMED = "malformed"
    UNKNOWN_EPOCH = "unknown_epoch"
    DECODE_FAILED = "decode_failed"


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class KeystreamIdentity(_Line):
    """Which learned keystream a session uses; `digest` is the network's SHA-256 in hex."""

    family: str
    digest: str
    backend: str


class SessionLine(_Line):
    """Who wrote this log, and under which agreement; `started_at` is ISO 8601 in UTC."""

    type: Literal["session"] = "session"
    role: Role
    session: str
    version: str
    codec: str | None
    keystream: KeystreamIdentity
    suite: str
    source: str | None
    width: int | None
    height: int | None
    fps: Figure = None
    started_at: str


class SentStages(_Line):
    """Consecutive stages of a frame at the sender, in ms; null where not measured."""

    capture: Milliseconds = None
    mask: Milliseconds = None
    encode: Milliseconds = None
    keystream: Milliseconds = None
    seal: Milliseconds = None
    send: Milliseconds = None


class ShownStages(SentStages):
    """All stages from capture to shown, in ms; the sender's may be null if never told."""

    network: Milliseconds = None
    open: Milliseconds = None
    hold: Milliseconds = None
    decode: Milliseconds = None
    show: Milliseconds = None


class SentFrameLine(_Line):
    """One frame that left the sender; `bytes` counts the sealed frame.

    One that is `repeated` (else not written) was sent before: its source stands still, and it is in
    no figure.
    """

    type: Literal["frame"] = "frame"
    at_s: Seconds
    frame: int
    epoch: int
    codec: str
    width: int
    height: int
    channels: int
    bytes: int
    psnr_db: Figure
    lossless: bool
    stages_ms: SentStages
    repeated: bool = Field(default=False, exclude_if=_is_false)


class FrameLine(_Line):
    """One frame that the receiver showed; `latency_ms` is capture to shown, ± the bound.

    That of one that is `repeated` (else not written) is its age: its source stands still, and it is
    in no figure.
    """

    type: Literal["frame"] = "frame"
    at_s: Seconds
    frame: int
    epoch: int
    codec: str
    width: int
    height: int
    channels: int
    bytes: int
    latency_ms: Milliseconds
    latency_bound_ms: Milliseconds
    psnr_db: Figure
    lossless: bool
    stages_ms: ShownStages
    repeated: bool = Field(default=False, exclude_if=_is_false)


class DropLine(_Line):
    """One frame not shown; `index` is the source's frame index, null where not known.

    `why` (else not written) is what is wrong with it, in words.
    """

    type: Literal["drop"] = "drop"
    at_s: Seconds
    index: int | None
    reason: DropReason
    why: str | None = Field(default=None, exclude_if=_is_none)


class EpochLine(_Line):
    """A new epoch began, and why (start, time, join, leave)."""

    type: Literal["epoch"] = "epoch"
    at_s: Seconds
    epoch: int
    reason: str


class EventLine(_Line):
    """Something a person would want to know of: a receiver joined, the peer gone.

    `since_s`, on the scale of `at_s`, is when what is told began, where that is known.  `told_by`
    is `sender` in a receiver's log where the words are the other end's, and no finding of its own.
    """

    type: Literal["event"] = "event"
    at_s: Seconds
    event: str
    detail: str = ""
    since_s: Milliseconds = Field(default=None, exclude_if=_is_none)
    told_by: Literal["sender"] | None = Field(default=None, exclude_if=_is_none)


class PathLine(_Line):
    """What the path to a receiver carries, by the sender's measure, once a second.

    `rate_bps` is what frames may use, `target_bps` what the stream aims at (null: at no bitrate),
    `queue_ms` the queueing delay one way, `loss` the share of packets lost before repair.
    `receiver` counts the receivers of a sender from 1 as they join; null at a receiver.
    """

    type: Literal["path"] = "path"
    at_s: Seconds
    receiver: int | None = None
    rate_bps: int
    target_bps: int | None
    rtt_ms: Milliseconds
    queue_ms: Milliseconds
    loss: Figure


class LatencyFigures(_Line):
    """Percentiles of `latency_ms` over all frames shown, each within 0.1 % of itself."""

    p50: Milliseconds = None
    p95: Milliseconds = None
    p99: Milliseconds = None
    max: Milliseconds = None


class PsnrFigures(_Line):
    """Over the frames that are not bit-exact; null where all are."""

    mean: Figure = None
    min: Figure = None


class SummaryLine(_Line):
    """A receiver's session in figures.

    `frames_dropped` counts frames of the sender that were not shown.  Forgeries and replays are
    no frames of the sender: they are counted in `auth_failures` and `replays` alone.  Nor is a
    frame lost that came while the person held the picture: `frames_frozen` counts those.
    """

    type: Literal["summary"] = "summary"
    at_s: Seconds
    frames_shown: int
    frames_dropped: dict[DropReason, int]
    frames_frozen: int = 0
    auth_failures: int
    replays: int
    keystream_mismatches: int
    freezes: int
    fps: Figure
    latency_ms: LatencyFigures
    psnr_db: PsnrFigures
    bytes: int


class SentSummaryLine(_Line):
    """A sender's session in figures."""

    type: Literal["summary"] = "summary"
    at_s: Seconds
    frames_sent: int
    frames_dropped: dict[DropReason, int]
    fps: Figure
    psnr_db: PsnrFigures
    bytes: int


Line = (
    SessionLine
    | FrameLine
    | SentFrameLine
    | DropLine
    | EpochLine
    | EventLine
    | PathLine
    | SummaryLine
    | SentSummaryLine
)
