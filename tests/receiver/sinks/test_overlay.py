from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from receiver.sinks import overlay
from receiver.sinks.overlay import (
    BLUE,
    BROWN,
    DARK_BLUE,
    GREEN,
    RED,
    TIER,
    OverlayFacts,
    bar_height,
    compose,
)

SIZE = (800, 600)
FACTS = OverlayFacts(
    keystream="bp",
    age_ms=40.0,
    silence_ms=10.0,
    latency_ms=35.0,
    latency_bound_ms=0.4,
    fps=30.0,
    psnr_db=41.2,
    epoch=2,
)
GREY = np.full((300, 400, 3), 77, np.uint8)


def pixels_of(canvas: NDArray[np.uint8], colour: tuple[int, int, int]) -> int:
    return int((canvas == np.array(colour, np.uint8)).all(axis=2).sum())


@pytest.mark.parametrize("size", [(800, 600), (320, 240), (1920, 1080), (64, 64), (400, 90)])
@pytest.mark.parametrize("shape", [(300, 400, 3), (300, 400), (16, 4096), (4096, 16, 3)])
def test_the_canvas_has_the_windows_size(size: tuple[int, int], shape: tuple[int, ...]) -> None:
    canvas = compose(np.zeros(shape, np.uint8), FACTS, size)
    assert canvas.shape == (size[1], size[0], 3)
    assert canvas.dtype == np.uint8


def test_the_figures_never_cover_the_picture() -> None:
    image = np.full((600, 800, 3), 77, np.uint8)
    canvas = compose(image, FACTS, SIZE)
    rows = np.flatnonzero((canvas == 77).all(axis=2).any(axis=1))
    picture = canvas[rows[0] : rows[-1] + 1]
    columns = np.flatnonzero((picture == 77).all(axis=2).any(axis=0))
    assert (picture[:, columns[0] : columns[-1] + 1] == 77).all()
    ratio = (columns[-1] - columns[0] + 1) / len(rows)
    assert ratio == pytest.approx(800 / 600, rel=0.01)


def test_a_picture_that_fits_is_shown_pixel_for_pixel() -> None:
    image = np.random.default_rng(1).integers(0, 256, (400, 800, 3), np.uint8)
    canvas = compose(image, FACTS, (800, 400 + 200))
    assert any((canvas[top : top + 400] == image).all() for top in range(200))


@pytest.mark.parametrize("size", [(1200, 600), (800, 600), (420, 300)])
def test_the_picture_stays_in_its_place_while_the_figures_change(size: tuple[int, int]) -> None:
    few = replace(FACTS, age_ms=1.0, latency_ms=1.0, fps=1.0, epoch=1)
    many = replace(FACTS, age_ms=9999.0, latency_ms=888.0, fps=120.0, epoch=99, psnr_db=None)
    many = replace(many, quality_reason="picture size lowered: path 2.1 Mbit/s")
    image = np.full((300, 400, 3), 77, np.uint8)
    places = [(compose(image, facts, size) == 77).all(axis=2) for facts in (few, many)]
    assert np.array_equal(*places)


def test_colours_keep_their_order() -> None:
    red = np.zeros((300, 400, 3), np.uint8)
    red[:, :, 0] = 200
    assert tuple(compose(red, FACTS, SIZE)[280, 400]) == (200, 0, 0)


def test_a_stale_picture_wears_a_red_banner_and_frame() -> None:
    fresh = compose(GREY, replace(FACTS, silence_ms=1000.0), SIZE)
    stale = compose(GREY, replace(FACTS, silence_ms=1001.0), SIZE)
    assert pixels_of(fresh, RED) == 0
    assert pixels_of(stale, RED) > 5000
    assert tuple(stale[0, 0]) == RED


def test_a_picture_frozen_by_the_viewer_is_not_called_stale_but_says_that_nothing_comes() -> None:
    frozen = replace(FACTS, frozen=True)
    coming, silent = (
        compose(GREY, replace(frozen, silence_ms=ms), SIZE) for ms in (1000.0, 1001.0)
    )
    for canvas in (coming, silent):
        assert pixels_of(canvas, BLUE) > 1000
        assert tuple(canvas[0, 0]) != RED
    assert pixels_of(coming, RED) == 0
    assert pixels_of(silent, RED) > 500


def test_before_the_first_picture_the_window_says_so() -> None:
    assert pixels_of(compose(None, OverlayFacts("bp"), SIZE), BLUE) > 1000


def test_the_lock_is_always_there() -> None:
    for facts in (OverlayFacts("bp"), FACTS):
        assert pixels_of(compose(GREY, facts, SIZE), GREEN) > 30


@pytest.mark.parametrize(("ms", "tier"), [(200.0, "green"), (300.0, "amber"), (500.0, "red")])
def test_age_and_latency_wear_their_tiers_colour(ms: float, tier: str) -> None:
    canvas = compose(GREY, replace(FACTS, age_ms=ms, latency_ms=ms), SIZE)
    others = {name: pixels_of(canvas, colour) for name, colour in TIER.items()}
    assert others[tier] > 20
    assert all(count == 0 for name, count in others.items() if name not in (tier, "green"))


def test_the_age_runs_on_without_a_new_picture() -> None:
    earlier = compose(GREY, FACTS, SIZE)
    later = compose(GREY, replace(FACTS, age_ms=140.0), SIZE)
    assert not np.array_equal(earlier, later)


def test_sealed_bytes_are_enlarged_without_values_in_between() -> None:
    checks = np.indices((20, 20)).sum(axis=0).astype(np.uint8) % 2 * 200
    sealed = compose(checks, OverlayFacts("bp", sealed_view=True), (600, 500))[120:440]
    smooth = compose(checks, OverlayFacts("bp"), (600, 500))[120:440]
    values = set(np.unique(sealed[:, 100:500]))
    assert values == {0, 200}
    assert len(np.unique(smooth[:, 100:500])) > 10


def test_why_quality_was_lowered_stands_in_amber_beside_the_picture_and_a_rise_does_not() -> None:
    calm = pixels_of(compose(GREY, FACTS, SIZE), TIER["amber"])
    lowered = replace(FACTS, quality_reason="quality lowered: path 2.1 Mbit/s")
    raised = replace(FACTS, quality_reason="quality raised: path 6.0 Mbit/s")
    assert pixels_of(compose(GREY, lowered, SIZE), TIER["amber"]) > calm + 20
    assert pixels_of(compose(GREY, raised, SIZE), TIER["amber"]) == calm
    assert not np.array_equal(compose(GREY, raised, SIZE), compose(GREY, FACTS, SIZE))


def test_a_frozen_picture_says_how_it_stands_with_its_lossless_copy() -> None:
    frozen = replace(FACTS, frozen=True)
    plain, fetched = (compose(GREY, replace(frozen, still=text), SIZE) for text in ("", "lossless"))
    assert pixels_of(fetched, DARK_BLUE) > pixels_of(plain, DARK_BLUE) == 0


def test_what_is_said_of_the_picture_never_covers_it() -> None:
    calm = (compose(GREY, FACTS, SIZE) == 77).all(axis=2)
    for changed in (
        replace(FACTS, frozen=True, still="lossless", silence_ms=9000.0),
        replace(FACTS, message="saved veilscope-ab12-frame-000007.png"),
        replace(FACTS, sealed_view=True),
    ):
        assert np.array_equal((compose(GREY, changed, SIZE) == 77).all(axis=2), calm)


@pytest.mark.parametrize("ms", [300.0, 9000.0])
def test_the_age_of_a_picture_that_the_viewer_holds_has_no_colour(ms: float) -> None:
    frozen = compose(GREY, replace(FACTS, age_ms=ms, frozen=True), SIZE)
    assert pixels_of(frozen, TIER["amber"]) == pixels_of(frozen, TIER["red"]) == 0


def test_lossless_is_said_once() -> None:
    exact = replace(FACTS, psnr_db=None)
    said, twice = (compose(GREY, replace(exact, codec=c), SIZE) for c in ("lossless", None))
    assert np.array_equal(said, twice)
    assert not np.array_equal(said, compose(GREY, replace(exact, codec="h264"), SIZE))


def test_before_the_two_ends_have_paired_the_window_claims_no_encryption() -> None:
    assert pixels_of(compose(None, OverlayFacts(), SIZE), GREEN) == 0
    assert pixels_of(compose(None, OverlayFacts(waiting="pairing"), SIZE), BLUE) > 1000


@pytest.mark.parametrize("width", [420, 800, 1600])
def test_the_bar_is_as_high_as_is_said_of_it(width: int) -> None:
    canvas = compose(np.full((900, width), 200, np.uint8), FACTS, (width, 900 + bar_height(width)))
    assert (canvas[:900] == 200).all()


def test_a_text_too_long_for_the_window_is_cut_where_it_can_be_seen_to_go_on() -> None:
    reason = "codec changed to h264-444: 0.8 of 36.3 Mbit/s used, so the path has room for colour"
    for room in (40, 200, 400):
        cut = overlay._cut(reason, room, 15)
        assert cut.endswith("…")
        assert reason.startswith(cut[:-1].rstrip())
        assert overlay._width(cut, 15) <= room < overlay._width(cut, 15) + 30
    assert overlay._cut("short", 400, 15) == "short"


def test_a_figure_too_long_for_its_place_leaves_the_next_one_alone() -> None:
    facts = replace(FACTS, codec="a" * 99, quality_reason="")
    row = overlay._fit(overlay._figures(facts), 1600 - 20, 15)[0]
    follows = [item.text for item in row][-2]
    assert follows == "epoch 2"
    at = 10 + sum(overlay._width(item.widest, 15) + 15 for item in row[:-2]) + 15 + 4
    end = at + overlay._width(follows, 15)
    bars = [
        compose(GREY, replace(facts, codec=codec), (1600, 600))[540:, at:end]
        for codec in ("a" * 99, "a")
    ]
    assert np.array_equal(*bars)


def test_what_lasts_is_a_banner_each_over_the_picture_and_beside_the_stale_one() -> None:
    one = compose(GREY, replace(FACTS, banners=("the source stands still since 12 s",)), SIZE)
    two = compose(GREY, replace(FACTS, banners=("stands still", "is hidden")), SIZE)
    rows = [np.flatnonzero((c == np.array(BROWN)).all(axis=2).any(axis=1)) for c in (one, two)]
    assert pixels_of(one, BROWN) > 2000
    assert len(rows[1]) > 1.8 * len(rows[0])
    both = compose(GREY, replace(FACTS, silence_ms=5000.0, banners=("stands still",)), SIZE)
    assert pixels_of(both, RED) > 5000
    assert pixels_of(both, BROWN) > 1000


@pytest.mark.parametrize("size", [(64, 64), (320, 240), (800, 600)])
def test_banners_of_any_length_and_number_fit_a_window_of_any_size(size: tuple[int, int]) -> None:
    facts = replace(FACTS, banners=("x" * 200,) * 8)
    assert compose(GREY, facts, size).shape == (size[1], size[0], 3)
    assert compose(None, facts, size).shape == (size[1], size[0], 3)


def test_a_repeated_picture_is_stale_only_once_the_next_one_is_overdue() -> None:
    still = replace(FACTS, repeated=True, latency_ms=60_000.0)
    assert not replace(still, silence_ms=1500.0).stale
    assert replace(still, silence_ms=2600.0).stale
    assert not np.array_equal(
        compose(GREY, still, SIZE), compose(GREY, replace(still, repeated=False), SIZE)
    ), "its age is no latency"
