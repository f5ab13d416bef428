"""The layout of a frame's header and metadata."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import BadInput, MalformedFrame
from shared.wire import (
    CODEC_IDS,
    HEADER,
    MAX_LATER_BYTES,
    METADATA,
    STAGES,
    SUITE,
    SUITES,
    FrameMetadata,
    SealedHeader,
    pack_header,
    pack_inner,
    parse_header,
    parse_inner,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "wire.json").read_text())

u16, u32, u64 = (st.integers(0, 2**bits - 1) for bits in (16, 32, 64))
headers = st.builds(
    SealedHeader, suite=st.just(SUITE), flags=u16, sender=u16, epoch=u32, counter=u64
)
metadatas = st.builds(
    FrameMetadata,
    index=u64,
    captured_at_ns=st.integers(-(2**63), 2**63 - 1),
    codec=st.sampled_from(sorted(CODEC_IDS)),
    width=st.integers(16, 4096),
    height=st.integers(16, 4096),
    channels=st.sampled_from([1, 3]),
    psnr_db=st.none() | st.floats(0, 200, width=32),
    stages_us=st.fixed_dictionaries(dict.fromkeys(STAGES, u32)),
    still=st.booleans(),
    repeated=st.booleans(),
).flatmap(
    lambda metadata: (
        st.just(metadata)
        if metadata.still or metadata.index == 0
        else st.builds(
            replace,
            st.just(metadata),
            depends_on=st.none()
            | st.integers(max(0, metadata.index - 2**32 + 1), metadata.index - 1),
        )
    )
)
METADATA_EXAMPLE = FrameMetadata(
    index=1,
    captured_at_ns=2,
    codec="jpeg",
    width=640,
    height=480,
    channels=3,
    psnr_db=40.0,
    stages_us={"capture": 1, "mask": 2, "encode": 3},
)


@pytest.mark.parametrize("case", VECTORS["headers"])
def test_known_headers(case: dict[str, Any]) -> None:
    raw = bytes.fromhex(case["bytes"])
    header = SealedHeader(**{name: value for name, value in case.items() if name != "bytes"})
    assert pack_header(header) == raw
    assert parse_header(raw) == header


@pytest.mark.parametrize("case", VECTORS["inners"])
def test_known_inners(case: dict[str, Any]) -> None:
    raw, payload = bytes.fromhex(case["bytes"]), bytes.fromhex(case["payload"])
    fields = {name: value for name, value in case.items() if name not in ("bytes", "payload")}
    assert pack_inner(FrameMetadata(**fields), payload) == raw
    metadata, view = parse_inner(raw)
    assert metadata == FrameMetadata(**fields)
    assert bytes(view) == payload


@pytest.mark.parametrize("case", VECTORS["inners_of_a_later_version"])
def test_known_inners_of_a_later_version_are_read_without_what_it_added(
    case: dict[str, Any],
) -> None:
    fields = {name: value for name, value in case.items() if name not in ("bytes", "payload")}
    metadata, view = parse_inner(bytes.fromhex(case["bytes"]))
    assert metadata == FrameMetadata(**fields)
    assert view.hex() == case["payload"]


@given(headers, st.binary(max_size=40))
def test_a_header_reads_back_as_it_was_written(header: SealedHeader, body: bytes) -> None:
    packed = pack_header(header)
    assert len(packed) == HEADER.size == 18
    for form in (packed + body, bytearray(packed + body), memoryview(packed + body)):
        assert parse_header(form) == header


@given(metadatas, st.binary(max_size=300))
def test_an_inner_reads_back_as_it_was_written(metadata: FrameMetadata, payload: bytes) -> None:
    inner = pack_inner(metadata, payload)
    assert len(inner) == METADATA.size + len(payload)
    assert METADATA.size == 45
    parsed, view = parse_inner(inner)
    assert parsed == metadata
    assert view == payload


@given(st.binary(max_size=80))
def test_any_bytes_are_a_header_or_malformed(garbage: bytes) -> None:
    try:
        header = parse_header(garbage)
    except MalformedFrame:
        return
    assert pack_header(header) == garbage[: HEADER.size]


@given(st.binary(max_size=80))
def test_any_bytes_are_an_inner_or_malformed(garbage: bytes) -> None:
    try:
        metadata, payload = parse_inner(garbage)
    except MalformedFrame:
        return
    again, same = parse_inner(pack_inner(metadata, payload))
    assert again == metadata
    assert same == payload


def test_every_truncation_is_malformed() -> None:
    header = pack_header(SealedHeader(SUITE, 0, 1, 1, 0))
    inner = pack_inner(METADATA_EXAMPLE, b"")
    for length in range(len(header)):
        with pytest.raises(MalformedFrame):
            parse_header(header[:length])
    for length in range(len(inner)):
        with pytest.raises(MalformedFrame):
            parse_inner(inner[:length])


@pytest.mark.parametrize("at", [0, 1])
@pytest.mark.parametrize("value", [0, 2, 4, 255])
def test_another_version_or_suite_is_malformed(at: int, value: int) -> None:
    header = bytearray(pack_header(SealedHeader(SUITE, 0, 1, 1, 0)))
    header[at] = value
    with pytest.raises(MalformedFrame):
        parse_header(header)


def inner_with(**changes: Any) -> bytes:
    fields: dict[str, Any] = {"index": 1, "captured": 2, "codec": 1, "channels": 3, "flags": 0}
    fields |= {"width": 640, "height": 480, "psnr": 40.0, "back": 1}
    fields |= {"capture_us": 1, "mask_us": 2, "encode_us": 3, "later": 0}
    return METADATA.pack(*(fields | changes).values())


@pytest.mark.parametrize(
    "changes",
    [{"codec": 0}, {"codec": 255}, {"channels": 0}, {"channels": 2}, {"channels": 4},
     {"width": 15}, {"width": 4097}, {"height": 0}, {"height": 65535},
     {"psnr": math.inf}, {"psnr": -math.inf}, {"psnr": -0.5}, {"back": 2}, {"flags": 4},
     {"flags": 8}, {"flags": 1}, {"flags": 5, "back": 0}, {"flags": 0xF4}, {"later": 1}],
)  # fmt: skip
def test_an_inner_that_no_sender_may_send_is_malformed(changes: dict[str, Any]) -> None:
    parse_inner(inner_with())
    with pytest.raises(MalformedFrame):
        parse_inner(inner_with(**changes))


@given(
    st.integers(0, 15), st.integers(0, 2 * MAX_LATER_BYTES), st.binary(max_size=20), st.booleans()
)
def test_high_flags_and_later_fields_are_passed_over_within_their_limit(
    high: int, nbytes: int, payload: bytes, repeated: bool
) -> None:
    flags = high << 4 | (2 if repeated else 0)
    inner = inner_with(flags=flags, later=nbytes) + bytes(nbytes) + payload
    if nbytes > MAX_LATER_BYTES:
        with pytest.raises(MalformedFrame):
            parse_inner(inner)
        return
    metadata, view = parse_inner(inner)
    assert bytes(view) == payload
    assert metadata.repeated is repeated
    assert not metadata.still


def test_the_suite_that_is_sent_is_one_that_is_understood() -> None:
    assert SUITE in SUITES


@pytest.mark.parametrize(
    "changes",
    [{"codec": "gif"}, {"channels": 2}, {"width": 15}, {"height": 4097}, {"index": -1},
     {"index": 2**64}, {"captured_at_ns": 2**63}, {"psnr_db": math.nan}, {"psnr_db": math.inf},
     {"psnr_db": -1.0}, {"psnr_db": 1e39}, {"depends_on": 1}, {"depends_on": 2},
     {"depends_on": -1}, {"depends_on": 0, "still": True}, {"stages_us": {"capture": 1, "mask": 2}},
     {"stages_us": {"capture": 1, "mask": 2, "encode": 2**32}},
     {"stages_us": {"capture": 1, "mask": 2, "encode": -1}},
     {"stages_us": {"capture": 1, "mask": 2, "encode": 3, "send": 4}}],
)  # fmt: skip
def test_metadata_out_of_range_is_never_written(changes: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        pack_inner(replace(METADATA_EXAMPLE, **changes), b"")


@pytest.mark.parametrize(
    "header",
    [SealedHeader(256, 0, 0, 0, 0), SealedHeader(1, 2**16, 0, 0, 0), SealedHeader(1, 0, -1, 0, 0),
     SealedHeader(1, 0, 0, 2**32, 0), SealedHeader(1, 0, 0, 0, 2**64)],
)  # fmt: skip
def test_a_header_out_of_range_is_never_written(header: SealedHeader) -> None:
    with pytest.raises(BadInput):
        pack_header(header)


def test_bit_exact_travels_as_not_a_number_and_reads_back_as_none() -> None:
    inner = pack_inner(replace(METADATA_EXAMPLE, psnr_db=None), b"")
    assert math.isnan(struct.unpack_from(">f", inner, 23)[0])
    assert parse_inner(inner)[0].psnr_db is None


def test_the_payload_is_a_view_and_no_copy() -> None:
    inner = bytearray(pack_inner(METADATA_EXAMPLE, b"payload"))
    _, view = parse_inner(inner)
    inner[-1] = ord("!")
    assert bytes(view) == b"payloa!"
