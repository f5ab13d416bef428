"""How a sender session behaves: what a program may choose, with its defaults."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from sender.rate import DEFAULT_LATENCY_MS, Preference, Wishes
from sender.streamcodec import AUTO
from shared.codecs import CODECS
from shared.crypto.keyschedule import REKEY_AFTER_S
from shared.errors import BadInput
from shared.keystream.network import DEFAULT_FAMILY
from shared.link import LOST_AFTER_S, IceServer

__all__ = ["SenderSettings"]


@dataclass(frozen=True, slots=True)
class SenderSettings:
    """How a sender session behaves.

    `codec` is a name of `shared.codecs.CODECS`, or `auto`: H.264, which for colour may change once
    the path is known.
    `ca` is a file of certificate authorities (PEM) to trust for wss:// and for TURN over TLS
    instead of the system's.  `proxy` is the URL of the HTTP proxy that leads to the signaling
    server, or `none`; without it the usual variables decide.
    Nothing heard of the other end for `grace_s` seconds: it is gone.
    `keystream` is a shipped family or the path of a network file; `device` is one of
    `shared.keystream.backend.DEVICES`.  A new epoch begins every `rekey_after_s` seconds, 60 at
    most, and whenever a receiver comes or goes.  `ice_servers`, where given, replace those that the
    signaling server hands out.  `host_addresses` limits the addresses that are offered to the other
    end (None: all of them).
    `quality` (of JPEG, 1 to 100) and `bitrate_bps` are ceilings of the rate control, `min_psnr_db`
    and `max_latency_ms` its floors, `prefer` what it keeps longest (`sender.rate`); `fps` is the
    source's frame rate, if it is known.  The session goes on when receivers leave, and others may
    come in their place; with `until_left` it ends when as many as may come have, and all have left.
     With `strip` each frame's index and capture time are drawn
    into its picture (`shared.strip`).
    """

    signaling: str = "ws://127.0.0.1:8765"
    ca: Path | None = None
    proxy: str | None = field(default=None, repr=False)
    grace_s: float = LOST_AFTER_S
    codec: str = AUTO
    quality: int = 90
    bitrate_bps: int | None = None
    min_psnr_db: float | None = None
    max_latency_ms: float = DEFAULT_LATENCY_MS
    prefer: Preference = "smooth"
    fps: float | None = None
    strip: bool = False
    keystream: str = DEFAULT_FAMILY
    device: str = "auto"
    max_receivers: int = 1
    until_left: bool = False
    rekey_after_s: float = REKEY_AFTER_S
    ice_servers: tuple[IceServer, ...] | None = None
    host_addresses: tuple[str, ...] | None = None

    @property
    def wishes(self) -> Wishes:
        """What of this is the rate control's."""
        return Wishes(
            self.quality, self.bitrate_bps, self.min_psnr_db, self.max_latency_ms, self.prefer
        )

    @property
    def chosen_codec(self) -> str | None:
        """The codec, None where it is chosen later on; raises `BadInput` where there is none."""
        if self.codec == AUTO:
            return None
        if self.codec not in CODECS:
            raise BadInput(
                f"there is no codec {self.codec!r}",
                hint=f"choose from {AUTO}, {', '.join(CODECS)}",
            )
        return self.codec
