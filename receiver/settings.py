"""How a receiver session behaves, as its owner wishes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from shared.link.link import IceServer

__all__ = ["ReceiverSettings"]


@dataclass(frozen=True, slots=True)
class ReceiverSettings:
    """How a receiver session behaves.

    `ca` is a file of certificate authorities (PEM) to trust for wss:// instead of the system's.
    `keystream` is the path of a network file, for a sender that uses one that is not shipped;
    `device` is one of `shared.keystream.backend.DEVICES`.  `ice_servers`, where given, replace
    those that the signaling server hands out.  `host_addresses` limits the addresses that are
    offered to the other end (None: all of them).  With `confirm_shown` a frame counts as shown when
    the program says so (`ReceiverSession.shown`), otherwise when it is handed over.  A picture is
    handed over no sooner than `playout_delay_ms` after it was taken.
    """

    signaling: str = "ws://127.0.0.1:8765"
    ca: Path | None = None
    keystream: str | None = None
    device: str = "auto"
    ice_servers: tuple[IceServer, ...] | None = None
    host_addresses: tuple[str, ...] | None = None
    confirm_shown: bool = False
    playout_delay_ms: float = 0.0
