from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from shared.link.congestion import BASE_LIFE_NS, MAX_LIMIT, QUEUEING_FACTOR, SendWindow

MS = 1_000_000


class Path:
    """A path with a propagation delay and a bottleneck, driven by its own clock."""

    def __init__(self, *, rtt_ms: float, serialise_ms: float) -> None:
        self.window = SendWindow()
        self.rtt = int(rtt_ms * MS)
        self.serialise = int(serialise_ms * MS)
        self.now = 0
        self.free_at = 0
        self.acks: deque[tuple[int, int]] = deque()
        self.sent = 0
        self.delays: list[int] = []

    def run(self, *, frames: int, fps: float) -> int:
        """Offer frames at `fps`; return how many were let through."""
        let_through = 0
        for _ in range(frames):
            self.now += int(1e9 / fps)
            while self.acks and self.acks[0][0] <= self.now:
                at, frame_id = self.acks.popleft()
                self.window.on_ack(frame_id, at)
            if self.window.can_send():
                self.window.on_sent(self.sent, self.now)
                self.free_at = max(self.free_at, self.now) + self.serialise
                self.acks.append((self.free_at + self.rtt, self.sent))
                self.delays.append(self.free_at + self.rtt - self.now)
                self.sent += 1
                let_through += 1
        return let_through


def test_it_starts_with_three_frames_and_then_holds_back():
    window = SendWindow()
    for frame_id in range(3):
        assert window.can_send()
        window.on_sent(frame_id, 0)
    assert not window.can_send()
    assert window.in_flight == 3
    window.on_ack(0, MS)
    assert window.can_send()


def test_a_window_without_acknowledgements_never_opens_again():
    window = SendWindow()
    for frame_id in range(3):
        window.on_sent(frame_id, 0)
    window.on_ack(77, 10**12)
    assert not window.can_send()


def test_a_long_fat_path_ends_up_carrying_every_frame():
    path = Path(rtt_ms=200, serialise_ms=2)
    path.run(frames=90, fps=30)
    assert path.run(frames=300, fps=30) == 300


def test_on_a_path_too_slow_for_the_stream_frames_are_dropped_and_do_not_queue():
    path = Path(rtt_ms=40, serialise_ms=100)  # 10 frames a second at best, 30 offered
    path.run(frames=150, fps=30)
    path.delays.clear()
    let_through = path.run(frames=300, fps=30)
    assert 60 <= let_through <= 105
    steady = sorted(path.delays)
    assert steady[int(len(steady) * 0.95)] <= 4 * 140 * MS


def test_when_the_path_slows_down_the_window_closes_until_frames_barely_queue():
    path = Path(rtt_ms=200, serialise_ms=2)
    path.run(frames=200, fps=30)
    assert path.window.limit >= 6
    path.serialise = 600 * MS
    path.run(frames=300, fps=30)
    path.delays.clear()
    path.run(frames=600, fps=30)
    assert path.window.limit <= 3
    assert sorted(path.delays)[len(path.delays) // 2] <= 800 * MS * QUEUEING_FACTOR + 40 * MS


def test_jitter_of_a_busy_machine_does_not_close_the_window():
    window = SendWindow()
    for frame_id in range(400):
        now = frame_id * 33 * MS
        window.on_sent(frame_id, now)
        window.on_ack(frame_id, now + (30 if frame_id % 3 else 5) * MS)
    assert window.limit == 3


def test_the_window_grows_only_when_it_held_frames_back():
    path = Path(rtt_ms=10, serialise_ms=1)
    assert path.run(frames=500, fps=30) == 500
    assert path.window.limit == 3


def test_one_round_of_late_frames_lowers_the_limit_once():
    path = Path(rtt_ms=200, serialise_ms=2)
    path.run(frames=200, fps=30)
    before = path.window.limit
    in_flight = [frame_id for _, frame_id in path.acks]
    for frame_id in in_flight:
        path.window.on_ack(frame_id, path.now + 2_000 * MS)
    assert path.window.limit == int(before * 0.3)


def test_the_quickest_delay_is_measured_anew_after_the_path_changed():
    window = SendWindow()
    window.on_sent(0, 0)
    window.on_ack(0, 5 * MS)
    later = BASE_LIFE_NS + 10 * MS
    window.on_sent(1, later)
    window.on_ack(1, later + 80 * MS)
    assert window.limit == 1  # alone on its way, the next frame queues behind nothing
    window.on_sent(2, later + 100 * MS)
    window.on_ack(2, later + 300 * MS)
    assert window.limit == 2  # the new measure, by which nothing queued


def test_an_abandoned_frame_frees_its_place_and_teaches_nothing():
    window = SendWindow()
    window.on_sent(0, 0)
    window.on_sent(1, 0)
    window.on_abandoned(0)
    assert window.can_send()
    window.on_ack(0, 1)  # as quick as can be: were it heeded, the next would count as late
    window.on_ack(1, 100 * MS)
    assert window.limit == 3


@given(st.lists(st.tuples(st.integers(0, 3_000), st.booleans()), max_size=300))
def test_the_limit_stays_between_one_and_eight_whatever_the_delays(steps):
    window = SendWindow()
    now = sent = acked = 0
    waiting: list[int] = []
    for wait_ms, ack in steps:
        now += wait_ms * MS
        if ack and waiting:
            window.on_ack(waiting.pop(0), now)
            acked += 1
        elif window.can_send():
            window.on_sent(sent, now)
            waiting.append(sent)
            sent += 1
        assert 1 <= window.limit <= MAX_LIMIT
        assert window.in_flight == sent - acked <= MAX_LIMIT
