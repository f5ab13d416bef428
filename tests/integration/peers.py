"""Pictures that tell which frame they are, and settings for two ends on this machine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

import numpy as np

from receiver.settings import ReceiverSettings
from sender.settings import SenderSettings
from shared.frame import Frame, Image, Rect

LOOPBACK = ("127.0.0.1",)
LIMIT_S = 60.0  # a bound on waiting, for a machine under load; nothing is measured by it


def picture(index: int, *, height: int = 72, width: int = 98, channels: int = 1) -> Image:
    """Noise of its own for every index: uint8, odd-sized unless told otherwise."""
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(index).integers(0, 256, shape, np.uint8)


@dataclass
class Feed:
    """An async iterator of frames that goes on until told to end."""

    make: Callable[[int], Image] = picture
    count: int | None = None
    interval_s: float = 0.02
    error: Exception | None = None
    masks: tuple[Rect, ...] = ()
    given: int = 0

    async def __aiter__(self) -> AsyncIterator[Frame]:
        while self.count is None or self.given < self.count:
            yield Frame(self.given, time.monotonic_ns(), self.make(self.given), self.masks)
            self.given += 1
            await asyncio.sleep(self.interval_s)
        if self.error is not None:
            raise self.error

    def frames(self) -> AsyncIterator[Frame]:
        return aiter(self)


@dataclass(frozen=True)
class Ends:
    """Settings for both ends of a session through one signaling server."""

    sender: SenderSettings
    receiver: ReceiverSettings

    def sending(self, **changes: object) -> SenderSettings:
        return replace(self.sender, **changes)

    def receiving(self, **changes: object) -> ReceiverSettings:
        return replace(self.receiver, **changes)


def ends_at(url: str) -> Ends:
    return Ends(
        SenderSettings(
            signaling=url,
            device="cpu",
            codec="lossless",
            until_left=True,
            host_addresses=LOOPBACK,
        ),
        ReceiverSettings(signaling=url, device="cpu", host_addresses=LOOPBACK),
    )
