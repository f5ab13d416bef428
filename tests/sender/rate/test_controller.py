"""Rate control against simulated encoders and scripted paths."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sender.rate import Plan, Preference, RateController, StreamFacts, Wishes
from sender.rate.budget import FULL_BPP
from sender.rate.plan import WARM_UP
from sender.streamcodec import CodecUse
from shared.codecs import CODECS
from shared.codecs.codec import SPARE_PIXELS_A_CORE
from shared.frame import Frame
from tests.sender.rate.test_budget import APath, seconds

S = 1_000_000_000
FPS = 30.0
GREY = Frame(0, 0, np.zeros((480, 640), np.uint8))
JPEG, H264, LOSSLESS = (
    StreamFacts.of(CODECS[name], GREY, cores=2) for name in ("jpeg", "h264", "lossless")
)


@dataclass
class Simulation:
    """A stream whose encoder behaves as measured ones do, over a path given second by second."""

    facts: StreamFacts
    wishes: Wishes = field(default_factory=Wishes)
    jpeg_bytes_at_90: int = 65_000
    busy_ns: int = 5_000_000
    most_bpp: float = 10.0  # of an inter codec, at the quality's ceiling
    fps: float = FPS
    seed: int = 0
    plans: list[Plan] = field(default_factory=list)
    sent_bits: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.controller = RateController(self.facts, self.wishes, self.fps)
        self._dice = random.Random(self.seed)
        self._frame = 0

    def run(self, rates: Sequence[float | None]) -> list[Plan]:
        """One frame for each of `rates`, the path's bits a second then."""
        for rate in rates:
            paths = [] if rate is None else [APath(round(rate))]
            plan = self.controller.update(self._frame * S // 30, paths, self.fps)
            self.plans.append(plan)
            self._encode(plan)
            self._frame += 1
        return self.plans

    def _encode(self, plan: Plan) -> None:
        width, height = (round(side * plan.scale) for side in (self.facts.width, self.facts.height))
        pixels = float(plan.scale**2)
        if self.facts.lossless:
            nbytes, psnr = 150_000.0, 0.0
        elif self.facts.inter:
            nbytes = (plan.target.bitrate_bps or 0) / 8 / plan.fps
            nbytes = min(nbytes, self.most_bpp * width * height / 8)
            psnr = 38.0
        else:
            nbytes = self.jpeg_bytes_at_90 * jpeg_share(plan.target.quality) * pixels
            psnr = 28.6 + (plan.target.quality - 10) * 0.14
        nbytes *= self._dice.uniform(0.9, 1.1)
        self.sent_bits.append(8 * nbytes)
        self.controller.encoded(
            round(nbytes),
            None if self.facts.lossless else psnr,
            self.busy_ns,
            width=width,
            height=height,
        )

    @property
    def reasons(self) -> list[str]:
        return [change for plan in self.plans for change in plan.changes]

    def mean_bps(self, last_s: float) -> float:
        count = round(last_s * 30)
        rates = [
            bits * plan.fps
            for bits, plan in zip(self.sent_bits[-count:], self.plans[-count:], strict=True)
        ]
        return sum(rates) / count


def jpeg_share(quality: int) -> float:
    """Not the controller's own table: measured on one phantom, between its points."""
    points = [(5, 0.08), (10, 0.13), (25, 0.244), (50, 0.372), (75, 0.574), (85, 0.79), (90, 1.0)]
    for (low, small), (high, large) in itertools.pairwise(points):
        if quality <= high:
            return small + (large - small) * (quality - low) / (high - low)
    return 1.0


# -- a path that is wide enough --------------------------------------------------------------------


@pytest.mark.parametrize("facts", [JPEG, H264, LOSSLESS], ids=["jpeg", "h264", "lossless"])
def test_a_wide_path_changes_nothing_and_says_nothing(facts: StreamFacts) -> None:
    simulation = Simulation(facts)
    plans = simulation.run([None] * 10 + seconds(20, 100e6))
    assert simulation.reasons == []
    assert {(plan.fps, plan.scale) for plan in plans} == {(FPS, 1)}
    assert {plan.target.quality for plan in plans} == {90}


def test_before_the_path_is_measured_an_inter_codec_begins_modestly() -> None:
    plan = Simulation(H264).run([None])[0]
    assert plan.target.bitrate_bps == 3_000_000


def test_a_bitrate_that_was_asked_for_is_not_exceeded() -> None:
    plans = Simulation(H264, Wishes(bitrate_bps=1_000_000)).run([None, *seconds(10, 50000000.0)])
    assert max(plan.target.bitrate_bps or 0 for plan in plans) <= 1_000_000
    assert plans[-1].changes == ()


def use_of(simulation: Simulation) -> CodecUse:
    use = simulation.controller.use
    assert use is not None
    return use


def test_how_the_codec_fares_is_known_once_path_and_pictures_are() -> None:
    simulation = Simulation(H264, Wishes(bitrate_bps=1_000_000))
    assert simulation.controller.use is None
    simulation.run([None])
    assert simulation.controller.use is None
    simulation.run(seconds(5, 50e6))
    use = use_of(simulation)
    assert use.most_bps == 1_000_000
    assert use.used_bps == pytest.approx(1_000_000, rel=0.1)
    assert use.spare_time and not use.behind


def test_what_the_codec_could_not_use_is_no_room() -> None:
    simulation = Simulation(H264)
    simulation.run(seconds(5, 100e6))
    assert use_of(simulation).most_bps == pytest.approx(FULL_BPP * 640 * 480 * FPS, rel=1e-6)
    late = Simulation(H264, Wishes(max_latency_ms=50))
    late.run(seconds(5, 5e6))
    assert use_of(late).most_bps < 0.85 * 5e6, "no picture may be so large"


@pytest.mark.parametrize(
    ("busy_ms", "spare_time", "behind"),
    [(16, True, False), (18, False, False), (29, False, False), (31, False, True)],
)
def test_there_is_time_to_spare_where_twice_the_work_would_fit(
    busy_ms: int, spare_time: bool, behind: bool
) -> None:
    simulation = Simulation(H264, busy_ns=busy_ms * 1_000_000)
    simulation.run(seconds(2, 100e6))
    use = use_of(simulation)
    assert (use.spare_time, use.behind) == (spare_time, behind)


def test_nobody_knows_of_time_to_spare_before_the_encoder_is_warm() -> None:
    simulation = Simulation(H264)
    simulation.run(seconds(WARM_UP / 30, 100e6))
    assert not use_of(simulation).spare_time


@pytest.mark.parametrize(
    ("fps", "spare_time", "behind"),
    [(30.0, True, False), (31.0, False, False), (70.0, False, True)],
)
def test_a_rate_of_pixels_that_is_much_for_the_machine_is_no_time_to_spare(
    fps: float, spare_time: bool, behind: bool
) -> None:
    cores = 640 * 480 * 30 / SPARE_PIXELS_A_CORE
    facts = replace(H264, cores=cores)  # type: ignore[arg-type]
    simulation = Simulation(facts, fps=fps)
    simulation.run(seconds(2, 100e6))
    use = use_of(simulation)
    assert (use.spare_time, use.behind) == (spare_time, behind)


def test_at_the_start_what_the_path_carries_is_found_out_without_a_word() -> None:
    controller = RateController(H264, Wishes(), FPS)
    plans = []
    for at in range(4 * 30):
        rate = round(min(600_000 * 1.05**at, 30e6))
        plans.append(controller.update(at * S // 30, [APath(rate, limited=False)], FPS))
    assert plans[0].target.bitrate_bps == 510_000
    assert [plan.changes for plan in plans if plan.changes] == []
    assert (plans[-1].target.bitrate_bps or 0) > 7_000_000
    assert plans[-1].scale == 1


def test_a_path_that_stays_narrow_from_the_start_is_told_of_after_a_while() -> None:
    controller = RateController(H264, Wishes(), FPS)
    told = [
        at / 30
        for at in range(5 * 30)
        if controller.update(at * S // 30, [APath(900_000, limited=False)], FPS).changes
    ]
    assert len(told) == 1
    assert 3.0 <= told[0] <= 3.1


# -- a path that narrows, and widens again ---------------------------------------------------------


@pytest.mark.parametrize(("facts", "low"), [(JPEG, 6e6), (H264, 2.1e6)])
def test_a_fall_lowers_quality_and_says_why(facts: StreamFacts, low: float) -> None:
    simulation = Simulation(facts)
    simulation.run(seconds(5, 40e6) + seconds(5, low))
    assert simulation.reasons[-1] == f"quality lowered: path {low / 1e6:.1f} Mbit/s"
    assert simulation.mean_bps(2) <= low
    assert simulation.plans[-1].fps == FPS, "smooth: the frame rate is kept"


def test_a_fall_that_leaves_the_pictures_all_that_they_take_is_not_told() -> None:
    simulation = Simulation(H264, most_bpp=0.22)
    simulation.run(seconds(5, 12e6) + seconds(5, 5e6))
    assert (simulation.plans[-1].target.bitrate_bps or 0) < 5e6
    assert simulation.reasons == []
    simulation.most_bpp = 1.0
    simulation.run(seconds(2, 5e6))
    assert simulation.reasons == ["quality lowered: path 5.0 Mbit/s"], "what moves takes more"
    simulation.most_bpp = 0.22
    simulation.run(seconds(2, 5e6) + seconds(20, 12e6))
    assert {reason.split(":")[0] for reason in simulation.reasons[1:]} == {"quality raised"}


@pytest.mark.parametrize("facts", [JPEG, H264], ids=["jpeg", "h264"])
def test_a_fall_is_met_within_half_a_second(facts: StreamFacts) -> None:
    simulation = Simulation(facts)
    simulation.run(seconds(5, 40e6) + seconds(1, 3e6))
    assert simulation.mean_bps(0.5) <= 1.05 * 3e6


@pytest.mark.parametrize("facts", [JPEG, H264], ids=["jpeg", "h264"])
def test_after_a_rise_all_is_as_before_and_every_step_was_told(facts: StreamFacts) -> None:
    simulation = Simulation(facts)
    simulation.run(seconds(5, 40e6))
    before = simulation.plans[-1]
    simulation.run(seconds(5, 0.6e6) + seconds(60, 40e6))
    after = simulation.plans[-1]
    assert (after.fps, after.scale, after.target) == (before.fps, before.scale, before.target)
    words = [reason.split(":")[0] for reason in simulation.reasons]
    assert words[0].endswith("lowered")
    assert words[-1].endswith("raised")
    first_raise = next(at for at, word in enumerate(words) if word.endswith("raised"))
    assert all(word.endswith("raised") for word in words[first_raise:]), "down again on the way up"


@pytest.mark.parametrize("facts", [JPEG, H264, LOSSLESS], ids=["jpeg", "h264", "lossless"])
@pytest.mark.parametrize("prefer", ["smooth", "sharp"])
@given(seed=st.integers(0, 999), rate=st.floats(0.3e6, 30e6), noise=st.floats(0, 0.15))
@settings(max_examples=10, deadline=None)
def test_noise_brings_no_oscillation(
    facts: StreamFacts, prefer: Preference, seed: int, rate: float, noise: float
) -> None:
    dice = random.Random(seed)
    simulation = Simulation(facts, Wishes(prefer=prefer), seed=seed)
    simulation.run([rate * (1 + dice.uniform(-noise, noise)) for _ in range(5 * 30)])
    settled = len(simulation.reasons)
    simulation.run([rate * (1 + dice.uniform(-noise, noise)) for _ in range(40 * 30)])
    assert len(simulation.reasons) - settled <= 4, simulation.reasons


@pytest.mark.parametrize("facts", [JPEG, H264, LOSSLESS], ids=["jpeg", "h264", "lossless"])
@pytest.mark.parametrize("prefer", ["smooth", "sharp"])
@given(
    stretches=st.lists(
        st.tuples(st.floats(0.2, 6), st.none() | st.floats(1e3, 60e6)), min_size=1, max_size=8
    )
)
@settings(max_examples=10, deadline=None)
def test_whatever_the_path_does_a_plan_is_one_that_can_be_carried_out(
    facts: StreamFacts, prefer: Preference, stretches: list[tuple[float, float | None]]
) -> None:
    simulation = Simulation(facts, Wishes(prefer=prefer))
    for length, rate in stretches:
        simulation.run([rate] * round(length * 30))
    for plan in simulation.plans:
        assert 5.0 <= plan.fps <= FPS
        assert 0 < plan.scale <= 1
        assert 10 <= plan.target.quality <= 90
        assert (plan.target.bitrate_bps is not None) == (facts is H264)
        assert all(": " in change and change.isprintable() for change in plan.changes)
    if facts.lossless:
        assert {plan.scale for plan in simulation.plans} == {1}


# -- what gives way first --------------------------------------------------------------------------


@pytest.mark.parametrize(("facts", "low"), [(JPEG, 5e6), (H264, 1.2e6)])
def test_smooth_keeps_the_frame_rate_and_sharp_the_picture(facts: StreamFacts, low: float) -> None:
    results = {}
    for prefer in ("smooth", "sharp"):
        simulation = Simulation(facts, Wishes(prefer=prefer))  # type: ignore[arg-type]
        results[prefer] = simulation.run(seconds(3, 40e6) + seconds(5, low))[-1]
    assert results["smooth"].fps > results["sharp"].fps
    assert results["sharp"].scale == 1
    if facts.inter:
        bits = {p: (plan.target.bitrate_bps or 0) / plan.fps for p, plan in results.items()}
        assert bits["sharp"] > bits["smooth"]
    else:
        assert results["sharp"].target.quality > results["smooth"].target.quality


def test_a_smaller_picture_is_the_next_thing_that_gives_way_when_smooth() -> None:
    simulation = Simulation(H264)
    plan = simulation.run(seconds(3, 40e6) + seconds(4, 0.4e6))[-1]
    assert plan.scale < 1
    assert plan.fps == FPS
    assert "picture size lowered: path 0.4 Mbit/s" in simulation.reasons


def test_lossless_gives_way_in_frames_alone() -> None:
    simulation = Simulation(LOSSLESS)
    plan = simulation.run(seconds(2, 100e6) + seconds(5, 25e6))[-1]
    assert plan.fps == pytest.approx(FPS / 2)
    assert simulation.reasons == ["frame rate lowered: path 25.0 Mbit/s"]


@pytest.mark.parametrize("facts", [JPEG, H264], ids=["jpeg", "h264"])
def test_a_floor_of_psnr_is_paid_for_in_frames(facts: StreamFacts) -> None:
    simulation = Simulation(facts, Wishes(min_psnr_db=38.0))
    plans = simulation.run(seconds(5, 40e6) + seconds(5, 4e6))
    assert plans[-1].scale == 1
    assert plans[-1].fps < FPS
    if not facts.inter:
        assert 28.6 + (plans[-1].target.quality - 10) * 0.14 >= 37.5


def test_a_frame_must_leave_within_the_wished_for_latency() -> None:
    wishes = Wishes(max_latency_ms=80, prefer="sharp")
    plans = Simulation(H264, wishes).run(seconds(5, 40e6) + seconds(5, 1e6))
    frame_bits = (plans[-1].target.bitrate_bps or 0) / plans[-1].fps
    assert frame_bits / 1e6 <= 0.080 - 0.020 - 0.005 + 1e-6


# -- the encoder itself ---------------------------------------------------------------------------


def test_an_encoder_that_is_too_slow_lowers_the_frame_rate_and_says_so() -> None:
    simulation = Simulation(H264, busy_ns=40_000_000)
    plan = simulation.run(seconds(2, 100e6))[-1]
    assert plan.fps == pytest.approx(20.0)
    assert simulation.reasons == ["frame rate lowered: encoder slow"]
    simulation.busy_ns = 10_000_000
    plan = simulation.run(seconds(6, 100e6))[-1]
    assert plan.fps == FPS
    assert simulation.reasons[1:] == ["frame rate raised: encoder keeps up"]


def test_an_encoder_that_is_slow_now_and_then_changes_nothing() -> None:
    simulation = Simulation(H264, busy_ns=10_000_000)
    for _ in range(20):
        simulation.busy_ns = 60_000_000
        simulation.run(seconds(1 / 30, 100e6))
        simulation.busy_ns = 10_000_000
        simulation.run(seconds(1, 100e6))
    assert simulation.reasons == []


# -- several receivers -----------------------------------------------------------------------------


def test_a_hopeless_receiver_does_not_spoil_it_for_the_others() -> None:
    controller = RateController(H264, Wishes(), FPS)
    for at in range(60):
        plan = controller.update(at * S // 30, [APath(20_000), APath(4_000_000)], FPS)
    assert plan.target.bitrate_bps == pytest.approx(0.85 * 4e6, rel=0.01)
    for at in range(60, 120):
        plan = controller.update(at * S // 30, [APath(900_000), APath(4_000_000)], FPS)
    assert (plan.target.bitrate_bps or 0) <= 900_000
