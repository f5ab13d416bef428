"""Messages past SCTP's queues, and the private names of aiortc that this rests on, one by one."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import random

import pytest
from aiortc import (
    RTCDataChannel,
    RTCDtlsTransport,
    RTCPeerConnection,
    RTCSctpTransport,
    rtcsctptransport,
)

from shared.link.messages import MAX_MESSAGE_BYTES, OVERHEAD_BYTES
from shared.link.webrtc import sctp as module
from shared.link.webrtc import webrtc_link
from shared.link.webrtc.agent import IceAgent
from shared.link.webrtc.ice import install_agent
from shared.link.webrtc.inbound import MAX_AHEAD, MAX_DUPLICATES, MAX_GAPS
from shared.link.webrtc.sctp import UnreliablePath


class Pair:
    """Two bare associations on loopback, each with an unreliable path for channel "frames"."""

    def __init__(self) -> None:
        self.connections = [RTCPeerConnection(), RTCPeerConnection()]
        self.received: tuple[list[bytes], list[bytes]] = ([], [])
        self.paths: list[UnreliablePath] = []

    async def connect(self) -> None:
        ours, theirs = self.connections
        self.control = ours.createDataChannel("control")
        frames = ours.createDataChannel("frames", ordered=False, maxRetransmits=0)
        adopted: dict[str, object] = {}
        both = asyncio.Event()

        def adopt(channel):
            adopted[channel.label] = channel
            if len(adopted) == 2:
                both.set()

        theirs.on("datachannel", adopt)
        self._prepare(0)
        await ours.setLocalDescription(await ours.createOffer())
        await theirs.setRemoteDescription(ours.localDescription)
        self._prepare(1)
        await theirs.setLocalDescription(await theirs.createAnswer())
        await ours.setRemoteDescription(theirs.localDescription)
        async with asyncio.timeout(10):
            await both.wait()
        while frames.readyState != "open":
            await asyncio.sleep(0.01)
        for path in self.paths:
            path.stream = frames.id
        self.other_control = adopted["control"]

    def _prepare(self, end: int) -> None:
        sctp = self.connections[end].sctp
        install_agent(sctp, IceAgent(host_addresses=["127.0.0.1"]))
        self.paths.append(UnreliablePath(sctp, self.received[end].append))

    def sctp(self, end: int) -> RTCSctpTransport:
        return self.connections[end].sctp

    async def close(self) -> None:
        for connection in self.connections:
            await connection.close()


@pytest.fixture
async def pair():
    pair = Pair()
    await pair.connect()
    yield pair
    await pair.close()


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def lose(pair: Pair, end: int, share: float, seed: int = 1) -> None:
    """From now on datagrams that `end` sends get lost."""
    dice = random.Random(seed)
    protocol = module.ice_connection(pair.sctp(end)).path.protocol
    send = protocol.transport.sendto

    class Lossy:
        def __getattr__(self, name):
            return getattr(transport, name)

        def sendto(self, data, addr):
            if dice.random() >= share:
                send(data, addr)

    transport = protocol.transport
    protocol.transport = Lossy()


async def test_messages_arrive_whole_both_ways(pair):
    dice = random.Random(1)
    for end, other in ((0, 1), (1, 0)):
        messages = [dice.randbytes(dice.randint(1, MAX_MESSAGE_BYTES)) for _ in range(300)]
        for i, message in enumerate(messages):
            pair.paths[end].send(message)
            if i % 20 == 0:
                await asyncio.sleep(0.001)
        await until(lambda end=end, other=other: len(pair.received[other]) == 300)
        assert sorted(pair.received[other]) == sorted(messages)


async def test_messages_sent_together_arrive_whole_and_in_order(pair):
    dice = random.Random(2)
    sizes = [9, *[MAX_MESSAGE_BYTES] * 70, *[501] * 30]
    messages = [dice.randbytes(size) for size in sizes]
    pair.paths[0].send(*messages)
    await until(lambda: len(pair.received[1]) == len(messages))
    assert pair.received[1] == messages


async def test_a_message_costs_one_datagram_of_the_size_that_is_accounted_for(pair):
    sizes = []
    pair_ice = module.ice_connection(pair.sctp(0)).path
    send = pair_ice.protocol.transport.sendto

    class Counting:
        def __getattr__(self, name):
            return getattr(transport, name)

        def sendto(self, data, addr):
            sizes.append(len(data))
            send(data, addr)

    transport = pair_ice.protocol.transport
    pair_ice.protocol.transport = Counting()
    pair.paths[0].send(bytes(MAX_MESSAGE_BYTES))
    udp_and_ip = 28
    assert sizes == [MAX_MESSAGE_BYTES + OVERHEAD_BYTES - udp_and_ip]
    assert sizes[0] + 48 <= 1280  # with IPv6's and UDP's headers: the least MTU


async def test_nothing_is_held_and_nothing_waits_for_an_acknowledgement(pair):
    lose(pair, 1, 1.0)  # no SACK gets back
    for _ in range(200):
        pair.paths[0].send(bytes(1_000))
    assert not pair.sctp(0)._outbound_queue
    assert not pair.sctp(0)._sent_queue
    assert pair.sctp(0)._flight_size == 0
    await until(lambda: len(pair.received[1]) == 200)


async def test_losses_are_passed_over_and_the_books_of_both_ends_stay_short(pair, monkeypatch):
    monkeypatch.setattr(module, "FORGET_AFTER_S", 0.05)
    lose(pair, 0, 0.1)
    for i in range(1_500):
        pair.paths[0].send(i.to_bytes(4, "big") * 50)
        if i % 5 == 0:
            await asyncio.sleep(0.002)
    await until(lambda: len(pair.received[1]) > 1_200)
    sender, receiver = pair.sctp(0), pair.sctp(1)
    for _ in range(100):  # a trickle brings the last acknowledgements
        pair.paths[0].send(b"x")
        await asyncio.sleep(0.005)
    assert len(receiver._sack_misordered) < 200
    assert len(pair.paths[0]._sent) < 300
    assert (sender._local_tsn - receiver._last_received_tsn) % 2**32 < 300
    assert len(set(pair.received[1])) == len([m for m in pair.received[1] if m != b"x"]) + 1


async def test_the_control_channel_stays_reliable_and_ordered_beside_lost_messages(pair):
    got: list[str] = []
    pair.other_control.on("message", got.append)
    lose(pair, 0, 0.15, seed=3)
    lose(pair, 1, 0.15, seed=4)
    for i in range(30):
        pair.control.send(str(i))
        for _ in range(5):
            pair.paths[0].send(bytes(800))
        await asyncio.sleep(0.002)
    async with asyncio.timeout(60):
        while len(got) < 30:
            pair.paths[0].send(bytes(10))
            await asyncio.sleep(0.01)
    assert got == [str(i) for i in range(30)]


async def test_only_some_packets_are_acknowledged(pair):
    acknowledged = 0
    send_sack = pair.sctp(1)._send_sack

    async def count() -> None:
        nonlocal acknowledged
        acknowledged += 1
        await send_sack()

    pair.sctp(1)._send_sack = count
    for _ in range(300):
        pair.paths[0].send(bytes(100))
    await until(lambda: len(pair.received[1]) == 300)
    await until(lambda: not pair.paths[0]._sent)  # the last ones too
    assert 1 <= acknowledged < 60


def lose_every_second(sctp: RTCSctpTransport) -> None:
    """From now on every second datagram that this end sends gets lost."""
    protocol = module.ice_connection(sctp).path.protocol
    transport = protocol.transport
    turn = itertools.count()

    class Alternating:
        def __getattr__(self, name):
            return getattr(transport, name)

        def sendto(self, data, addr):
            if next(turn) % 2 == 0:
                transport.sendto(data, addr)

    protocol.transport = Alternating()


async def test_five_hundred_gaps_end_neither_the_link_nor_its_control_channel(loop_complaints):
    ours, theirs = (webrtc_link(host_addresses=["127.0.0.1"]) for _ in range(2))
    async with ours, theirs:
        await ours.accept_answer(await theirs.accept_offer(await ours.create_offer()))
        async with asyncio.timeout(10):
            await asyncio.gather(ours.connected(), theirs.connected())
        sctp, other = ours._transport._connection.sctp, theirs._transport._connection.sctp
        transport = module.ice_connection(sctp).path.protocol
        whole = transport.transport
        lose_every_second(sctp)
        ping = b"\x03" + bytes(8)
        for i in range(1_100):  # faster than anything heals
            ours._transport.post_frames([ping])
            if i % 40 == 0:
                await asyncio.sleep(0)
        await until(lambda: len(other._sack_misordered) >= 500)
        transport.transport = whole
        ours.send_control(b"still here")
        async with asyncio.timeout(10):
            assert await theirs.receive_control() == b"still here"
        await until(lambda: not other._sack_misordered)
        await until(lambda: not sctp._sent_queue)
        assert ours._connection.end is None
        assert theirs._connection.end is None


async def test_losses_heal_by_the_clock_where_no_acknowledgement_comes(pair, monkeypatch):
    monkeypatch.setattr(module, "FORGET_AFTER_S", 0.05)
    lose(pair, 1, 1.0)
    lose_every_second(pair.sctp(0))
    for _ in range(200):
        pair.paths[0].send(b"x")
    await until(lambda: len(pair.received[1]) >= 100)
    await until(lambda: not pair.sctp(1)._sack_misordered)
    assert not pair.paths[0]._sent


async def test_a_peer_that_acknowledges_nothing_costs_no_memory(pair):
    lose(pair, 1, 1.0)
    pair.control.send("never acknowledged, so nothing after it may be passed over")
    await until(lambda: pair.sctp(0)._sent_queue)
    for turn in range(4):
        pair.paths[0]._sent.extend((turn * MAX_AHEAD + i, 0.0) for i in range(MAX_AHEAD))
    assert len(pair.paths[0]._sent) == MAX_AHEAD


async def test_an_acknowledgement_fits_one_packet_however_many_gaps_there_are(pair):
    sacks: list[rtcsctptransport.SackChunk] = []
    sctp = pair.sctp(1)

    async def keep(chunk) -> None:
        sacks.append(chunk)

    sctp._send_chunk = keep
    last = sctp._last_received_tsn
    sctp._sack_misordered.update((last + 2 * i) % 2**32 for i in range(1, MAX_AHEAD // 2))
    sctp._sack_duplicates = list(range(50))
    await sctp._send_sack()
    assert sacks[0].gaps == [(2 * i, 2 * i) for i in range(1, MAX_GAPS + 1)]
    assert len(bytes(sacks[0])) <= MAX_MESSAGE_BYTES
    assert not sctp._sack_duplicates


async def test_an_acknowledgement_says_what_aiortcs_own_says(pair):
    sctp = pair.sctp(1)
    said: list[rtcsctptransport.SackChunk] = []

    async def keep(chunk) -> None:
        said.append(chunk)

    sctp._send_chunk = keep
    dice = random.Random(4)
    for last in (1_000, 2**32 - 20):
        for _ in range(20):
            sctp._last_received_tsn = last
            ahead = dice.sample(range(2, 400), 150)
            sctp._sack_misordered = {(last + i) % 2**32 for i in ahead}
            sctp._sack_duplicates = [last]
            await sctp._send_sack()
            sctp._sack_duplicates = [last]
            await RTCSctpTransport._send_sack(sctp)
            ours, theirs = said[-2:]
            assert told(ours) == told(theirs) == set(ahead)
            assert ours.cumulative_tsn == theirs.cumulative_tsn
            assert ours.advertised_rwnd == theirs.advertised_rwnd
            assert ours.duplicates == theirs.duplicates


def told(sack: rtcsctptransport.SackChunk) -> set[int]:
    return {ahead for first, last in sack.gaps for ahead in range(first, last + 1)}


@pytest.mark.parametrize(
    "damage",
    [
        lambda packet: packet[:-1],
        lambda packet: packet + b"\0\0\0\0",
        lambda packet: packet[:40] + bytes([packet[40] ^ 1]) + packet[41:],
        lambda packet: packet[:4] + bytes(4) + packet[8:],
        lambda packet: b"",
    ],
)
async def test_damaged_packets_are_taken_by_nobody(pair, damage):
    """The damaged packet comes first and with a number of its own: no repeat hides it."""
    packet = packet_of(pair, bytes(64))
    before = pair.sctp(1)._last_received_tsn, set(pair.sctp(1)._sack_misordered)
    assert damage(packet) != packet
    await pair.sctp(1)._handle_data(damage(packet))
    assert pair.received[1] == []
    assert (pair.sctp(1)._last_received_tsn, pair.sctp(1)._sack_misordered) == before
    # What was taken from it would keep the good one from coming.
    await pair.sctp(1)._handle_data(packet)
    assert pair.received[1] == [bytes(64)]
    await pair.sctp(1)._handle_data(packet)  # a repeat
    assert pair.received[1] == [bytes(64)]


def packet_of(pair: Pair, message: bytes) -> bytes:
    """The SCTP packet that would carry `message` from end 0; nothing is sent."""
    packets: list[bytes] = []
    dtls = pair.sctp(0).transport
    ssl = dtls._ssl

    class Tap:
        def send(self, data):
            packets.append(data)

        def bio_read(self, _):
            return b""

    dtls._ssl = Tap()
    pair.paths[0].send(message)
    dtls._ssl = ssl
    return packets[0]


async def test_before_there_is_a_connection_a_message_is_lost():
    connection = RTCPeerConnection()
    connection.createDataChannel("frames")
    install_agent(connection.sctp, IceAgent())
    path = UnreliablePath(connection.sctp, lambda message: None)
    path.stream = 1
    path.send(b"x")
    assert not path._sent
    await connection.close()


class TestMarkReceived:
    @pytest.fixture
    async def path(self):
        connection = RTCPeerConnection()
        connection.createDataChannel("frames")
        path = UnreliablePath(connection.sctp, lambda message: None)
        connection.sctp._last_received_tsn = 1_000
        yield path
        await connection.close()

    async def test_it_does_what_aiortcs_own_does(self, path):
        other = RTCPeerConnection()
        other.createDataChannel("any")
        reference = other.sctp
        reference._last_received_tsn = 1_000
        dice = random.Random(2)
        tsn = range(1_001, 1_401)
        order = sorted(range(400), key=lambda i: i + dice.uniform(0, 8))
        order += dice.choices(range(400), k=MAX_DUPLICATES // 2)
        for i in order:
            if i % 17 == 5 and i < 390:
                continue
            assert path._inbound.mark_received(tsn[i]) == reference._mark_received(tsn[i])
            assert path._sctp._last_received_tsn == reference._last_received_tsn
            assert path._sctp._sack_misordered == reference._sack_misordered
        await other.close()

    async def test_numbers_go_round(self, path):
        path._sctp._last_received_tsn = 2**32 - 2
        for tsn in (0, 2, 2**32 - 1, 1):
            assert not path._inbound.mark_received(tsn)
        assert path._sctp._last_received_tsn == 2
        assert path._inbound.mark_received(2**32 - 1)

    async def test_a_peer_that_skips_and_repeats_numbers_costs_no_memory(self, path):
        dice = random.Random(3)
        for _ in range(3 * MAX_AHEAD):
            path._inbound.mark_received(dice.getrandbits(32))
        assert len(path._sctp._sack_misordered) <= MAX_AHEAD
        assert len(path._sctp._sack_duplicates) <= MAX_DUPLICATES


async def test_the_wrapped_association_alone_is_changed():
    before = {
        name: getattr(RTCSctpTransport, name)
        for name in ("_handle_data", "_mark_received", "_send_sack", "_send_chunk", "_send")
    }
    connection = RTCPeerConnection()
    connection.createDataChannel("any")
    UnreliablePath(connection.sctp, lambda message: None)
    for name, method in before.items():
        assert getattr(RTCSctpTransport, name) is method
        assert name in vars(connection.sctp)
    await connection.close()


def test_what_is_rebound_is_what_aiortc_calls():
    for owner, method, call in (
        (RTCDtlsTransport, "_do_handshake", "await self._recv_next()"),
        (RTCDtlsTransport, "_do_handshake", "await self._write_ssl()"),
        (RTCDtlsTransport, "_recv_next", "self._data_receiver._handle_data("),
        (RTCDtlsTransport, "_send_data", "await self._write_ssl()"),
        (RTCDtlsTransport, "start", "self.__local_certificate._create_ssl_context("),
        (RTCDtlsTransport, "start", "await self._do_handshake()"),
        (RTCDtlsTransport, "_RTCDtlsTransport__run", "await self._recv_next()"),
        (RTCPeerConnection, "_RTCPeerConnection__connect", "await dtlsTransport.start("),
        (RTCSctpTransport, "_data_channel_flush", "await self._send("),
        (RTCSctpTransport, "_receive_sack_chunk", "self._update_rto("),
        (RTCSctpTransport, "_receive_sack_chunk", "await self._transmit()"),
        (RTCSctpTransport, "_receive_chunk", "self._get_timestamp()"),
        (RTCSctpTransport, "_transmit", "await self._send_chunk(chunk)"),
        (RTCSctpTransport, "_t1_expired", "self._send_chunk(self._t1_chunk)"),
        (RTCSctpTransport, "_t1_start", "self._loop.call_later(self._rto, self._t1_expired)"),
        (RTCSctpTransport, "_t3_start", "self._loop.call_later(self._rto, self._t3_expired)"),
        (RTCSctpTransport, "_t3_expired", "self._transmit()"),
        (RTCSctpTransport, "_reconfig_timer_start", "self._reconfig_timer_expired"),
        (RTCSctpTransport, "_receive_reconfig_param", "await self._reset_deferred_streams()"),
        (RTCDataChannel, "send", "self.transport._data_channel_send(self, data)"),
    ):
        assert call in inspect.getsource(getattr(owner, method)), (owner, method)


def test_the_forward_tsn_is_made_from_the_point_that_is_set():
    update = inspect.getsource(RTCSctpTransport._update_advanced_peer_ack_point)
    assert "uint32_gt(self._advanced_peer_ack_tsn, self._last_sacked_tsn)" in update
    assert "self._forward_tsn_chunk.cumulative_tsn = self._advanced_peer_ack_tsn" in update
    assert "self._update_advanced_peer_ack_point()" in inspect.getsource(
        RTCSctpTransport._receive_sack_chunk
    )
    assert "self._forward_tsn_chunk" in inspect.getsource(RTCSctpTransport._transmit)


def test_numbers_for_control_messages_are_taken_where_ours_are():
    source = inspect.getsource(RTCSctpTransport._send)
    assert "chunk.tsn = self._local_tsn" in source
    assert "self._local_tsn = tsn_plus_one(self._local_tsn)" in source


async def test_the_names_used_are_there():
    connection = RTCPeerConnection()
    connection.createDataChannel("any")
    sctp = connection.sctp
    for name in (
        "_advanced_peer_ack_tsn", "_advertised_rwnd", "_association_state",
        "_forward_tsn_chunk", "_last_received_tsn", "_local_port", "_local_tsn",
        "_local_verification_tag", "_outbound_queue", "_reconfig_deferred", "_remote_port",
        "_remote_verification_tag", "_reset_deferred_streams", "_sack_duplicates",
        "_sack_misordered", "_sack_needed", "_send_chunk", "_send_sack", "_sent_queue",
        "_update_advanced_peer_ack_point",
    ):  # fmt: skip
        assert hasattr(sctp, name), name
    assert isinstance(sctp._sack_misordered, set)
    assert isinstance(sctp._sack_duplicates, list)
    assert sctp.transport._ssl is None
    install_agent(sctp, IceAgent())
    assert module.ice_connection(sctp).path is None
    assert "self._ssl.send(data)" in inspect.getsource(RTCDtlsTransport._send_data)
    assert "self._ssl.bio_read(1500)" in inspect.getsource(RTCDtlsTransport._write_ssl)
    assert rtcsctptransport.USERDATA_MAX_LENGTH == MAX_MESSAGE_BYTES
    assert rtcsctptransport.WEBRTC_BINARY == module.WEBRTC_BINARY
    await connection.close()


async def test_a_links_frames_go_this_way():
    async with webrtc_link(host_addresses=["127.0.0.1"]) as link:
        await link.create_offer()
        assert isinstance(link._transport._frames_path, UnreliablePath)
