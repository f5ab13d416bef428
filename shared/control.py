"""What the two ends say to each other once paired, inside the `SecureChannel`.

JSON objects told apart by `type`: epoch and epoch_ack hand over keys; timings, tally, path and
quality_notice carry the sender's figures for the receiver's log and screen, receiver_report the
receiver's for the sender's; key_frame_request and still_request ask for a picture,
still_cancel for none any more, still_unavailable says that one can't be had; notice tells a person
what happens at the source; bye ends the session.

A type or a field that is not listed here is a later version's: it is passed over and counted,
unless its message says `"critical": true`.  What is listed is taken strictly: a value of another
type or range is refused.  This file gives messages their shape and nothing else; order and meaning
belong to the sessions.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from contextlib import suppress
from typing import Annotated, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetPydanticSchema,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import core_schema

from shared.crypto.keyschedule import (
    MAX_EPOCH,
    MAX_SENDER,
    SECRET_BYTES,
    EpochReason,
    EpochSecret,
)
from shared.errors import HandshakeFailed, NotSupported
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
    """What the other end wrote ends up on a terminal: no escape sequence, no line end.

    Nor does it begin with a mark, which would change what this end wrote before it.
    """
    plain = "".join(c if c.isprintable() else " " for c in line)
    marks = next((i for i, c in enumerate(plain) if not _is_mark(c)), len(plain))
    return " " * marks + plain[marks:]


def _is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("M")


_EpochNumber = Annotated[int, Field(ge=1, le=MAX_EPOCH)]
_Microseconds = Annotated[int, Field(ge=0, le=_U32)]
_Count = Annotated[int, Field(ge=0, le=_U64)]
_Line = Annotated[str, Field(max_length=MAX_DETAIL_CHARS), AfterValidator(_printable)]
_Milliseconds = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
_BitRate = Annotated[int, Field(ge=0, le=_U64)]
_DropReason = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


class _Part(BaseModel):
    # Errors must not repeat their input: it may be a secret.
    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        ser_json_bytes="base64",
        val_json_bytes="base64",
    )


class _Message(_Part):
    # Who does not know all of the message must not go on.  This version marks none of its own.
    critical: bool = Field(default=False, exclude=True, repr=False)


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


class TimingRow(_Part):
    """Durations in µs of one frame, named by epoch and counter, known only after it was sealed."""

    counter: int = Field(ge=0, le=_U64)
    epoch: _EpochNumber
    keystream_us: _Microseconds
    seal_us: _Microseconds
    send_us: _Microseconds


class Timings(_Message):
    """Sender to receiver: a batch of rows, joined by the receiver into its log."""

    type: Literal["timings"] = "timings"
    rows: list[TimingRow] = Field(max_length=MAX_TIMING_ROWS, fail_fast=True)


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

_FIELDS = {
    kind.model_fields["type"].default: kind.model_fields.keys() for kind in get_args(_AnyMessage)
}

_Unbuilt = Annotated[
    None,
    GetPydanticSchema(
        lambda _kind, _handler: core_schema.with_default_schema(
            core_schema.none_schema(), default=None, on_error="default"
        )
    ),
]
"""Any JSON value, read as None: what nobody here needs becomes no Python object."""


class _Head(BaseModel):
    """What every message has, known or not, and the names of all its fields.

    The values of the others are not built: thousands of containers in one message would set off
    garbage collections over all that this process holds.
    """

    model_config = ConfigDict(strict=True, extra="allow", hide_input_in_errors=True)
    __pydantic_extra__: dict[str, _Unbuilt] = Field(init=False)

    type: str
    critical: bool = False


_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NOT_JSON = (b"NaN", b"Infinity")  # pydantic reads these as numbers all the same


def pack(message: ControlMessage) -> bytes:
    """Encode a message as JSON; the limits of its fields keep it under `MAX_MESSAGE_BYTES`."""
    return message.model_dump_json().encode()


def parse(data: bytes, ignored: Counter[str] | None = None) -> ControlMessage | None:
    """Decode a message that the secure channel opened; None for one of a type not known here.

    Messages of unknown types, and a message's own unknown fields, are counted in `ignored` as
    `types` and `fields`; what is unknown inside a known field is passed over uncounted.  Raise
    `NotSupported` where a message that is marked as critical has any of these, `HandshakeFailed` if
    it is no message: what an authenticated peer says and this end can't read means that the two do
    not speak the same protocol.

    Of what is not known nothing is built but the names of a message's own fields.  What this costs
    is bounded by `MAX_MESSAGE_BYTES`, whatever the peer says; nesting beyond some 200 levels,
    integers beyond some 4,300 digits and lone surrogates are refused.
    """
    head = _head(data)
    known = _FIELDS.get(head.type)
    if known is None:
        if head.critical:
            raise _not_known()
        if ignored is not None:
            ignored["types"] += 1
        return None
    strange = len(head.__pydantic_extra__.keys() - known)
    if strange and head.critical:
        raise _not_known()
    if strange and ignored is not None:
        ignored["fields"] += strange
    try:
        return _ADAPTER.validate_json(data, extra="forbid" if head.critical else "ignore")
    except ValidationError as error:
        # A field that it insists on, inside another, may be why the others are as they are.
        insists = head.critical and any(
            found["type"] == "extra_forbidden"
            for found in error.errors(include_url=False, include_context=False, include_input=False)
        )
    raise _not_known() if insists else _unreadable()


def _head(data: bytes) -> _Head:
    if len(data) <= MAX_MESSAGE_BYTES:
        with suppress(ValidationError):
            head = _Head.model_validate_json(data)
            # Only now: of what is JSON all strings end, and the search for them takes linear time.
            if not _names_nan(data):
                return head
    raise _unreadable()


def _names_nan(data: bytes) -> bool:
    """Whether a NaN or an infinity stands outside of the strings of what else is JSON."""
    if not any(word in data for word in _NOT_JSON):
        return False
    bare = _STRING.sub(b"", data)
    return any(word in bare for word in _NOT_JSON)


def _unreadable() -> HandshakeFailed:
    return HandshakeFailed(
        "the other end sent a control message that this version can't read",
        hint="install the same version of Veilscope on both ends",
    )


def _not_known() -> NotSupported:
    return NotSupported(
        "the other end insists on a control message that this version of Veilscope does not know",
        hint="install the newest version on both ends",
    )
