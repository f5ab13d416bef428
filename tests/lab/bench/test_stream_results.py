from __future__ import annotations

import io
import json

from rich.console import Console

from lab.bench.rivals.place import Wire
from lab.bench.rivals.records import Offered, Shown, StreamRecord
from lab.bench.rivals.rival import Run
from lab.bench.rivals.usage import Usage
from lab.bench.stream_fairness import jain, shares
from lab.bench.stream_figures import Figures, Quality
from lab.bench.stream_plots import draw_fairness, draw_stream
from lab.bench.stream_results import StreamResult, as_json, results_tables

WORST = Figures(
    offered=9000,
    shown=8999,
    unreadable=0,
    latency_p50_ms=12345.6,
    latency_p95_ms=12345.6,
    latency_p99_ms=12345.6,
    latency_max_ms=12345.6,
    freezes=1234,
    longest_gap_ms=12345.6,
    shown_fps=59.9,
    quality=Quality(39.7, 31.2, 0, 50, "pictures"),
    mbit_per_s=123.45,
    sender_cpu_ms=123.4,
    receiver_cpu_ms=123.4,
    sender_peak_mib=1234.5,
    receiver_peak_mib=None,
)
RUN = Run(
    StreamRecord([Offered(0, 1000)], [Shown(0, 1000, 2_001_000)]),
    1000,
    1_000_001_000,
    {"sender": [Usage(1000, 0.5, 1 << 20)], "receiver": []},
    Wire(1, 2, 1.0, [(0.0, 1.0, 2.0)], {"udp": [1.0]}, {"lost": 3}),
)
RESULT = StreamResult("wrtc-channel", 1, WORST, RUN, {"recovery": None})


def test_the_tables_fit_into_eighty_columns_whole() -> None:
    out = io.StringIO()
    Console(file=out, width=80).print(*results_tables([RESULT], "a title"))
    text = out.getvalue()
    assert "…" not in text
    assert "39.7/31.2" in text
    assert "12346" in text  # nobody needs the tenth of twelve seconds
    assert len(text.splitlines()) == 14  # no row is broken into two


def test_the_json_holds_figures_and_series_and_can_be_drawn(tmp_path) -> None:
    found = json.loads(json.dumps(as_json([RESULT], {"profile": "uplink"})))
    one = found["results"][0]
    assert one["figures"]["shown_share"] == 8999 / 9000
    assert one["series"]["latency"] == [[0.0, 0, 2.0]]
    assert one["series"]["usage"]["sender"] == [[0.0, 0.5, 1 << 20]]
    assert one["series"]["rates"] == [[0.0, 1.0, 2.0]]
    assert one["wire"] == {"lost": 3}
    drawn = draw_stream(found, tmp_path / "plots")
    assert [path.name for path in drawn] == [
        "stream-uplink-latency-distribution.svg",
        "stream-uplink-latency-course.svg",
        "stream-uplink-memory.svg",
    ]
    assert all(b"<svg" in path.read_bytes() for path in drawn)


def test_fairness_is_drawn_from_its_rates(tmp_path) -> None:
    found = {
        "case": {"beside": "tcp", "profile": "uplink", "rate_mbit": 8},
        "rates": {"stream": [1.0, 2.0], "tcp": [3.0]},
    }
    (path,) = draw_fairness(found, tmp_path)
    assert path.name == "fairness-tcp-uplink.svg"
    assert b"<svg" in path.read_bytes()


def test_jains_index_is_one_for_equals_and_one_nth_for_one_that_takes_all() -> None:
    assert jain([2.0, 2.0]) == 1.0
    assert jain([4.0, 0.0]) == 0.5
    assert jain([0.0, 0.0]) is None


def test_shares_are_means_over_the_time_in_which_both_are_there() -> None:
    rates = {"first": [9.0, 9.0, 4.0, 6.0, 9.0], "second": [0.0, 0.0, 3.0, 3.0]}
    assert shares(rates, 2.0, 4.0) == {"first": 5.0, "second": 3.0}
