"""Hardware encoders: used only after a trial, and replaced when they fail.  libx264 stands in."""

from __future__ import annotations

import numpy as np
import pytest

from shared.codecs import EncoderTarget, h264, hardware
from shared.codecs.h264 import H264Decoder, H264Encoder
from shared.codecs.hardware import HARDWARE, HardwareEncoder, HardwareH264, works
from shared.errors import BadInput
from shared.frame import EncodedFrame, Image

OBEDIENT = HardwareEncoder(
    "libx264",
    {
        "preset": "ultrafast", "tune": "zerolatency", "forced-idr": "1", "sc_threshold": "0",
        "refs": "1", "maxrate": "4000000", "bufsize": "1000",
    },
)  # fmt: skip


def without(**changed: str) -> HardwareEncoder:
    return HardwareEncoder("libx264", {**OBEDIENT.options, **changed})


def test_an_encoder_that_does_as_it_is_told_passes() -> None:
    assert works(OBEDIENT)


@pytest.mark.parametrize(
    "bad",
    [
        HardwareEncoder("no_such_encoder", {}),
        HardwareEncoder("libx264", {"preset": "nonsense"}),
        without(tune="film"),  # holds pictures back
        without(g="4"),  # key pictures nobody asked for
        HardwareEncoder("libx264", {"preset": "ultrafast", "tune": "zerolatency", "qp": "1"}),
        without(qmin="51"),  # a poor picture
    ],
)
def test_an_encoder_that_does_not_is_as_good_as_not_there(bad: HardwareEncoder) -> None:
    assert not works(bad)


def test_looking_for_hardware_never_fails() -> None:
    assert hardware.working_hardware() in (None, *HARDWARE)


def large_picture(index: int) -> Image:
    ramp = np.add.outer(np.arange(96), np.arange(128) + 5 * index)
    return np.stack([ramp, ramp // 2, 255 - ramp], axis=-1).astype(np.uint8)


@pytest.fixture
def with_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(h264, "SPARE_PIXELS_A_CORE", 0.0)
    monkeypatch.setattr(h264, "working_hardware", lambda: OBEDIENT)


def shown(decoder: H264Decoder, frame: EncodedFrame) -> Image:
    return decoder.decode(frame.payload, width=128, height=96, channels=3, key=frame.key)


@pytest.mark.usefixtures("with_hardware")
def test_when_the_hardware_fails_libx264_goes_on_with_a_key_picture(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    encoder, decoder = H264Encoder(EncoderTarget(bitrate_bps=2_000_000)), H264Decoder()
    keys = []
    for index in range(6):
        if index == 3:
            monkeypatch.setattr(HardwareH264, "encode", failing)
        frame = encoder.encode(large_picture(index))
        keys.append(frame.key)
        assert shown(decoder, frame).shape == (96, 128, 3)
    assert keys == [True, False, False, True, False, False]
    assert "going on with libx264" in caplog.text


def failing(*_: object, **__: object) -> None:
    raise BadInput("the driver is gone")


@pytest.mark.usefixtures("with_hardware")
def test_whole_chroma_is_never_given_to_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HardwareH264, "encode", lambda *_, **__: pytest.fail("it was"))
    H264Encoder(halved=False).encode(large_picture(0))
