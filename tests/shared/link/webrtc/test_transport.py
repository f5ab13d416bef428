"""Real WebRTC links between two ends on 127.0.0.1."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from shared.errors import BadInput, LinkFailed, PeerGone
from shared.link import Link, LinkEnd
from shared.link.messages import pack_bye
from shared.link.webrtc import webrtc_link
from shared.link.webrtc.descriptions import MAX_SDP_CHARS
from shared.link.webrtc.iceservers import usable_ice_servers
from tests.shared.link.simulated_path import messages_of

pytestmark = pytest.mark.usefixtures("loop_complaints")

LOCAL = ["127.0.0.1"]


@dataclass(frozen=True)
class Server:
    urls: object
    username: str | None = None
    credential: str | None = None


async def connect(sender: Link, receiver: Link) -> None:
    await sender.accept_answer(await receiver.accept_offer(await sender.create_offer()))
    await asyncio.gather(sender.connected(10), receiver.connected(10))
    receiver.accept_frames()


@pytest.fixture
async def pair():
    async with (
        webrtc_link(host_addresses=LOCAL) as sender,
        webrtc_link(host_addresses=LOCAL) as receiver,
    ):
        await connect(sender, receiver)
        yield sender, receiver


def urls_of(link: Link) -> list[str]:
    """The servers that the ICE agent below will ask."""
    return [server.url for server in link._transport.ice.servers]


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_peer_link_is_a_link(pair):
    link: Link = pair[0]
    assert link.can_send_frame()


async def test_control_messages_arrive_in_order_both_ways(pair):
    for link, other in (pair, pair[::-1]):
        messages = [bytes([i]) * (1 + i * 1_000) for i in range(40)]
        for message in messages:
            link.send_control(message)
        async with asyncio.timeout(20):
            assert [await other.receive_control() for _ in messages] == messages


async def test_two_hundred_frames_of_mixed_sizes_arrive_bit_for_bit(pair):
    sender, receiver = pair
    dice = random.Random(1)
    sizes = [3_000_000, 1, 2] + [dice.choice([10, 4_629, 30_000, 90_000]) for _ in range(197)]
    dice.shuffle(sizes)
    frames = [dice.randbytes(size) for size in sizes]

    async def send() -> None:
        for frame in frames:
            await sender.writable()
            await sender.send_frame(frame)

    async with asyncio.timeout(60):
        sending = asyncio.ensure_future(send())
        received = [(await receiver.receive_frame()).data for _ in frames]
        await sending
    assert sorted(received) == sorted(frames)
    assert receiver.frames_dropped == {}
    assert receiver.malformed_messages == sender.malformed_messages == 0


async def test_frames_flow_from_receiver_to_sender_as_well(pair):
    sender, receiver = pair
    data = random.Random(2).randbytes(100_000)
    sender.accept_frames()
    await receiver.send_frame(data)
    async with asyncio.timeout(10):
        assert (await sender.receive_frame()).data == data


async def test_packets_that_the_network_loses_are_repaired(pair):
    sender, receiver = pair
    dice = random.Random(4)
    send = sender._transport._frames_path.send
    sender._transport._frames_path.send = lambda *messages: send(
        *(message for message in messages if dice.random() > 0.05)
    )
    frames = [dice.randbytes(30_000) for _ in range(40)]
    async with asyncio.timeout(30):
        for frame in frames:
            await sender.writable()
            await sender.send_frame(frame)
            assert (await receiver.receive_frame()).data == frame
    assert sender.path.loss > 0.01
    assert receiver.malformed_messages == sender.malformed_messages == 0


async def test_the_path_is_measured(pair):
    sender, receiver = pair
    async with asyncio.timeout(20):
        for _ in range(10):
            await sender.writable()
            await sender.send_frame(bytes(25_000))
            await receiver.receive_frame()
    assert sender.path is not None
    assert sender.path.rate_bps > 1_000_000


async def test_the_clocks_of_one_machine_are_found_equal_within_the_bound(pair):
    async with asyncio.timeout(10):
        for link in pair:
            estimate = await link.calibrated()
            assert abs(estimate.offset_ns) <= estimate.bound_ns


async def test_fingerprints_agree_crosswise_and_are_those_of_the_descriptions():
    async with (
        webrtc_link(host_addresses=LOCAL) as sender,
        webrtc_link(host_addresses=LOCAL) as receiver,
    ):
        offer = await sender.create_offer()
        with pytest.raises(LinkFailed):
            _ = sender.fingerprints
        await sender.accept_answer(await receiver.accept_offer(offer))
        await asyncio.gather(sender.connected(10), receiver.connected(10))
        ours, theirs = sender.fingerprints
        assert receiver.fingerprints == (theirs, ours)
        assert len(ours) == len(theirs) == 32
        assert f"sha-256 {ours.hex(':').upper()}" in offer
    with pytest.raises(LinkFailed):
        _ = sender.fingerprints


async def test_every_link_has_fingerprints_of_its_own(pair):
    async with (
        webrtc_link(host_addresses=LOCAL) as sender,
        webrtc_link(host_addresses=LOCAL) as receiver,
    ):
        await connect(sender, receiver)
        assert not set(sender.fingerprints) & set(pair[0].fingerprints)


async def test_a_swapped_fingerprint_in_the_description_ends_in_no_connection():
    async with (
        webrtc_link(host_addresses=LOCAL) as sender,
        webrtc_link(host_addresses=LOCAL) as receiver,
    ):
        offer = await sender.create_offer()
        lines = [
            line[:-2] + ("00" if not line.endswith("00") else "11")
            if line.startswith("a=fingerprint:")
            else line
            for line in offer.splitlines()
        ]
        await sender.accept_answer(await receiver.accept_offer("\r\n".join(lines) + "\r\n"))
        with pytest.raises(LinkFailed):
            await receiver.connected(10)
        with pytest.raises(LinkFailed):
            await sender.connected(0.5)


async def test_only_the_addresses_given_are_offered():
    async with webrtc_link(host_addresses=LOCAL) as link:
        offer = await link.create_offer()
    candidates = [line for line in offer.splitlines() if line.startswith("a=candidate:")]
    assert len(candidates) == 1
    assert " 127.0.0.1 " in candidates[0]
    assert candidates[0].endswith("typ host")


async def test_a_machine_without_any_address_can_still_link_to_itself(monkeypatch):
    monkeypatch.setattr("shared.link.webrtc.addresses.ifaddr.get_adapters", list)
    async with webrtc_link() as sender, webrtc_link() as receiver:
        await connect(sender, receiver)
        await sender.send_frame(b"offline")
        async with asyncio.timeout(10):
            assert (await receiver.receive_frame()).data == b"offline"


async def test_an_address_that_is_not_this_machines_gives_no_network():
    async with webrtc_link(host_addresses=["192.0.2.1"]) as link:
        with pytest.raises(LinkFailed, match="no network address"):
            await link.create_offer()


@pytest.mark.parametrize("addresses", [["localhost"], [""], ["127.0.0.1", "300.1.1.1"]])
def test_host_addresses_must_be_numbers(addresses):
    with pytest.raises(BadInput):
        webrtc_link(host_addresses=addresses)


@pytest.mark.parametrize(
    "urls", ["http://x", "", [], ["stun:ok:3478", "ftp:no"], "turn:host:port", "stun:"]
)
async def test_ice_servers_that_are_none_are_refused(urls):
    with pytest.raises(BadInput):
        webrtc_link(ice_servers=[Server(urls)])


async def test_all_ice_servers_are_passed_on_with_their_credentials():
    turn = Server(["turn:t.test:3479?transport=udp", "turns:[2001:db8::1]"], "u", "c")
    async with webrtc_link(ice_servers=[Server("stun:s.test:3478"), turn]) as link:
        stun, udp, tls = link._transport.ice.servers
    assert (stun.host, stun.port, stun.relays, stun.username) == ("s.test", 3478, False, None)
    assert (udp.host, udp.port, udp.transport.value) == ("t.test", 3479, "udp")
    assert (tls.host, tls.port, tls.transport.value) == ("2001:db8::1", 5349, "tls")
    assert {(server.username, server.credential) for server in (udp, tls)} == {("u", "c")}


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["127.0.0.2", "::1"]])
async def test_a_link_that_stays_inside_the_machine_asks_no_server(addresses, caplog):
    servers = [Server("stun:192.0.2.1"), Server("turn:192.0.2.1", "u", "c")]
    link = webrtc_link(ice_servers=servers, host_addresses=addresses)
    assert urls_of(link) == []
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    await link.close()


async def test_a_link_inside_the_machine_without_servers_warns_of_nothing(caplog):
    link = webrtc_link(host_addresses=LOCAL)
    assert not caplog.records
    await link.close()


@pytest.mark.parametrize("addresses", [None, ["127.0.0.1", "192.0.2.7"]])
async def test_a_link_that_may_leave_the_machine_asks_the_servers_given(addresses, caplog):
    link = webrtc_link(ice_servers=[Server("stun:192.0.2.1")], host_addresses=addresses)
    assert urls_of(link) == ["stun:192.0.2.1"]
    assert not caplog.records
    await link.close()


def test_servers_that_can_not_be_read_are_told_from_those_that_can():
    good = Server(["stun:a.test", "turn:b.test:3478?transport=tcp"], "u", "c")
    bad = [Server("stun:a:b:c"), Server([]), Server(["stun:ok.test", "ftp:no"])]
    assert usable_ice_servers([bad[0], good, *bad[1:]]) == ((good,), tuple(bad))
    assert usable_ice_servers([]) == ((), ())


async def test_by_default_no_server_is_asked():
    link = webrtc_link()
    assert urls_of(link) == []
    await link.close()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda sdp: "",
        lambda sdp: "not a description",
        lambda sdp: sdp + "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n",
        lambda sdp: sdp.replace("m=application", "m=video"),
        lambda sdp: sdp.replace("a=ice-pwd", "a=no-pwd"),
        lambda sdp: sdp.replace("a=fingerprint:", "a=no:"),
        lambda sdp: sdp.replace("typ host", "typ nonsense"),
        lambda sdp: sdp.replace(" 127.0.0.1 ", " asks-all-networks.local "),
        lambda sdp: "".join(
            line for line in sdp.splitlines(keepends=True) if not line.startswith("a=candidate")
        ),
        lambda sdp: sdp + "a=x\r\n" * (MAX_SDP_CHARS // 5),
    ],
)
async def test_an_offer_that_is_none_is_refused(spoil):
    async with (
        webrtc_link(host_addresses=LOCAL) as sender,
        webrtc_link(host_addresses=LOCAL) as receiver,
    ):
        with pytest.raises(LinkFailed):
            await receiver.accept_offer(spoil(await sender.create_offer()))


def without_candidates(sdp: str) -> str:
    lines = sdp.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("a=candidate"))


@pytest.mark.parametrize(
    "hide",
    [
        lambda sdp: sdp.replace(" 127.0.0.1 ", " 6f1c2d3e-hidden.local "),
        lambda sdp: sdp + "a=candidate:9 1 udp 1 asks-all-networks.local 9 typ host\r\n",
        without_candidates,
    ],
    ids=["a name", "a name beside an address", "no candidate"],
)
async def test_an_answer_that_hides_its_address_behind_a_name_connects(hide, monkeypatch):
    """As browsers do.  No name is looked up: the answering end's checks show its address."""

    async def refuse(*_):
        raise AssertionError("a name was looked up")

    monkeypatch.setattr("aioice.ice.get_or_create_mdns_protocol", refuse)
    async with (
        webrtc_link(host_addresses=LOCAL) as sender,
        webrtc_link(host_addresses=LOCAL) as receiver,
    ):
        answer = await receiver.accept_offer(await sender.create_offer())
        assert hide(answer) != answer
        await sender.accept_answer(hide(answer))
        await asyncio.gather(sender.connected(), receiver.connected())
        sender.send_control(b"hello")
        async with asyncio.timeout(10):
            assert await receiver.receive_control() == b"hello"


async def test_an_unreachable_peer_fails_in_the_time_given_and_says_what_helps():
    async with webrtc_link(host_addresses=LOCAL) as sender:
        offer = await sender.create_offer()
        async with webrtc_link(host_addresses=LOCAL) as receiver:
            answer = await receiver.accept_offer(offer)
        await sender.accept_answer(answer)
        with pytest.raises(LinkFailed) as caught:
            await sender.connected(0.3)
        assert "firewall" in caught.value.hint


async def test_a_clean_close_is_heard_after_what_was_sent_before(pair):
    sender, receiver = pair
    await sender.send_frame(bytes(100_000))
    sender.send_control(b"last word")
    async with asyncio.timeout(10):
        await sender.close()
        assert await receiver.closed() == LinkEnd("peer")
        assert [len(frame.data) async for frame in receiver.frames()] == [100_000]
    assert await receiver.receive_control() == b"last word"
    with pytest.raises(PeerGone, match="the other end closed"):
        await receiver.receive_control()


async def test_a_close_whose_goodbye_is_lost_is_heard_all_the_same(pair):
    sender, receiver = pair
    goodbye = pack_bye()
    post = sender._transport.post_control
    sender._transport.post_control = lambda message: post(message) if message != goodbye else None
    async with asyncio.timeout(10):
        await sender.close()
        assert await receiver.closed() == LinkEnd("peer")


async def test_channels_that_the_peer_adds_are_closed(pair):
    sender, receiver = pair
    extra = sender._transport._connection.createDataChannel("control")
    closed = asyncio.Event()
    extra.on("close", closed.set)
    async with asyncio.timeout(10):
        await closed.wait()
    await sender.send_frame(b"still up")
    async with asyncio.timeout(10):
        assert (await receiver.receive_frame()).data == b"still up"


@pytest.mark.parametrize(
    ("label", "limit"),
    [
        ("control", {"maxRetransmits": 0}),
        ("control", {"maxPacketLifeTime": 100}),
        ("frames", {}),
        ("frames", {"maxRetransmits": 3}),
        ("frames", {"maxPacketLifeTime": 100}),
    ],
)
async def test_channels_of_another_reliability_are_closed_and_none_of_them_is_used(label, limit):
    async with (
        webrtc_link(host_addresses=LOCAL) as sender,
        webrtc_link(host_addresses=LOCAL) as receiver,
    ):
        create = sender._transport._connection.createDataChannel

        def create_other(name, ordered=True, **given):
            return create(name, ordered=ordered, **(limit if name == label else given))

        sender._transport._connection.createDataChannel = create_other
        offer = await sender.create_offer()
        channel = (
            sender._transport._control if label == "control" else sender._transport._frames_channel
        )
        closed = asyncio.Event()
        channel.on("close", closed.set)
        await sender.accept_answer(await receiver.accept_offer(offer))
        async with asyncio.timeout(10):
            await closed.wait()
        assert (receiver._transport._control is None) == (label == "control")
        assert (receiver._transport._frames_channel is None) == (label == "frames")
        with pytest.raises(LinkFailed):
            await receiver.connected(0.2)


async def test_text_and_damaged_messages_are_counted_and_harmless(pair):
    sender, receiver = pair
    sender._transport._frames_channel.send("text")
    sender._transport._frames_path.send(messages_of(0, b"abc")[0][:-1])
    sender._transport._control.send("text")
    await sender.send_frame(b"fine")
    async with asyncio.timeout(10):
        assert (await receiver.receive_frame()).data == b"fine"
        while receiver.malformed_messages < 3:
            await asyncio.sleep(0.01)
    assert receiver.malformed_messages == 3


CHILD = """
import asyncio, json, sys
from shared.link.webrtc import webrtc_link

async def main():
    link = webrtc_link(host_addresses=["127.0.0.1"])
    print(json.dumps(await link.create_offer()), flush=True)
    await link.accept_answer(json.loads(sys.stdin.readline()))
    await link.connected()
    link.send_control(b"up")
    while True:
        await link.writable()
        await link.send_frame(bytes(20_000))
        await asyncio.sleep(0.03)

asyncio.run(main())
"""


async def test_a_killed_peer_is_noticed():
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(30), webrtc_link(host_addresses=LOCAL, lost_after_s=0.8) as link:
            answer = await link.accept_offer(json.loads(await child.stdout.readline()))
            child.stdin.write(json.dumps(answer).encode() + b"\n")
            await link.connected()
            link.accept_frames()
            assert await link.receive_control() == b"up"
            await link.receive_frame()
            os.kill(child.pid, signal.SIGKILL)
            assert (await link.closed()).cause == "lost"
            with pytest.raises(PeerGone, match="gone"):
                await link.receive_control()
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


async def test_a_peer_that_is_interrupted_midway_is_heard_to_close():
    async with webrtc_link(host_addresses=LOCAL) as receiver:
        async with webrtc_link(host_addresses=LOCAL) as sender:
            await connect(sender, receiver)
            sending = asyncio.ensure_future(sender.send_frame(bytes(5_000_000)))
            await receiver.calibrated()
            sending.cancel()
        async with asyncio.timeout(10):
            assert (await receiver.closed()).cause == "peer"


async def test_links_closed_at_any_moment_of_connecting_leave_nothing_behind():
    await asyncio.sleep(0)
    tasks, files, threads = asyncio.all_tasks(), open_files(), threading.active_count()
    for moment_ms in (0, 1, 2, 4, 6, 8, 10, 15, 20, 30, 60):
        sender, receiver = webrtc_link(host_addresses=LOCAL), webrtc_link(host_addresses=LOCAL)
        connecting = asyncio.ensure_future(connect(sender, receiver))
        await asyncio.sleep(moment_ms / 1000)
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)
        async with asyncio.timeout(10):
            await sender.close()
            await receiver.close()
    async with asyncio.timeout(10):
        while asyncio.all_tasks() - tasks:
            await asyncio.wait(asyncio.all_tasks() - tasks)
    assert open_files() <= files
    assert threading.active_count() == threads


async def test_a_link_that_was_never_used_closes():
    link = webrtc_link()
    async with asyncio.timeout(5):
        await link.close()
        assert (await link.closed()).cause == "local"
    with pytest.raises(PeerGone):
        await link.create_offer()


async def test_a_link_closed_while_it_gathers_addresses_leaves_nothing_behind(monkeypatch):
    monkeypatch.setattr(
        "shared.link.webrtc.agent.machine_addresses",
        lambda _: [f"127.0.0.{n}" for n in range(1, 6)],
    )
    files = open_files()
    link = webrtc_link()
    offering = asyncio.ensure_future(link.create_offer())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    offering.cancel()
    await asyncio.gather(offering, return_exceptions=True)
    async with asyncio.timeout(10):
        await link.close()
    assert open_files() == files


FORGETFUL = """
import asyncio
from shared.link.webrtc import webrtc_link

async def main():
    sender = webrtc_link(host_addresses=["127.0.0.1"])
    receiver = webrtc_link(host_addresses=["127.0.0.1"])
    await sender.accept_answer(await receiver.accept_offer(await sender.create_offer()))
    await asyncio.gather(sender.connected(), receiver.connected())
    receiver.accept_frames()
    await sender.send_frame(bytes(50_000))

asyncio.run(main())
"""


async def test_a_program_that_ends_without_closing_its_links_ends_without_complaints():
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "ignore::ResourceWarning", "-c", FORGETFUL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(30):
        assert await child.communicate() == (b"", b"")
    assert child.returncode == 0
