"""The ICE agent of one link: what aiortc sees in the place of its ICE connection.

The thin shell round `checks`: it opens sockets and relays (`gathering`), keeps the time, and hands
datagrams on.  Under a running DTLS and SCTP it changes what they run over, as often as it takes:

- the path moves when the selected pair falls silent or its address goes away (`checks` decides);
  addresses that this machine gets meanwhile are used as they come, relays that died are made anew;
- an ICE restart (RFC 8445 section 9) gives both ends new credentials and candidates by way of
  whatever still joins them; what works goes on working until the new path does.

It ends only when it is closed: whether the other end is gone is for others to say.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import ssl
import string
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aioice import Candidate, ConnectionClosed

from shared.errors import LinkFailed
from shared.link.webrtc.addresses import is_link_local, machine_addresses, only_loopback
from shared.link.webrtc.checks import (
    Address,
    Base,
    Budget,
    CheckedPair,
    Checks,
    Credentials,
    PairState,
)
from shared.link.webrtc.descriptions import MAX_CANDIDATES, Whereabouts
from shared.link.webrtc.gathering import (
    LocalSocket,
    ServerFailed,
    TurnRelay,
    open_relay,
    reflexive_address,
)
from shared.link.webrtc.iceservers import ServerFailure, ServerUrl

__all__ = ["IceAgent", "IcePath"]

_LOG = logging.getLogger(__name__)

UFRAG_CHARS, PASSWORD_CHARS = 8, 24  # RFC 8445 section 5.3: at least 24 and 128 bits
GATHER_LIMIT_S = 4.5  # a relay's own limit and a little
GATHER_GRACE_S = 0.3  # for the other servers, once one has given what it is for
MAX_SOCKETS = 12  # of the machine's addresses; sorted, so that the way out is among them

LOOK_S = 2.0  # between two looks at the machine's addresses, while the path is fine, and
LOOK_SILENT_S = 0.25  # … while it is silent
RENEW_RELAYS_S = 4.0  # between two tries to allocate relays anew
MAX_WAITING = 4096  # datagrams that nobody has taken yet: 5 MB, 2 s of 20 Mbit/s

_ICE_CHARS = string.ascii_letters + string.digits + "+/"


@dataclass(frozen=True, slots=True)
class IcePath:
    """The way that datagrams take now."""

    protocol: LocalSocket | TurnRelay  # what sends them; its `transport` has `sendto`
    remote_addr: Any  # whither, as that transport takes it
    relayed: bool  # whether a TURN server is known to be in between


class IceAgent:
    """One end of a path; with aioice's interface, as far as aiortc's ICE transport uses it.

    `servers`: STUN and TURN servers, each of which is asked.  `host_addresses`: the addresses of
    this machine to use, all by default.  `tls`: whom to trust for TURN over TLS, the system's
    authorities by default.  `failures`: which servers failed, and how.  `on_path_changed(path)` is
    called with the first path and with every later one.  `on_data(datagram)` gets what comes where
    it comes; unless it is set, that is kept for `recv`.
    """

    def __init__(
        self,
        servers: Sequence[ServerUrl] = (),
        host_addresses: Sequence[str] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.servers = tuple(servers)
        self.failures: tuple[ServerFailure, ...] = ()
        self.on_path_changed: Callable[[IcePath], None] | None = None
        self.on_data: Callable[[bytes], None] = self._keep
        self.ice_controlling = False
        self.remote_is_lite = False
        self.remote_username: str | None = None
        self.remote_password: str | None = None
        self._host_addresses = None if host_addresses is None else list(host_addresses)
        self._tls = tls
        self._dice = random.SystemRandom()
        self._tie_breaker = secrets.randbits(64)
        self._budget = Budget()
        self._checks = self._new_checks()
        self._restart: Checks | None = None
        self._replaced: Checks | None = None  # by a restart: what it carried may still come
        self._link_local = False
        self._sockets: dict[Base, LocalSocket] = {}
        self._relays: dict[Base, TurnRelay] = {}
        self._next_base = 0
        self._local_candidates: list[Candidate] = []
        self._remote_candidates: list[Candidate] = []
        self._selected: CheckedPair | None = None
        self.path: IcePath | None = None
        self._connected: asyncio.Future[None] | None = None
        self._arrived: deque[bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._look_at = self._renew_at = 0.0
        self._work: set[asyncio.Task[Any]] = set()
        self._looking = self._renewing = False
        self._closing = False
        self._closed = asyncio.Event()

    def _new_checks(self) -> Checks:
        ufrag, password = (
            "".join(secrets.choice(_ICE_CHARS) for _ in range(length))
            for length in (UFRAG_CHARS, PASSWORD_CHARS)
        )
        return Checks(
            Credentials(ufrag, password),
            controlling=self.ice_controlling,
            tie_breaker=self._tie_breaker,
            dice=self._dice,
            budget=self._budget,
        )

    # -- what aiortc asks for ---------------------------------------------------------------------

    @property
    def local_username(self) -> str:
        """Our user name fragment."""
        return self._checks.local.ufrag

    @property
    def local_password(self) -> str:
        """Our password."""
        return self._checks.local.password

    @property
    def local_candidates(self) -> list[Candidate]:
        """Where we may be reached: what the last gathering found, at most `MAX_CANDIDATES`."""
        return self._local_candidates[:]

    @property
    def remote_candidates(self) -> list[Candidate]:
        """Where the other end said that it may be reached."""
        return self._remote_candidates[:]

    async def add_remote_candidate(self, candidate: Candidate | None) -> None:
        """The other end may be reached there; None (no more of them) changes nothing."""
        if candidate is not None:
            self.add_remote(candidate)

    def add_remote(self, candidate: Candidate) -> None:
        """The other end may be reached there; past `MAX_CANDIDATES` none is taken."""
        if len(self._remote_candidates) < MAX_CANDIDATES:
            self._remote_candidates.append(candidate)

    async def gather_candidates(self) -> None:
        """Open sockets, and ask all servers at once."""
        await self._open_sockets()
        await self._gather()

    async def connect(self) -> None:
        """Return once there is a path; raises `ConnectionError` if closed before."""
        if self.remote_username is None or self.remote_password is None:
            raise ConnectionError("the other end's credentials are missing")
        await self._use_link_local(self._remote_candidates)
        checks = self._checks
        checks.controlling = self.ice_controlling
        self._start(
            checks, Credentials(self.remote_username, self.remote_password), self._remote_candidates
        )
        self._connected = asyncio.get_running_loop().create_future()
        if self._closing:
            raise ConnectionError("closed while connecting")
        if self._selected is None:
            await self._connected

    async def close(self) -> None:
        """Give everything back."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        while self._work:
            for task in self._work:
                task.cancel()
            await asyncio.wait(self._work)
        opened: list[LocalSocket | TurnRelay] = [*self._sockets.values(), *self._relays.values()]
        self._sockets.clear()
        self._relays.clear()
        self._local_candidates.clear()
        self._selected = self.path = None
        await asyncio.gather(*(protocol.close() for protocol in opened))
        if self._connected is not None and not self._connected.done():
            self._connected.set_exception(ConnectionError("closed while connecting"))
            self._connected.exception()
        self._closed.set()
        self._wake()

    async def get_event(self) -> ConnectionClosed:
        """Wait for the end: there are no other events."""
        await self._closed.wait()
        return ConnectionClosed()

    async def recv(self) -> bytes:
        """The next datagram; raises `ConnectionError` once closed."""
        while not self._arrived:
            if self._closed.is_set():
                raise ConnectionError("the connection is closed")
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._arrived.popleft()

    async def send(self, data: bytes) -> None:
        """Send a datagram, if there is a path; raises `ConnectionError` once closed."""
        path = self.path
        if path is not None:
            if not path.protocol.transport.is_closing():
                path.protocol.transport.sendto(data, path.remote_addr)
        elif self._closing:
            raise ConnectionError("the connection is closed")

    # -- an ICE restart ---------------------------------------------------------------------------

    async def restart_offer(self) -> str:
        """Begin an ICE restart: new credentials, gathered anew; to be handed to the other end."""
        self._restart = self._new_checks()
        return str(await self._whereabouts(self._restart))

    async def accept_restart(self, offer: str) -> str:
        """Take the other end's offer of a restart; what is to be handed back to it.

        Raises `LinkFailed` for what is none.
        """
        theirs = Whereabouts.parse(offer)
        restart = self._restart = self._new_checks()
        ours = await self._whereabouts(restart)
        await self._restart_with(restart, theirs)
        return str(ours)

    async def complete_restart(self, answer: str) -> None:
        """Take the answer to our offer; raises `LinkFailed` for what is none, or unasked for."""
        theirs = Whereabouts.parse(answer)
        restart = self._restart
        if restart is None or restart.remote is not None:
            raise LinkFailed("no ICE restart is waiting for an answer")
        await self._restart_with(restart, theirs)

    async def _whereabouts(self, restart: Checks) -> Whereabouts:
        if self._closing:
            raise LinkFailed("the link is closed")
        await self._task(self._look())
        await self._task(self._gather(anew=True))
        for base in self._bases():
            restart.add_base(base)
        return Whereabouts(restart.local, tuple(self._local_candidates))

    async def _restart_with(self, restart: Checks, theirs: Whereabouts) -> None:
        await self._use_link_local(theirs.candidates)
        if restart is self._restart and not self._closing:
            self._start(restart, theirs.credentials, theirs.candidates)

    @property
    def silent_s(self) -> float:
        """For how long the path in use has been silent, and no other was found."""
        return self._checks.silent_s(self._now())

    def why_unreachable(self) -> tuple[ServerFailure, ...]:
        """The servers' failures that may be why there is no path: none, if a relay was had."""
        return () if self._relays else self.failures

    # -- gathering --------------------------------------------------------------------------------

    def _bases(self) -> list[Base]:
        return [*self._sockets, *self._relays]

    def _base(self, host: str, relayed: bool = False) -> Base:
        self._next_base += 1
        # Of two addresses alike, the one that comes first, and of two sockets, the older.
        return Base(self._next_base, host, relayed, max(0, 65535 - self._next_base))

    def _addresses(self) -> list[str]:
        if self._host_addresses is not None:
            return self._host_addresses
        return machine_addresses(self._link_local)

    async def _open_sockets(self) -> None:
        have = {base.host for base in self._sockets}
        for host in self._addresses():
            if host in have or len(self._sockets) >= MAX_SOCKETS:
                continue
            base = self._base(host)
            try:
                opened = await LocalSocket.open(base, self)
            except OSError:
                continue  # not this machine's, or not yet or no more
            self._sockets[base] = opened
            self._added(base)

    def _added(self, base: Base) -> None:
        for checks in self._all_checks():
            checks.add_base(base)

    async def _gather(self, anew: bool = False) -> None:
        """Ask all servers; late ones add what they have when it comes."""
        if anew:
            self._drop_relays()
        reflexive: list[tuple[LocalSocket, Address]] = []
        failures: list[ServerFailure] = []
        enough = asyncio.Event()  # one server of the best kind there is has answered
        wants_relay = any(server.relays for server in self.servers)

        async def ask(server: ServerUrl) -> None:
            try:
                if server.relays:
                    await self._allocate(server)
                else:
                    reflexive.extend(await reflexive_address(server, list(self._sockets.values())))
            except ServerFailed as error:
                failures.append(error.failure)
                self.failures = (*self.failures, error.failure)
            else:
                if server.relays or not wants_relay:
                    enough.set()

        self.failures = ()
        asking = [self._task(ask(server)) for server in self.servers]
        waiting = self._task(enough.wait())
        if asking:
            everything = asyncio.gather(*asking, return_exceptions=True)
            await asyncio.wait(
                [everything, waiting], timeout=GATHER_LIMIT_S, return_when=asyncio.FIRST_COMPLETED
            )
            await asyncio.wait([everything], timeout=GATHER_GRACE_S)
            told = len(failures)
            _log_failures(failures)
            everything.add_done_callback(lambda _: _log_failures(failures[told:]))
        waiting.cancel()
        self._list_candidates(reflexive)

    async def _allocate(self, server: ServerUrl) -> None:
        relay = await open_relay(server, lambda host: self._base(host, True), self, self._tls)
        if self._closing:
            await relay.close()
            return
        self._relays[relay.base] = relay
        self._added(relay.base)
        self._drive()

    def _list_candidates(self, reflexive: Sequence[tuple[LocalSocket, Address]]) -> None:
        found: list[Candidate] = []
        known: set[Address] = set()

        def add(kind: str, address: Address, base: Base, related: Address | None = None) -> None:
            if address in known:
                return
            known.add(address)
            preference = {"host": 126, "srflx": 100, "relay": 0}[kind]
            found.append(
                Candidate(
                    foundation=str(base.number),
                    component=1,
                    transport="udp",
                    priority=preference << 24 | base.preference << 8 | 255,
                    host=address[0].partition("%")[0],
                    port=address[1],
                    type=kind,
                    related_address=related and related[0],
                    related_port=related and related[1],
                )
            )

        for relay in self._relays.values():
            add("relay", relay.address, relay.base, relay.mapped)
        for base, local in self._sockets.items():
            add("host", (base.host, local.port), base)
        for local, seen in reflexive:
            add("srflx", seen, local.base, (local.base.host, local.port))
        # What has to go beyond the limit is hosts' last ones, not a relay.
        order = [*found[: len(self._relays)], *_spread(found[len(self._relays) :])]
        kept = order[:MAX_CANDIDATES]
        kept.sort(key=lambda candidate: -candidate.priority)
        self._local_candidates = kept

    async def _use_link_local(self, candidates: Sequence[Candidate]) -> None:
        """Use IPv6's link-local addresses where the other end has nothing else."""
        if candidates and all(is_link_local(candidate.host) for candidate in candidates):
            self._link_local = True
            await self._open_sockets()

    # -- checks -----------------------------------------------------------------------------------

    def _all_checks(self) -> list[Checks]:
        return [self._checks] if self._restart is None else [self._checks, self._restart]

    def _start(self, checks: Checks, theirs: Credentials, candidates: Sequence[Candidate]) -> None:
        for candidate in candidates:
            checks.add_remote((candidate.host, candidate.port), candidate.type, candidate.priority)
        checks.start(theirs, self._now())
        self._drive()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _drive(self) -> None:
        """Send what is to be sent, follow the selected pair, and wait for the next deadline."""
        if self._closing:
            return
        now = self._now()
        due = None
        for checks in self._all_checks():
            if checks.due is not None and checks.due <= now:
                checks.advance(now)
            for base, address, data in checks.take_datagrams():
                sender = self._sockets.get(base) or self._relays.get(base)
                if sender is not None:
                    sender.send(data, address)
            if checks.due is not None:
                due = checks.due if due is None else min(due, checks.due)
        self._follow(now)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(max(due, now + 0.001), self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        now = self._now()
        silent = self._checks.state is PairState.SILENT
        if now >= self._look_at and not self._looking:
            self._look_at = now + (LOOK_SILENT_S if silent else LOOK_S)
            self._task(self._look())
        if silent and now >= self._renew_at and self._relays_are_suspect():
            self._task(self._renew_relays())
        self._drive()

    def _follow(self, now: float) -> None:
        """Use the pair that is selected now."""
        if self._restart is not None and self._restart.selected is not None:
            # What the restart found takes over, with its credentials; the old ones are forgotten.
            self._replaced, self._checks, self._restart = self._checks, self._restart, None
        pair = self._checks.selected
        if pair is not None and not self._checks.may_send(now):
            self.path = None  # consent has expired; checks go on
        elif pair is not None and (pair is not self._selected or self.path is None):
            sender = self._sockets.get(pair.base) or self._relays.get(pair.base)
            if sender is None:
                return  # its base is gone; another is looked for
            changed = pair is not self._selected
            self._selected = pair
            self.path = IcePath(sender, sender.destination(pair.remote.address), pair.relayed)
            if self._connected is not None and not self._connected.done():
                self._connected.set_result(None)
            if changed and self.on_path_changed is not None:
                self.on_path_changed(self.path)

    # -- the machine's addresses, and relays, as they change --------------------------------------

    async def _look(self) -> None:
        """Look at the machine's addresses, and follow them."""
        if self._looking:
            return
        self._looking = True
        try:
            machine = {_bare(host) for host in self._addresses()}
            if self._host_addresses is not None:
                here = {_bare(host) for host in machine_addresses(True)}
                machine = {host for host in machine if host in here or _is_loopback(host)}
            for base in [base for base in self._sockets if _bare(base.host) not in machine]:
                self._drop_socket(base)
            await self._open_sockets()
            lost = [
                relay
                for relay in self._relays.values()
                if self._host_addresses is None
                and _bare(relay.local_host) not in machine
                and not (_is_loopback(relay.local_host) or is_link_local(relay.local_host))
            ]
            for relay in lost:
                self.base_lost(relay.base)
        finally:
            self._looking = False
        self._drive()

    def _drop_socket(self, base: Base) -> None:
        local = self._sockets.pop(base)
        local.transport.close()
        for checks in self._all_checks():
            checks.remove_base(base)

    def _drop_relays(self) -> None:
        """Give all relays back but the one in use, which goes on as long as it may."""
        in_use = self._selected.base if self._selected is not None else None
        for base in [base for base in self._relays if base != in_use]:
            self._drop_relay(base)

    def _drop_relay(self, base: Base) -> None:
        relay = self._relays.pop(base)
        for checks in self._all_checks():
            checks.remove_base(base)
        if not self._closing:
            self._task(relay.close())

    def _relays_are_suspect(self) -> bool:
        """Whether relays may be what is broken: one is in use, or there should be some."""
        if not any(server.relays for server in self.servers) or self._renewing:
            return False
        pair = self._checks.selected
        return not self._relays or (pair is not None and pair.base.relayed)

    async def _renew_relays(self) -> None:
        """Allocate relays anew: our address may be another to their servers now."""
        self._renewing = True
        self._renew_at = self._now() + RENEW_RELAYS_S
        old = list(self._relays)
        try:
            tries = [self._task(self._allocate(server)) for server in self.servers if server.relays]
            await asyncio.gather(*tries, return_exceptions=True)
        finally:
            self._renewing = False
        pair = self._checks.selected
        for base in old:
            if base in self._relays and (pair is None or pair.base != base):
                self._drop_relay(base)

    # -- what sockets and relays tell -------------------------------------------------------------

    def data_arrived(self, base: Base, source: Address, data: bytes) -> None:
        """A datagram that is no STUN message.

        DTLS will tell whether it is the other end's, if it may be: a stranger's, from where no
        check came, would begin a handshake in its place, or cost a decryption each.
        """
        pair = self._selected
        if pair is not None and source == pair.remote.address and base is pair.base:
            self._checks.heard = True
        elif not any(checks.knows(source) for checks in self._known_checks()):
            return
        self.on_data(data)

    def _known_checks(self) -> list[Checks]:
        checks = self._all_checks()
        return checks if self._replaced is None else [*checks, self._replaced]

    def _keep(self, data: bytes) -> None:
        """Keep a datagram for `recv`."""
        if len(self._arrived) < MAX_WAITING:
            self._arrived.append(data)
            self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def stun_arrived(self, base: Base, source: Address, data: bytes) -> None:
        """A STUN message, maybe the other end's."""
        if self._closing:
            return
        now = self._now()
        for checks in self._all_checks():
            checks.receive(base, source, data, now)
        self._drive()

    def send_failed(self, base: Base) -> None:
        """The system would not send from there: its address or its network is gone."""
        pair = self._checks.selected
        if self._closing or pair is None or pair.base != base:
            return
        if self._checks.state is PairState.SILENT:
            return
        self._checks.base_failed(base)
        self._look_at = self._now()
        self._drive()

    def base_lost(self, base: Base) -> None:
        """A relay is gone: its server, its connection, or our address that it was reached from."""
        if base in self._relays and not self._closing:
            self._drop_relay(base)
            if not self._renewing and self._now() >= self._renew_at:
                self._task(self._renew_relays())
            self._drive()

    def _task(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._work.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._work.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved: what fails is tried again, or told as a failure


def _bare(host: str) -> str:
    """An address without its scope, which may be an interface's name or its number."""
    return host.partition("%")[0]


def _is_loopback(host: str) -> bool:
    return only_loopback([host])


def _log_failures(failures: Sequence[ServerFailure]) -> None:
    if failures:
        _LOG.warning("%s", "; ".join(str(failure) for failure in failures))


def _spread(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Of each kind the first, then of each the second, and so on."""
    kinds = [[c for c in candidates if c.type == kind] for kind in ("host", "srflx")]
    longest = max(map(len, kinds))
    return [kind[i] for i in range(longest) for kind in kinds if i < len(kind)]
