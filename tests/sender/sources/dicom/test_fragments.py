"""Items become fragments and fragments frames, whatever the tables say."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sender.sources.dicom import fragments
from sender.sources.dicom.fragments import Encapsulated, frames_of, parse_items
from shared.errors import SourceFailed
from tests.sender.sources.dicom.clips import DELIMITER, item, items, offsets

A, B, C, D = (b"\xff\xd8\xff" + bytes([n] * (21 + 4 * n)) + b"\xff\xd9" for n in range(4))
UNMARKED = [bytes([n + 1] * (24 + 4 * n)) for n in range(4)]  # RLE has no marks


def parsed(data: bytes) -> Encapsulated:
    return parse_items(lambda at, nbytes: data[at : at + nbytes], 0, len(data))


def frames(data: bytes, count: int | None, **options: object) -> list[bytes]:
    found = frames_of(parsed(data), count, **options)  # type: ignore[arg-type]
    return [b"".join(data[f.at : f.at + f.nbytes] for f in frame) for frame in found]


def padded(frame: Sequence[bytes] | bytes) -> bytes:
    parts = [frame] if isinstance(frame, bytes) else frame
    return b"".join(part + b"\0" * (len(part) % 2) for part in parts)


@pytest.mark.parametrize(
    "table", [(), "right", (0,), (0, 999_999, 7, 8), (0, 0, 0, 0), (5, 6), None]
)
@pytest.mark.parametrize("count", [4, 6, 2, None])
def test_pictures_with_marks_are_found_whatever_table_and_count_say(
    table: object, count: int | None
) -> None:
    pictures = [A, B, C, D]
    data = items(pictures, offsets(pictures) if table == "right" else table)  # type: ignore[arg-type]
    assert frames(data, count) == [padded(p) for p in pictures]


@pytest.mark.parametrize("table", [(), "right", (0, 40)])
def test_pictures_cut_into_fragments_are_put_together(table: object) -> None:
    pictures = [[A[:10], A[10:14], A[14:]], [B], [C[:20], C[20:]]]
    data = items(pictures, offsets(pictures) if table == "right" else table)  # type: ignore[arg-type]
    assert frames(data, 3) == [padded(p) for p in pictures]


def test_a_picture_whose_beginning_is_damaged_keeps_its_place() -> None:
    damaged = b"\0\0\0" + B[3:]
    data = items([A, damaged, C])
    assert frames(data, 3) == [padded(p) for p in (A, damaged, C)]


def test_fragments_without_marks_go_by_the_table() -> None:
    pictures = [UNMARKED[:2], UNMARKED[2:]]
    assert frames(items(pictures, offsets(pictures)), 2) == [padded(p) for p in pictures]


def test_fragments_without_marks_and_table_are_a_picture_each() -> None:
    assert frames(items(UNMARKED), 4) == UNMARKED
    assert frames(items(UNMARKED), 9) == UNMARKED


def test_all_fragments_without_marks_are_the_only_picture() -> None:
    assert frames(items(UNMARKED), 1) == [b"".join(UNMARKED)]


def test_where_a_picture_is_one_fragment_by_the_standard_it_is() -> None:
    assert frames(items(UNMARKED, (0,)), 1, single=True) == UNMARKED


def test_the_extended_table_is_read() -> None:
    pictures = [UNMARKED[:1], UNMARKED[1:]]
    found = frames(items(pictures), 2, extended=offsets(pictures))
    assert found == [padded(p) for p in pictures]


def test_an_empty_fragment_stands_for_a_missing_picture_only_where_one_is_missing() -> None:
    assert frames(items([A, b"", C]), 3) == [padded(A), b"", padded(C)]
    assert frames(items([A, b"", C]), 2) == [padded(A), padded(C)]


def test_what_breaks_off_is_taken_up_to_its_end() -> None:
    data = items([A, B])[: -len(DELIMITER) - 6]
    found = parsed(data)
    assert not found.complete
    assert len(frames(data, 2)) == 2
    assert parsed(items([A, B])).complete


@pytest.mark.parametrize("data", [b"", b"\0" * 40, item(b""), item(b"\0" * 16), b"\xfe\xff\x00"])
def test_where_no_picture_is_there_that_is_said(data: bytes) -> None:
    with pytest.raises(SourceFailed, match="no picture"):
        parsed(data)


def test_a_claimed_length_is_never_read_beyond_the_end() -> None:
    read: list[int] = []

    def recorded(at: int, nbytes: int) -> bytes:
        read.append(nbytes)
        return data[at : at + nbytes]

    data = item(b"") + b"\xfe\xff\x00\xe0" + struct.pack("<I", 0xFFFFFFF0) + A
    found = parse_items(recorded, 0, len(data))
    assert found.fragments[0].nbytes == len(A)
    assert max(read) <= len(data)


def test_more_fragments_than_any_clip_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fragments, "MAX_FRAGMENTS", 10)
    with pytest.raises(SourceFailed, match="more than 10"):
        parsed(items([A] * 11))


@given(st.binary(max_size=300), st.one_of(st.none(), st.integers(-1, 2**31)))
def test_bytes_of_any_kind_give_frames_or_one_clear_error(data: bytes, count: int | None) -> None:
    check(data, count)


# Item headers in random order and of random lengths: closer to real damage than random bytes.
_PIECES = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([b"\xfe\xff\x00\xe0", DELIMITER, A, B[:9], item(C), item(b"")]),
    st.integers(0, 2**32 - 1).map(lambda n: struct.pack("<I", n)),
)


@given(
    st.lists(_PIECES, max_size=12).map(b"".join),
    st.integers(1, 5),
    st.lists(st.integers(0, 400), max_size=4),
)
def test_damaged_items_give_frames_or_one_clear_error(
    data: bytes, count: int, extended: list[int]
) -> None:
    check(item(b"") + data, count, extended)


def check(data: bytes, count: int | None, extended: Sequence[int] = ()) -> None:
    reads = 0

    def read(at: int, nbytes: int) -> bytes:
        nonlocal reads
        reads += 1
        return data[at : at + nbytes]

    try:
        found = parse_items(read, 0, len(data))
    except SourceFailed:
        return
    assert reads <= 3 * (len(data) // 8 + 1)
    cut = frames_of(found, count, extended=extended)
    assert cut and all(cut)
    flat = [fragment for frame in cut for fragment in frame]
    assert len(flat) <= len(found.fragments)
    assert all(f.at + f.nbytes <= len(data) for f in flat)
