"""What comes on the two channels of a link: packets, reports, pings, probes, goodbyes, in rows.

An input is a row of messages; the first byte of each says on which channel, and how long after the
one before it comes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from shared.errors import BadInput, LinkFailed, MalformedFrame, PeerGone
from shared.link.connection import Connection
from shared.link.messages import (
    SIZED,
    Packet,
    Report,
    cut,
    pack_app,
    pack_bye,
    pack_packet,
    pack_ping,
    pack_pong,
    pack_report,
)
from shared.link.pathmtu import PathMtu, answer_probe, pack_probe, parse_probe_ack
from tests.fuzz.inputs import join, split

START_NS = 10**12
WAITS_NS = (0, 100_000, 20_000_000, 700_000_000)
CONTROL = 4  # bit of the first byte; the two below it choose the wait

MOST_ANSWERED = 4_000  # bytes that one message of any kind may make this end send, its frame apart


def one(data: bytes) -> None:
    now_ns = START_NS
    connection = Connection()
    connection.opened(now_ns)
    connection.accept_frames()
    search = PathMtu(now_ns)
    with contextlib.suppress(BadInput, LinkFailed, PeerGone):
        connection.send_frame(bytes(3_000), now_ns)
    for message in split(data):
        if not message:
            continue
        connection.turn()
        search.poll(now_ns, 50_000_000)
        how, body = message[0], message[1:]
        now_ns += WAITS_NS[how & 3]
        connection.wake(now_ns)
        connection.turn()
        if how & CONTROL:
            connection.receive_control_message(body, now_ns)
        else:
            connection.receive_frames_message(body, now_ns)
        answered = connection.turn().frames
        assert sum(map(len, answered)) <= MOST_ANSWERED + len(body)
        with contextlib.suppress(MalformedFrame):
            assert len(answer_probe(body)) <= len(body)
        with contextlib.suppress(MalformedFrame):
            search.on_ack(parse_probe_ack(body), now_ns)
        while connection.take_frame() is not None:
            pass
    connection.turn()
    connection.path(now_ns)


def seeds() -> Iterator[tuple[str, bytes]]:
    frame = bytes(range(256)) * 12
    shape = cut(len(frame))
    for name, kind, made in (("packets", 1, shape), ("sized-packets", SIZED, cut(len(frame), 600))):
        size = made.symbol_bytes
        pieces = [frame[i * size : (i + 1) * size].ljust(size, b"\0") for i in range(made.symbols)]
        packets = [
            pack_packet(Packet(i, 0, len(frame), 0, i, piece), kind)
            for i, piece in enumerate(pieces)
        ]
        yield name, join(b"\0" + packet for packet in packets)
    reports = [pack_report(Report(0, START_NS, (1, 0, 3))), pack_report(Report(1, START_NS, (0,)))]
    yield "reports", join(b"\2" + report for report in reports)
    yield "pings", join([b"\0" + pack_ping(5), b"\1" + pack_pong(5, 6, 7)])
    yield "probes", join([b"\0" + pack_probe(0, 440), b"\0" + answer_probe(pack_probe(1, 440))])
    yield "control", join([b"\4" + pack_app(b"a word"), b"\4" + pack_app(b""), b"\4" + pack_bye()])
    yield "farewell", join([b"\3\x09"])
