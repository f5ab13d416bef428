"""What the two ends say to each other once paired, inside the `SecureChannel`.

JSON objects told apart by `type`: epoch and epoch_ack hand over keys; timings, tally, path and
quality_notice carry the sender's figures for the receiver's log and screen, receiver_report the
receiver's for the sender's; key_frame_request and still_request ask for a picture,
still_cancel for none any more, still_unavailable says that one can't be had; bye ends the session.
Strict: a type, field or range that is not listed here is refused.  This file gives messages their
shape and nothing else; order and meaning belong to the sessions.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from shared.crypto.keyschedule import (
    MAX_EPOCH,
    MAX_SENDER,
    SECRET_BYTES,
    EpochReason,
    EpochSecret,
)
from shared.errors import HandshakeFailed
from shared.frame import MAX_SIDE, MIN_SIDE

__all__ = [
    "MAX_DETAIL_CHARS",
    "MAX_DROP_REASONS",
    "MAX_MESSAGE_BYTES",
    "MAX_TIMING_ROWS",
    "Bye",
    "ByeReason",
    "ControlMessage",
    "Epoch",
    "EpochAck",
    "KeyFrameRequest",
    "Notice",
    "PathReport",
    "QualityNotice",
    "ReceiverReport",
    "StillCancel",
    "StillRequest",
    "StillUnavailable",
    "Tally",
    "TimingRow",
    "Timings",
    "pack",
    "parse",
]

MAX_MESSAGE_BYTES = 65_000  # with the record's tag under the 65,536 that every WebRTC peer accepts
MAX_TIMING_ROWS = 512  # at most 116 bytes of JSON each, so that a full batch fits one message
MAX_DROP_REASONS = 64
MAX_DETAIL_CHARS = 200  # one line for the person

ByeReason = Literal["ended", "quit", "error"]
"""The source ended; a person quit; this end failed."""

_U32, _U64 = 2**32 - 1, 2**64 - 1


def _printable(line: str) -> str:
    """What the other end wrote ends up on a terminal: no escape sequence, no line end."""
    return "".join(c if c.isprintable() else " " for c in line)


_EpochNumber = Annotated[int, Field(ge=1, le=MAX_EPOCH)]
_Microseconds = Annotated[int, Field(ge=0, le=_U32)]
_Count = Annotated[int, Field(ge=0, le=_U64)]
_Line = Annotated[str, Field(max_length=MAX_DETAIL_CHARS), AfterValidator(_printable)]
_Milliseconds = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
_BitRate = Annotated[int, Field(ge=0, le=_U64)]
_DropReason = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


class _Message(BaseModel):
    # Errors must not repeat their input: it may be a secret.
    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        ser_json_bytes="base64",
        val_json_bytes="base64",
    )


class Epoch(_Message):
    """Sender to receiver: seal and open under this epoch from now on (`secret`: 32 bytes)."""

    type: Literal["epoch"] = "epoch"
    epoch: _EpochNumber
    secret: bytes = Field(min_length=SECRET_BYTES, max_length=SECRET_BYTES, repr=False)
    sender: int = Field(ge=0, le=MAX_SENDER)
    reason: EpochReason

    @classmethod
    def announce(cls, secret: EpochSecret, sender: int) -> Self:
        """The message that hands over what a `SenderSchedule` began."""
        return cls(epoch=secret.epoch, secret=secret.secret, sender=sender, reason=secret.reason)

    @property
    def epoch_secret(self) -> EpochSecret:
        """What a `ReceiverSchedule` installs."""
        return EpochSecret(self.epoch, self.secret, self.reason)


class EpochAck(_Message):
    """Receiver to sender: the keys of this epoch are in place."""

    type: Literal["epoch_ack"] = "epoch_ack"
    epoch: _EpochNumber


class TimingRow(_Message):
    """Durations in µs of one frame, named by epoch and counter, known only after it was sealed."""

    counter: int = Field(ge=0, le=_U64)
    epoch: _EpochNumber
    keystream_us: _Microseconds
    seal_us: _Microseconds
    send_us: _Microseconds


class Timings(_Message):
    """Sender to receiver: a batch of rows, joined by the receiver into its log."""

    type: Literal["timings"] = "timings"
    rows: list[TimingRow] = Field(max_length=MAX_TIMING_ROWS)


class Tally(_Message):
    """Sender to receiver: running totals of the frames for this receiver since it joined.

    `sent` were handed to its path; `dropped`, by reason, were not.
    """

    type: Literal["tally"] = "tally"
    sent: _Count
    dropped: dict[_DropReason, _Count] = Field(max_length=MAX_DROP_REASONS)


class PathReport(_Message):
    """Sender to receiver: what the path to this receiver carries, by the sender's measure.

    `rate_bps` is what frames may use now, `queue_ms` the queueing delay one way, `loss` the share
    of packets lost before repair, `target_bps` what the stream aims at (null: at no bitrate).
    """

    type: Literal["path"] = "path"
    rate_bps: _BitRate
    rtt_ms: _Milliseconds
    queue_ms: _Milliseconds
    loss: float = Field(ge=0, le=1, allow_inf_nan=False)
    target_bps: _BitRate | None


class ReceiverReport(_Message):
    """Receiver to sender: a sign of life with figures, as RTCP's receiver report (RFC 3550).

    `shown` frames were shown so far; `latency_p95_ms` is over the last seconds, null where
    nothing was shown.
    """

    type: Literal["receiver_report"] = "receiver_report"
    shown: _Count
    latency_p95_ms: Annotated[float, Field(allow_inf_nan=False)] | None


class QualityNotice(_Message):
    """Sender to receiver: quality changed, and why, in one line for the person.

    The other fields are what is sent from now on: the codec, the size of the picture, at most so
    many frames a second, and the bitrate or the JPEG quality aimed at (null where the codec has
    none).
    """

    type: Literal["quality_notice"] = "quality_notice"
    reason: _Line
    codec: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,16}$")]
    width: Annotated[int, Field(ge=MIN_SIDE, le=MAX_SIDE)]
    height: Annotated[int, Field(ge=MIN_SIDE, le=MAX_SIDE)]
    fps: Annotated[float, Field(gt=0, le=1000)]
    bitrate_bps: _BitRate | None
    quality: Annotated[int, Field(ge=1, le=100)] | None


class Notice(_Message):
    """Sender to receiver: something that the person at each end should know, in one line.

    `kind` is a short name such as `source_still`.  A `lasting` notice holds until one of the same
    kind comes that is not; any other tells of something that happened.  `since_ns` is when it
    began by the sender's monotonic clock, null where that is not known.
    """

    type: Literal["notice"] = "notice"
    kind: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
    text: _Line
    lasting: bool = False
    since_ns: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None


class KeyFrameRequest(_Message):
    """Receiver to sender: a frame is missing that others build on; send one that builds on none.

    Like PLI and FIR (RFC 4585, 5104).  `index` is the newest frame that could not be decoded for
    that reason: a key frame after it may be on its way already.
    """

    type: Literal["key_frame_request"] = "key_frame_request"
    index: _Count


class StillRequest(_Message):
    """Receiver to sender: send the picture of this index once more, lossless."""

    type: Literal["still_request"] = "still_request"
    index: _Count


class StillCancel(_Message):
    """Receiver to sender: the picture that was asked for is not wanted any more."""

    type: Literal["still_cancel"] = "still_cancel"
    index: _Count


class StillUnavailable(_Message):
    """Sender to receiver: the picture that was asked for can't be had; `detail` says why.

    It is one short line for the person, empty where there is nothing to tell them.
    """

    type: Literal["still_unavailable"] = "still_unavailable"
    index: _Count
    detail: _Line = ""


class Bye(_Message):
    """Either way: this end goes.  `detail` is one short line for the person."""

    type: Literal["bye"] = "bye"
    reason: ByeReason
    detail: _Line = ""


_AnyMessage = (
    Epoch
    | EpochAck
    | Timings
    | Tally
    | PathReport
    | ReceiverReport
    | QualityNotice
    | Notice
    | KeyFrameRequest
    | StillRequest
    | StillCancel
    | StillUnavailable
    | Bye
)

ControlMessage = Annotated[_AnyMessage, Field(discriminator="type")]
"""Any message of this file."""

_ADAPTER: TypeAdapter[_AnyMessage] = TypeAdapter(ControlMessage)


def pack(message: ControlMessage) -> bytes:
    """Encode a message as JSON; the limits of its fields keep it under `MAX_MESSAGE_BYTES`."""
    return message.model_dump_json().encode()


def parse(data: bytes) -> ControlMessage:
    """Decode a message that the secure channel opened.

    Raise `HandshakeFailed` if it is none: what an authenticated peer says and this end can't read
    means that the two do not speak the same protocol.
    """
    if len(data) <= MAX_MESSAGE_BYTES:
        try:
            return _ADAPTER.validate_json(data)
        except ValidationError:
            pass
    raise HandshakeFailed(
        "the other end sent a control message that this version can't read",
        hint="install the same version of Veilscope on both ends",
    ) from None
