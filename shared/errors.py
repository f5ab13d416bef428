"""Every error that Veilscope raises on purpose.

Each carries one line for the person (`str(error)`), what to do next (`hint`) and the exit status
with which a program ends on it.  No error text ever holds a key, a code or patient data.
"""

from __future__ import annotations

__all__ = [
    "AuthenticationFailed",
    "BadInput",
    "Busy",
    "CodeUsed",
    "DecodeFailed",
    "DeviceUnavailable",
    "FrameRejected",
    "HandshakeFailed",
    "KeystreamDisagreed",
    "KeystreamMismatch",
    "LinkFailed",
    "MalformedFrame",
    "NotNow",
    "NotSupported",
    "OtherVersion",
    "OutputFailed",
    "PairingFailed",
    "PeerGone",
    "Replayed",
    "RoomUnavailable",
    "SelfTestFailed",
    "SignalingUnreachable",
    "SourceFailed",
    "UnknownEpoch",
    "VeilscopeError",
    "WrongCode",
]


class VeilscopeError(Exception):
    """Base of all errors raised on purpose; `exit_status` is what the programs end with."""

    exit_status = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class BadInput(VeilscopeError):
    """An option or argument that can't be used as given."""

    exit_status = 2


# -- pairing and key agreement ------------------------------------------------------------------


class PairingFailed(VeilscopeError):
    """The two ends did not come to share a key."""

    exit_status = 3


class WrongCode(PairingFailed):
    """The two ends hold different codes, or somebody between them altered the exchange."""


class CodeUsed(PairingFailed):
    """The code was spent already: each code pairs once."""


class HandshakeFailed(PairingFailed):
    """A handshake message was malformed, out of turn, or offered nothing both ends speak."""


class OtherVersion(HandshakeFailed):
    """The two ends speak different versions of the protocol."""


class NotSupported(HandshakeFailed):
    """One end needs what the other does not have: a cipher suite, a codec, something newer."""


class Busy(CodeUsed):
    """Every place at the sender is taken, so every code that it gave out is spent."""


class NotNow(PairingFailed):
    """The sender lets nobody in at this moment."""


class KeystreamMismatch(PairingFailed):
    """The two ends hold different keystream networks."""


# -- signaling and link -------------------------------------------------------------------------


class SignalingUnreachable(VeilscopeError):
    """The signaling server can't be reached, or went away before the peers met."""

    exit_status = 4


class RoomUnavailable(VeilscopeError):
    """The signaling server refused: no such room, room full, or a limit was reached."""

    exit_status = 4


class LinkFailed(VeilscopeError):
    """The peers could not be connected to each other."""

    exit_status = 4


class PeerGone(VeilscopeError):
    """The other end stopped answering."""

    exit_status = 5


# -- sources, devices and outputs ---------------------------------------------------------------


class SourceFailed(VeilscopeError):
    """The picture source can't be opened, or failed while it was read."""

    exit_status = 6


class OutputFailed(VeilscopeError):
    """A log, report, recording or saved frame can't be written."""

    exit_status = 7


class DeviceUnavailable(VeilscopeError):
    """The compute device asked for is not there."""

    exit_status = 8


class SelfTestFailed(VeilscopeError):
    """A keystream backend does not give the known answers on this machine."""

    exit_status = 8


# -- one frame's fate (counted, never shown; a session goes on) ----------------------------------


class FrameRejected(VeilscopeError):
    """Base of the reasons for which a received frame is dropped."""


class MalformedFrame(FrameRejected):
    """Too short, wrong version, or fields out of range."""


class UnknownEpoch(FrameRejected):
    """Sealed under an epoch for which this end holds no key (any more)."""


class AuthenticationFailed(FrameRejected):
    """The authentication tag does not fit: altered on the way, or not from the sender."""


class Replayed(FrameRejected):
    """The counter was seen before, or is older than the replay window."""


class KeystreamDisagreed(FrameRejected):
    """The tag fits but the inner digest does not: the two keystreams differ."""


class DecodeFailed(FrameRejected):
    """The opened payload is not a valid picture of its codec."""
