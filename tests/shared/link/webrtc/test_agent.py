"""Two ICE agents on this machine's loopback: data between them, whatever becomes of the path."""

from __future__ import annotations

import asyncio
import socket

import pytest
from aioice import Candidate

from shared.errors import LinkFailed
from shared.link.webrtc import agent as module
from shared.link.webrtc.agent import IceAgent
from shared.link.webrtc.checks import MAX_UNPROVEN, PairState
from shared.link.webrtc.descriptions import MAX_CANDIDATES
from shared.link.webrtc.iceservers import parse_ice_url
from tests.shared.link.webrtc.iceservers import PASSWORD, USER, ice_server

pytestmark = pytest.mark.usefixtures("loop_complaints")

LOCAL = ["127.0.0.1"]
DTLS = b"\x17\xfe\xfd"  # how a record begins


class Ends:
    """Two agents, and what each has received."""

    def __init__(self, ours: IceAgent, theirs: IceAgent) -> None:
        self.agents = ours, theirs
        ours.ice_controlling = True
        self.moves: list[list[bool]] = [[], []]
        for agent, moves in zip(self.agents, self.moves, strict=True):
            agent.on_path_changed = lambda path, moves=moves: moves.append(path.relayed)

    async def connect(self, tell=lambda candidates: candidates) -> None:
        ours, theirs = self.agents
        await asyncio.gather(*(agent.gather_candidates() for agent in self.agents))
        for agent, other in ((ours, theirs), (theirs, ours)):
            for candidate in tell(other.local_candidates):
                await agent.add_remote_candidate(candidate)
            agent.remote_username = other.local_username
            agent.remote_password = other.local_password
        async with asyncio.timeout(10):
            await asyncio.gather(*(agent.connect() for agent in self.agents))

    async def works(self, within_s: float = 5.0) -> None:
        """Data gets through both ways, sooner or later."""
        for end in (0, 1):
            async with asyncio.timeout(within_s):
                await self._gets_through(end)

    async def _gets_through(self, end: int) -> None:
        receiving = asyncio.ensure_future(self.agents[1 - end].recv())
        while not receiving.done():
            await self.agents[end].send(DTLS + b"hello")
            await asyncio.wait([receiving], timeout=0.02)
        assert receiving.result() == DTLS + b"hello"

    async def close(self) -> None:
        await asyncio.gather(*(agent.close() for agent in self.agents))


@pytest.fixture
async def ends():
    ends = Ends(IceAgent(host_addresses=LOCAL), IceAgent(host_addresses=LOCAL))
    yield ends
    await ends.close()


async def until(condition, within_s: float = 5.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)


async def test_data_goes_both_ways(ends):
    await ends.connect()
    await ends.works()
    assert ends.moves == [[False], [False]]


async def test_what_is_neither_stun_nor_dtls_is_nobodys(ends):
    await ends.connect()
    path = ends.agents[0].path
    for junk in (b"", b"\x00", b"\x80" * 40, b"\x02" * 30):
        path.protocol.transport.sendto(junk, path.remote_addr)
    await ends.works()


@pytest.mark.parametrize("early", [True, False], ids=["before the checks", "after them"])
async def test_data_from_where_no_check_came_is_nobodys(ends, early):
    """A stranger's first flight of DTLS would be answered in the other end's place."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.1", 0))

        def intrude(candidates):
            for candidate in candidates:
                stranger.sendto(DTLS + b"stranger", (candidate.host, candidate.port))
            return candidates

        await ends.connect(intrude if early else lambda candidates: candidates)
        if not early:
            for agent in ends.agents:
                intrude(agent.local_candidates)
        await ends.works()
    assert not any(b"stranger" in data for agent in ends.agents for data in agent._arrived)


async def test_data_that_nobody_reads_is_kept_within_a_bound(ends, monkeypatch):
    monkeypatch.setattr(module, "MAX_WAITING", 10)
    await ends.connect()
    for _ in range(50):
        await ends.agents[0].send(DTLS)
    await asyncio.sleep(0.05)
    assert len(ends.agents[1]._arrived) <= 10


async def test_a_socket_that_goes_away_is_replaced_and_the_path_follows(ends, monkeypatch):
    monkeypatch.setattr(module, "LOOK_S", 0.05)
    ours = ends.agents[0]
    await ends.connect()
    before = ours.path.protocol.port
    (base,) = ours._sockets
    ours._drop_socket(base)
    ours._drive()
    await ends.works()
    assert ours.path.protocol.port != before
    await until(lambda: all(agent._checks.state is PairState.CONNECTED for agent in ends.agents))
    assert [len(moves) for moves in ends.moves] == [2, 2]


async def test_an_address_of_this_machine_that_changes_is_followed(monkeypatch):
    addresses = ["127.0.0.1"]
    monkeypatch.setattr(module, "machine_addresses", lambda _=False: list(addresses))
    monkeypatch.setattr(module, "LOOK_S", 0.05)
    ends = Ends(IceAgent(), IceAgent(host_addresses=LOCAL))
    await ends.connect()
    addresses[:] = ["127.0.0.7"]
    await until(lambda: ends.agents[0].path.protocol.base.host == "127.0.0.7")
    await ends.works()
    await until(lambda: ends.agents[1].path.remote_addr[0] == "127.0.0.7")
    await ends.close()


async def test_no_more_than_sixteen_candidates_are_told_or_taken(monkeypatch):
    monkeypatch.setattr(module, "MAX_SOCKETS", 40)
    agent = IceAgent(host_addresses=[f"127.0.1.{n}" for n in range(1, 31)])
    await agent.gather_candidates()
    assert len(agent.local_candidates) == 16
    for n in range(1, 141):
        await agent.add_remote_candidate(Candidate("1", 1, "udp", 1, f"192.0.2.{n}", 9, "host"))
    assert len(agent.remote_candidates) == 16
    await agent.close()


# -- restarts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("offering", [0, 1])
async def test_a_restart_changes_credentials_and_nothing_else(ends, offering):
    await ends.connect()
    ours, theirs = ends.agents[offering], ends.agents[1 - offering]
    passwords = {agent.local_password for agent in ends.agents}
    answer = await theirs.accept_restart(await ours.restart_offer())
    await ours.complete_restart(answer)
    await until(lambda: not passwords & {agent.local_password for agent in ends.agents})
    await ends.works()
    assert all(len(moves) == 2 for moves in ends.moves)


async def test_a_restart_finds_a_path_where_none_was_left(ends, monkeypatch):
    monkeypatch.setattr(module, "LOOK_S", 3600)
    monkeypatch.setattr(module, "LOOK_SILENT_S", 3600)
    await ends.connect()
    ours, theirs = ends.agents
    for agent in ends.agents:  # both move at once: neither knows where the other is
        agent._look_at = float("inf")
        for base in list(agent._sockets):
            agent._drop_socket(base)
    await until(lambda: all(agent._checks.state is PairState.SILENT for agent in ends.agents))
    answer = await theirs.accept_restart(await ours.restart_offer())
    await ours.complete_restart(answer)
    await ends.works()


async def test_a_restart_that_leads_nowhere_takes_nothing_away(ends):
    await ends.connect()
    ours, theirs = ends.agents
    password = ours.local_password
    nowhere = await theirs.restart_offer()
    await ours.accept_restart(nowhere.replace("127.0.0.1", "127.0.0.99"))
    await asyncio.sleep(0.3)
    assert ours.local_password == password
    await ends.works()


async def test_restarts_one_after_the_other_share_what_a_link_may_spend_on_strange_addresses(
    ends, monkeypatch
):
    await ends.connect()
    ours, theirs = ends.agents
    sent: list[tuple[str, int]] = []
    (local,) = ours._sockets.values()
    send = local.send
    monkeypatch.setattr(
        local, "send", lambda data, address: (sent.append(address), send(data, address))
    )
    for _ in range(3):
        offer = (await theirs.restart_offer()).splitlines(keepends=True)
        (candidate,) = (line for line in offer if "candidate:" in line)
        nowhere = [candidate.replace("127.0.0.1", f"127.0.9.{n}") for n in range(1, 17)]
        await ours.accept_restart("".join([*nowhere, *offer]).replace(candidate, ""))
        for later in range(400):  # as if so many tenths of a second went by
            ours._restart.advance(ours._now() + later / 10)
            ours._drive()
    strange = [host for host, _ in sent if host.startswith("127.0.9.")]
    assert strange
    assert len(strange) <= MAX_UNPROVEN + 0.2 * 40 * 3 + 1
    await ends.works()


@pytest.mark.parametrize("text", ["", "a=ice-ufrag:abcd\r\n", "x" * 100_000])
async def test_a_restart_that_can_not_be_read_is_refused(ends, text):
    await ends.connect()
    with pytest.raises(LinkFailed):
        await ends.agents[0].accept_restart(text)
    with pytest.raises(LinkFailed):
        await ends.agents[0].complete_restart(await ends.agents[1].restart_offer())
    await ends.works()


# -- relays ---------------------------------------------------------------------------------------


def relayed(server, transport: str = "udp") -> IceAgent:
    url = parse_ice_url(f"turn:127.0.0.1:{server.port}?transport={transport}", USER, PASSWORD)
    return IceAgent([url], LOCAL)


def only_relays(candidates):
    return [candidate for candidate in candidates if candidate.type == "relay"]


async def connect_by_relay(ends: Ends) -> None:
    """Our end can be reached, and reach, by its relay alone."""
    ours, theirs = ends.agents
    await asyncio.gather(*(agent.gather_candidates() for agent in ends.agents))
    for base in list(ours._sockets):
        ours._drop_socket(base)
    ours._host_addresses = []
    ours._local_candidates = only_relays(ours.local_candidates)
    assert ours.local_candidates
    for agent, other in ((ours, theirs), (theirs, ours)):
        for candidate in other.local_candidates:
            await agent.add_remote_candidate(candidate)
        agent.remote_username, agent.remote_password = other.local_username, other.local_password
    async with asyncio.timeout(10):
        await asyncio.gather(*(agent.connect() for agent in ends.agents))


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_data_goes_by_a_relay_where_there_is_no_other_way(transport):
    async with ice_server(transport=transport) as server:
        ends = Ends(relayed(server, transport), IceAgent(host_addresses=LOCAL))
        await connect_by_relay(ends)
        await ends.works()
        assert ends.agents[0].path.relayed
        assert ends.agents[0].path.protocol.transport.get_extra_info("socket") is None
        await ends.close()


async def test_a_relay_that_its_server_forgot_is_allocated_anew():
    async with ice_server() as server:
        ends = Ends(relayed(server), IceAgent(host_addresses=LOCAL))
        await connect_by_relay(ends)
        await ends.works()
        server.close_allocations()
        await asyncio.sleep(0)
        await until(lambda: server.requests.count("ALLOCATE") >= 4)
        await ends.works()
        await ends.close()


async def test_a_relay_whose_connection_breaks_is_allocated_anew():
    async with ice_server(transport="tcp") as server:
        ends = Ends(relayed(server, "tcp"), IceAgent(host_addresses=LOCAL))
        await connect_by_relay(ends)
        (relay,) = ends.agents[0]._relays.values()
        relay._client.transport.abort()
        await until(lambda: relay not in ends.agents[0]._relays.values())
        await ends.works()
        await ends.close()


async def test_nothing_of_a_relay_goes_by_the_wall_clock(monkeypatch):
    async with ice_server() as server:
        ends = Ends(relayed(server), IceAgent(host_addresses=LOCAL))
        await connect_by_relay(ends)
        monkeypatch.setattr("time.time", lambda: pytest.fail("the wall clock was read"))
        await ends.works()
        monkeypatch.undo()
        await ends.close()


# -- the end --------------------------------------------------------------------------------------


async def test_closing_wakes_whoever_waits():
    agent = IceAgent(host_addresses=LOCAL)
    await agent.gather_candidates()
    receiving = asyncio.ensure_future(agent.recv())
    waiting = asyncio.ensure_future(agent.get_event())
    agent.remote_username, agent.remote_password = "abcd", "p" * 24
    connecting = asyncio.ensure_future(agent.connect())
    await asyncio.sleep(0.01)
    await agent.close()
    for task in (receiving, connecting):
        with pytest.raises(ConnectionError):
            await task
    await waiting
    with pytest.raises(ConnectionError):
        await agent.send(DTLS)
    await agent.close()


async def test_of_many_addresses_some_have_a_socket():
    hosts = [f"127.0.0.{number}" for number in range(1, 3 * module.MAX_SOCKETS)]
    agent = IceAgent((), hosts)
    await agent.gather_candidates()
    assert len(agent._sockets) == module.MAX_SOCKETS
    assert len(agent.local_candidates) <= MAX_CANDIDATES
    await agent.close()
