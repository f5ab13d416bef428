"""How a receiver session behaves, as its owner wishes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from shared.link import LOST_AFTER_S, IceServer

__all__ = ["DEFAULT_LATENCY_MS", "ReceiverSettings"]

DEFAULT_LATENCY_MS = 200.0  # tele-ultrasound guidance works up to here (Bharath 2017)


@dataclass(frozen=True, slots=True)
class ReceiverSettings:
    """How a receiver session behaves.

    `ca` is a file of certificate authorities (PEM) to trust for wss:// and for TURN over TLS
    instead of the system's.  `proxy` is the URL of the HTTP proxy that leads to the signaling
    server, or `none`; without it the usual variables decide.
    Nothing heard of the other end for `grace_s` seconds: it is gone.
    `keystream` is the path of a network file, for a sender that uses one that is not shipped;
    `device` is one of `shared.keystream.backend.DEVICES`.  `ice_servers`, where given, replace
    those that the signaling server hands out.  `host_addresses` limits the addresses that are
    offered to the other end (None: all of them).  With `confirm_shown` a frame counts as shown when
    the program says so (`ReceiverSession.shown`), otherwise when it is handed over.  A picture is
    handed over no sooner than `playout_delay_ms` after it was taken, and after a pause of this end
    or of the path not at all where it is older than `max_latency_ms`.
    """

    signaling: str = "ws://127.0.0.1:8765"
    ca: Path | None = None
    proxy: str | None = field(default=None, repr=False)
    grace_s: float = LOST_AFTER_S
    keystream: str | None = None
    device: str = "auto"
    ice_servers: tuple[IceServer, ...] | None = None
    host_addresses: tuple[str, ...] | None = None
    confirm_shown: bool = False
    playout_delay_ms: float = 0.0
    max_latency_ms: float = DEFAULT_LATENCY_MS
