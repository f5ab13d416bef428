"""What the two ends say to each other once paired, inside the `SecureChannel`.

JSON objects told apart by `type`: epoch and epoch_ack hand over keys, timings and tally carry the
sender's figures for the receiver's log, bye ends the session.  Strict: a type, field or range that
is not listed here is refused.  This file gives messages their shape and nothing else; order and
meaning belong to the sessions.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from shared.crypto.keyschedule import (
    MAX_EPOCH,
    MAX_SENDER,
    SECRET_BYTES,
    EpochReason,
    EpochSecret,
)
from shared.errors import HandshakeFailed

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
_EpochNumber = Annotated[int, Field(ge=1, le=MAX_EPOCH)]
_Microseconds = Annotated[int, Field(ge=0, le=_U32)]
_Count = Annotated[int, Field(ge=0, le=_U64)]
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


class Bye(_Message):
    """Either way: this end goes.

    `detail` is one short line for the person; it ends up on a terminal, so whatever in it is not
    printable (an escape sequence, a line end) becomes a space, at both ends.
    """

    type: Literal["bye"] = "bye"
    reason: ByeReason
    detail: str = Field(default="", max_length=MAX_DETAIL_CHARS)

    @field_validator("detail")
    @classmethod
    def _printable(cls, detail: str) -> str:
        return "".join(c if c.isprintable() else " " for c in detail)


ControlMessage = Annotated[Epoch | EpochAck | Timings | Tally | Bye, Field(discriminator="type")]
"""Any message of this file."""

_ADAPTER: TypeAdapter[Epoch | EpochAck | Timings | Tally | Bye] = TypeAdapter(ControlMessage)


def pack(message: Epoch | EpochAck | Timings | Tally | Bye) -> bytes:
    """Encode a message as JSON; the limits of its fields keep it under `MAX_MESSAGE_BYTES`."""
    return message.model_dump_json().encode()


def parse(data: bytes) -> Epoch | EpochAck | Timings | Tally | Bye:
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
