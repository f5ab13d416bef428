"""A frame's way through the receiver: open -> (hold) -> decode, with the time of every step.

Synchronous and run in one worker thread of the session.  It holds the epochs' keys, two at most,
and refuses everything that does not pass every check, and to decode a frame without the one that
it builds on (`receiver.chain`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from receiver.chain import ChainGuard, Turn
from shared.codecs import Decoder, open_decoder
from shared.crypto.keyschedule import EPOCHS_KEPT, EpochSecret, ReceiverSchedule
from shared.crypto.sealing import Opener
from shared.errors import DecodeFailed, UnknownEpoch
from shared.frame import Image
from shared.keystream.ahead import KeystreamAhead
from shared.keystream.backend import Backend
from shared.link import ReceivedFrame
from shared.telemetry.records import DropReason
from shared.wire import SUITE, FrameMetadata, parse_header, parse_inner

__all__ = ["DecodedFrame", "FrameOutcome", "Key", "OpeningPipeline", "Receipt"]


Key = tuple[int, int]
"""(epoch, counter): names one sealed frame."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is known of a frame that was received, opened and decoded, but for its picture.

    Times are this machine's monotonic ns; `released_at_ns` is when it was free to be decoded: its
    reference was there.
    """

    key: Key
    metadata: FrameMetadata
    sealed_bytes: int
    received_at_ns: int
    opened_at_ns: int
    released_at_ns: int
    decoded_at_ns: int


@dataclass(frozen=True, slots=True, eq=False)
class DecodedFrame:
    """A frame that passed every check: its picture, and its bytes as they came."""

    arrival: Receipt
    image: Image
    sealed: bytes

    @property
    def metadata(self) -> FrameMetadata:
        """What the sender says of it."""
        return self.arrival.metadata


@dataclass(frozen=True, slots=True)
class FrameOutcome:
    """What became of a frame and of those that waited for it.

    `shown` are those that were decoded, in their order; more than one where all but the first had
    to wait for it.  `wants_key` is the newest index that could not be decoded, while the
    chain is broken; `held_until_ns` is when the pipeline's `expire` is to be called.  A `still` (of
    `still_index`; None where it could not be decoded) is no part of the stream.
    """

    shown: tuple[DecodedFrame, ...] = ()
    dropped: tuple[tuple[DropReason, int], ...] = ()
    still: DecodedFrame | None = None
    still_index: int | None = None
    wants_key: int | None = None
    held_until_ns: int | None = None


@dataclass(frozen=True, slots=True)
class _Opened:
    key: Key
    metadata: FrameMetadata
    payload: memoryview
    received: ReceivedFrame
    opened_at_ns: int


@dataclass(frozen=True, slots=True)
class _Epoch:
    opener: Opener
    ahead: KeystreamAhead


class OpeningPipeline:
    """Turns sealed bytes of one sender into pictures; `suite` is the one agreed on."""

    def __init__(
        self,
        backend: Backend,
        *,
        sender: int,
        suite: int = SUITE,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._backend = backend
        self._sender = sender
        self._suite = suite
        self._clock_ns = clock_ns
        self._schedule = ReceiverSchedule(sender)
        self._epochs: dict[int, _Epoch] = {}
        self._decoders: dict[str, Decoder] = {}
        self._still_decoders: dict[str, Decoder] = {}  # a still must not disturb a chain
        self._chain: ChainGuard[_Opened] = ChainGuard()
        self.awaited_still: int | None = None
        """The index whose still was asked for; others are passed over undecoded."""

    def enter_epoch(self, secret: EpochSecret) -> None:
        """Take the keys of a new epoch; frames of the one before may still be on their way.

        Raises `HandshakeFailed` if the epoch does not follow those before.
        """
        keys = self._schedule.install(secret)
        ahead = KeystreamAhead(self._backend.keyed(keys.keystream_key))
        opener = Opener(keys, self._sender, ahead, suite=self._suite)
        self._epochs[secret.epoch] = _Epoch(opener, ahead)
        while len(self._epochs) > EPOCHS_KEPT:
            self._epochs.pop(min(self._epochs)).ahead.close()

    def process(self, received: ReceivedFrame, patience_ns: int = 0) -> FrameOutcome:
        """Open one frame, and decode what can be decoded now.

        A frame whose reference is missing is held for up to `patience_ns`.  Raises a
        `FrameRejected` for a frame that can't be trusted or read: `MalformedFrame`,
        `UnknownEpoch`, `AuthenticationFailed`, `Replayed`, `KeystreamDisagreed`.  One that can't
        be decoded is told in the outcome.
        """
        opened = self._open(received)
        metadata = opened.metadata
        if metadata.still:
            return self._still(opened)
        turn = self._chain.offer(
            metadata.index, metadata.depends_on, opened, opened.opened_at_ns, patience_ns
        )
        return self._decode_run(turn)

    def expire(self) -> FrameOutcome:
        """Give up the frames that have waited for a reference long enough."""
        return self._decode_run(self._chain.expire(self._clock_ns()))

    def _open(self, received: ReceivedFrame) -> _Opened:
        header = parse_header(received.data)
        epoch = self._epochs.get(header.epoch)
        if epoch is None:
            raise UnknownEpoch(f"no key is held for epoch {header.epoch}")
        opened = epoch.opener.open(received.data, header)
        metadata, payload = parse_inner(opened.inner)
        if metadata.still:
            epoch.ahead.disregard_last()
        return _Opened(
            (header.epoch, header.counter), metadata, payload, received, self._clock_ns()
        )

    def _still(self, opened: _Opened) -> FrameOutcome:
        if self.awaited_still != opened.metadata.index:
            return self._outcome()
        decoder = self._decoder(opened.metadata.codec, self._still_decoders)
        still: DecodedFrame | None = None
        with suppress(DecodeFailed):  # whoever waits for it is told
            still = self._decode(opened, decoder, opened.opened_at_ns)
        outcome = self._outcome()
        return replace(outcome, still=still, still_index=opened.metadata.index)

    def _decode_run(self, turn: Turn[_Opened]) -> FrameOutcome:
        """Decode the frames of `turn`, each on top of the one before."""
        dropped = list(turn.dropped)
        shown: list[DecodedFrame] = []
        for place, opened in enumerate(turn.decode):
            # What follows in a run was held until the one before it was there.
            released_at_ns = shown[-1].arrival.decoded_at_ns if shown else opened.opened_at_ns
            decoder = self._decoder(opened.metadata.codec, self._decoders)
            try:
                shown.append(self._decode(opened, decoder, released_at_ns))
            except DecodeFailed:
                rest = [later.metadata.index for later in turn.decode[place + 1 :]]
                self._chain.failed(max([opened.metadata.index, *rest]))
                dropped.append((DropReason.DECODE_FAILED, opened.metadata.index))
                dropped += [(DropReason.MISSING_REFERENCE, index) for index in rest]
                break
        return self._outcome(tuple(shown), tuple(dropped))

    def _outcome(
        self,
        shown: tuple[DecodedFrame, ...] = (),
        dropped: tuple[tuple[DropReason, int], ...] = (),
    ) -> FrameOutcome:
        return FrameOutcome(
            shown,
            dropped,
            wants_key=self._chain.wants_key,
            held_until_ns=self._chain.held_until_ns,
        )

    def _decode(self, opened: _Opened, decoder: Decoder, released_at_ns: int) -> DecodedFrame:
        metadata = opened.metadata
        image = decoder.decode(
            opened.payload,
            width=metadata.width,
            height=metadata.height,
            channels=metadata.channels,
            key=metadata.depends_on is None,
        )
        received = opened.received
        arrival = Receipt(
            key=opened.key,
            metadata=metadata,
            sealed_bytes=len(received.data),
            received_at_ns=received.received_at_ns,
            opened_at_ns=opened.opened_at_ns,
            released_at_ns=released_at_ns,
            decoded_at_ns=self._clock_ns(),
        )
        return DecodedFrame(arrival, image, received.data)

    def close(self) -> None:
        """Forget the keys and stop the keystream's workers."""
        while self._epochs:
            self._epochs.popitem()[1].ahead.close()

    @staticmethod
    def _decoder(codec: str, decoders: dict[str, Decoder]) -> Decoder:
        if codec not in decoders:
            decoders[codec] = open_decoder(codec)
        return decoders[codec]
