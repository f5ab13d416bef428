"""The number of slices that an FFV1 record asks a decoder to hold states for."""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.codecs.ffv1 import FORMAT, Ffv1Decoder, Ffv1Encoder
from shared.codecs.ffv1record import slices_of
from shared.errors import DecodeFailed


def coded(side: int, slices: int, coder: int) -> tuple[bytes, bytes]:
    """Record and frame of a black picture."""
    context = av.CodecContext.create("ffv1", "w")
    context.width = context.height = side
    context.pix_fmt = "bgr0"
    context.time_base = Fraction(1, 1000)
    context.options = {"level": "3", "coder": str(coder), "slices": str(slices)}
    context.open()
    frame = av.VideoFrame.from_ndarray(np.zeros((side, side, 3), np.uint8), format="rgb24")
    (packet,) = context.encode(frame.reformat(format="bgr0"))
    return bytes(context.extradata or b""), bytes(packet)


@pytest.mark.parametrize("coder", [0, 1, 2])
@pytest.mark.parametrize("slices", [4, 9, 24, 100, 576])
def test_the_slices_of_a_record_are_read_whatever_its_coder(slices: int, coder: int) -> None:
    assert slices_of(coded(1024, slices, coder)[0]) == slices


@pytest.mark.parametrize(("side", "slices"), [(64, 4), (1024, 16)])
def test_our_own_records_ask_for_few(side: int, slices: int) -> None:
    payload = Ffv1Encoder().encode(np.zeros((side, side, 3), np.uint8))
    (nbytes,) = struct.unpack_from(">H", payload, 6)
    assert slices_of(payload[12 : 12 + nbytes]) == slices


@given(st.binary(max_size=256))
def test_any_bytes_are_read_or_refused(record: bytes) -> None:
    try:
        assert slices_of(record) >= 1
    except DecodeFailed:
        return


@pytest.mark.parametrize("slices", [64, 100, 576])
def test_a_decoder_is_opened_for_no_more_slices_than_pictures_need(
    slices: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    side = 1024
    record, frame = coded(side, slices, 1)
    crc = zlib.crc32(bytes(side * side * 3))
    payload = struct.pack(">BBHHHI", FORMAT, 3, side, side, len(record), crc) + record + frame
    if slices == 64:
        assert not Ffv1Decoder().decode(payload, width=side, height=side, channels=3).any()
        return
    monkeypatch.setattr(av.CodecContext, "create", lambda *_: pytest.fail("a decoder was opened"))
    with pytest.raises(DecodeFailed, match="slices"):
        Ffv1Decoder().decode(payload, width=side, height=side, channels=3)
