"""What a program may choose is checked, and handed on to whom it concerns."""

from __future__ import annotations

import pytest

from sender.rate import Wishes
from sender.settings import SenderSettings
from shared.errors import BadInput


def test_a_codec_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(BadInput, match="no codec 'mpeg'") as refused:
        _ = SenderSettings(codec="mpeg").chosen_codec
    assert "auto" in refused.value.hint
    assert "h264" in refused.value.hint


def test_auto_is_no_codec_yet() -> None:
    assert SenderSettings().chosen_codec is None
    assert SenderSettings(codec="jpeg").chosen_codec == "jpeg"


def test_the_wishes_of_the_rate_control_are_among_them() -> None:
    settings = SenderSettings(
        quality=80, bitrate_bps=5, min_psnr_db=38.0, max_latency_ms=90.0, prefer="sharp"
    )
    assert settings.wishes == Wishes(80, 5, 38.0, 90.0, "sharp")
