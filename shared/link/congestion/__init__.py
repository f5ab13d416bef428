"""How fast frames may leave.

Pure.  A controller of congestion is one file with a class of this base; `copa` is the one in use.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from shared.link.flight import Arrival

__all__ = ["CongestionControl"]


class CongestionControl(ABC):
    """Tell it what arrives, is lost and times out; it says how fast packets may leave.

    It paces nothing and holds no packets.  Rates are in bytes a second on the wire.
    """

    rate: float
    """At which to send."""

    queue_ns: int
    """The standing queue of the path, one way."""

    slow_start: bool
    """Whether no limit of the path has shown yet."""

    @property
    @abstractmethod
    def proven_rate(self) -> float:
        """What recent frames were seen to arrive at, where `rate` is beyond that."""

    @property
    @abstractmethod
    def pacing_rate(self) -> float:
        """At which a burst leaves: above `rate`, so that it is over in time."""

    @property
    @abstractmethod
    def carried_rate(self) -> float:
        """What the path takes now: what arrives while a queue stands, else `rate`."""

    @property
    @abstractmethod
    def tolerated_queue_ns(self) -> int:
        """Delay that is not of our making."""

    @abstractmethod
    def start(self, rtt_ns: int) -> None:
        """The round trip is known and nothing else; ignored after the first report."""

    @abstractmethod
    def on_report(self, arrived: Sequence[Arrival], lost: int, rtt_ns: int, now_ns: int) -> None:
        """Packets `arrived`, in order of sending, and `lost` others did not, as just learnt.

        `lost` is less than nothing where some counted as lost have come after all.
        """

    @abstractmethod
    def on_timeout(self, timeouts: int, rtt_ns: int) -> None:
        """Nothing is heard; `timeouts` in a row.  One may be a stall, more are an outage."""
