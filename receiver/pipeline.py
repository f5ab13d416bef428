"""A frame's way through the receiver: open -> decode, with the time of every step.

Synchronous and run in one worker thread of the session.  It holds the epochs' keys, two at most,
and refuses everything that does not pass every check.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from receiver.ledger import Key
from shared.codecs import Decoder, open_decoder
from shared.crypto.keyschedule import EPOCHS_KEPT, EpochSecret, ReceiverSchedule
from shared.crypto.sealing import Opener
from shared.errors import FrameRejected, UnknownEpoch
from shared.frame import Image
from shared.keystream.ahead import KeystreamAhead
from shared.keystream.backend import Backend
from shared.link import ReceivedFrame
from shared.wire import FrameMetadata, parse_header, parse_inner

__all__ = ["DecodedFrame", "LateFrame", "Pipeline"]


class LateFrame(FrameRejected):
    """A genuine frame that is older than one already taken: not decoded."""

    def __init__(self, index: int) -> None:
        super().__init__("a frame came after a newer one")
        self.index = index


@dataclass(frozen=True, slots=True, eq=False)
class DecodedFrame:
    """A frame that passed every check; times are this machine's monotonic ns."""

    key: Key
    metadata: FrameMetadata
    image: Image
    sealed: bytes
    received_at_ns: int
    opened_at_ns: int
    decoded_at_ns: int


@dataclass(frozen=True, slots=True)
class _Epoch:
    opener: Opener
    ahead: KeystreamAhead


class Pipeline:
    """Turns sealed bytes of one sender into pictures."""

    def __init__(
        self,
        backend: Backend,
        *,
        sender: int,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._backend = backend
        self._sender = sender
        self._clock_ns = clock_ns
        self._schedule = ReceiverSchedule(sender)
        self._epochs: dict[int, _Epoch] = {}
        self._decoders: dict[str, Decoder] = {}
        self._newest_index = -1

    def enter_epoch(self, secret: EpochSecret) -> None:
        """Take the keys of a new epoch; frames of the one before may still be on their way.

        Raises `HandshakeFailed` if the epoch does not follow those before.
        """
        keys = self._schedule.install(secret)
        ahead = KeystreamAhead(self._backend.keyed(keys.keystream_key))
        self._epochs[secret.epoch] = _Epoch(Opener(keys, self._sender, ahead), ahead)
        while len(self._epochs) > EPOCHS_KEPT:
            self._epochs.pop(min(self._epochs)).ahead.close()

    def process(self, received: ReceivedFrame) -> DecodedFrame:
        """Open and decode one frame.

        Raises a `FrameRejected`: `MalformedFrame`, `UnknownEpoch`, `AuthenticationFailed`,
        `Replayed`, `KeystreamDisagreed`, `DecodeFailed`, or `LateFrame`.
        """
        header = parse_header(received.data)
        epoch = self._epochs.get(header.epoch)
        if epoch is None:
            raise UnknownEpoch(f"no key is held for epoch {header.epoch}")
        opened = epoch.opener.open(received.data)
        metadata, payload = parse_inner(opened.inner)
        if metadata.index <= self._newest_index:
            raise LateFrame(metadata.index)
        opened_at = self._clock_ns()
        image = self._decoder(metadata.codec).decode(
            payload, width=metadata.width, height=metadata.height, channels=metadata.channels
        )
        self._newest_index = metadata.index
        return DecodedFrame(
            key=(header.epoch, header.counter),
            metadata=metadata,
            image=image,
            sealed=received.data,
            received_at_ns=received.received_at_ns,
            opened_at_ns=opened_at,
            decoded_at_ns=self._clock_ns(),
        )

    def close(self) -> None:
        """Forget the keys and stop the keystream's workers."""
        while self._epochs:
            self._epochs.popitem()[1].ahead.close()

    def _decoder(self, codec: str) -> Decoder:
        if codec not in self._decoders:
            self._decoders[codec] = open_decoder(codec)
        return self._decoders[codec]
