"""Two ends' checks on a simulated network, by a simulated clock."""

from __future__ import annotations

import heapq
import itertools
from random import Random

import pytest
from aioice import stun

from shared.link.webrtc import checks as module
from shared.link.webrtc.checks import Base, Checks, Credentials, PairState, is_stun

OURS, THEIRS = Credentials("ours", "o" * 24), Credentials("them", "t" * 24)
PORT = 5000


class Network:
    """Two ends; `open` are the (from, to) hosts between which datagrams pass, in 5 ms."""

    def __init__(self, ours=("10.0.0.1",), theirs=("10.0.1.1",), told=None) -> None:
        self.now = 0.0
        self.ends = (
            Checks(OURS, controlling=True, tie_breaker=2, dice=Random(1)),
            Checks(THEIRS, controlling=False, tie_breaker=1, dice=Random(2)),
        )
        self.bases: list[dict[str, Base]] = [{}, {}]
        self.blocked: set[tuple[str, str]] = set()
        self.down = False
        self.loss = 0.0
        self.delay_s = 0.005
        self.nat: dict[tuple[str, int], tuple[str, int]] = {}  # as the far side sees the source
        self.sent: list[tuple[float, int, str, tuple[str, int]]] = []
        self.dice = Random(3)
        self._flying: list[tuple[float, int, int, str, tuple[str, int], bytes]] = []
        self._order = itertools.count()
        self._numbers = itertools.count(1)
        for end, hosts in enumerate((ours, theirs)):
            for host in hosts:
                self.add(end, host)
        for end, hosts in enumerate((theirs, ours) if told is None else told):
            for host in hosts:
                self.ends[end].add_remote((host, PORT), "host", 126 << 24 | 65535 << 8 | 255)

    def add(self, end: int, host: str, relayed: bool = False) -> Base:
        base = Base(next(self._numbers), host, relayed)
        self.bases[end][host] = base
        self.ends[end].add_base(base)
        return base

    def remove(self, end: int, host: str) -> None:
        self.ends[end].remove_base(self.bases[end].pop(host))

    def start(self) -> None:
        self.ends[0].start(THEIRS, self.now)
        self.ends[1].start(OURS, self.now)

    def connect(self) -> None:
        self.start()
        self.run(3.0)
        assert all(end.selected is not None for end in self.ends)

    def run(self, seconds: float, until=None) -> float:
        """Let time pass; how long it took until `until()`."""
        begin, end_at = self.now, self.now + seconds
        while self.now < end_at:
            self._flush()
            if until is not None and until():
                return self.now - begin
            due = [end.due for end in self.ends if end.due is not None]
            due += [self._flying[0][0]] if self._flying else []
            self.now = max(self.now, min([*due, end_at]))
            while self._flying and self._flying[0][0] <= self.now:
                _, _, end, host, source, data = heapq.heappop(self._flying)
                base = self.bases[end].get(host)
                if base is not None:
                    self.ends[end].receive(base, source, data, self.now)
            for end in self.ends:
                if end.due is not None and end.due <= self.now:
                    end.advance(self.now)
        assert until is None, "it did not come to pass"
        return seconds

    def _flush(self) -> None:
        for end, checks in enumerate(self.ends):
            for base, address, data in checks.take_datagrams():
                self.sent.append((self.now, end, base.host, address))
                self.pass_on(end, base.host, address, data)

    def pass_on(self, end: int, host: str, address, data: bytes) -> None:
        if self.down or (host, address[0]) in self.blocked or self.dice.random() < self.loss:
            return
        source = self.nat.get((host, PORT), (host, PORT))
        behind = {seen: inside for inside, seen in self.nat.items()}
        to = behind.get(address, address)
        if to != address or address not in self.nat:
            at = self.now + self.delay_s
            heapq.heappush(self._flying, (at, next(self._order), 1 - end, to[0], source, data))

    def path(self, end: int) -> tuple[str, tuple[str, int]]:
        pair = self.ends[end].selected
        return pair.base.host, pair.remote.address

    def joined(self) -> bool:
        """Whether both ends have selected a pair that answers, and the same one."""
        if any(end.selected is None or end.state is not PairState.CONNECTED for end in self.ends):
            return False
        (a, (b, _)), (c, (d, _)) = self.path(0), self.path(1)
        return (a, b) == (d, c)

    def talk(self) -> None:
        for end in self.ends:
            end.heard = True


# -- finding a path -------------------------------------------------------------------------------


def test_two_ends_that_know_each_other_select_the_same_pair_within_two_round_trips():
    network = Network()
    network.start()
    assert network.run(1.0, network.joined) <= 4 * network.delay_s


def test_the_best_of_what_passes_is_selected_though_others_are_blocked():
    network = Network(ours=("172.17.0.1", "10.0.0.1"), theirs=("172.17.0.1", "10.0.1.1"))
    network.blocked = {
        (a, b)
        for a, b in itertools.product(("172.17.0.1", "10.0.0.1", "10.0.1.1"), repeat=2)
        if "172.17.0.1" in (a, b)
    }
    network.start()
    network.run(1.0, network.joined)
    assert network.path(0) == ("10.0.0.1", ("10.0.1.1", PORT))


@pytest.mark.parametrize("told", [((), ("10.0.0.1",)), (("10.0.1.1",), ())])
def test_one_end_without_candidates_is_found_by_its_checks(told):
    network = Network(told=told)
    network.start()
    network.run(1.0, network.joined)


def test_checks_that_come_before_the_answer_are_answered_and_followed_at_once():
    network = Network(told=((), ("10.0.0.1",)))
    network.ends[1].start(OURS, network.now)
    network.run(1.0)
    assert network.ends[0].selected is None
    network.ends[0].start(THEIRS, network.now)
    assert network.run(1.0, network.joined) < 0.05


def test_two_ends_that_both_think_to_be_in_control_agree():
    network = Network()
    network.ends[1].controlling = True
    network.start()
    network.run(1.0, network.joined)
    assert [end.controlling for end in network.ends] == [True, False]


def test_a_relayed_path_is_taken_only_when_no_direct_one_comes_and_left_when_one_does():
    network = Network()
    network.add(0, "10.9.9.9", relayed=True)
    network.blocked = {("10.0.0.1", "10.0.1.1"), ("10.0.1.1", "10.0.0.1")}
    network.start()
    network.run(2.0, network.joined)
    assert network.path(0)[0] == "10.9.9.9"
    network.blocked.clear()
    network.ends[0]._remotes["10.0.1.1", PORT].proven = True
    network.run(5.0, lambda: network.path(0)[0] == "10.0.0.1" and network.joined())


def test_a_fifth_of_all_packets_may_be_lost():
    for seed in range(20):
        network = Network()
        network.loss, network.dice = 0.2, Random(seed)
        network.start()
        network.run(4.0, network.joined)


# -- a path that goes, moves and comes back -------------------------------------------------------


def test_a_path_that_is_silent_for_two_minutes_is_back_within_a_second():
    network = Network()
    network.connect()
    network.down = True
    network.run(1.0, lambda: all(end.state is PairState.SILENT for end in network.ends))
    network.run(120.0)
    assert not network.ends[0].may_send(network.now)  # consent has expired
    network.down = False
    assert network.run(1.0, network.joined) < 0.6
    assert network.ends[0].may_send(network.now)


def test_what_is_heard_keeps_a_path_and_few_checks_are_sent_meanwhile():
    network = Network()
    network.connect()
    network.sent.clear()
    for _ in range(200):
        network.talk()
        network.run(0.05)
    assert network.joined()
    assert len(network.sent) <= 2 * 2 * (10 / 2.0 + 2)  # requests and answers of both ends


def test_what_anybody_may_send_does_not_hide_for_long_that_no_check_is_answered():
    network = Network(ours=("10.0.0.1", "10.0.2.1"))
    network.connect()
    silent = network.path(0)[0]
    network.blocked = {(silent, "10.0.1.1"), ("10.0.1.1", silent)}

    def moved() -> bool:
        network.talk()
        return network.joined() and network.path(0)[0] != silent

    network.run(9.0, moved)


@pytest.mark.parametrize("end", [0, 1])
def test_when_one_way_fails_the_other_is_taken_within_a_second(end):
    ours, theirs = ("10.0.0.1", "10.0.2.1"), ("10.0.1.1",)
    network = Network(*((ours, theirs) if end == 0 else (theirs, ours)))
    network.connect()
    lost = network.path(end)[0]
    other = network.path(1 - end)[0]
    network.blocked = {(lost, other), (other, lost)}
    network.run(1.0, lambda: network.path(end)[0] != lost and network.joined())


@pytest.mark.parametrize("end", [0, 1])
def test_an_address_that_is_taken_away_is_left_as_soon_as_there_is_another(end):
    network = Network()
    network.connect()
    gone = network.path(end)[0]
    network.remove(end, gone)
    network.run(5.0)
    assert network.ends[end].state is PairState.SILENT
    network.add(end, "10.0.7.7")
    took = network.run(1.0, lambda: network.path(end)[0] == "10.0.7.7" and network.joined())
    assert took <= 6 * network.delay_s


@pytest.mark.parametrize("end", [0, 1])
def test_a_nat_that_forgets_is_followed_within_a_second(end):
    network = Network()
    host = ("10.0.0.1", "10.0.1.1")[end]
    network.nat = {(host, PORT): ("192.0.2.1", 20000)}
    network.ends[1 - end]._remotes.clear()
    network.ends[1 - end]._pairs.clear()
    network.connect()
    assert network.path(1 - end)[1] == ("192.0.2.1", 20000)
    network.nat = {(host, PORT): ("192.0.2.1", 30000)}
    network.run(1.0, lambda: network.path(1 - end)[1] == ("192.0.2.1", 30000))
    network.run(0.5)
    assert all(checks.state is PairState.CONNECTED for checks in network.ends)


def test_the_system_saying_that_nothing_can_be_sent_is_not_waited_out():
    network = Network(ours=("10.0.0.1", "10.0.2.1"))
    network.connect()
    lost = network.path(0)[0]
    network.blocked = {(lost, "10.0.1.1"), ("10.0.1.1", lost)}
    network.ends[0].base_failed(network.bases[0][lost])
    took = network.run(1.0, lambda: network.path(0)[0] != lost and network.joined())
    assert took <= 0.05


# -- those who are not the other end --------------------------------------------------------------


def request(password: str, user: str = "ours:them", nominate: bool = True) -> bytes:
    message = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    message.attributes.update({"USERNAME": user, "PRIORITY": 1, "ICE-CONTROLLING": 9})
    if nominate:
        message.attributes["USE-CANDIDATE"] = None
    message.add_message_integrity(password.encode())
    return bytes(message)


STRANGER = ("203.0.113.5", 666)


@pytest.mark.parametrize(
    "data",
    [
        request("x" * 24),
        request("o" * 24, "ours:other"),
        request("o" * 24, "other:them"),
        request("o" * 24)[:-9],
        bytes(stun.Message(stun.Method.BINDING, stun.Class.REQUEST)),
        bytes(stun.Message(stun.Method.BINDING, stun.Class.RESPONSE)),
        b"\x00\x01\x00\x04\x21\x12\xa4\x42" + b"ours:" + bytes(11),
    ],
    ids=range(7),  # what is drawn differs from run to run
)
def test_what_is_not_under_the_password_is_neither_answered_nor_followed(data):
    network = Network()
    network.connect()
    end = network.ends[0]
    network.run(0.001)
    before = network.path(0), end.remotes
    end.receive(network.bases[0]["10.0.0.1"], STRANGER, data, network.now)
    assert end.take_datagrams() == []
    assert (network.path(0), end.remotes) == before


def test_a_lie_about_an_address_moves_nothing():
    network = Network()
    network.connect()
    other = network.ends[1]
    base = network.bases[1]["10.0.1.1"]
    for port in range(100):
        source = STRANGER[0], 1 + port
        other.receive(base, source, request("t" * 24, "them:ours"), network.now)
    network.run(10.0)
    assert network.joined()
    assert network.path(1) == ("10.0.1.1", ("10.0.0.1", PORT))
    checks = [to for _, _, _, to in network.sent if to[0] == STRANGER[0]]
    assert len(checks) <= 100 + 64  # an answer each, and few checks
    assert len(other.remotes) <= module.MAX_REMOTES
    assert len(other._pairs) <= module.MAX_PAIRS


def test_addresses_that_never_answer_get_a_bounded_number_of_checks():
    victims = [f"203.0.113.{n}" for n in range(1, 141)]
    network = Network(ours=[f"10.0.0.{n}" for n in range(1, 5)], told=(victims, ()))
    network.ends[0].start(THEIRS, 0.0)
    network.run(300.0)
    assert len(network.sent) <= 100 + 0.2 * 300 + 1
    assert len({to for _, _, _, to in network.sent}) <= 16


def test_a_silent_link_sends_few_checks_to_addresses_that_never_answered():
    network = Network(told=(("10.0.1.1", *(f"203.0.113.{n}" for n in range(1, 16))), ("10.0.0.1",)))
    network.connect()
    network.down = True
    network.run(120.0)
    strange = [to for _, _, _, to in network.sent if to[0].startswith("203.")]
    assert len(strange) <= 100 + 0.2 * 120


def test_a_flood_of_requests_under_our_password_is_answered_in_part():
    network = Network()
    network.connect()
    end = network.ends[0]
    base = network.bases[0]["10.0.0.1"]
    for _ in range(5_000):
        end.receive(base, STRANGER, request("o" * 24, nominate=False), network.now)
    assert len(end.take_datagrams()) <= 100 + 16


def test_forged_requests_hide_no_genuine_one():
    """By somebody who has seen our user name, and not the password."""
    network = Network()
    network.connect()
    end, base = network.ends[0], network.bases[0]["10.0.0.1"]
    for _ in range(900):
        end.receive(base, STRANGER, request("x" * 24), network.now)
        end.receive(base, ("10.0.1.1", PORT), request("x" * 24), network.now)
    assert end.take_datagrams() == []
    end.receive(base, ("10.0.1.9", 7), request("o" * 24, nominate=False), network.now)
    assert end.take_datagrams()


def test_a_request_of_a_size_that_no_check_has_is_not_read(monkeypatch):
    network = Network()
    network.connect()
    end, base = network.ends[0], network.bases[0]["10.0.0.1"]
    monkeypatch.setattr(module, "_parsed", lambda _: pytest.fail("it was read"))
    end.receive(base, STRANGER, request("o" * 24) + b"\x80\x22\x00\x00" * 120, network.now)


def test_early_checks_are_kept_within_a_bound():
    network = Network(told=((), ()))
    end, base = network.ends[0], network.bases[0]["10.0.0.1"]
    for port in range(1, 1_000):
        end.receive(base, (STRANGER[0], port), request("o" * 24, "ours:any"), port * 0.1)
    assert len(end._early) == module.MAX_EARLY


def test_stun_is_told_from_dtls():
    assert is_stun(request("o" * 24))
    assert not is_stun(b"\x16\xfe\xfd" + bytes(30))
    assert not is_stun(request("o" * 24)[:19])
    assert not is_stun(b"")


def test_a_link_of_one_link_alone_pairs_with_its_like():
    network = Network(ours=("fe80::1%eth0", "2001:db8::1", "10.0.0.1"), told=(("fe80::2",), ()))
    assert [pair.base.host for pair in network.ends[0]._pairs.values()] == ["fe80::1%eth0"]


# -- answers that are none ------------------------------------------------------------------------


def an_answer(end: Checks, base: Base) -> tuple[tuple[str, int], bytes]:
    """Whither the newest check of `end` goes, and what answers it."""
    _, address, data = end.take_datagrams()[-1]
    answer = stun.Message(
        stun.Method.BINDING,
        stun.Class.RESPONSE,
        transaction_id=stun.parse_message(data).transaction_id,
        attributes={"XOR-MAPPED-ADDRESS": (base.host, PORT)},
    )
    answer.add_message_integrity(THEIRS.password.encode())
    return address, bytes(answer)


@pytest.mark.parametrize(
    ("source", "after_s", "believed"),
    [
        (("10.0.1.1", PORT), 0.1, True),
        (("10.0.1.1", PORT + 1), 0.1, False),  # RFC 8445 section 7.2.5.2.1
        (("10.0.1.9", PORT), 0.1, False),
        (("10.0.1.1", PORT), module.TRANSACTION_S + 0.1, False),
    ],
)
def test_only_an_answer_in_time_from_where_it_was_asked_is_one(source, after_s, believed):
    end = Checks(OURS, controlling=True, tie_breaker=2, dice=Random(1))
    base = Base(1, "10.0.0.1")
    end.add_base(base)
    end.add_remote(("10.0.1.1", PORT), "host", 126 << 24 | 65535 << 8 | 255)
    end.start(THEIRS, 0.0)
    end.advance(0.0)
    address, answer = an_answer(end, base)
    assert address == ("10.0.1.1", PORT)
    end.receive(base, source, answer, after_s)
    assert (end.selected is not None) is believed
    assert [remote.proven for remote in end._remotes.values()] == [believed]
