"""Two ends as machines, back to back: no event loop, and time that a test moves on."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable

import pytest

from shared.capabilities import CROSS_PARITY, PACKET_SIZES
from shared.errors import BadInput, LinkFailed, PeerGone
from shared.link.connection import (
    FAREWELL_AFTER_NS,
    LANDING_NS,
    MAX_WAITING_BYTES,
    MAX_WAITING_MESSAGES,
    PARTING_NS,
    Connection,
    LinkState,
)
from shared.link.events import MAX_CONTROL_BYTES, MAX_FRAME_BYTES, Event, LinkEnd
from shared.link.heartbeat import Presence
from shared.link.messages import (
    DATA,
    FAREWELL,
    LARGEST_MESSAGE_BYTES,
    MAX_MESSAGE_BYTES,
    PING,
    REPORT,
    SIZED,
    pack_app,
    pack_bye,
    pack_farewell,
    pack_ping,
    pack_pong,
)
from shared.link.pathmtu import PROBE
from shared.link.redundancy import WINDOW_PARITY
from tests.shared.link.simulated_path import messages_of

MS = 1_000_000
S = 1_000 * MS
FLOODED = LinkEnd("lost", "it broke the rules of the control channel")

Passes = Callable[[bytes], bool]


def everything(_: bytes) -> bool:
    return True


def due(end: Connection) -> int | None:
    """When it wants to be woken; without taking what it has to say."""
    return end._due_ns()


class Ends:
    """Two connections, `delay_ns` apart; `passes` says which of the first's messages arrive."""

    def __init__(self, *, lost_after_s: float = 120.0, delay_ns: int = 5 * MS) -> None:
        self.a = Connection(lost_after_s=lost_after_s)
        self.b = Connection(lost_after_s=lost_after_s)
        self.now = S
        self.delay_ns = delay_ns
        self.passes: Passes = everything
        self.control_passes: Passes = everything
        self.back_passes: Passes = everything  # what the second one posts
        self.posted: list[bytes] = []  # by `a`, on the frames channel
        self.heard: dict[Connection, set[Event]] = {self.a: set(), self.b: set()}
        self._way: deque[tuple[int, Connection, bytes, bool]] = deque()
        for end in (self.a, self.b):
            end.opened(self.now)
        self.b.accept_frames()
        self._collect()

    def run(self, for_ns: int) -> None:
        until = self.now + for_ns
        while True:
            times = [due(end) for end in (self.a, self.b)]
            times.append(self._way[0][0] if self._way else None)
            at = min((t for t in times if t is not None), default=until + 1)
            if at > until:
                break
            self.now = max(self.now + MS // 20, at)
            while self._way and self._way[0][0] <= self.now:
                _, end, message, control = self._way.popleft()
                if control:
                    end.receive_control_message(message, self.now)
                else:
                    end.receive_frames_message(message, self.now)
                self._collect()
            for end in (self.a, self.b):
                end.wake(self.now)
            self._collect()
        self.now = until

    def send(self, data: bytes) -> int:
        number = self.a.send_frame(data, self.now)
        self._collect()
        return number

    def collect(self) -> None:
        self._collect()

    def _collect(self) -> None:
        for end, other in ((self.a, self.b), (self.b, self.a)):
            at = self.now + self.delay_ns
            turn = end.turn()
            for message in turn.frames:
                if end is self.a:
                    self.posted.append(message)
                if self.passes(message) if end is self.a else self.back_passes(message):
                    self._way.append((at, other, message, False))
            for message in turn.control:
                if end is self.b or self.control_passes(message):
                    self._way.append((at, other, message, True))
            self.heard[end] |= turn.events


def frames(end: Connection) -> list[bytes]:
    return [frame.data for frame in iter(end.take_frame, None)]


def controls(end: Connection) -> list[bytes]:
    return [end.take_control() for _ in range(end.controls_waiting)]


# -- opening --------------------------------------------------------------------------------------


def test_before_it_is_open_nothing_may_be_sent_and_nothing_is_due():
    end = Connection()
    assert end.state is LinkState.CONNECTING
    assert due(end) is None
    assert not end.can_send_frame(0)
    for attempt in (lambda: end.send_control(b"x"), lambda: end.send_frame(b"x", 0)):
        with pytest.raises(LinkFailed):
            attempt()


def test_open_it_pings_at_once_and_measures_clock_and_path():
    ends = Ends()
    assert ends.posted[0][0] == PING
    ends.run(S)
    assert Event.OPENED in ends.heard[ends.a]
    assert ends.a.clock.samples >= 8
    path = ends.a.path(ends.now)
    assert path is not None
    assert 2 * ends.delay_ns <= path.rtt_ns < 3 * ends.delay_ns


# -- control messages -----------------------------------------------------------------------------


def test_control_messages_arrive_in_order():
    ends = Ends()
    sent = [bytes([i]) * (i + 1) for i in range(50)] + [b"x" * MAX_CONTROL_BYTES]
    for message in sent:
        ends.a.send_control(message)
    ends.collect()
    ends.run(100 * MS)
    assert controls(ends.b) == sent
    assert Event.CONTROL in ends.heard[ends.b]


@pytest.mark.parametrize("size", [0, MAX_CONTROL_BYTES + 1])
def test_control_messages_of_no_or_too_many_bytes_are_refused(size):
    ends = Ends()
    with pytest.raises(BadInput):
        ends.a.send_control(bytes(size))
    assert ends.a.turn().control == []


@pytest.mark.parametrize("size", [0, MAX_CONTROL_BYTES + 1])
def test_a_peer_whose_control_messages_have_an_impossible_size_is_cut_off(size):
    ends = Ends()
    ends.a.receive_control_message(pack_app(bytes(size)), ends.now)
    assert ends.a.end == FLOODED


def test_a_peer_that_sends_more_control_messages_than_anybody_reads_is_cut_off():
    ends = Ends()
    for _ in range(MAX_WAITING_MESSAGES):
        ends.a.receive_control_message(pack_app(b"x"), ends.now)
    assert ends.a.end is None
    ends.a.receive_control_message(pack_app(b"x"), ends.now)
    assert ends.a.end == FLOODED
    assert ends.a.controls_waiting == MAX_WAITING_MESSAGES


def test_nor_more_bytes_of_them_than_anybody_would_hold():
    ends = Ends()
    body = bytes(MAX_CONTROL_BYTES)
    for _ in range(MAX_WAITING_BYTES // len(body)):
        ends.a.receive_control_message(pack_app(body), ends.now)
    assert ends.a.end is None
    assert ends.a.take_control() == body  # what was read is not counted any more
    ends.a.receive_control_message(pack_app(body), ends.now)
    assert ends.a.end is None
    ends.a.receive_control_message(pack_app(body), ends.now)
    assert ends.a.end == FLOODED


# -- frames ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, MAX_FRAME_BYTES + 1])
def test_frames_of_no_or_too_many_bytes_are_refused(size):
    ends = Ends()
    with pytest.raises(BadInput):
        ends.a.send_frame(bytes(size), ends.now)


def test_frames_are_numbered_and_arrive_whole():
    ends = Ends()
    ends.run(S)
    dice = random.Random(1)
    for number, size in enumerate([1, 1_143, 1_144, 200_000]):
        data = dice.randbytes(size)
        assert ends.send(data) == number
        ends.run(S)
        assert frames(ends.b) == [data]
        assert ends.a.has_left(number)
        assert not ends.a.in_flight


def test_a_ping_that_is_due_goes_ahead_of_a_frame():
    ends = Ends()
    ends.run(S)
    while not ends.a._heartbeat.due:
        ends.send(bytes(3_000))  # never quiet
        ends.run(10 * MS)
    ends.posted.clear()
    ends.send(b"x")
    assert [message[0] for message in ends.posted[:2]] == [PING, DATA]


def test_lost_packets_are_sent_again():
    ends = Ends()
    dice = random.Random(3)
    ends.passes = lambda m: m[0] != DATA or dice.random() > 0.1
    for size in (1, 3_000, 60_000, 200_000):
        data = dice.randbytes(size)
        ends.send(data)
        ends.run(2 * S)
        assert frames(ends.b) == [data]
    path = ends.a.path(ends.now)
    assert path is not None
    assert path.loss > 0


def test_packets_are_neither_held_nor_reported_before_they_are_accepted():
    ends = Ends()
    for message in (messages_of(0, bytes(3_000))[0], *messages_of(1, b"whole")):
        ends.a.receive_frames_message(message, ends.now)
    assert ends.a.malformed == 2
    assert ends.a._receiver.held_bytes == 0
    assert not any(message[0] == REPORT for message in ends.a.turn().frames)
    ends.a.accept_frames()
    for message in messages_of(2, b"in time"):
        ends.a.receive_frames_message(message, ends.now)
    assert frames(ends.a) == [b"in time"]


def test_a_frame_that_is_cancelled_leaves_no_more():
    ends = Ends()
    ends.run(S)
    number = ends.send(bytes(3_000_000))
    assert not ends.a.has_left(number)
    ends.a.cancel_frame(number)
    already = len(ends.posted)
    ends.run(2 * S)
    assert not any(message[0] == DATA for message in ends.posted[already:])
    assert frames(ends.b) == []


def test_a_frame_that_comes_a_little_late_leaves_all_the_same():
    ends = Ends()
    ends.run(S)
    assert ends.a.can_send_frame(ends.now)
    ends.send(bytes(300_000))
    assert not ends.a.can_send_frame(ends.now)
    assert ends.send(b"late") == 1
    ends.run(3 * S)
    assert b"late" in frames(ends.b)


def test_what_makes_no_sense_is_counted_and_ignored():
    ends = Ends()
    for message in (b"", b"\x00", b"\x01short", b"\x02\x00", b"\xff" * 40, b"\x09more"):
        ends.b.receive_frames_message(message, ends.now)
    ends.b.receive_control_message(b"\x01?", ends.now)
    ends.b.receive_control_message(pack_bye() + b"call 555 0100", ends.now)
    ends.b.receive_frames_message(pack_pong(-5, 1 << 60, 1 << 60), ends.now)
    assert ends.b.malformed == 9
    assert ends.b.end is None


def test_a_flood_of_pings_is_not_answered_for_long():
    ends = Ends()
    for _ in range(50_000):
        ends.b.receive_frames_message(pack_ping(1), ends.now)
    assert len(ends.b.turn().frames) < 100


# -- what both ends have --------------------------------------------------------------------------

BOTH = frozenset({PACKET_SIZES, CROSS_PARITY})


def agreed(ends: Ends, features: frozenset[str] = BOTH) -> None:
    for end in (ends.a, ends.b):
        end.agreed(features, ends.now)


def stream(ends: Ends, seconds: float, nbytes: int = 20_000) -> list[bytes]:
    """What arrives of a video of so many seconds."""
    came = []
    for index in range(round(seconds * 30)):
        if ends.a.can_send_frame(ends.now):
            ends.send(index.to_bytes(2, "big") * (nbytes // 2))
        ends.run(S // 30)
        came += frames(ends.b)
    return came


def largest(messages: list[bytes]) -> int:
    return max(len(message) for message in messages if message[0] in (DATA, SIZED))


def test_a_path_of_full_size_is_used_fully_soon():
    ends = Ends()
    agreed(ends)
    stream(ends, 0.5)
    ends.posted.clear()
    assert len(stream(ends, 1)) >= 29
    assert LARGEST_MESSAGE_BYTES - 60 < largest(ends.posted) <= LARGEST_MESSAGE_BYTES


@pytest.mark.parametrize("limit", [440, 600, 1_100, 1_161, 1_300])
def test_on_a_path_that_swallows_large_packets_frames_pass_in_smaller_ones(limit):
    ends = Ends()
    ends.passes = lambda message: len(message) <= limit
    agreed(ends)
    stream(ends, 1)
    assert len(stream(ends, 2)) >= 58


def test_a_path_that_begins_to_swallow_large_packets_is_searched_anew():
    ends = Ends()
    agreed(ends)
    stream(ends, 2)
    ends.passes = lambda message: len(message) <= 700
    stream(ends, 3)
    assert len(stream(ends, 1)) >= 28


@pytest.mark.parametrize("features", [frozenset(), {PACKET_SIZES}, {CROSS_PARITY}])
def test_what_only_one_end_has_is_not_used_and_frames_flow(features):
    ends = Ends()
    agreed(ends, frozenset(features))
    assert len(stream(ends, 1)) >= 28
    kinds = {message[0] for message in ends.posted}
    assert (SIZED in kinds) == (PACKET_SIZES in features)
    assert (PROBE in kinds) == (PACKET_SIZES in features)
    if PACKET_SIZES not in features:
        assert largest(ends.posted) <= MAX_MESSAGE_BYTES


@pytest.mark.parametrize("features", [BOTH, frozenset({CROSS_PARITY})])
def test_with_parity_over_frames_nothing_is_larger_than_the_path_carries(features):
    ends = Ends(delay_ns=40 * MS)
    dice = random.Random(4)
    limit = 900 if PACKET_SIZES in features else MAX_MESSAGE_BYTES
    too_large: list[bytes] = []

    def passes(message: bytes) -> bool:
        if len(message) > limit:
            too_large.append(message)
            return False
        return message[0] not in (DATA, SIZED) or dice.random() > 0.05

    ends.passes = passes
    agreed(ends, features)
    stream(ends, 3, 6_000)
    too_large.clear()
    stream(ends, 5, 6_000)
    assert any(message[0] == WINDOW_PARITY for message in ends.posted)
    assert {message[0] for message in too_large} <= {PROBE}


def test_a_path_on_which_not_even_small_packets_pass_is_said_to_be_that():
    ends = Ends()
    ends.passes = lambda message: len(message) < 200
    agreed(ends)
    ends.run(5 * S)
    assert ends.a.path_failure is not None
    assert "packet size" in str(ends.a.path_failure)
    assert Event.SIZE in ends.heard[ends.a]
    ends.passes = everything
    ends.run(20 * S)
    assert ends.a.path_failure is None
    assert len(stream(ends, 1)) >= 28


# -- silence --------------------------------------------------------------------------------------


@pytest.mark.parametrize("outage_s", [5, 10, 60, 110])
def test_a_link_survives_an_outage_and_frames_flow_within_a_second_of_its_end(outage_s):
    ends = Ends()
    ends.run(2 * S)
    ends.passes = ends.back_passes = ends.control_passes = lambda _: False
    for _ in range(outage_s * 30):
        if ends.a.can_send_frame(ends.now):
            ends.send(bytes(5_000))
        ends.run(S // 30)
    assert ends.b.presence is Presence.SILENT
    assert Event.SILENCE in ends.heard[ends.b]
    ends.passes = ends.back_passes = ends.control_passes = everything
    frames(ends.b)
    for _ in range(30):
        if ends.a.can_send_frame(ends.now):
            ends.send(b"back")
        ends.run(S // 30)
    assert b"back" in frames(ends.b)
    assert ends.a.presence is ends.b.presence is Presence.HEARD
    assert ends.a.end is ends.b.end is None


def test_an_end_that_stays_silent_is_lost():
    ends = Ends(lost_after_s=20)
    ends.run(S)
    ends.passes = ends.control_passes = lambda _: False
    ends.run(21 * S)
    assert ends.b.end == LinkEnd("lost", "nothing was heard from it for 20 s")
    with pytest.raises(PeerGone):
        ends.b.raise_if_over()


@pytest.mark.parametrize("asleep_s", [6, 60, -6, 3_000])
def test_a_machine_that_slept_comes_back_with_another_clock_and_is_believed(asleep_s):
    ends = Ends()
    ends.run(2 * S)
    ends.send(bytes(20_000))
    ends.run(S)
    ends.passes = ends.back_passes = lambda _: False
    ends.run(6 * S)
    clock = asleep_s * S
    wake, receive = ends.b.wake, ends.b.receive_frames_message
    ends.b.wake = lambda now: wake(now + clock)  # type: ignore[method-assign]
    ends.b.receive_frames_message = (  # type: ignore[method-assign]
        lambda message, now: receive(message, now + clock)
    )
    next_at = ends.b._due_ns
    ends.b._due_ns = (  # type: ignore[method-assign]
        lambda: None if (at := next_at()) is None else at - clock
    )
    ends.passes = ends.back_passes = everything
    before = ends.a.malformed
    for _ in range(30):
        if ends.a.can_send_frame(ends.now):
            ends.send(bytes(5_000))
        ends.run(S // 30)
    assert len(frames(ends.b)) >= 1
    assert ends.a.in_flight < 5
    assert ends.a.malformed - before <= 2


@pytest.mark.parametrize("asleep_s", [6, 60])
def test_a_sender_that_slept_and_missed_nothing_goes_on_at_its_rate(asleep_s):
    """Its clock stood still, so it knows of no silence: only the other end's times tell."""
    ends = Ends()
    ends.run(2 * S)
    ends.send(bytes(20_000))
    ends.run(S)
    # As the sender sees it, the other end's clock jumps ahead from one moment to the next.
    clock = asleep_s * S
    wake, receive = ends.b.wake, ends.b.receive_frames_message
    ends.b.wake = lambda now: wake(now + clock)  # type: ignore[method-assign]
    ends.b.receive_frames_message = (  # type: ignore[method-assign]
        lambda message, now: receive(message, now + clock)
    )
    next_at = ends.b._due_ns
    ends.b._due_ns = (  # type: ignore[method-assign]
        lambda: None if (at := next_at()) is None else at - clock
    )
    sent = 0
    for _ in range(90):
        if ends.a.can_send_frame(ends.now):
            ends.send(bytes(5_000))
            sent += 1
        ends.run(S // 30)
    assert sent > 80
    assert ends.a.in_flight < 5


# -- the end --------------------------------------------------------------------------------------


def test_frames_in_flight_land_before_goodbye_and_what_was_said_before_is_read():
    ends = Ends()
    ends.run(S)
    ends.send(bytes(50_000))
    ends.a.send_control(b"last word")
    ends.a.close(ends.now)
    assert ends.a.state is LinkState.LANDING
    ends.collect()
    ends.run(S)
    assert ends.a.end == LinkEnd("local")
    assert ends.b.end == LinkEnd("peer")
    assert ends.a.state is ends.b.state is LinkState.CLOSED
    assert frames(ends.b) == [bytes(50_000)]
    assert controls(ends.b) == [b"last word"]


def test_what_does_not_land_is_not_waited_for_longer_than_a_second():
    ends = Ends()
    ends.run(S)
    ends.passes = lambda m: m[0] != DATA
    ends.send(bytes(50_000))
    ends.a.close(ends.now)
    ends.run(LANDING_NS + 20 * MS)
    assert ends.a.end == LinkEnd("local")


@pytest.mark.parametrize("seed", range(20))
def test_a_clean_end_is_told_as_one_even_where_the_control_channel_carries_nothing(seed):
    ends = Ends()
    ends.run(S)
    dice = random.Random(seed)
    ends.control_passes = lambda _: False
    ends.passes = lambda _: dice.random() > 0.2
    ends.a.close(ends.now)
    ends.run(FAREWELL_AFTER_NS + S)
    assert ends.b.end == LinkEnd("peer")


def test_goodbye_is_said_again_until_heard_but_not_for_ever():
    ends = Ends()
    ends.run(S)
    ends.passes = ends.control_passes = lambda _: False
    ends.a.close(ends.now)
    ends.run(PARTING_NS + S)
    assert ends.a.state is LinkState.CLOSED
    assert Event.PARTED in ends.heard[ends.a]
    assert 10 < sum(message == pack_farewell() for message in ends.posted) < 30
    assert due(ends.a) is None


def test_whoever_hears_goodbye_says_it_too_at_once():
    ends = Ends()
    ends.run(S)
    ends.a.receive_control_message(pack_bye(), ends.now)
    assert ends.a.end == LinkEnd("peer")
    turn = ends.a.turn()
    assert turn.control == [pack_bye()]
    assert {message[0] for message in turn.frames} == {FAREWELL}


def test_the_first_reason_of_an_end_stays():
    ends = Ends()
    ends.a.transport_closed(LinkEnd("lost", "silent"))
    ends.a.receive_control_message(pack_bye(), ends.now)
    ends.a.close(ends.now)
    assert ends.a.end == LinkEnd("lost", "silent")


def test_closed_before_it_was_open_it_says_nothing():
    end = Connection()
    end.close(0)
    assert end.end == LinkEnd("local")
    assert end.state is LinkState.CLOSED
    turn = end.turn()
    assert (turn.frames, turn.control) == ([], [])
    end.opened(1)
    assert end.state is LinkState.CLOSED


def test_after_the_end_nothing_is_taken():
    ends = Ends()
    ends.b.transport_closed(LinkEnd("peer"))
    ends.b.receive_control_message(pack_app(b"x"), ends.now)
    ends.b.receive_frames_message(messages_of(0, b"x")[0], ends.now)
    assert (ends.b.controls_waiting, ends.b.take_frame()) == (0, None)
    with pytest.raises(PeerGone):
        ends.b.send_control(b"x")
