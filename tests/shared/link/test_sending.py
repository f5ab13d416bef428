"""Both halves of a link over simulated networks: what people see, on paths of every kind."""

from __future__ import annotations

import statistics

import pytest

from shared.errors import MalformedFrame
from shared.link.congestion.copa import MIN_RATE
from shared.link.messages import AGE_UNIT_NS, DATA, MAX_MESSAGE_BYTES, Packet, Report, parse_packet
from shared.link.reassembly import GIVE_UP_NS
from shared.link.sending import (
    AHEAD_NS,
    BUSY_CREDIT_NS,
    IDLE_CREDIT_NS,
    FrameSender,
    Pacer,
)
from shared.link.sendqueue import MAX_KEPT_FRAMES
from tests.shared.link.simulated_path import (
    MS,
    PROFILES,
    Path,
    RenoFlow,
    S,
    Simulation,
    Stream,
    encoder,
    paths,
)


def stream(profile: str, seconds: float, seed: int = 1, **options) -> Stream:
    simulation = Simulation()
    there, back = paths(simulation, profile, seed)
    result = Stream(simulation, there, back, rtt_hint_ms=2 * there.delay_ms, **options)
    simulation.run(simulation.now + round(seconds * S))
    return result


def percentile(values, share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] / MS


def test_on_a_lan_a_frame_arrives_within_a_millisecond():
    lan = stream("lan", 5)
    assert len(lan.latency) >= lan.offered - 1
    assert percentile(lan.latency.values(), 0.5) < 1.0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_on_a_hospitals_uplink_frames_of_25_kb_arrive_in_time(seed):
    uplink = stream("uplink", 10, seed)
    assert len(uplink.latency) >= 0.98 * uplink.offered
    assert percentile(uplink.latency.values(), 0.95) <= 120


@pytest.mark.parametrize("profile", ["4g", "4g-reordering"])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_mobile_path_that_falls_to_a_third_shows_no_long_freeze(profile, seed):
    mobile = stream(profile, 14, seed, size=encoder(25_000))
    assert percentile(mobile.latency.values(), 0.95) <= 200
    assert mobile.longest_gap_ms() <= 500
    assert len(mobile.latency) >= 0.75 * mobile.offered


@pytest.mark.parametrize("seed", [1, 2])
def test_a_bad_path_still_gives_a_usable_picture(seed):
    bad = stream("bad", 10, seed, size=encoder(25_000))
    assert len(bad.latency) >= 10 * 10  # frames a second
    assert percentile(bad.latency.values(), 0.95) <= 400


def test_after_an_outage_the_newest_picture_comes_within_a_second():
    outage = stream("outage", 14)
    end = outage._start + 11 * S
    first = next(at for at, _ in outage.shown if at > end)
    assert first - end < S
    shown = [i for at, i in outage.shown if at > end + S]
    assert len(shown) >= 0.9 * 2 * 30
    assert outage.given_up > 0


def test_an_outage_is_none_of_the_paths_usual_losses():
    outage = stream("outage", 12)
    path = outage.sender.path(outage.simulation.now)
    assert path is not None
    assert path.loss < 0.04
    assert outage.sender._loss.run < 2.5


def test_no_more_than_a_few_frames_of_an_uplink_need_a_re_request():
    late = 0
    for seed in (1, 2, 3):
        uplink = stream("uplink", 10, seed, size=encoder(25_000))
        usual = statistics.median(uplink.latency.values())
        late += sum(1 for latency in uplink.latency.values() if latency > usual + 25 * MS)
    assert late <= 0.01 * 3 * 300


def test_the_faster_frames_come_the_more_parity_goes_with_them():
    def parity(fps: float) -> float:
        simulation = Simulation()
        lossy = Path(simulation, delay_ms=60, loss=0.02, burst=4, rate=lambda s: 50e6)
        run = Stream(
            simulation, lossy, Path(simulation, delay_ms=60), fps=fps, rtt_hint_ms=120,
            size=lambda bps: 15_000,
        )  # fmt: skip
        simulation.run(simulation.now + 10 * S)
        return run.wire_bytes / sum(run.sizes.values())

    assert parity(60) > parity(4) + 0.05


def test_frames_are_given_up_at_both_ends_and_none_is_held_for_ever():
    outage = stream("outage", 14)
    assert outage.receiver.held_bytes < 3 * 25_000
    assert outage.sender.in_flight <= 5


def test_no_frame_is_shown_later_than_it_may_be_of_use():
    for profile in ("uplink", "bad"):
        run = stream(profile, 10, size=encoder(25_000))
        assert max(run.latency.values()) < 2 * GIVE_UP_NS


@pytest.mark.parametrize("fps", [30, 10])
@pytest.mark.parametrize("low", [150e3, 300e3])
def test_after_a_short_dip_the_rate_is_back_within_seconds(fps, low):
    simulation = Simulation()
    start = simulation.now
    there = Path(simulation, delay_ms=20, rate=lambda s: low if 8 <= s < 9 else 6e6)
    run = Stream(
        simulation, there, Path(simulation, delay_ms=20), fps=fps, rtt_hint_ms=40,
        size=lambda bps: max(150, int(min(6e6, bps * 0.85) / fps / 8)),
    )  # fmt: skip
    simulation.run(start + round(7.9 * S))
    before, wire = run.sender.path(simulation.now).rate_bps, run.sender._copa.rate
    simulation.run(start + 9 * S)
    assert run.sender.path(simulation.now).rate_bps < 0.3 * before
    simulation.run(start + 14 * S)
    assert run.sender.path(simulation.now).rate_bps > 0.7 * before  # the rest is parity still
    assert run.sender._copa.rate > 0.8 * wire


@pytest.mark.parametrize("seconds", [1, 10])
def test_from_the_floor_it_climbs_back_with_frames_of_two_packets(seconds):
    simulation = Simulation()
    start = simulation.now
    there = Path(simulation, delay_ms=20, rate=lambda s: 300e3 if 8 <= s < 8 + seconds else 6e6)
    run = Stream(
        simulation, there, Path(simulation, delay_ms=20), fps=15, rtt_hint_ms=40,
        size=lambda bps: max(600, int(min(6e6, bps * 0.85) / 15 / 8)),
    )  # fmt: skip
    simulation.run(start + 8 * S)
    before = run.sender._copa.rate
    simulation.run(start + (8 + seconds) * S)
    run.sender._copa._rate = MIN_RATE  # however it came there
    run.sender._copa._trains.clear()
    simulation.run(start + (13 + seconds) * S)
    assert run.sender._copa.rate > 0.8 * before


def test_a_full_pipe_queues_little():
    uplink = stream("uplink", 15, size=encoder(100_000, 1.0))
    rate = 8 * sum(uplink.sizes[i] for i in uplink.latency) / 15 / 1e6
    assert rate > 5.5  # of 8 Mbit/s on the wire, with parity and headers
    assert percentile(uplink.latency.values(), 0.95) < 120


def test_the_rate_is_known_within_a_second():
    uplink = stream("uplink", 1, size=encoder(25_000))
    path = uplink.sender.path(uplink.simulation.now)
    assert path is not None
    assert path.rate_bps > 4e6
    assert 38 * MS < path.rtt_ns < 60 * MS
    assert path.loss < 0.05


def test_the_estimate_says_whether_the_frames_fill_the_path():
    idle = stream("clinic", 3, size=lambda bps: 5_000)
    assert idle.sender.path(idle.simulation.now).limited is False
    full = stream("clinic", 3, size=encoder(500_000, 1.0))
    assert full.sender.path(full.simulation.now).limited is True


def test_a_steady_rate_needs_no_more_than_its_share_of_repair():
    clinic = stream("clinic", 10)
    assert clinic.wire_bytes < 1.2 * sum(clinic.sizes.values())


def test_two_streams_share_a_bottleneck():
    simulation = Simulation()
    start = simulation.now
    there = Path(simulation, delay_ms=20, rate=lambda s: 8e6)
    streams = [
        Stream(
            simulation, there, Path(simulation, delay_ms=20, seed=seed),
            size=encoder(100_000, 1.0), rtt_hint_ms=40, start_s=5.0 * seed,
        )
        for seed in (0, 1)
    ]  # fmt: skip
    simulation.run(start + 30 * S)
    rates = [
        sum(s.sizes[i] for at, i in s.shown if at > start + 15 * S) * 8 / 15 / 1e6 for s in streams
    ]
    assert sum(rates) > 5.0
    jain = sum(rates) ** 2 / (2 * sum(rate**2 for rate in rates))
    assert jain > 0.8
    for one in streams:
        assert (
            percentile([one.latency[i] for at, i in one.shown if at > start + 15 * S], 0.95) < 150
        )


def test_beside_tcp_it_neither_starves_nor_takes_all():
    simulation = Simulation()
    start = simulation.now
    there = Path(simulation, delay_ms=20, rate=lambda s: 8e6, queue_ms=80)
    video = Stream(
        simulation, there, Path(simulation, delay_ms=20, seed=5), size=encoder(100_000, 1.0),
        rtt_hint_ms=40,
    )  # fmt: skip
    tcp = RenoFlow(simulation, there, 20)
    simulation.run(start + 30 * S)
    ours = sum(video.sizes[i] for _, i in video.shown) * 8 / 30 / 1e6
    theirs = tcp.received * 8 / 30 / 1e6
    assert ours > 0.8
    assert theirs > 2.0


def test_the_repair_of_one_lost_packet_takes_about_one_round_trip_more():
    simulation = Simulation()
    there = Path(simulation, delay_ms=10, rate=lambda s: 50e6)
    lose = {"armed": False}
    is_lost = there._is_lost

    def once() -> bool:
        if lose["armed"]:
            lose["armed"] = False
            return True
        return is_lost()

    there._is_lost = once
    run = Stream(simulation, there, Path(simulation, delay_ms=10), rtt_hint_ms=20)
    start = simulation.now
    usual, repaired = [], []
    for second in range(1, 6):
        simulation.run(start + second * S + 500_000)
        frames = len(run.handed)
        lose["armed"] = True
        simulation.run(start + second * S + 900 * MS)
        repaired.append(run.latency[frames])
        usual.append(run.latency[frames + 5])
    extra = (statistics.median(repaired) - statistics.median(usual)) / MS
    assert 17 < extra < 50


@pytest.mark.parametrize("size", [1, 700, 25_000, 900_000])
def test_every_message_is_one_packet_and_sequences_count_up(size):
    sender = FrameSender()
    sender.hand_over(0, bytes(size), S)
    now, messages = S, []
    while sender.next_at_ns(now) is not None and sender.take_left() == []:
        messages += sender.poll(now)
        now += MS
    packets = [parse_packet(message) for message in messages]
    assert [packet.sequence for packet in packets] == list(range(len(packets)))
    assert all(len(message) <= MAX_MESSAGE_BYTES and message[0] == DATA for message in messages)
    assert sum(len(packet.piece) for packet in packets) >= size


def test_a_peer_that_reports_nothing_gets_a_few_frames_and_then_one_at_a_time():
    sender = FrameSender()
    sender.on_ping(20 * MS)
    now, sent, frames = S, [], 0
    while now < 4 * S:
        if sender.can_send(now):
            sender.hand_over(frames, bytes(25_000), now)
            frames += 1
        sent += [(now, len(m)) for m in sender.poll(now)]
        now += MS
    early = sum(nbytes for at, nbytes in sent if at < S + 200 * MS)
    late = sum(nbytes for at, nbytes in sent if at >= 2 * S)
    assert early < 250_000
    assert late / 2 < 150_000  # bytes a second: four frames
    assert late > 0
    assert sender.in_flight <= MAX_KEPT_FRAMES


def test_a_cancelled_frame_leaves_no_more_packets():
    sender = FrameSender()
    sender.hand_over(0, bytes(900_000), S)
    first = sender.poll(S)
    sender.cancel(0)
    assert 0 < len(first) < 800
    assert sender.poll(S + 100 * MS) == []
    assert sender.take_left() == [0]
    assert sender.in_flight == 0


def test_while_much_is_still_to_leave_no_other_frame_is_taken():
    sender = FrameSender()
    sender.on_ping(20 * MS)
    assert sender.can_send(S)
    sender.hand_over(0, bytes(200_000), S)
    sender.poll(S)
    assert not sender.can_send(S)


def test_before_anything_is_measured_there_is_no_estimate():
    assert FrameSender().path(S) is None


def test_the_profiles_are_those_of_the_documentation():
    assert {"lan", "clinic", "uplink", "4g", "bad", "outage"} <= set(PROFILES)


class Hand:
    """A sender whose packets are met by hand; `report` says which came, and when."""

    def __init__(self) -> None:
        self.sender = FrameSender()
        self.sender.on_ping(20 * MS)
        self.now = 10 * S
        self.packets: list[Packet] = []
        self.arrived: dict[int, int] = {}

    def send(self, until: int) -> None:
        """Go on to `until` packets in all, or as far as the sender does in 100 ms."""
        end = self.now + 100 * MS
        while len(self.packets) < until and self.now < end:
            self.packets += map(parse_packet, self.sender.poll(self.now))
            self.now += MS // 2

    def come(self, *sequences: int) -> None:
        for sequence in sequences:
            self.now += MS
            self.arrived[sequence] = self.now

    def report(self, skew: int = 0, ahead: int = 15 * MS) -> None:
        at = self.now + ahead
        self.now += 20 * MS
        ages = tuple(
            1 + (at - self.arrived[i]) // AGE_UNIT_NS if i in self.arrived else 0
            for i in range(max(self.arrived) + 1)
        )
        self.sender.on_report(Report(0, at + skew, ages), self.now)


def test_a_symbol_that_came_twice_does_not_stand_for_one_that_is_missing():
    hand = Hand()
    hand.sender.hand_over(0, bytes(6_000), hand.now)
    hand.send(6)
    assert [packet.symbol for packet in hand.packets] == [0, 1, 2, 3, 4, 5]
    hand.come(0, 2, 3, 4)
    hand.report()
    hand.send(7)
    assert hand.packets[6].symbol == 1  # called lost and sent again
    hand.come(1, 6)  # and both came; number 5 did not
    hand.report()
    assert hand.sender.in_flight == 1
    hand.send(8)
    assert 5 in [packet.symbol for packet in hand.packets[7:]]
    hand.come(7)
    hand.report()
    assert hand.sender.in_flight == 0


@pytest.mark.parametrize("jump", [-6 * S, 6 * S, 2**62])
def test_a_report_whose_clock_jumps_is_malformed_and_changes_nothing(jump):
    hand = Hand()
    hand.sender.hand_over(0, bytes(6_000), hand.now)
    hand.send(6)
    hand.come(0, 1)
    hand.report(skew=10**15)
    before = hand.sender.path(hand.now)
    hand.come(2, 3, 4, 5)
    with pytest.raises(MalformedFrame):
        hand.report(skew=10**15 + jump)
    assert hand.sender.path(hand.now) == before
    assert hand.sender.in_flight == 1
    hand.report(skew=10**15 + S)  # a stall, or a report that was long on its way
    assert hand.sender.in_flight == 0


def test_an_estimate_is_proven_once_a_limit_was_met_or_enough_time_was_there_to_meet_one():
    simulation = Simulation()
    start = simulation.now
    there = Path(simulation, delay_ms=50, rate=lambda s: 50e6, outage=(4.0, 6.0))
    run = Stream(simulation, there, Path(simulation, delay_ms=50), size=lambda bps: 5_000)

    def proven(at: float) -> bool:
        simulation.run(start + round(at * S))
        return run.sender.path(simulation.now).proven

    assert not proven(0.3)
    assert proven(2.5)
    assert not proven(5.5)  # an outage
    assert not proven(6.5)
    assert proven(9.0)


def test_an_estimate_that_met_the_paths_limit_is_proven_at_once():
    full = stream("clinic", 0.6, size=lambda bps: 150_000)
    assert full.sender.path(full.simulation.now).proven


def test_what_an_outage_only_delayed_takes_no_counted_loss_back():
    hand = Hand()
    hand.sender._loss.on_fates(99, [10_000])
    hand.sender.hand_over(0, bytes(6_000), hand.now)
    hand.send(6)
    hand.now += 180 * MS
    hand.sender.poll(hand.now)  # one time-out, and its repairs
    hand.now += 180 * MS
    hand.sender.poll(hand.now)  # and another
    assert hand.sender._flight.timeouts == 2
    hand.come(*range(6))
    hand.report()
    assert hand.sender._loss.share > 0.005


MS = 1_000_000
PACKET = 1_000
RATE = 1e6  # a packet a millisecond


def burst(pacer: Pacer, now: int) -> int:
    sent = 0
    while pacer.room_bytes(now) >= 0:
        pacer.on_sent(PACKET, now)
        sent += 1
        assert sent < 1_000
    return sent


def test_packets_leave_at_the_rate():
    pacer = Pacer(RATE)
    pacer.resume(10**9)
    first = burst(pacer, 10**9)
    later = sum(burst(pacer, 10**9 + at * MS) for at in range(1, 101))
    assert later == 100
    assert first <= (IDLE_CREDIT_NS + AHEAD_NS) // MS + 1


def test_a_pause_earns_a_small_burst_only():
    pacer = Pacer(RATE)
    pacer.resume(10**9)
    burst(pacer, 10**9)
    pacer.resume(10**12)
    assert 1 <= burst(pacer, 10**12) <= (IDLE_CREDIT_NS + AHEAD_NS) // MS + 1


def test_a_late_event_loop_catches_up_within_bounds():
    pacer = Pacer(RATE)
    pacer.resume(10**9)
    burst(pacer, 10**9)
    caught_up = burst(pacer, 10**9 + 500 * MS)
    assert 5 <= caught_up <= (BUSY_CREDIT_NS + AHEAD_NS) // MS + 1


def test_it_says_when_the_next_packet_may_leave():
    pacer = Pacer(RATE)
    pacer.resume(10**9)
    burst(pacer, 10**9)
    at = pacer.ready_at_ns()
    assert at > 10**9 + AHEAD_NS
    assert pacer.room_bytes(at) >= 0


def test_a_new_rate_holds_from_the_next_packet_on():
    pacer = Pacer(RATE)
    pacer.resume(10**9)
    burst(pacer, 10**9)
    pacer.rate = RATE / 10
    before = pacer.ready_at_ns()
    pacer.on_sent(PACKET, before)
    assert pacer.ready_at_ns() - before == 10 * MS


# -- parity over several frames -------------------------------------------------------------------

BOTH = (True, True)


def held_up(result: Stream, limit_ms: float) -> int:
    """Frames that could be decoded only so late."""
    return sum(latency > limit_ms * MS for latency in result.decodable())


@pytest.mark.parametrize("profile", ["bursts", "bad bursts"])
def test_where_losses_come_in_bursts_parity_over_frames_saves_most_from_a_re_request(profile):
    without = stream(profile, 20, size=encoder(25_000, share=0.8))
    across = stream(profile, 20, size=encoder(25_000, share=0.8), cross_parity=BOTH)
    limit_ms = 2.5 * PROFILES[profile]["delay_ms"]
    assert held_up(across, limit_ms) < 0.6 * held_up(without, limit_ms)
    assert len(across.latency) >= 0.99 * len(across.handed)
    assert percentile(across.decodable(), 0.97) < 0.9 * percentile(without.decodable(), 0.97)
    assert percentile(across.decodable(), 0.5) < 1.05 * percentile(without.decodable(), 0.5)
    assert across.wire_bytes < 1.05 * without.wire_bytes


def test_nearly_every_frame_comes_over_a_path_that_is_barely_usable():
    result = stream("bad bursts", 20, size=encoder(25_000, share=0.8), cross_parity=BOTH)
    assert len(result.latency) >= 0.97 * result.offered
    assert percentile(result.decodable(), 0.95) < 140


@pytest.mark.parametrize("profile", ["uplink", "4g", "bad"])
def test_parity_over_frames_is_no_worse_on_other_paths(profile):
    without = stream(profile, 12, size=encoder(25_000))
    across = stream(profile, 12, size=encoder(25_000), cross_parity=BOTH)
    assert len(across.latency) >= len(without.latency) - 4
    assert percentile(across.decodable(), 0.95) < 1.1 * percentile(without.decodable(), 0.95)
    assert across.malformed == 0


@pytest.mark.parametrize("sides", [(True, False), (False, True)])
def test_a_stream_of_which_one_end_has_no_parity_over_frames_goes_on(sides):
    # The sending end is told what both have; one that is wrong about it loses parity, not frames.
    result = stream("bad bursts", 10, size=encoder(20_000, share=0.7), cross_parity=sides)
    assert len(result.latency) >= 0.9 * len(result.handed)
    assert bool(result.malformed) == sides[0]


def test_without_losses_no_parity_leaves():
    result = stream("clinic", 1, size=lambda bps: 20_000, cross_parity=BOTH)
    assert result.wire_bytes < 1.15 * sum(result.sizes.values())


# -- when a frame may leave -----------------------------------------------------------------------


def sent_packets(sender: FrameSender, now_ns: int) -> list[Packet]:
    return [parse_packet(message) for message in sender.poll(now_ns)]


def reported(packets: list[Packet], at_ns: int, age_ns: int = 0) -> Report:
    begin, end = packets[0].sequence, packets[-1].sequence + 1
    return Report(begin, at_ns, (1 + age_ns // AGE_UNIT_NS,) * (end - begin))


def measured(now_ns: int, rtt_ms: int = 40) -> FrameSender:
    """A sender of which a first frame has arrived."""
    sender = FrameSender()
    sender.on_ping(rtt_ms * MS)
    sender.hand_over(0, bytes(3_000), now_ns)
    packets: list[Packet] = []
    at_ns = now_ns
    while (next_ns := sender.next_at_ns(at_ns)) is not None and len(packets) < 6:
        at_ns = max(at_ns, next_ns)
        packets += sent_packets(sender, at_ns)
    sender.on_report(reported(packets, at_ns), at_ns + rtt_ms * MS)
    return sender


def leave(sender: FrameSender, now_ns: int) -> list[Packet]:
    """All that is to leave of what was handed over, within 10 ms."""
    packets = []
    for at_ns in range(now_ns, now_ns + 10 * MS, MS // 2):
        packets += sent_packets(sender, at_ns)
    return packets


def test_while_its_oldest_packet_is_overdue_no_other_frame_is_taken():
    sender = measured(S)
    now_ns = S + 100 * MS
    assert sender.can_send(now_ns)
    sender.hand_over(1, bytes(1_000), now_ns)
    leave(sender, now_ns)
    assert sender.can_send(now_ns + 20 * MS)
    overdue = [sender.can_send(now_ns + wait * MS) for wait in (60, 130, 145, 160)]
    assert overdue == sorted(overdue, reverse=True)  # once refused, refused until news comes
    assert not overdue[-1]


def test_a_frame_is_taken_again_at_the_first_news_of_what_was_overdue():
    sender = measured(S)
    now_ns = S + 100 * MS
    sender.hand_over(1, bytes(2_400), now_ns)
    packets = leave(sender, now_ns)
    late_ns = now_ns + 135 * MS
    assert not sender.can_send(late_ns)
    sender.on_report(reported(packets[:-1], late_ns - 20 * MS), late_ns)
    assert sender.can_send(late_ns)


def test_no_more_may_be_under_way_than_the_congestion_window():
    sender = measured(S)
    begin_ns = S + 100 * MS
    frame_id = refused = 0
    for now_ns in range(begin_ns, begin_ns + 85 * MS, MS):
        if sender.can_send(now_ns):
            assert sender._flight.nbytes < sender._copa.rate * sender._room_ns / 1e9
            frame_id += 1
            sender.hand_over(frame_id, bytes(2_000), now_ns)
        elif not sender._queue.backlog_bytes:
            # Nothing waits, and the oldest is young: it is the window that refuses.
            assert sender._flight.age_ns(now_ns) < sender._room_ns
            refused += 1
        sender.poll(now_ns)
    assert refused > 5


def test_a_rate_may_fall_without_a_cut():
    # Of a path that becomes a little slower the queue stays far below what calls for a cut.
    simulation = Simulation()
    there = Path(simulation, delay_ms=20, rate=lambda s: 8e6 if s < 4 else 6e6)
    back = Path(simulation, delay_ms=20)
    result = Stream(simulation, there, back, size=encoder(50_000, share=0.95), rtt_hint_ms=40)
    copa = result.sender._copa
    cuts: list[int] = []
    original = copa._cut
    copa._cut = lambda round_ns, now_ns: cuts.append(now_ns) or original(round_ns, now_ns)
    simulation.run(simulation.now + 4 * S)
    cuts.clear()
    before = copa.rate
    falls = 0
    for _ in range(400):
        was, cut_so_far = copa.rate, len(cuts)
        simulation.run(simulation.now + 10 * MS)
        falls += copa.rate < was and len(cuts) == cut_so_far
    assert copa.rate < before
    assert falls > 10  # none, of a rate that only cuts lower
