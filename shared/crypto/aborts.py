"""Why an end gives up on pairing, in one byte, and the error that this is at the other end.

An abort carries a reason and no text: nobody on the way can put words on a person's screen.  It is
not authenticated either: what forging one does is to end a handshake, with one of the texts below,
so these say what was told and not what is so.  A reason that is not listed is a later version's,
and read as any other.  An abort is not answered.
"""

from __future__ import annotations

from shared.errors import (
    Busy,
    CodeUsed,
    HandshakeFailed,
    KeystreamMismatch,
    NotNow,
    NotSupported,
    OtherVersion,
    PairingFailed,
    VeilscopeError,
    WrongCode,
)
from shared.wire import VERSION

__all__ = [
    "MISMATCH_HINT",
    "PAIR_AGAIN",
    "SAME_VERSION",
    "abort_message",
    "is_abort",
    "malformed",
    "parse_abort",
    "wrong_code",
]

ABORT = 5  # the kind of message, beside those of `shared.crypto.messages`

PAIR_AGAIN = "start both ends again, with the same version of Veilscope, and pair with a new code"
SAME_VERSION = "install the same version of Veilscope on both ends"
MISMATCH_HINT = "use the same version of Veilscope, or the same network file, on both ends"

_OTHER = 255
_OLDER = 0
_WRONG_CODE = (
    WrongCode,
    "the codes differ, or somebody between the two ends altered the exchange",
    "compare the code by voice and try again; if it was right, do not trust this network",
)

_REASONS: dict[int, tuple[type[PairingFailed], str, str]] = {
    # What versions before 3 give for everything but the next three.  This one never sends it.
    _OLDER: (
        OtherVersion,
        "the other end gave up on pairing as an older version of Veilscope does "
        f"(protocol {VERSION - 1} or older; this end speaks {VERSION})",
        SAME_VERSION,
    ),
    1: _WRONG_CODE,
    2: (
        CodeUsed,
        "the other end says that this code is spent: each code pairs once",
        "ask the sender for a new code",
    ),
    3: (
        KeystreamMismatch,
        "the other end says that the two keystream networks differ",
        MISMATCH_HINT,
    ),
    # As with a spent code: if it was meant for this person alone, somebody else used it.
    4: (
        Busy,
        "every place at the sender is taken: each code pairs once",
        "if nobody else was to watch, somebody overheard the code: ask by voice who is there; "
        "else ask the sender to allow more receivers",
    ),
    5: (
        NotNow,
        "the sender lets nobody in at this moment",
        "try again in a moment, or ask the sender for a new code",
    ),
    6: (
        NotSupported,
        "one end needs a codec, or something else, that the other does not have",
        "install the newest version on both ends, or let the sender use --codec auto",
    ),
    7: (
        OtherVersion,
        "the other end says that it runs another version of Veilscope "
        f"(this end speaks protocol {VERSION})",
        SAME_VERSION,
    ),
}

_SENT = {kind: reason for reason, (kind, _, _) in _REASONS.items() if reason != _OLDER}


def abort_message(error: VeilscopeError) -> bytes:
    """The message that tells the other end why this one gave up."""
    reason = next((_SENT[kind] for kind in type(error).__mro__ if kind in _SENT), _OTHER)
    return bytes((ABORT, reason))


def is_abort(message: bytes) -> bool:
    """Whether `message` tells that the other end gave up, however badly it is put."""
    return message[:1] == bytes((ABORT,))


def parse_abort(message: bytes) -> PairingFailed | None:
    """The error that an abort stands for, or None if `message` is no abort."""
    if not is_abort(message):
        return None
    if len(message) != 2:
        return malformed("abort")
    if message[1] not in _REASONS:
        return HandshakeFailed("the other end gave up on pairing", hint=PAIR_AGAIN)
    kind, told, hint = _REASONS[message[1]]
    return kind(told, hint=hint)


def wrong_code() -> WrongCode:
    kind, told, hint = _WRONG_CODE
    return kind(told, hint=hint)


def malformed(name: str) -> HandshakeFailed:
    return HandshakeFailed(f"the other end's {name} message is malformed", hint=PAIR_AGAIN)
