"""How much the server grants to anybody who connects, and the token bucket that measures it.

Pure: no clock of its own, no asyncio.
"""

from __future__ import annotations

from dataclasses import dataclass

from signaling.messages import MAX_MESSAGE_BYTES

__all__ = ["Limits", "TokenBucket"]

_NS_PER_S = 1_000_000_000


@dataclass(frozen=True)
class Limits:
    """What the server grants; every value is a positive number."""

    rooms: int = 256  # each may hold about 10 MB of undelivered messages at the very worst
    peers_per_room: int = 24  # a sender, its 16 receivers at most, and some strangers
    joins_per_s: float = 1.0  # into one room; each costs the sender a connection to set up
    join_burst: int = 8  # a group that was read one code
    connections_per_address: int = 64  # a whole hospital may come from one address
    connections: int = 4096
    message_bytes: int = MAX_MESSAGE_BYTES
    messages_per_s: float = 10.0  # a pairing takes three messages
    message_burst: int = 40  # a client that comes back sends its queue at once
    hello_s: float = 10.0  # a connection says at once what it wants
    resume_grace_s: float = 30.0  # a Wi-Fi roam or a restarted router, but no ghost for long
    join_idle_s: float = 60.0  # a pairing takes seconds, and a paired receiver leaves by itself
    room_idle_s: float = 7200.0  # nobody came, went or spoke: the room was forgotten

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"{name} must be above zero, not {value}")


class TokenBucket:
    """Grants `burst` messages at once and `rate_per_s` in the long run.

    Kept as the time at which the bucket will be full again (the generic cell rate algorithm,
    ITU-T I.371), so that the arithmetic is exact.
    """

    def __init__(self, *, rate_per_s: float, burst: int) -> None:
        self._cost_ns = max(1, round(_NS_PER_S / rate_per_s))
        self._depth_ns = self._cost_ns * burst
        self._full_at_ns: int | None = None
        self._extra = 0

    def grant(self) -> None:
        """Allow one message beyond the burst and the rate, now or later."""
        self._extra += 1

    def take(self, now_ns: int) -> bool:
        """Whether one more message is granted at `now_ns`; a refused one costs nothing."""
        full_at_ns = now_ns if self._full_at_ns is None else max(self._full_at_ns, now_ns)
        if full_at_ns + self._cost_ns - now_ns > self._depth_ns:
            if not self._extra:
                return False
            self._extra -= 1
            return True
        self._full_at_ns = full_at_ns + self._cost_ns
        return True
