"""Getting a picture once more, lossless: one request at a time, and what comes of it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from receiver.pipeline import DecodedFrame
from shared import control
from shared.association import Association
from shared.capabilities import STILLS
from shared.errors import PeerGone

__all__ = ["Stills"]

STILL_TIMEOUT_S = 10.0  # the sender refuses one that takes 3 s; encoding comes to that


class Stills:
    """The stills that a session asks its sender for; `refusal` is why the last one did not come."""

    def __init__(self, association: Association) -> None:
        self.refusal = ""
        self.awaited: int | None = None
        """The index of the frame whose still is waited for now, None for none."""
        self._association = association
        self._one_at_a_time = asyncio.Lock()  # they are large
        self._coming: asyncio.Future[DecodedFrame | None] | None = None

    async def fetch(self, index: int) -> DecodedFrame | None:
        """Ask for frame `index` and wait; None if it can't be had, or not in time.

        Raises `PeerGone` once the link is over.  Cancelling takes the request back.
        """
        if not self._association.features >= {STILLS, "lossless"}:
            self.refusal = "the sender has no exact pictures to give"
            return None
        async with self._one_at_a_time:
            coming: asyncio.Future[DecodedFrame | None] = asyncio.Future()
            ending = asyncio.create_task(self._association.link.closed())
            self.awaited, self._coming = index, coming
            self.refusal = ""
            try:
                self._association.send(control.StillRequest(index=index))
                either: set[asyncio.Future[Any]] = {coming, ending}
                await asyncio.wait(
                    either, timeout=STILL_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED
                )
                if not coming.done() and ending.done():
                    raise ending.result().error()
                return coming.result() if coming.done() else None
            finally:
                self.awaited = self._coming = None
                ending.cancel()
                if not coming.done():
                    with suppress(PeerGone):
                        self._association.send(control.StillCancel(index=index))

    def came(self, index: int, decoded: DecodedFrame | None, refusal: str = "") -> None:
        """The still of frame `index` came, or it was refused (None), with the reason if told."""
        coming = self._coming
        if coming is not None and self.awaited == index and not coming.done():
            self.refusal = refusal
            coming.set_result(decoded)
