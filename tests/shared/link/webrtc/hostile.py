"""A peer's end of an association in hostile hands: every packet that no honest stack sends.

`ATTACKS` names one kind each; an attack yields raw SCTP packets, as many as it is asked for.
`Hostile` sends them over a real association of aiortc, past all that would stop it.
"""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import Callable, Iterator
from itertools import count, islice

from aiortc import RTCSctpTransport
from google_crc32c import value as crc32c

TSN = 2**32
FRAGMENT = 1_000

Attack = Callable[["Hostile"], Iterator[bytes]]


def chunk(kind: int, body: bytes = b"", flags: int = 0, length: int | None = None) -> bytes:
    stated = len(body) + 4 if length is None else length
    return struct.pack("!BBH", kind, flags, stated) + body + bytes(-len(body) % 4)


def parameter(kind: int, value: bytes = b"", length: int | None = None) -> bytes:
    stated = len(value) + 4 if length is None else length
    return struct.pack("!HH", kind, stated) + value + bytes(-len(value) % 4)


def data(
    tsn: int,
    user_data: bytes,
    *,
    flags: int = 3,
    stream: int = 0,
    sequence: int = 0,
    protocol: int = 53,
) -> bytes:
    head = struct.pack("!LHHL", tsn % TSN, stream, sequence % 2**16, protocol)
    return chunk(0, head + user_data, flags)


def sack(cumulative: int, gaps: list[tuple[int, int]] = (), duplicates: int = 0) -> bytes:  # type: ignore[assignment]
    body = struct.pack("!LLHH", cumulative % TSN, 1 << 20, len(gaps), duplicates)
    body += b"".join(struct.pack("!HH", *gap) for gap in gaps)
    return chunk(3, body + bytes(4 * duplicates))


def channel_open(
    label: bytes, protocol: bytes = b"", lengths: tuple[int, int] | None = None
) -> bytes:
    label_length, protocol_length = lengths or (len(label), len(protocol))
    return struct.pack("!BBHLHH", 3, 0, 0, 0, label_length, protocol_length) + label + protocol


class Hostile:
    """Sends what it likes over `sctp`, an established association of a real peer."""

    def __init__(self, sctp: RTCSctpTransport, seed: int = 1) -> None:
        self.sctp = sctp
        self.dice = random.Random(seed)

    @property
    def next_tsn(self) -> int:
        """Ours, that the other end waits for."""
        return self.sctp._local_tsn

    @property
    def their_tsn(self) -> int:
        """The last that we have of theirs."""
        return self.sctp._last_received_tsn or 0

    @property
    def closed(self) -> bool:
        return self.sctp.transport.state != "connected" or self.sctp.state == "closed"

    def packet(self, *chunks: bytes, tag: int | None = None) -> bytes:
        tag = self.sctp._remote_verification_tag if tag is None else tag
        head = struct.pack("!HHL", self.sctp._local_port, self.sctp._remote_port, tag)
        body = b"".join(chunks)
        return head + struct.pack("<L", crc32c(head + bytes(4) + body)) + body

    async def send(self, packet: bytes) -> None:
        if not self.closed:
            await self.sctp.transport._send_data(packet)

    async def attack(self, attack: Attack, packets: int, at_once: int = 20) -> int:
        """Send so many, some at once; returns how many left before the link was over."""
        sent = 0
        for packet in islice(attack(self), packets):
            if self.closed:
                break
            await self.send(packet)
            sent += 1
            if sent % at_once == 0:
                await asyncio.sleep(0.001)
        return sent


# -- acknowledgements -----------------------------------------------------------------------------


def gaps_over_everything(peer: Hostile) -> Iterator[bytes]:
    while True:
        yield peer.packet(sack(peer.their_tsn, [(0, 65535)] * 280))


def gaps_that_contradict(peer: Hostile) -> Iterator[bytes]:
    """Backwards, overlapping, of nothing."""
    while True:
        gaps = [(peer.dice.randint(0, 65535), peer.dice.randint(0, 65535)) for _ in range(280)]
        yield peer.packet(sack(peer.their_tsn, gaps))


def acknowledged_before_sent(peer: Hostile) -> Iterator[bytes]:
    for ahead in count(1_000, 1_000):
        yield peer.packet(sack(peer.their_tsn + ahead))


def lists_longer_than_their_chunk(peer: Hostile) -> Iterator[bytes]:
    while True:
        body = struct.pack("!LLHH", peer.their_tsn, 0, 65535, 65535)
        yield peer.packet(chunk(3, body))


def duplicates_told_without_end(peer: Hostile) -> Iterator[bytes]:
    while True:
        yield peer.packet(sack(peer.their_tsn, duplicates=280))


def stale_acknowledgements(peer: Hostile) -> Iterator[bytes]:
    while True:
        yield peer.packet(sack(peer.their_tsn - peer.dice.randint(1, 2**31 - 1), [(2, 65535)]))


# -- data -----------------------------------------------------------------------------------------


def middle_fragments(peer: Hostile) -> Iterator[bytes]:
    """Of one ordered message that has neither beginning nor end."""
    for i in count():
        yield peer.packet(data(peer.next_tsn + i, bytes(FRAGMENT), flags=0, sequence=7))


def beginnings(peer: Hostile) -> Iterator[bytes]:
    for i in count():
        tsn = peer.next_tsn + 2 * i
        yield peer.packet(data(tsn, bytes(FRAGMENT), flags=2, sequence=i + 1))


def tiny_fragments(peer: Hostile) -> Iterator[bytes]:
    for i in count(step=50):
        yield peer.packet(
            *(data(peer.next_tsn + 2 * (i + j), b"x", flags=0, sequence=i + j) for j in range(50))
        )


def unordered_fragments(peer: Hostile) -> Iterator[bytes]:
    for i in count():
        yield peer.packet(data(peer.next_tsn + 2 * i, bytes(FRAGMENT), flags=4))


def fragments_of_every_stream(peer: Hostile) -> Iterator[bytes]:
    for i in count():
        yield peer.packet(data(peer.next_tsn + i, bytes(FRAGMENT), flags=2, stream=i % 65536))


def one_huge_message(peer: Hostile) -> Iterator[bytes]:
    yield peer.packet(data(peer.next_tsn, bytes(FRAGMENT), flags=2, sequence=1))
    for i in count(1):
        yield peer.packet(data(peer.next_tsn + i, bytes(FRAGMENT), flags=0, sequence=1))


def messages_far_ahead(peer: Hostile) -> Iterator[bytes]:
    """Whole ones, that all wait for one that never comes."""
    for i in count(1):
        yield peer.packet(data(peer.next_tsn + i, bytes(FRAGMENT), sequence=i + 100))


def scattered_numbers(peer: Hostile) -> Iterator[bytes]:
    while True:
        yield peer.packet(data(peer.next_tsn + peer.dice.getrandbits(15), b"x", flags=7, stream=9))


def the_same_number(peer: Hostile) -> Iterator[bytes]:
    while True:
        yield peer.packet(*[data(peer.next_tsn - 1, b"x")] * 50)


def empty_data(peer: Hostile) -> Iterator[bytes]:
    for i in count():
        yield peer.packet(data(peer.next_tsn + i, b""), chunk(0, b"\0" * 7))


# -- numbers passed over --------------------------------------------------------------------------


def forward_far(peer: Hostile) -> Iterator[bytes]:
    for i in count(1):
        streams = b"".join(struct.pack("!HH", s, peer.dice.getrandbits(16)) for s in range(280))
        yield peer.packet(
            chunk(192, struct.pack("!L", (peer.next_tsn + 9_999_999 * i) % TSN) + streams)
        )


def forward_one_stream_often(peer: Hostile) -> Iterator[bytes]:
    for i in count(1):
        streams = struct.pack("!HH", 0, (i * 7) % 2**16) * 280
        yield peer.packet(chunk(192, struct.pack("!L", (peer.next_tsn + i) % TSN) + streams))


def forward_cut_short(peer: Hostile) -> Iterator[bytes]:
    while True:
        yield peer.packet(chunk(192, b"\0\0\0"), chunk(192, bytes(6)))


# -- the association ------------------------------------------------------------------------------


def parameters_of_no_length(peer: Hostile) -> Iterator[bytes]:
    """aiortc reads the same one for ever."""
    while True:
        for kind in (4, 5, 6, 9, 130):
            yield peer.packet(chunk(kind, parameter(1, length=0) * 20))
        yield peer.packet(chunk(1, bytes([0, 0, 0, 1] * 4) + parameter(1, length=0)), tag=0)


def parameters_that_lie(peer: Hostile) -> Iterator[bytes]:
    while True:
        for length in (1, 3, 5, 65535):
            for kind in (4, 9, 130):
                yield peer.packet(chunk(kind, parameter(13, bytes(9), length=length)))


def inits(peer: Hostile) -> Iterator[bytes]:
    for i in count(1):
        yield peer.packet(chunk(1, struct.pack("!LLHHL", i, 1 << 20, 9, 9, i)), tag=0)


def short_inits(peer: Hostile) -> Iterator[bytes]:
    while True:
        yield peer.packet(chunk(1, b"\0\0\0\1"), tag=0)
        yield peer.packet(chunk(2, b"\0\0\0\1"))
        yield peer.packet(chunk(1, bytes(16)), chunk(1, bytes(16)), tag=0)


def cookies(peer: Hostile) -> Iterator[bytes]:
    while True:
        yield peer.packet(chunk(10, peer.dice.randbytes(24)))
        yield peer.packet(chunk(11))


def heartbeats(peer: Hostile) -> Iterator[bytes]:
    while True:
        yield peer.packet(chunk(4, parameter(1, bytes(1_000))))


def many_heartbeats_a_packet(peer: Hostile) -> Iterator[bytes]:
    while True:
        yield peer.packet(*[chunk(4, parameter(1, b"abcd"))] * 70)


def aborts_of_another(peer: Hostile) -> Iterator[bytes]:
    while True:
        yield peer.packet(chunk(6), tag=peer.dice.getrandbits(32))
        yield peer.packet(chunk(6), tag=0)


def errors(peer: Hostile) -> Iterator[bytes]:
    while True:
        yield peer.packet(chunk(9, parameter(3, bytes(8))))
        yield peer.packet(chunk(8), chunk(14))


def unknown_chunks(peer: Hostile) -> Iterator[bytes]:
    while True:
        yield peer.packet(*(chunk(peer.dice.choice((63, 128, 200, 255))) for _ in range(280)))
        yield peer.packet(chunk(77, bytes(1_000)))


def bad_lengths(peer: Hostile) -> Iterator[bytes]:
    while True:
        for length in (0, 1, 3, 65535):
            yield peer.packet(chunk(0, bytes(20), length=length))


def noise(peer: Hostile) -> Iterator[bytes]:
    while True:
        yield peer.packet(peer.dice.randbytes(peer.dice.randint(0, 1_100)))
        yield peer.dice.randbytes(peer.dice.randint(1, 1_100))


# -- streams and channels -------------------------------------------------------------------------


def resets_that_wait(peer: Hostile) -> Iterator[bytes]:
    """Of streams whose data never comes."""
    for i in count(1):
        request = struct.pack("!LLL", i, 0, (peer.next_tsn + 2**30) % TSN)
        yield peer.packet(chunk(130, parameter(13, request + struct.pack("!H", 9) * 400)))


def resets_cut_short(peer: Hostile) -> Iterator[bytes]:
    while True:
        yield peer.packet(chunk(130, parameter(13, bytes(5)) + parameter(16) + parameter(17)))
        yield peer.packet(chunk(130, parameter(13, bytes(13))))
        yield peer.packet(chunk(130, parameter(16, bytes(8))))


def streams_without_end(peer: Hostile) -> Iterator[bytes]:
    for i in count():
        yield peer.packet(chunk(130, parameter(17, struct.pack("!LHH", i, 65535, 0))))


def channels_without_end(peer: Hostile) -> Iterator[bytes]:
    for i in count():
        told = channel_open(b"more")
        yield peer.packet(
            data(peer.next_tsn + i, told, stream=(100 + 2 * i) % 65536, protocol=50, flags=7)
        )


def channels_that_lie(peer: Hostile) -> Iterator[bytes]:
    tsn = count(peer.next_tsn)
    while True:
        for told in (
            channel_open(b"\xff\xfe", b"\xff"),
            channel_open(b"x", lengths=(65535, 65535)),
            channel_open(b"x" * 800),
            b"\x03",
            b"\x02",
            b"\x02" + bytes(20),
        ):
            yield peer.packet(data(next(tsn), told, stream=50, protocol=50, flags=7))


def channels_opened_twice(peer: Hostile) -> Iterator[bytes]:
    for i in count():
        stream = next(iter(peer.sctp._data_channels), 0)
        told = channel_open(b"control")
        yield peer.packet(data(peer.next_tsn + i, told, stream=stream, protocol=50, flags=7))


def text_that_is_none(peer: Hostile) -> Iterator[bytes]:
    for i in count():
        stream = next(iter(peer.sctp._data_channels), 0)
        yield peer.packet(data(peer.next_tsn + i, b"\xff\xfe", stream=stream, protocol=51, flags=7))


ATTACKS: dict[str, Attack] = {
    attack.__name__: attack
    for attack in (
        gaps_over_everything, gaps_that_contradict, acknowledged_before_sent,
        lists_longer_than_their_chunk, duplicates_told_without_end, stale_acknowledgements,
        middle_fragments, beginnings, tiny_fragments, unordered_fragments,
        fragments_of_every_stream, one_huge_message, messages_far_ahead, scattered_numbers,
        the_same_number, empty_data, forward_far, forward_one_stream_often, forward_cut_short,
        parameters_of_no_length, parameters_that_lie, inits, short_inits, cookies, heartbeats,
        many_heartbeats_a_packet, aborts_of_another, errors, unknown_chunks, bad_lengths, noise,
        resets_that_wait, resets_cut_short, streams_without_end, channels_without_end,
        channels_that_lie, channels_opened_twice, text_that_is_none,
    )
}  # fmt: skip
