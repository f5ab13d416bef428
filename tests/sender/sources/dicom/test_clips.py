"""What is there is played: damaged frames are gaps, wrong counts and tables are told."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import jpeg_ls
import numpy as np
import pytest
from PIL import Image as Pillow
from pydicom.dataset import Dataset

from sender.sources import Skipped, SourcePicture, images
from sender.sources.dicom import DicomSource, jpegfamily
from shared.errors import SourceFailed
from shared.frame import Rect
from tests.sender.sources.dicom.clips import (
    BASELINE,
    J2K,
    JPEG_LS,
    LITTLE,
    LOSSLESS,
    header,
    items,
    jpeg,
    noise,
    offsets,
    smooth,
    write,
    write_frames,
)

FRAMES = [jpeg(smooth(n)) for n in range(5)]
BROKEN = FRAMES[2][:40] + bytes(len(FRAMES[2]) - 42) + b"\xff\xd9"


def clip(tmp_path: Path, frames: list[bytes], **elements: Any) -> DicomSource:
    path = tmp_path / "DOE_JANE.dcm"
    return DicomSource(write_frames(path, frames, smooth(0), BASELINE, **elements))


def numbers(source: DicomSource) -> list[int | None]:
    """Which of the smooth pictures come, None for a gap."""
    found: list[int | None] = []
    for reading in source.pictures():
        if isinstance(reading, SourcePicture):
            errors = [np.abs(reading.image.astype(int) - smooth(n)).mean() for n in range(5)]
            found.append(int(np.argmin(errors)))
        else:
            assert isinstance(reading, Skipped)
            found.append(None)
    return found


def test_a_damaged_frame_is_a_gap_and_the_others_come(tmp_path: Path) -> None:
    source = clip(tmp_path, [*FRAMES[:2], BROKEN, *FRAMES[3:]])
    assert numbers(source) == [0, 1, None, 3, 4]
    assert numbers(source) == [0, 1, None, 3, 4]  # in the next pass as well
    assert source.info.remarks == ()


def test_a_gap_says_which_picture_and_how_it_was_compressed(tmp_path: Path) -> None:
    source = clip(tmp_path, [*FRAMES[:2], BROKEN])
    gap = next(reading for reading in source.pictures() if isinstance(reading, Skipped))
    assert "picture 2" in gap.why
    assert "JPEG Baseline" in gap.why
    assert "DOE" not in gap.why


def test_a_damaged_first_frame_leaves_the_first_good_one_as_the_first(tmp_path: Path) -> None:
    source = clip(tmp_path, [BROKEN, *FRAMES[1:3]])
    assert numbers(source) == [None, 1, 2]
    assert np.abs(source.first.image.astype(int) - smooth(1)).mean() < 3
    assert any("picture 0" in remark for remark in source.info.remarks)


def test_one_picture_is_told_of_as_one(tmp_path: Path) -> None:
    source = clip(tmp_path, FRAMES[:1], NumberOfFrames=3)
    assert "the file holds 1 picture, fewer than it says: it is played" in source.info.remarks


def test_a_damaged_last_frame_is_known_before_anything_is_played(tmp_path: Path) -> None:
    source = clip(tmp_path, [*FRAMES[:2], BROKEN])
    assert any("picture 2" in remark for remark in source.info.remarks)


def test_where_no_frame_can_be_decoded_the_first_reason_is_given(tmp_path: Path) -> None:
    with pytest.raises(SourceFailed, match="no picture") as caught:
        clip(tmp_path, [BROKEN, BROKEN])
    assert "JPEG Baseline" in str(caught.value)
    assert "DOE" not in f"{caught.value}{caught.value.hint}"


@pytest.mark.parametrize(
    "table", [[], [0], [0, 3, 9, 12, 15], [0] * 5, [1 << 31] * 5, "right", [0, 1_000_000]]
)
@pytest.mark.parametrize("claimed", [5, 3, 9, 2**31 - 1, None])
def test_wrong_tables_and_counts_do_not_matter(
    table: Any, claimed: int | None, tmp_path: Path
) -> None:
    ds = header(smooth(0), claimed)
    table = offsets(FRAMES) if table == "right" else table
    source = DicomSource(
        write(tmp_path / "a.dcm", ds, items(FRAMES, table), BASELINE, wrapped=True)
    )
    assert numbers(source) == [0, 1, 2, 3, 4]
    assert source.info.frame_count == 5
    told = any("5 pictures" in remark for remark in source.info.remarks)
    assert told == (claimed not in (5, None))


@pytest.mark.parametrize("extended", [[0, 1, 2], "right"])
def test_an_extended_offset_table_is_used_where_it_is_right(extended: Any, tmp_path: Path) -> None:
    ds = header(smooth(0), 5)
    table = offsets(FRAMES) if extended == "right" else extended
    ds.ExtendedOffsetTable = struct.pack(f"<{len(table)}Q", *table)
    ds.ExtendedOffsetTableLengths = struct.pack("<5Q", *map(len, FRAMES))
    path = write(tmp_path / "a.dcm", ds, items(FRAMES), BASELINE, wrapped=True)
    assert numbers(DicomSource(path)) == [0, 1, 2, 3, 4]


def test_frames_cut_into_fragments_are_played(tmp_path: Path) -> None:
    cut = [[frame[i : i + 300] for i in range(0, len(frame), 300)] for frame in FRAMES]
    data = items(cut)
    path = write(tmp_path / "a.dcm", header(smooth(0), 5), data, BASELINE, wrapped=True)
    assert numbers(DicomSource(path)) == [0, 1, 2, 3, 4]


def test_a_clip_that_breaks_off_plays_what_is_there_and_says_so(tmp_path: Path) -> None:
    ds = header(smooth(0), 5)
    path = write(tmp_path / "a.dcm", ds, items(FRAMES), BASELINE, wrapped=True)
    path.write_bytes(path.read_bytes()[: -8 - len(FRAMES[4]) // 2])
    source = DicomSource(path)
    assert numbers(source) == [0, 1, 2, 3, None]
    assert any("break off" in remark for remark in source.info.remarks)


@pytest.mark.parametrize(
    ("claimed", "held", "played"),
    [(5, 3, 3), (3, 5, 5), (None, 4, 4), (2**31 - 1, 2, 2), (3, 2.5, 2), (1, 1.9, 1)],
)
def test_uncompressed_clips_play_the_whole_frames_that_are_there(
    claimed: int | None, held: float, played: int, tmp_path: Path
) -> None:
    samples = noise((6, 24, 32), 1)
    pixels = samples.tobytes()[: int(held * 24 * 32)]
    source = DicomSource(write(tmp_path / "a.dcm", header(samples[0], claimed), pixels))
    assert source.info.frame_count == played
    assert np.array_equal(np.stack(list(images(source))), samples[:played])
    assert bool(source.info.remarks) == (claimed not in (played, None))


def test_a_number_of_frames_that_is_none_is_passed_over(tmp_path: Path) -> None:
    samples = noise((3, 24, 32), 1)
    path = write(tmp_path / "a.dcm", header(samples[0], 33), samples.tobytes())
    whole = path.read_bytes()
    assert b"IS\x02\x0033" in whole
    path.write_bytes(whole.replace(b"IS\x02\x0033", b"IS\x02\x00xx"))
    assert DicomSource(path).info.frame_count == 3


def test_frames_of_one_bit_need_not_begin_with_a_byte(tmp_path: Path) -> None:
    samples = noise((3, 17, 19), 2, peak=1)
    pixels = np.packbits(samples.reshape(-1), bitorder="little").tobytes()
    ds = header(samples[0], 3, BitsAllocated=1, BitsStored=1)
    found = np.stack(list(images(DicomSource(write(tmp_path / "a.dcm", ds, pixels + b"\0")))))
    assert np.array_equal(found, samples * 255)


def test_odd_frames_of_swapped_bytes_are_put_right(tmp_path: Path) -> None:
    samples = noise((3, 17, 19), 3)
    data = samples.tobytes() + b"\0"
    swapped = np.frombuffer(data, "<u2").astype(">u2").tobytes()
    ds = header(samples[0], 3)
    path = write(tmp_path / "a.dcm", ds, swapped, "1.2.840.10008.1.2.2")
    whole = path.read_bytes()
    at = whole.index(b"\x7f\xe0\x00\x10OB")  # 8 bits in words of 16: "OW"
    path.write_bytes(whole[: at + 4] + b"OW" + whole[at + 6 :])
    assert np.array_equal(np.stack(list(images(DicomSource(path)))), samples)


@pytest.mark.parametrize("width", [2, 3])
def test_pixels_that_share_colours_are_known_by_the_length_of_the_data(
    width: int, tmp_path: Path
) -> None:
    """Files say YBR_FULL_422 of samples that were never halved."""
    grey = np.full((2, 24, 32, width), 128, np.uint8)
    ds = header(np.zeros((24, 32, 3), np.uint8), 2, PhotometricInterpretation="YBR_FULL_422")
    source = DicomSource(write(tmp_path / "a.dcm", ds, grey.tobytes()))
    assert source.info.frame_count == 2
    assert all(np.all(picture == 128) for picture in images(source))


def test_what_is_compressed_and_says_that_it_is_not_is_known_by_its_marks(tmp_path: Path) -> None:
    path = write_frames(tmp_path / "a.dcm", FRAMES, smooth(0), BASELINE)
    whole = path.read_bytes()
    wrong = LITTLE.encode().ljust(len(BASELINE), b"\0")
    path.write_bytes(whole.replace(BASELINE.encode(), wrong))
    assert numbers(DicomSource(path)) == [0, 1, 2, 3, 4]


def test_a_rate_given_by_hand_counts_more_than_the_times_of_the_file(tmp_path: Path) -> None:
    samples = noise((4, 24, 32))
    ds = header(samples[0], 4, FrameTimeVector=[0, 40, 200, 40])
    path = write(tmp_path / "a.dcm", ds, samples.tobytes())
    times = [r.at_s for r in DicomSource(path).pictures() if isinstance(r, SourcePicture)]
    assert times == pytest.approx([0.0, 0.04, 0.24, 0.28])
    by_hand = DicomSource(path, fps=10).pictures()
    assert all(not r.at_s for r in by_hand if isinstance(r, SourcePicture))


def test_text_that_may_be_burned_in_is_passed_on(tmp_path: Path) -> None:
    samples = noise((1, 24, 32))
    said = header(samples[0], 1, BurnedInAnnotation="YES", Modality="US")
    denied = header(samples[0], 1, BurnedInAnnotation="NO", Modality="US")
    assert DicomSource(write(tmp_path / "a.dcm", said, samples.tobytes())).info.burned_in
    assert not DicomSource(write(tmp_path / "b.dcm", denied, samples.tobytes())).info.burned_in


def test_the_file_can_be_given_back_while_it_is_played(tmp_path: Path) -> None:
    source = clip(tmp_path, FRAMES)
    readings = source.pictures()
    next(readings)
    source.close()
    source.close()
    assert len(list(readings)) <= len(FRAMES) - 1  # what is left are pictures, then gaps


def test_a_decoder_that_fails_in_an_unforeseen_way_costs_its_picture_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = jpegfamily.jpeg_decoded

    def fail(data: bytes, *, grey: bool) -> np.ndarray:
        image = decoded(data, grey=grey)
        if np.abs(image.astype(int) - smooth(2)).mean() < 3:
            raise OverflowError("DOE^JANE")
        return image

    monkeypatch.setattr(jpegfamily, "jpeg_decoded", fail)
    source = clip(tmp_path, FRAMES)
    assert numbers(source) == [0, 1, None, 3, 4]
    gap = next(reading for reading in source.pictures() if isinstance(reading, Skipped))
    assert "OverflowError" in gap.why
    assert "DOE" not in gap.why


def test_a_rate_given_by_hand_leaves_the_first_picture_no_time_either(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    vector = {"FrameTimeVector": [0, 20, 90, 20, 20]}
    write_frames(path, FRAMES, smooth(0), BASELINE, **vector)
    assert DicomSource(path).first.at_s == 0.0
    assert DicomSource(path, fps=10).first.at_s is None


def region() -> Dataset:
    """All of a picture but its left 20 columns."""
    found = Dataset()
    found.RegionSpatialFormat = found.RegionDataType = 1
    found.RegionLocationMinX0, found.RegionLocationMinY0 = 20, 0
    found.RegionLocationMaxX1, found.RegionLocationMaxY1 = 63, 47
    return found


def j2k(picture: np.ndarray, *, irreversible: bool) -> bytes:
    out = io.BytesIO()
    Pillow.fromarray(picture).save(out, "JPEG2000", no_jp2=True, irreversible=irreversible)
    return out.getvalue()


def near_lossless(picture: np.ndarray, near: int) -> bytes:
    return bytes(jpeg_ls.encode_array(picture, lossy_error=near))


GREY = smooth(0, colour=False)


@pytest.mark.parametrize(
    ("syntax", "frames", "blocks"),
    [
        (J2K, [j2k(GREY, irreversible=False), j2k(GREY, irreversible=True)], [1, 32]),
        (J2K, [j2k(GREY, irreversible=True)], [32]),
        (JPEG_LS, [near_lossless(GREY, 0), near_lossless(GREY, 3)], [1, 16]),
        (LOSSLESS, [jpeg(GREY)], [8]),
    ],
)
def test_what_a_frame_lost_it_says_itself_whatever_the_file_says(
    syntax: str, frames: list[bytes], blocks: list[int], tmp_path: Path
) -> None:
    regions = [region()]
    path = write_frames(
        tmp_path / "a.dcm", frames, GREY, syntax, SequenceOfUltrasoundRegions=regions
    )
    readings = DicomSource(path, mask_auto=True).pictures()
    shown = [reading for reading in readings if isinstance(reading, SourcePicture)]
    assert [picture.geometry.block for picture in shown] == blocks
    for picture in shown:
        assert picture.masks == (picture.geometry.grown(Rect(0, 0, 20, 48)),)
