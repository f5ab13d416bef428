from __future__ import annotations

import json
import math

import pytest
from pydantic import ValidationError

from shared.telemetry.records import FrameLine, SentFrameLine, SummaryLine


def shown(**changes: object) -> FrameLine:
    fields: dict[str, object] = {
        "at_s": 0.1,
        "frame": 3,
        "epoch": 1,
        "codec": "jpeg",
        "width": 640,
        "height": 480,
        "channels": 3,
        "bytes": 4000,
        "latency_ms": 21.0,
        "latency_bound_ms": 0.5,
        "psnr_db": 41.25,
        "lossless": False,
        "stages_ms": {"encode": 3.0},
    }
    return FrameLine.model_validate({**fields, **changes})


def test_a_frame_line_has_the_documented_fields() -> None:
    line = json.loads(shown().model_dump_json())
    documented = {
        "frame", "epoch", "codec", "width", "height", "channels", "bytes", "latency_ms",
        "latency_bound_ms", "psnr_db", "lossless", "stages_ms",
    }  # fmt: skip
    assert documented | {"type", "at_s"} == set(line)
    assert list(line["stages_ms"]) == [
        "capture", "mask", "encode", "keystream", "seal", "send", "network", "open", "hold",
        "decode", "show",
    ]  # fmt: skip


def test_the_summary_has_the_documented_fields() -> None:
    documented = {
        "frames_shown", "frames_dropped", "frames_frozen", "auth_failures", "replays",
        "keystream_mismatches", "freezes", "fps", "latency_ms", "psnr_db", "bytes",
    }  # fmt: skip
    assert documented | {"type", "at_s"} == set(SummaryLine.model_fields)


def test_a_senders_stages_end_with_send() -> None:
    stages = SentFrameLine.model_fields["stages_ms"].annotation
    assert list(stages.model_fields) == ["capture", "mask", "encode", "keystream", "seal", "send"]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_figure_that_is_no_number_is_written_as_null(bad: float) -> None:
    text = shown(psnr_db=bad, latency_ms=bad, stages_ms={"network": bad}).model_dump_json()
    line = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert line["psnr_db"] is None
    assert line["latency_ms"] is None
    assert line["stages_ms"]["network"] is None


def test_a_bit_exact_frame_has_a_null_psnr() -> None:
    line = json.loads(shown(psnr_db=None, lossless=True).model_dump_json())
    assert line["psnr_db"] is None
    assert line["lossless"] is True


def test_psnr_is_written_in_full_and_durations_to_the_microsecond() -> None:
    line = json.loads(shown(psnr_db=41.123456789, latency_ms=1.23456).model_dump_json())
    assert line["psnr_db"] == 41.123456789
    assert line["latency_ms"] == 1.235


def test_a_line_reads_back_as_it_was() -> None:
    line = shown()
    assert FrameLine.model_validate_json(line.model_dump_json()) == line


def test_a_line_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        shown().frame = 4


def test_a_frame_line_says_that_it_is_repeated_only_where_it_is() -> None:
    assert "repeated" not in json.loads(shown().model_dump_json())
    assert json.loads(shown(repeated=True).model_dump_json())["repeated"] is True
    assert FrameLine.model_validate_json(shown(repeated=True).model_dump_json()).repeated
