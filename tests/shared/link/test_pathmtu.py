from __future__ import annotations

import contextlib
import heapq
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import MalformedFrame
from shared.link.messages import (
    LARGEST_MESSAGE_BYTES,
    LEAST_MESSAGE_BYTES,
    OVERHEAD_BYTES,
    OVERHEAD_IPV6_BYTES,
)
from shared.link.pathmtu import (
    ASK_AGAIN_NS,
    DOUBT_AFTER_LOST,
    GRAIN_BYTES,
    PROBE,
    PROBE_ACK,
    RAISE_AFTER_NS,
    TINY_BYTES,
    PathMtu,
    Phase,
    ProbeAck,
    answer_probe,
    pack_probe,
    parse_probe_ack,
)

MS = 1_000_000
S = 1_000 * MS


class Path:
    """A path that silently drops packets above its size, and others by chance."""

    def __init__(
        self,
        mtu: int,
        *,
        rtt_ns: int = 20 * MS,
        loss: float = 0.0,
        overhead_bytes: int = OVERHEAD_BYTES,
        seed: int = 1,
    ) -> None:
        self.mtu, self.rtt_ns, self.loss, self.overhead = mtu, rtt_ns, loss, overhead_bytes
        self.dice = random.Random(seed)
        self.now_ns = 10 * S
        self.began_ns = self.now_ns
        self.machine = PathMtu(self.now_ns, overhead_bytes=overhead_bytes)
        self.under_way: list[tuple[int, int, bytes]] = []
        self.probes: list[int] = []
        self.down = False

    def lets_pass(self, nbytes: int) -> bool:
        fits = nbytes + self.overhead <= self.mtu
        return fits and not self.down and self.dice.random() >= self.loss

    def step(self, until_ns: int) -> bool:
        """The next thing that happens, if it does before."""
        ack_ns = self.under_way[0][0] if self.under_way else until_ns
        at_ns = min(ack_ns, self.machine.due_ns)
        if at_ns >= until_ns:
            self.now_ns = until_ns
            return False
        self.now_ns = max(self.now_ns, at_ns)
        if self.under_way and self.under_way[0][0] <= self.now_ns:
            ack = heapq.heappop(self.under_way)[2]
            self.machine.on_ack(parse_probe_ack(ack), self.now_ns)
            return True
        for probe in self.machine.poll(self.now_ns, self.rtt_ns):
            self.probes.append(len(probe))
            if self.lets_pass(len(probe)) and self.dice.random() >= self.loss:
                entry = (self.now_ns + self.rtt_ns, len(self.probes), answer_probe(probe))
                heapq.heappush(self.under_way, entry)
        return True

    def run(self, seconds: float) -> None:
        until_ns = self.now_ns + round(seconds * S)
        while self.step(until_ns):
            pass

    def run_until(self, *phases: Phase, within_s: float = 60) -> float:
        """Return how long it took, in seconds."""
        begin_ns, until_ns = self.now_ns, self.now_ns + round(within_s * S)
        while self.machine.phase not in phases:
            assert self.step(until_ns), self.machine.phase
        return (self.now_ns - begin_ns) / S

    def frames(self, seconds: float, packets: int = 10) -> float | None:
        """Frames at 30 fps cut to what is in use; when the first came whole, in seconds."""
        begin_ns = self.now_ns
        whole = None
        while self.now_ns < begin_ns + round(seconds * S):
            nbytes = self.machine.message_bytes
            fates = [self.lets_pass(nbytes) for _ in range(packets)]
            self.run(1 / 30)
            arrived = [nbytes] * sum(fates)
            lost = [nbytes] * (packets - sum(fates))
            self.machine.on_fates(arrived, lost, self.now_ns)
            if all(fates) and whole is None:
                whole = (self.now_ns - begin_ns) / S
        return whole


def best(path: Path) -> int:
    """The largest message that fits, of an Ethernet's at most."""
    return (min(path.mtu, 1500) - path.overhead) // 4 * 4


# -- messages -----------------------------------------------------------------------------------


def test_the_layouts_are_the_documented_ones():
    probe = pack_probe(0x01020304, 440)
    assert probe == bytes.fromhex("0701020304") + bytes(435)
    assert answer_probe(probe) == bytes.fromhex("080102030401b8")
    assert parse_probe_ack(answer_probe(probe)) == ProbeAck(0x01020304, 440)
    assert (PROBE, PROBE_ACK) == (7, 8)


@given(st.integers(TINY_BYTES, LARGEST_MESSAGE_BYTES))
def test_an_answer_is_smaller_than_what_it_answers(nbytes):
    assert len(answer_probe(pack_probe(1, nbytes))) < nbytes


@given(st.binary(max_size=1_500) | st.binary(max_size=20).map(lambda tail: b"\x07" + tail))
def test_no_bytes_at_all_do_worse_than_malformed(message):
    for parse in (answer_probe, parse_probe_ack):
        with contextlib.suppress(MalformedFrame):
            parse(message)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x07",
        bytes((PROBE,)) + bytes(TINY_BYTES - 2),
        bytes((PROBE,)) + bytes(LARGEST_MESSAGE_BYTES),
        bytes((9,)) + bytes(400),
    ],
)
def test_what_is_no_probe_is_not_answered(message):
    with pytest.raises(MalformedFrame):
        answer_probe(message)


# -- the search ---------------------------------------------------------------------------------


def test_it_begins_at_a_size_that_always_passes():
    machine = PathMtu(0)
    assert machine.phase is Phase.BASE
    assert machine.message_bytes == LEAST_MESSAGE_BYTES


@pytest.mark.parametrize("overhead", [OVERHEAD_BYTES, OVERHEAD_IPV6_BYTES, OVERHEAD_BYTES + 4])
@pytest.mark.parametrize("rtt_ms", [1, 20, 300])
def test_an_ethernet_is_filled_one_round_trip_after_the_start(overhead, rtt_ms):
    path = Path(1500, rtt_ns=rtt_ms * MS, overhead_bytes=overhead)
    assert path.run_until(Phase.COMPLETE) == pytest.approx(rtt_ms / 1_000)
    assert path.machine.message_bytes == best(path)
    assert 1496 < path.machine.packet_bytes <= 1500
    assert len(path.probes) <= 5


@given(st.integers(576, 1600), st.sampled_from([OVERHEAD_BYTES, OVERHEAD_IPV6_BYTES]))
def test_any_path_is_filled_but_for_a_percent_and_never_overfilled(mtu, overhead):
    path = Path(mtu, overhead_bytes=overhead)
    took_s = path.run_until(Phase.COMPLETE)
    assert best(path) - 2 * GRAIN_BYTES < path.machine.message_bytes <= best(path)
    assert took_s < 1.0
    assert sum(path.probes) < 64_000


@given(st.integers(576, 1500), st.floats(0, 0.2), st.integers(0, 10**6))
def test_with_lost_probes_too_the_search_ends_and_the_path_is_never_overfilled(mtu, loss, seed):
    path = Path(mtu, loss=loss, seed=seed)
    path.run_until(Phase.COMPLETE)
    assert LEAST_MESSAGE_BYTES <= path.machine.message_bytes <= best(path)


def test_a_fifth_lost_leaves_nearly_all_searches_right():
    found = []
    for seed in range(200):
        path = Path(1500, loss=0.2, seed=seed)
        path.run_until(Phase.COMPLETE)
        found.append(path.machine.message_bytes == best(path))
    assert sum(found) >= 185


def test_the_first_burst_asks_for_the_usual_sizes():
    probes = PathMtu(0).poll(0, 100 * MS)
    packets = [len(probe) + OVERHEAD_BYTES for probe in probes]
    assert packets == [TINY_BYTES + OVERHEAD_BYTES, 533, 1277, 1397, 1497]


def test_what_passes_is_in_use_while_more_is_searched():
    path = Path(1420)
    path.run(0.021)
    assert path.machine.phase is Phase.SEARCHING
    assert path.machine.packet_bytes == 1397


def test_an_outage_is_not_taken_for_a_small_path():
    path = Path(1500)
    path.down = True
    path.run(30)
    assert path.machine.phase is Phase.BASE
    assert sum(path.probes[-10:]) == 10 * TINY_BYTES  # not much is asked while nothing comes
    path.down = False
    assert path.run_until(Phase.COMPLETE) < 1.2
    assert path.machine.message_bytes == best(path)


def test_an_outage_in_the_middle_of_the_search_costs_nothing():
    path = Path(1350)
    path.run(0.03)
    path.down = True
    path.run(10)
    path.down = False
    path.run_until(Phase.COMPLETE)
    assert best(path) - 2 * GRAIN_BYTES < path.machine.message_bytes <= best(path)


def test_acknowledgements_that_come_late_still_count():
    machine = PathMtu(0)
    acks = [parse_probe_ack(answer_probe(probe)) for probe in machine.poll(0, 10 * MS)]
    machine.on_ack(acks[0], 10 * MS)
    machine.poll(machine.due_ns, 10 * MS)
    machine.on_ack(acks[-1], 300 * MS)
    assert machine.message_bytes == LARGEST_MESSAGE_BYTES


def test_acknowledgements_of_what_was_not_asked_say_nothing():
    machine = PathMtu(0)
    probes = machine.poll(0, 10 * MS)
    for number in range(len(probes)):
        machine.on_ack(ProbeAck(number, 1_000), 1)
    machine.on_ack(ProbeAck(99, LARGEST_MESSAGE_BYTES), 1)
    assert machine.phase is Phase.BASE
    assert machine.message_bytes == LEAST_MESSAGE_BYTES


def test_a_path_is_asked_again_after_ten_minutes():
    path = Path(1280)
    path.run_until(Phase.COMPLETE)
    asked = len(path.probes)
    path.mtu = 1500
    path.run(RAISE_AFTER_NS / S - 1)
    assert len(path.probes) == asked
    path.run(2)
    assert path.machine.phase is Phase.COMPLETE
    assert path.machine.message_bytes == best(path)


def test_another_path_begins_anew():
    path = Path(1500)
    path.run_until(Phase.COMPLETE)
    stale = ProbeAck(4, LARGEST_MESSAGE_BYTES)
    path.mtu, path.overhead = 1280, OVERHEAD_IPV6_BYTES
    path.machine.reset(path.now_ns, overhead_bytes=OVERHEAD_IPV6_BYTES)
    assert path.machine.message_bytes == LEAST_MESSAGE_BYTES
    path.machine.on_ack(stale, path.now_ns)  # of the path before
    assert path.machine.message_bytes == LEAST_MESSAGE_BYTES
    path.run_until(Phase.COMPLETE)
    assert best(path) - 2 * GRAIN_BYTES < path.machine.message_bytes <= best(path)


# -- black holes --------------------------------------------------------------------------------


@pytest.mark.parametrize("mtu", [600, 1200, 1240, 1280, 1400])
def test_a_path_that_becomes_smaller_shows_frames_again_within_half_a_second(mtu):
    path = Path(1500)
    path.run_until(Phase.COMPLETE)
    path.frames(1)
    path.mtu = mtu
    whole_s = path.frames(0.6)
    assert whole_s is not None
    assert whole_s < 0.5
    path.run(2)
    assert path.machine.phase is Phase.COMPLETE
    assert best(path) - 2 * GRAIN_BYTES < path.machine.message_bytes <= best(path)


def test_small_frames_that_pass_hide_no_black_hole():
    path = Path(1500)
    path.run_until(Phase.COMPLETE)
    path.mtu = 1200
    for _ in range(DOUBT_AFTER_LOST):
        path.machine.on_fates([800], [path.machine.message_bytes], path.now_ns)
    assert path.machine.phase is Phase.DOUBTED
    path.run(1)
    assert path.machine.packet_bytes <= 1200


def test_an_outage_is_no_black_hole():
    path = Path(1500)
    path.run_until(Phase.COMPLETE)
    path.down = True
    path.frames(5)
    assert path.machine.phase is Phase.DOUBTED
    assert path.machine.message_bytes == best(path)
    path.down = False
    assert path.run_until(Phase.COMPLETE) < 1.2
    assert path.machine.message_bytes == best(path)


def test_losses_among_arrivals_raise_no_doubt():
    path = Path(1500, loss=0.2, seed=3)
    path.run_until(Phase.COMPLETE)
    asked = len(path.probes)
    path.frames(20)
    assert path.machine.message_bytes == best(path)
    assert len(path.probes) - asked <= 6


def test_lost_packets_of_the_least_size_are_not_lost_for_their_size():
    path = Path(1500)
    path.run_until(Phase.COMPLETE)
    path.machine.on_fates([], [LEAST_MESSAGE_BYTES] * 100, path.now_ns)
    assert path.machine.phase is Phase.COMPLETE


def test_what_left_before_the_size_fell_raises_no_new_doubt():
    path = Path(1500)
    path.run_until(Phase.COMPLETE)
    full = path.machine.message_bytes
    path.mtu = 1200
    path.machine.on_fates([], [full] * DOUBT_AFTER_LOST, path.now_ns)
    path.run_until(Phase.SEARCHING)
    path.machine.on_fates([], [full] * 100, path.now_ns)
    assert path.machine.phase is Phase.SEARCHING


# -- no size passes -----------------------------------------------------------------------------


def test_a_path_that_not_even_the_least_size_passes_is_told_by_its_name():
    path = Path(500)
    assert path.machine.failure() is None
    assert path.run_until(Phase.ERROR) < 0.5
    failure = path.machine.failure()
    assert failure is not None
    assert "packet size" in str(failure)
    assert "533" in str(failure)
    assert failure.hint


def test_such_a_path_is_asked_now_and_then_and_used_once_it_passes():
    path = Path(500)
    path.run_until(Phase.ERROR)
    asked = len(path.probes)
    path.run(10 * ASK_AGAIN_NS / S)
    assert len(path.probes) - asked <= 22
    path.mtu = 1500
    path.run(ASK_AGAIN_NS / S + 1)
    assert path.machine.failure() is None
    assert path.machine.message_bytes == best(path)
