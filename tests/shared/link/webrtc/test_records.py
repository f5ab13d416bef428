"""DTLS records in and out: nothing that anybody sends stops the reader or leads it astray."""

from __future__ import annotations

import asyncio
import random

import pytest
from aiortc import RTCDtlsTransport
from OpenSSL import SSL

from shared.link.webrtc.records import MAX_RECORDS, MAX_WAITING, split_records
from shared.link.webrtc.sctp import ice_connection
from tests.shared.link.webrtc.test_sctp import Pair, until

pytestmark = pytest.mark.usefixtures("loop_complaints")


def record(body: bytes, kind: int = 23) -> bytes:
    return bytes((kind, 254, 253)) + bytes(8) + len(body).to_bytes(2, "big") + body


@pytest.fixture
async def pair():
    pair = Pair()
    await pair.connect()
    yield pair
    await pair.close()


def junk() -> list[bytes]:
    dice = random.Random(5)
    return [
        b"",
        b"\x16",
        bytes(12),
        *(bytes([first]) + dice.randbytes(60) for first in range(0, 256, 5)),
        record(b""),
        record(dice.randbytes(100)),
        record(dice.randbytes(40), kind=22),
        record(b"\2\50", kind=21),
        b"".join(record(dice.randbytes(10)) for _ in range(200)),
        record(bytes(5))[:-1],
        b"\x80\xc8" + dice.randbytes(60),  # RTCP, RTP
        b"\x2c" + dice.randbytes(40),  # a record of DTLS 1.3
    ]


async def test_what_is_no_record_of_the_other_end_changes_nothing(pair):
    for datagram in junk():
        pair.paths[1]._records.datagram_received(datagram)
    await asyncio.sleep(0.05)
    assert pair.sctp(1).transport.state == "connected"
    pair.paths[0].send(b"still heard")
    await until(lambda: pair.received[1] == [b"still heard"])


async def test_it_does_not_keep_a_handshake_from_ending_either():
    pair = Pair()
    prepare = pair._prepare

    def disturbed(end: int) -> None:
        prepare(end)
        loop = asyncio.get_running_loop()
        for i, datagram in enumerate(junk()):
            loop.call_later(i / 1_000, pair.paths[end]._records.datagram_received, datagram)

    pair._prepare = disturbed
    await pair.connect()
    pair.paths[0].send(b"heard")
    await until(lambda: pair.received[1] == [b"heard"])
    await pair.close()


@pytest.mark.parametrize("end", [0, 1])
@pytest.mark.parametrize("alert", [b"\1\0", b"\2\0", b"\2\50"], ids=["goodbye", "fatal", "failure"])
async def test_alerts_that_are_not_encrypted_do_not_end_a_handshake(end, alert):
    pair = Pair()
    prepare = pair._prepare

    def disturbed(prepared: int) -> None:
        prepare(prepared)
        if prepared != end:
            return
        records = pair.paths[end]._records
        receive = records.datagram_received

        def with_alerts(datagram: bytes) -> None:
            receive(record(alert, kind=21))
            receive(datagram)
            receive(record(alert, kind=21))

        ice_connection(pair.sctp(end)).on_data = with_alerts

    pair._prepare = disturbed
    await pair.connect()
    pair.paths[0].send(b"heard")
    await until(lambda: pair.received[1] == [b"heard"])
    await pair.close()


async def test_what_nobody_reads_yet_is_bounded():
    pair = Pair()
    pair.connections[0].createDataChannel("any")
    pair._prepare(0)
    records = pair.paths[0]._records
    for _ in range(3 * MAX_WAITING):
        records.datagram_received(record(bytes(100)))
    assert len(records._waiting) == MAX_WAITING
    await pair.close()


async def test_every_record_of_a_datagram_is_read(pair):
    ssl = pair.sctp(0).transport._ssl
    packets = []
    for i in range(5):
        ssl.send(bytes([i]) * 20)
        packets.append(ssl.bio_read(500))
    taken: list[bytes] = []
    pair.paths[1]._records._take = lambda data: taken.append(data) or True
    pair.paths[1]._records.datagram_received(b"".join(packets))
    assert taken == [bytes([i]) * 20 for i in range(5)]


async def test_a_datagram_of_many_records_is_read_so_far_and_nothing_is_left_behind(pair):
    ssl = pair.sctp(0).transport._ssl
    many = []
    for _ in range(40):
        ssl.send(b"x")
        many.append(ssl.bio_read(500))
    taken: list[bytes] = []
    records = pair.paths[1]._records
    records._take = lambda data: taken.append(data) or True
    records.datagram_received(b"".join(many))
    assert len(taken) == MAX_RECORDS
    with pytest.raises(SSL.WantReadError):
        pair.sctp(1).transport._ssl.recv(500)


async def test_the_other_ends_goodbye_closes(pair):
    await pair.sctp(0).transport.stop()
    await until(lambda: pair.sctp(1).transport.state == "closed")


async def test_a_handshake_that_makes_aiortc_stumble_has_failed(monkeypatch, caplog):
    async def stumble(_: RTCDtlsTransport) -> None:
        raise ValueError("from deep inside")

    pair = Pair()
    monkeypatch.setattr(RTCDtlsTransport, "_do_handshake", stumble)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await pair.connect()
    assert {pair.sctp(end).transport.state for end in (0, 1)} == {"failed"}
    assert "Traceback" not in caplog.text
    await pair.close()


async def test_nobody_renegotiates_and_a_records_size_is_not_forgotten():
    pair = Pair()
    pair.connections[0].createDataChannel("any")
    pair._prepare(0)
    records = pair.paths[0]._records
    context = records._create_ssl_context(srtp_profiles=pair.sctp(0).transport._srtp_profiles)
    options = context.set_options(0)
    assert options & SSL.OP_NO_RENEGOTIATION
    assert options & SSL.OP_NO_QUERY_MTU
    await pair.close()


def test_records_are_split_where_they_say_and_no_further():
    whole = [record(b"abc"), record(b""), record(bytes(700))]
    assert list(split_records(b"".join(whole))) == whole
    assert list(split_records(b"".join(whole)[:-1])) == whole[:2]
    assert list(split_records(whole[0] + b"\x16\xfe")) == whole[:1]
    assert list(split_records(b"\x2crest")) == [b"\x2crest"]
    assert list(split_records(b"")) == []
