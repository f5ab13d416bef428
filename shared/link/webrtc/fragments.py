"""Messages of more than one SCTP chunk, put together, and never more held than was promised.

Pure.  `Fragments` takes the ordered chunks of one association, whatever stream they name, and gives
back whole messages in each stream's order (RFC 9260 section 6.6).  It holds at most the window that
this end advertised, in few streams and few chunks; who sends more breaks the protocol, and has
nothing to say that is worth the memory.  Every chunk costs the same, however many are held.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = [
    "MAX_HELD_CHUNKS",
    "MAX_STREAMS",
    "WINDOW_BYTES",
    "Fragments",
    "ProtocolBroken",
    "SctpMessage",
]

WINDOW_BYTES = 1024 * 1024  # what aiortc advertises at first
MAX_HELD_CHUNKS = 4096  # the window in chunks of 256 bytes; aiortc's hold 1,160, ours 476 and more
MAX_STREAMS = 4  # our two, and two that are about to be closed
MAX_MESSAGE_BYTES = 64 * 1024  # a control message with its kind; frames travel in single chunks

_TSN_MODULO = 2**32
_SEQUENCE_MODULO = 2**16

BEGIN = 0x02
END = 0x01


class ProtocolBroken(Exception):
    """The other end did what no SCTP stack does; the text says what, as a clause about it."""


class SctpMessage(NamedTuple):
    stream: int
    protocol: int
    data: bytes


@dataclass(slots=True)
class _Partial:
    """The pieces of one message, by TSN."""

    protocol: int = 0
    first: int | None = None
    last: int | None = None
    nbytes: int = 0
    pieces: dict[int, bytes] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        if self.first is None or self.last is None:
            return False
        return (self.last - self.first) % _TSN_MODULO + 1 == len(self.pieces)

    def join(self) -> bytes:
        """The message; raises `ProtocolBroken` if its pieces are not those between the two ends."""
        first = self.first or 0
        try:
            numbers = range(first, first + len(self.pieces))
            return b"".join(self.pieces[tsn % _TSN_MODULO] for tsn in numbers)
        except KeyError:
            raise ProtocolBroken("sent a message whose pieces do not fit together") from None


@dataclass(slots=True)
class _Stream:
    """What one stream waits for: the message `expected`, and what has come of later ones."""

    expected: int = 0
    partials: dict[int, _Partial] = field(default_factory=dict)


class Fragments:
    """Puts ordered messages together.  `held_nbytes` and `held_chunks` are what waits for more."""

    def __init__(self) -> None:
        self.held_nbytes = 0
        self.held_chunks = 0
        self._streams: dict[int, _Stream] = {}

    @property
    def window_nbytes(self) -> int:
        """How much more may come: what an acknowledgement advertises."""
        return WINDOW_BYTES - self.held_nbytes

    def add(
        self, tsn: int, flags: int, stream: int, sequence: int, protocol: int, data: bytes
    ) -> list[SctpMessage]:
        """Take a chunk that had not come before, and return what is whole now, in order.

        Raises `ProtocolBroken` for more than may be held, and for pieces that contradict each
        other.
        """
        state = self._streams.get(stream)
        if state is None:
            if len(self._streams) >= MAX_STREAMS:
                return []
            state = self._streams[stream] = _Stream()
        ahead = (sequence - state.expected) % _SEQUENCE_MODULO
        if ahead >= _SEQUENCE_MODULO // 2:
            return []  # of a message that was passed over
        if len(data) > self.window_nbytes or self.held_chunks >= MAX_HELD_CHUNKS:
            raise ProtocolBroken("sent more than it was allowed to have under way")
        partial = state.partials.setdefault(sequence, _Partial())
        if flags & BEGIN:
            if partial.first is not None:
                raise ProtocolBroken("began one message twice")
            partial.first, partial.protocol = tsn, protocol
        if flags & END:
            if partial.last is not None:
                raise ProtocolBroken("ended one message twice")
            partial.last = tsn
        partial.pieces[tsn] = data
        partial.nbytes += len(data)
        self.held_nbytes += len(data)
        self.held_chunks += 1
        if partial.nbytes > MAX_MESSAGE_BYTES:
            raise ProtocolBroken("sent a message larger than a link has")
        return self._ready(stream, state)

    def pass_over(self, sequences: Mapping[int, int]) -> list[SctpMessage]:
        """Wait no more for messages up to the given one of each stream (RFC 3758 section 3.6)."""
        ready: list[SctpMessage] = []
        for stream, sequence in sequences.items():
            state = self._streams.get(stream)
            if state is None:
                continue
            skipped = (sequence + 1 - state.expected) % _SEQUENCE_MODULO
            if skipped >= _SEQUENCE_MODULO // 2:
                continue  # that was long ago
            # Whichever is less work: a peer may skip much where little is held, or the reverse.
            gone = (
                [
                    number
                    for number in state.partials
                    if (number - state.expected) % _SEQUENCE_MODULO < skipped
                ]
                if skipped > len(state.partials)
                else [(state.expected + i) % _SEQUENCE_MODULO for i in range(skipped)]
            )
            for number in gone:
                self._drop(state, number)
            state.expected = (sequence + 1) % _SEQUENCE_MODULO
            ready += self._ready(stream, state)
        return ready

    def reset(self, stream: int) -> None:
        """The other end begins the stream anew (RFC 6525): forget what it had sent on it."""
        state = self._streams.pop(stream, None)
        if state is not None:
            for number in list(state.partials):
                self._drop(state, number)

    def _ready(self, stream: int, state: _Stream) -> list[SctpMessage]:
        ready: list[SctpMessage] = []
        while (partial := state.partials.get(state.expected)) is not None and partial.whole:
            ready.append(SctpMessage(stream, partial.protocol, partial.join()))
            self._drop(state, state.expected)
            state.expected = (state.expected + 1) % _SEQUENCE_MODULO
        return ready

    def _drop(self, state: _Stream, number: int) -> None:
        partial = state.partials.pop(number, None)
        if partial is not None:
            self.held_nbytes -= partial.nbytes
            self.held_chunks -= len(partial.pieces)
