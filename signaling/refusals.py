"""What a person is told when the server refuses: by its code, never in the server's own words."""

from __future__ import annotations

from shared.errors import RoomUnavailable
from signaling.messages import RefusalCode

__all__ = ["Refused"]

_TRY_LATER = "try again in a minute, or ask its operator for higher limits"
_REFUSALS: dict[RefusalCode, tuple[str, str]] = {
    "no-such-room": (
        "the signaling server has no such room",
        "check the number at the start of the code, and that the sender still waits",
    ),
    "resume-refused": (
        "the signaling server does not know this room any more",
        "start the sender again for a new code",
    ),
    "room-full": (
        "the room is full",
        "somebody has to leave it first",
    ),
    "server-full": ("the signaling server has no room left", _TRY_LATER),
    "too-many-connections": (
        "the signaling server has too many connections from this network",
        _TRY_LATER,
    ),
    "too-many-joins": (
        "too many are trying to join the room at the moment",
        "try again in a moment; if it goes on, ask the sender to start again for a new room",
    ),
    "too-many-messages": (
        "the signaling server refused: too many messages at once",
        _TRY_LATER,
    ),
    "too-large": (
        "the signaling server refused: the message is too large",
        "ask its operator for higher limits",
    ),
    "too-slow": ("the signaling server waited too long for this client", "try again"),
    "malformed": (
        "the signaling server did not understand this client",
        "check that both have the same version",
    ),
    "unsupported-version": (
        "the signaling server speaks another version of the protocol",
        "install the same version on both",
    ),
}


class Refused(RoomUnavailable):
    """The server refused with `code`."""

    def __init__(self, code: RefusalCode) -> None:
        message, hint = _REFUSALS[code]
        super().__init__(message, hint=hint)
        self.code: RefusalCode = code
