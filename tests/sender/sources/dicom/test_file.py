"""What is DICOM is opened, with or without what a file should begin with; nothing else is."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sender.sources import images, open_source
from sender.sources.dicom import DicomSource, file, is_dicom
from shared.errors import SourceFailed, VeilscopeError
from shared.frame import Image
from tests.sender.sources.dicom.clips import (
    BASELINE,
    BIG,
    DEFLATED,
    IMPLICIT,
    LITTLE,
    header,
    jpeg,
    noise,
    smooth,
    write,
    write_frames,
)

PICTURE = noise((24, 32, 3), 1)


def shown(path: Path) -> list[Image]:
    source = DicomSource(path)
    try:
        return list(images(source))
    finally:
        source.close()


def written(path: Path, syntax: str) -> Path:
    return write(path, header(PICTURE), PICTURE.tobytes(), syntax)


def data_set_of(path: Path) -> tuple[bytes, bytes]:
    """The meta information and the data set of a file, without its preamble."""
    whole = path.read_bytes()[132:]
    nbytes = 12 + struct.unpack_from("<I", whole, 8)[0]
    return whole[:nbytes], whole[nbytes:]


@pytest.mark.parametrize("syntax", [LITTLE, BIG, IMPLICIT, DEFLATED])
def test_every_uncompressed_transfer_syntax_is_read(syntax: str, tmp_path: Path) -> None:
    assert np.array_equal(shown(written(tmp_path / "a.dcm", syntax))[0], PICTURE)


@pytest.mark.parametrize("syntax", [LITTLE, BIG, IMPLICIT, DEFLATED])
@pytest.mark.parametrize("name", ["IM000001", "scan.bin"])
def test_without_a_preamble_and_a_name_it_is_still_dicom(
    syntax: str, name: str, tmp_path: Path
) -> None:
    meta, data_set = data_set_of(written(tmp_path / "a.dcm", syntax))
    bare = tmp_path / name
    bare.write_bytes(meta + data_set)
    assert open_source(str(bare)).info.kind == "dicom"
    assert np.array_equal(shown(bare)[0], PICTURE)


@pytest.mark.parametrize("syntax", [LITTLE, BIG, IMPLICIT])
def test_a_bare_data_set_is_read(syntax: str, tmp_path: Path) -> None:
    _meta, data_set = data_set_of(written(tmp_path / "a.dcm", syntax))
    bare = tmp_path / "IM000001"
    bare.write_bytes(data_set)
    assert open_source(str(bare)).info.kind == "dicom"
    assert np.array_equal(shown(bare)[0], PICTURE)


def test_a_bare_data_set_with_compressed_frames_is_read(tmp_path: Path) -> None:
    path = write_frames(tmp_path / "a.dcm", [jpeg(smooth(0))], smooth(0), BASELINE)
    _meta, data_set = data_set_of(path)
    path.write_bytes(data_set)
    assert np.abs(shown(path)[0].astype(int) - smooth(0)).max() < 20


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"words of a letter, long enough to be looked at\n" * 20,
        bytes(range(256)) * 20,
        b"\x08\x00" * 400,
        b"\x08\x00\x05\x00" + b"\xff" * 400,
        b"\x89PNG\r\n\x1a\n" + bytes(400),
        b"\xff\xd8\xff\xe0" + bytes(400),
        b"\x00\x00\x00\x20ftypisom" + bytes(400),
        b"\x02\x00\x00\x00UL\x04\x00" + bytes(400),
    ],
)
def test_what_is_no_dicom_is_not_taken_for_it(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert not is_dicom(path)
    with pytest.raises(SourceFailed) as caught:
        DicomSource(path)
    assert "\n" not in str(caught.value)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    ds = header(PICTURE)
    del ds.Columns
    path = write(tmp_path / "a.dcm", ds, PICTURE.tobytes())
    with pytest.raises(SourceFailed, match="Columns"):
        DicomSource(path)
    whole = written(tmp_path / "b.dcm", LITTLE).read_bytes()
    path.write_bytes(whole[: whole.index(b"\xe0\x7f\x10\x00")])
    with pytest.raises(SourceFailed, match="PixelData is missing"):
        DicomSource(path)


def test_a_deflated_file_inflates_up_to_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "a.dcm", DEFLATED)
    monkeypatch.setattr(file, "MAX_INFLATED_BYTES", 1000)
    with pytest.raises(SourceFailed, match="inflates to more"):
        DicomSource(path)


def test_a_damaged_deflated_file_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.dcm", DEFLATED)
    meta, data_set = data_set_of(path)
    assert zlib.decompress(data_set, -zlib.MAX_WBITS)
    path.write_bytes(bytes(128) + b"DICM" + meta + b"\xff" * 300)
    with pytest.raises(SourceFailed, match="inflated"):
        DicomSource(path)


def test_a_claimed_length_takes_no_memory(tmp_path: Path) -> None:
    path = written(tmp_path / "a.dcm", LITTLE)
    whole = bytearray(path.read_bytes())
    at = whole.index(b"\x10\x00\x10\x00PN")  # an element that claims four gigabytes
    whole[at + 4 : at + 12] = b"OB\0\0" + struct.pack("<I", 0xFFFFFFF0)
    path.write_bytes(whole)
    with pytest.raises(SourceFailed):
        DicomSource(path)


@pytest.mark.parametrize(
    ("elements", "named"),
    [
        ({"Rows": 65535, "Columns": 65535}, "Rows and Columns"),
        ({"Rows": 0}, "Rows and Columns"),
        ({"BitsAllocated": 24}, "BitsAllocated"),
        ({"SamplesPerPixel": 4}, "SamplesPerPixel"),
        ({"PhotometricInterpretation": "CMYK"}, "PhotometricInterpretation"),
    ],
)
def test_what_can_be_no_picture_is_refused_by_its_element(
    elements: dict[str, object], named: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.dcm", header(PICTURE, **elements), PICTURE.tobytes())
    with pytest.raises(SourceFailed, match=named):
        DicomSource(path)


def test_a_transfer_syntax_without_a_decoder_is_named(tmp_path: Path) -> None:
    path = write_frames(tmp_path / "a.dcm", [b"\0" * 40], PICTURE, "1.2.840.10008.1.2.6.1")
    with pytest.raises(SourceFailed, match="RFC 2557") as caught:
        DicomSource(path)
    assert caught.value.hint


@pytest.fixture(scope="module")
def compressed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("fuzz") / "a.dcm"
    frames = [jpeg(smooth(n, (16, 16)), quality=40) for n in range(2)]
    return write_frames(path, frames, smooth(0, (16, 16)), BASELINE).read_bytes()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3000), st.binary(min_size=1, max_size=6)), max_size=4))
def test_a_damaged_file_plays_or_fails_with_one_clear_error(
    compressed: bytes, tmp_path: Path, damages: list[tuple[int, bytes]]
) -> None:
    whole = bytearray(compressed)
    for at, damage in damages:
        start = at % len(whole)
        whole[start : start + len(damage)] = damage
    path = tmp_path / "DOE_JANE.dcm"
    path.write_bytes(whole)
    told = ""
    try:
        assert len(shown(path)) <= 2
    except VeilscopeError as error:
        told = f"{error}{error.hint}"
    assert "DOE" not in told


@pytest.mark.parametrize(
    "shape", [(1, 66, 257), (1, 88, 257), (1, 161, 134), (3, 118, 241), (3, 34, 247), (5, 193, 298)]
)
@pytest.mark.parametrize("bare", [False, True])
def test_a_length_that_looks_like_letters_is_no_value_representation(
    shape: tuple[int, int, int], bare: bool, tmp_path: Path
) -> None:
    pictures = noise(shape, 3)
    ds = header(pictures[0], len(pictures))
    path = write(tmp_path / "a.dcm", ds, pictures.tobytes(), IMPLICIT)
    assert struct.pack("<I", pictures.nbytes)[:2].isalpha()
    if bare:
        path.write_bytes(data_set_of(path)[1])
    found = shown(path)
    assert len(found) == len(pictures)
    assert all(np.array_equal(*pair) for pair in zip(found, pictures, strict=True))


def test_implicit_elements_under_a_syntax_that_says_explicit_are_taken_as_they_are(
    tmp_path: Path,
) -> None:
    picture = noise((66, 257), 4)  # 0x4242 bytes
    path = write(tmp_path / "a.dcm", header(picture), picture.tobytes(), IMPLICIT)
    data = path.read_bytes()
    # The UID is longer by two characters, and its element with it.
    at = data.index(b"\x02\x00\x10\x00UI")
    named = data[at : at + 6] + struct.pack("<H", 20) + LITTLE.encode() + b"\0"
    whole = data[:at] + named + data[at + 8 + 18 :]
    group = struct.unpack_from("<I", whole, 140)[0] + 2
    path.write_bytes(whole[:140] + struct.pack("<I", group) + whole[144:])
    assert np.array_equal(shown(path)[0], picture)


def test_of_a_deflated_file_no_more_is_read_than_is_inflated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "a.dcm", DEFLATED)
    path.write_bytes(path.read_bytes() + bytes(1 << 20))
    read = 0
    at = file.Contents.at

    def recorded(self: file.Contents, offset: int, nbytes: int) -> bytes:
        nonlocal read
        data = at(self, offset, nbytes)
        read += len(data)
        return data

    monkeypatch.setattr(file, "_PART_BYTES", 100)
    whole = shown(path)
    monkeypatch.setattr(file, "MAX_INFLATED_BYTES", 1000)
    monkeypatch.setattr(file.Contents, "at", recorded)
    with pytest.raises(SourceFailed, match="inflates to more"):
        DicomSource(path)
    assert read < 8192
    assert len(whole) > 0
