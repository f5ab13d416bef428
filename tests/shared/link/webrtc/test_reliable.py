"""What is sent reliably outlives silence, goes by the monotonic clock, and fits a small path."""

from __future__ import annotations

import asyncio

import pytest
from aiortc import RTCPeerConnection, rtcsctptransport

from shared.link.webrtc import records, reliable
from shared.link.webrtc.fragments import ProtocolBroken
from shared.link.webrtc.reliable import (
    LEAST_DATAGRAM_BYTES,
    MIN_CONGESTION_WINDOW_BYTES,
    RTO_MAX_S,
    RTO_MIN_S,
)
from shared.link.webrtc.sctp import UnreliablePath
from tests.shared.link.webrtc.test_sctp import Pair, lose, until

pytestmark = pytest.mark.usefixtures("loop_complaints")


@pytest.fixture
async def pair():
    pair = Pair()
    await pair.connect()
    yield pair
    await pair.close()


@pytest.fixture
async def path():
    connection = RTCPeerConnection()
    connection.createDataChannel("any")
    yield UnreliablePath(connection.sctp, lambda message: None)
    await connection.close()


def fall_silent(pair: Pair):
    """From now on nothing that either end sends gets through; returns what ends that."""
    dtls = [pair.sctp(end).transport for end in (0, 1)]
    sends = [each.transport._send for each in dtls]

    async def lost(_: bytes) -> None:
        return

    for each in dtls:
        each.transport._send = lost

    def speak() -> None:
        for each, send in zip(dtls, sends, strict=True):
            each.transport._send = send

    return speak


class TestSilence:
    async def test_no_number_of_timeouts_ends_the_association(self, pair):
        """As many as come in an hour, and of every kind."""
        got: list[str] = []
        pair.other_control.on("message", got.append)
        speak = fall_silent(pair)
        pair.control.send("after an hour")
        pair.connections[0].createDataChannel("other").close()
        await until(lambda: pair.sctp(0)._sent_queue)
        for _ in range(1_000):
            pair.sctp(0)._t3_cancel()
            pair.sctp(0)._t3_expired()
            if pair.sctp(0)._reconfig_request is not None:
                pair.sctp(0)._reconfig_timer_cancel()
                pair.sctp(0)._reconfig_timer_expired()
            await asyncio.sleep(0)
        assert pair.sctp(0).state == "connected"
        assert pair.control.readyState == "open"
        speak()
        pair.paths[0].resume()
        await until(lambda: got)
        assert got == ["after an hour"]

    async def test_timeouts_grow_in_silence_and_not_beyond_what_a_person_waits_for(self, pair):
        fall_silent(pair)
        pair.control.send("x")
        await until(lambda: pair.sctp(0)._sent_queue)
        seen = []
        for _ in range(12):
            pair.sctp(0)._t3_cancel()
            pair.sctp(0)._t3_expired()
            seen.append(pair.sctp(0)._rto)
        assert seen[0] == seen[2]  # bad luck
        assert seen[3] == 2 * seen[2]  # silence
        assert seen[-1] == RTO_MAX_S

    async def test_the_first_word_after_silence_brings_out_what_waits(self, pair, monkeypatch):
        got: list[str] = []
        pair.other_control.on("message", got.append)
        speak = fall_silent(pair)
        pair.control.send("waits")
        sctp = pair.sctp(0)
        await until(lambda: sctp._sent_queue)
        for _ in range(12):
            sctp._t3_cancel()
            sctp._t3_expired()
            await asyncio.sleep(0)
        await until(lambda: sctp._t3_handle is not None)
        due = sctp._t3_handle.when()
        monkeypatch.setattr(records, "SILENCE_S", 0.0)
        speak()
        assert got == []
        pair.paths[1].send(b"a sign of life")
        await until(lambda: got)
        assert asyncio.get_running_loop().time() < due
        await until(lambda: not sctp._sent_queue)
        assert sctp._rto < RTO_MAX_S

    async def test_a_handshake_is_said_again_for_as_long_as_the_link_waits(self, path):
        sctp = path._sctp
        sctp._t1_start(rtcsctptransport.InitChunk())
        for _ in range(100):
            sctp._t1_handle.cancel()
            sctp._t1_expired()
        assert sctp._t1_handle is not None
        path.resume()
        assert sctp._t1_handle is not None
        sctp._t1_cancel()

    async def test_resuming_where_nothing_waits_does_nothing(self, pair):
        await until(lambda: not pair.sctp(0)._sent_queue)
        pair.paths[0].resume()
        assert pair.sctp(0)._t3_handle is None

    async def test_frames_that_were_lost_in_silence_are_passed_over_at_once(self, pair):
        lose(pair, 0, 1.0)
        pair.paths[0].send(*[b"x"] * 50)
        await asyncio.sleep(0.3)
        pair.paths[0].resume()
        assert not pair.paths[0]._sent


class TestClock:
    async def test_a_leap_of_the_time_of_day_is_no_round_trip(self, pair, monkeypatch):
        leap = [0.0]
        time_of_day = rtcsctptransport.time.time
        monkeypatch.setattr(
            rtcsctptransport.time, "time", lambda: time_of_day() + leap[0], raising=True
        )
        for hours in (1, -5, 100, 0):
            pair.control.send("x")
            leap[0] = hours * 3600.0
            await until(lambda: not pair.sctp(0)._sent_queue)
            assert 0.0 <= pair.sctp(0)._srtt < 30.0
            assert RTO_MIN_S <= pair.sctp(0)._rto <= RTO_MAX_S

    async def test_cookies_are_stamped_by_the_monotonic_clock(self, path, monkeypatch):
        monkeypatch.setattr(reliable.time, "monotonic", lambda: 77.9)
        assert path._sctp._get_timestamp() == 77

    async def test_the_timeout_starts_at_one_second_and_follows_the_round_trip(self, path):
        sctp, ours = path._sctp, path._reliable
        assert sctp._rto == 1.0
        for rtt_s, least, most in ((0.01, RTO_MIN_S, RTO_MIN_S), (0.5, 0.5, 0.6), (99.0, 3.0, 3.0)):
            for _ in range(100):
                ours._rtt_s = rtt_s
                sctp._update_rto(12345.0)
            assert least <= sctp._rto <= most

    async def test_the_congestion_window_never_stays_below_its_floor(self, path):
        path._sctp._cwnd = 1
        await path._sctp._transmit()
        assert path._sctp._cwnd == MIN_CONGESTION_WINDOW_BYTES


class TestSmallPaths:
    async def test_a_link_is_made_and_talks_in_datagrams_that_any_path_takes(self, monkeypatch):
        pair, sizes = Pair(), []

        def watch(end: int) -> None:
            prepare(end)
            transport = pair.sctp(end).transport.transport
            send = transport._send

            async def sized(datagram: bytes) -> None:
                sizes.append(len(datagram))
                if len(datagram) <= 548:  # of 576 bytes, IP and UDP have 28
                    await send(datagram)

            transport._send = sized

        prepare, pair._prepare = pair._prepare, watch
        await pair.connect()
        try:
            got: list[str] = []
            pair.other_control.on("message", got.append)
            words = ["short", "x" * 60_000, "y" * 477]
            for word in words:
                pair.control.send(word)
            await until(lambda: len(got) == 3)
            assert got == words
            assert max(sizes) <= LEAST_DATAGRAM_BYTES
        finally:
            await pair.close()

    @pytest.mark.parametrize(("nbytes", "largest"), [(1_200, 1_200), (9_000, 1_225), (80, 80)])
    async def test_what_a_path_is_known_to_take_is_used(self, pair, nbytes, largest):
        sizes: list[int] = []
        transport = pair.sctp(0).transport.transport
        send = transport._send

        async def sized(datagram: bytes) -> None:
            sizes.append(len(datagram))
            await send(datagram)

        transport._send = sized
        got: list[str] = []
        pair.other_control.on("message", got.append)
        pair.paths[0].set_datagram_bytes(nbytes)
        pair.control.send("z" * 2_000)
        await until(lambda: got)
        assert largest - 8 < max(sizes) <= largest


class TestAcknowledgements:
    async def test_blocks_cost_what_was_sent_and_say_what_aiortcs_own_reading_says(self, pair):
        """The chunks that are struck and those that are held for acknowledged are the same."""
        ours = pair.paths[0]._reliable
        lose(pair, 0, 1.0)
        fall_silent(pair)
        pair.control.send("x" * 8_000)
        sctp = pair.sctp(0)
        await until(lambda: len(sctp._sent_queue) >= 10)
        base = (sctp._sent_queue[0].tsn - 1) % 2**32
        assert ours._covered(base, (2, 3, 5, 5, 9, 65535)) == [
            (at, at) for at in (2, 3, 5, *range(9, len(sctp._sent_queue) + 1))
        ]
        assert ours._covered(base, ()) == []
        assert ours._covered(base, (3, 2, 65535, 0)) == []

    @pytest.mark.parametrize("ahead", [1, 2, 1_000, 2**31 - 1, 2**31])
    async def test_what_was_never_sent_is_acknowledged_by_nobody(self, pair, ahead):
        await until(lambda: not pair.sctp(0)._sent_queue)
        last = (pair.sctp(0)._local_tsn - 1) % 2**32
        await pair.paths[0]._reliable.acknowledged(last, ())
        with pytest.raises(ProtocolBroken):
            await pair.paths[0]._reliable.acknowledged((last + ahead) % 2**32, ())
        with pytest.raises(ProtocolBroken):
            await pair.paths[0]._reliable.acknowledged(last, (1, min(ahead, 65535)))

    async def test_what_waits_to_be_sent_is_not_there_yet(self, pair):
        fall_silent(pair)
        pair.control.send("x" * 60_000)
        sctp = pair.sctp(0)
        await until(lambda: sctp._outbound_queue)
        with pytest.raises(ProtocolBroken):
            await pair.paths[0]._reliable.acknowledged(sctp._outbound_queue[0].tsn, ())

    async def test_a_peer_that_acknowledges_nothing_is_not_told_without_end(self, pair):
        words: list[str] = []
        pair.paths[0]._broken = words.append
        fall_silent(pair)
        for _ in range(200):
            pair.control.send("x" * 60_000)
        await until(lambda: words)
        assert words == ["acknowledges nothing of what it is told"]
        waiting = sum(len(data) for _, _, data in pair.sctp(0)._data_channel_queue)
        assert waiting <= reliable.MAX_WAITING_BYTES + 120_000
