from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup

from shared.telemetry import charts
from shared.telemetry.reader import SessionLog
from shared.telemetry.records import (
    DropLine,
    DropReason,
    EpochLine,
    EventLine,
    FrameLine,
    KeystreamIdentity,
    LatencyFigures,
    PathLine,
    PsnrFigures,
    SessionLine,
    ShownStages,
    SummaryLine,
)

SESSION = SessionLine(
    role="receiver",
    session="7f3a91c2",
    version="0.1.0",
    codec="jpeg",
    keystream=KeystreamIdentity(family="bp", digest="ab" * 32, backend="cpu"),
    suite="AES-256-GCM",
    source=None,
    width=640,
    height=480,
    started_at="2026-03-14T09:26:53+00:00",
)
SUMMARY = SummaryLine(
    at_s=0.0,
    frames_shown=0,
    frames_dropped={},
    auth_failures=0,
    replays=0,
    keystream_mismatches=0,
    freezes=0,
    fps=None,
    latency_ms=LatencyFigures(),
    psnr_db=PsnrFigures(),
    bytes=0,
)


def frame(index: int, at_s: float, latency_ms: float, bound_ms: float = 0.5) -> FrameLine:
    return FrameLine(
        at_s=at_s,
        frame=index,
        epoch=1,
        codec="jpeg",
        width=640,
        height=480,
        channels=3,
        bytes=4000,
        latency_ms=latency_ms,
        latency_bound_ms=bound_ms,
        psnr_db=41.5,
        lossless=False,
        stages_ms=ShownStages(encode=2.0, network=6.0),
    )


def session(
    latencies: Sequence[float], times: Sequence[float] | None = None, bound_ms: float = 0.5
) -> SessionLog:
    moments = times or [index / 30 for index in range(len(latencies))]
    pairs = enumerate(zip(moments, latencies, strict=True))
    return SessionLog(
        session=SESSION,
        frames=tuple(frame(index, at_s, value, bound_ms) for index, (at_s, value) in pairs),
        drops=(),
        epochs=(EpochLine(at_s=0.0, epoch=1, reason="start"),),
        events=(),
        paths=(),
        summary=SUMMARY,
        summary_computed=False,
        cut_short=False,
        unreadable=0,
    )


def parsed(svg: Markup | None) -> ET.Element:
    assert svg is not None
    return ET.fromstring(str(svg))  # noqa: S314 - drawn here


def styled(svg: Markup | None, *words: str) -> list[ET.Element]:
    """The elements whose style holds all of `words`."""
    return [
        element
        for element in parsed(svg).iter()
        if all(word in (element.get("style") or "") for word in words)
    ]


def heights(elements: list[ET.Element]) -> list[float]:
    """Every y coordinate of the elements' paths."""
    found: list[float] = []
    for element in elements:
        found += [float(y) for y in re.findall(r"[ML] \S+ (\S+)", element.get("d") or "")]
    return found


def every_chart(log: SessionLog) -> list[Markup]:
    drawn = (
        charts.latency_chart(log),
        charts.distribution(log),
        charts.stage_chart(charts.stage_rows(log)),
        charts.psnr_chart(log),
        charts.size_chart(log),
    )
    assert all(drawn)
    return [chart for chart in drawn if chart is not None]


LINE = ("fill: none", "var(--accent)")


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(-50, 1e5), min_size=1, max_size=60))
def test_every_latency_can_be_drawn_and_stays_inside_the_drawing(values: list[float]) -> None:
    chart = charts.latency_chart(session(values))
    assert all(0 <= y <= 314 for y in heights(styled(chart, *LINE)))
    parsed(charts.distribution(session(values)))


def test_nothing_measured_is_nothing_drawn() -> None:
    empty = session([])
    assert charts.latency_chart(empty) is None
    assert charts.distribution(empty) is None
    assert charts.psnr_chart(empty) is None
    assert charts.size_chart(empty) is None
    assert charts.stage_chart(charts.stage_rows(empty)) is None


def test_a_long_series_is_thinned_and_its_extremes_stay_in_the_range() -> None:
    values = [20.0] * 50_000
    values[31_234] = 500.0
    chart = charts.latency_chart(session(values, bound_ms=0.0))
    assert chart is not None
    assert len(chart) < 200_000
    line = heights(styled(chart, *LINE))
    shade = heights([e for e in parsed(chart).iter("path") if e.get("style") is None])
    assert max(line) - min(line) < 20  # the mean hardly moves
    assert min(shade) < 60  # but the one slow frame reaches the top of the drawing


def test_no_line_is_drawn_across_a_long_pause_and_a_lone_frame_is_a_dot() -> None:
    log = session([20.0] * 6, [0.0, 0.03, 0.06, 2.0, 2.03, 9.0])
    chart = charts.latency_chart(log)
    assert len(styled(chart, *LINE)) == 3
    dots = [element for element in styled(chart, "stroke: var(--accent)") if element.tag == "use"]
    assert len([dot for dot in dots if "opacity" not in (dot.get("style") or "")]) == 1


def test_the_bands_and_the_marks_are_drawn() -> None:
    log = replace(
        session([20.0, 30.0, 500.0]),
        drops=(DropLine(at_s=0.05, index=None, reason=DropReason.LATE),),
        events=(EventLine(at_s=0.05, event="quality_lowered"),),
    )
    chart = charts.latency_chart(log)
    for band in ("green", "amber", "red"):
        assert styled(chart, f"var(--{band}-band)")
    words = [element.text for element in parsed(chart).iter("text")]
    assert {"epoch 1", "quality lowered", "up to 200 ms", "up to 400 ms"} <= set(words)
    assert styled(chart, "stroke: var(--red)")


def test_drops_by_the_thousand_take_one_stroke_a_column() -> None:
    drops = [
        DropLine(at_s=index / 10_000, index=None, reason=DropReason.LATE) for index in range(10_000)
    ]
    chart = charts.latency_chart(replace(session([20.0] * 30), drops=tuple(drops)))
    assert chart is not None
    assert len(chart) < 300_000


@pytest.mark.parametrize(("latency", "colour"), [(50, "green"), (300, "amber"), (900, "red")])
def test_a_bar_of_the_histogram_has_the_colour_of_its_latency(latency: int, colour: str) -> None:
    chart = charts.distribution(session([float(latency)] * 20))
    bars = [bar for bar in styled(chart, "fill: var(--") if bar.tag == "path"]
    tall = [bar for bar in bars if len(set(heights([bar]))) > 1]
    assert [f"fill: var(--{colour})" in (bar.get("style") or "") for bar in tall] == [True]


def test_the_stages_of_a_bar_lie_end_to_end() -> None:
    chart = charts.stage_chart(charts.stage_rows(session([8.0] * 3)))
    edges = []
    for stage in ("encode", "network"):
        bar = styled(chart, f"fill: var(--{stage})")[0]
        across = [float(x) for x in re.findall(r"[ML] (\S+) ", bar.get("d") or "")]
        edges += [min(across), max(across)]
    assert edges[1] == pytest.approx(edges[2], abs=0.1)
    assert edges[3] - edges[2] == pytest.approx(3 * (edges[1] - edges[0]), abs=0.1)


def test_the_same_log_gives_the_same_drawings() -> None:
    log = session([20.0, 300.0, 25.0])
    assert every_chart(log) == every_chart(log)


def test_colours_are_those_of_the_page() -> None:
    for chart in every_chart(session([20.0, 300.0, 25.0])):
        assert re.findall(r"#[0-9a-f]{3,6}\b(?=[;\"])", chart) == []
        assert "var(--soft)" in chart


def test_the_drawings_of_a_page_share_no_id_and_lack_none() -> None:
    page = "".join(every_chart(session([20.0 + index % 7 for index in range(90)])))
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"url\(#([^)]+)\)", page) + re.findall(r'href="#([^"]+)"', page)) <= set(
        ids
    )


def test_texts_are_escaped_and_never_read_as_formulas() -> None:
    event = EventLine(at_s=0.05, event=r'<script>"& $\frac$')
    chart = charts.latency_chart(replace(session([20.0] * 9), events=(event,)))
    assert chart is not None
    assert "<script>" not in chart
    assert event.event in [element.text for element in parsed(chart).iter("text")]


def test_only_drawing_a_report_loads_matplotlib() -> None:
    code = "import sys, veilscope.cli; print('matplotlib' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert result.stdout.strip() == b"False"


def test_the_path_is_drawn_with_what_was_aimed_at_and_each_change() -> None:
    def at(second: float, rate_bps: int, receiver: int | None = None) -> PathLine:
        return PathLine(
            at_s=second,
            receiver=receiver,
            rate_bps=rate_bps,
            target_bps=rate_bps // 2,
            rtt_ms=40.0,
            queue_ms=0.0,
            loss=0.0,
        )

    log = replace(
        session([20.0] * 90),
        paths=(at(0.0, 8_000_000), at(1.0, 2_000_000), at(1.1, 9_000_000, 2), at(2.0, 6_000_000)),
        events=(
            EventLine(at_s=1.0, event="quality lowered", detail="path 2.0 Mbit/s"),
            EventLine(at_s=2.0, event="frame rate raised", detail="path 6.0 Mbit/s"),
            EventLine(at_s=2.0, event="a receiver joined"),
        ),
    )
    words = {
        text.text for text in parsed(charts.path_chart(log)).iter() if text.tag.endswith("text")
    }
    assert {"quality lowered", "frame rate raised", "path", "target"} <= words
    assert "a receiver joined" not in words
    assert charts.path_chart(session([20.0] * 90)) is None


def path_line(second: float, rate_bps: int, target_bps: int | None) -> PathLine:
    return PathLine(
        at_s=second, rate_bps=rate_bps, target_bps=target_bps, rtt_ms=1.0, queue_ms=0.0, loss=0.0
    )


@pytest.mark.parametrize("rate_bps", [0, 4_000_000, 900_000_000])
def test_what_is_aimed_at_can_be_read_however_much_the_path_carries(rate_bps: int) -> None:
    paths = tuple(path_line(float(s), rate_bps, (3_000_000, 6_000_000)[s % 2]) for s in range(4))
    chart = charts.path_chart(replace(session([20.0] * 120), paths=paths))
    line = heights(styled(chart, "var(--accent)", "dasharray"))
    assert max(line) - min(line) > 12  # SVG units, as high as a letter
    assert all(0 <= y <= 254 for y in line)


def test_of_one_path_each_measure_is_drawn_and_of_several_the_least_of_the_second() -> None:
    paths = tuple(path_line(0.5 + s, 10**6 * (1 + s % 3), 10**6) for s in range(12))
    log = replace(session([20.0] * 390), paths=paths)
    assert charts.path_chart(log) is not None
    drawn = {
        receivers: heights(styled(charts.path_chart(both), "var(--size)"))
        for receivers, both in (
            (1, log),
            (2, replace(log, paths=tuple(_of(n % 2, p) for n, p in enumerate(paths)))),
        )
    }
    assert len(drawn[1]) > len(drawn[2])


def _of(receiver: int, line: PathLine) -> PathLine:
    return line.model_copy(update={"receiver": receiver})


def test_a_path_whose_stream_aims_at_no_bitrate_has_no_target() -> None:
    chart = charts.path_chart(
        replace(
            session([20.0] * 90), paths=(path_line(0.0, 10**7, None), path_line(1.0, 10**7, None))
        )
    )
    assert "target" not in [element.text for element in parsed(chart).iter("text")]
    assert "path" in [element.text for element in parsed(chart).iter("text")]


def test_while_the_viewer_held_the_picture_nothing_was_lost_and_nothing_froze() -> None:
    times = [index / 30 for index in range(60)]
    later = [times[-1] + 4 + index / 30 for index in range(30)]
    log = session([20.0] * 90, times + later)
    held = tuple(
        DropLine(at_s=times[-1] + index / 10, index=None, reason=DropReason.FROZEN)
        for index in range(1, 39)
    )
    ticks = ("stroke: var(--red)", "stroke: var(--amber)")
    drawn = [styled(charts.latency_chart(log), variable) for variable in ticks]
    assert [bool(found) for found in drawn] == [False, True], "a freeze"
    chart = charts.latency_chart(replace(log, drops=held))
    assert [styled(chart, variable) for variable in ticks] == [[], []]


def test_a_source_that_stood_still_is_neither_latency_nor_a_stage_nor_a_freeze() -> None:
    log = session([20.0, 22.0, 21.0] * 10)
    still = [
        frame(30 + n, 1.97 + n, 1000.0 * (n + 1)).model_copy(
            update={"repeated": True, "stages_ms": ShownStages(capture=1000.0 * (n + 1))}
        )
        for n in range(20)
    ]
    after = [frame(50 + n, 22.5 + n / 30, 20.0) for n in range(10)]
    moving = replace(log, frames=(*log.frames, *after))
    whole = replace(log, frames=(*log.frames, *still, *after))
    assert charts.distribution(whole) == charts.distribution(moving)
    assert charts.stage_rows(whole) == charts.stage_rows(moving)
    assert charts._freezes(whole) == []
    assert charts._freezes(moving) == [22.5]
