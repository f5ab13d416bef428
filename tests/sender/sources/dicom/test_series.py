"""A folder of instances plays as a series: in its order, each with its own masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydicom.dataset import Dataset

from sender.sources import Skipped, SourcePicture, images, open_source
from sender.sources.dicom import DicomSeries
from sender.sources.dicom.file import DicomFile, open_dicom
from shared.errors import BadInput, SourceFailed
from tests.sender.sources.dicom.clips import (
    BASELINE,
    H264,
    header,
    items,
    jpeg,
    smooth,
    video,
    write,
    write_frames,
)


def instance(path: Path, grey: int, *, frames: int = 1, **elements: Any) -> Path:
    """A file of even pictures: `grey`, and one more for each further frame."""
    pictures = [np.full((24, 32), grey + n, np.uint8) for n in range(frames)]
    ds = header(pictures[0], None if frames == 1 else frames, **elements)
    return write(path, ds, b"".join(picture.tobytes() for picture in pictures))


def greys(source: DicomSeries) -> list[int | None]:
    return [
        int(r.masked.max()) if isinstance(r, SourcePicture) else None for r in source.pictures()
    ]


def region(left: int, top: int, right: int, bottom: int) -> Dataset:
    found = Dataset()
    found.RegionSpatialFormat = found.RegionDataType = 1
    found.RegionLocationMinX0, found.RegionLocationMinY0 = left, top
    found.RegionLocationMaxX1, found.RegionLocationMaxY1 = right, bottom
    return found


def test_instances_are_ordered_by_their_numbers(tmp_path: Path) -> None:
    for name, number in (("a", 10), ("b", 2), ("c", 1), ("d", 30)):
        instance(tmp_path / f"{name}.dcm", number, InstanceNumber=number)
    source = DicomSeries(tmp_path)
    assert greys(source) == [1, 2, 10, 30]
    assert greys(source) == [1, 2, 10, 30]
    assert source.info.frame_count == 4


def test_without_numbers_position_along_the_normal_decides(tmp_path: Path) -> None:
    for name, z in (("a", 7.5), ("b", -3.0), ("c", 2.0)):
        instance(
            tmp_path / name,
            int(z + 50),
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            ImagePositionPatient=[0, 0, z],
        )
    assert greys(DicomSeries(tmp_path)) == [47, 52, 57]


def test_without_either_the_location_of_the_slice_and_then_names_decide(tmp_path: Path) -> None:
    for name, at in (("a", 3), ("b", 1), ("c10", 2), ("c9", 2)):
        instance(tmp_path / name, 10 * at + len(name), SliceLocation=at)
    instance(tmp_path / "c9", 99, SliceLocation=2)
    assert greys(DicomSeries(tmp_path)) == [11, 99, 23, 31]


def test_the_largest_series_is_played_and_the_rest_is_counted(tmp_path: Path) -> None:
    for number in range(1, 4):
        instance(tmp_path / f"a{number}", number, SeriesInstanceUID="1.2.1", InstanceNumber=number)
    for number in range(2):
        instance(tmp_path / f"b{number}", 100, SeriesInstanceUID="1.2.2", InstanceNumber=number)
    (tmp_path / "notes.txt").write_text("DOE")
    (tmp_path / ".hidden").write_text("DOE")
    source = DicomSeries(tmp_path)
    assert greys(source) == [1, 2, 3]
    told = " ".join(source.info.remarks)
    assert "1 file in the folder passed over" in told
    assert "2 files of other series" in told
    assert "DOE" not in told


def test_instances_of_several_pictures_are_played_one_after_the_other(tmp_path: Path) -> None:
    instance(tmp_path / "a", 10, frames=3, InstanceNumber=2, FrameTimeVector=[0, 10, 100])
    instance(tmp_path / "b", 50, InstanceNumber=1)
    instance(tmp_path / "c", 70, frames=2, InstanceNumber=3)
    source = DicomSeries(tmp_path)
    assert greys(source) == [50, 10, 11, 12, 70, 71]
    assert source.info.frame_count == 6
    assert all(r.at_s is None for r in source.pictures() if isinstance(r, SourcePicture))


def test_videos_and_stills_may_be_mixed(tmp_path: Path) -> None:
    pictures = [smooth(n, (64, 96)) for n in range(3)]
    data = items([video(pictures, "libx264", "mp4")])
    ds = header(pictures[0], 3, InstanceNumber=1)
    write(tmp_path / "a", ds, data, H264, wrapped=True)
    frames = [jpeg(smooth(0))]
    write_frames(tmp_path / "b", frames, smooth(0), BASELINE, InstanceNumber=2)
    sizes = [picture.shape[:2] for picture in images(DicomSeries(tmp_path))]
    assert sizes == [(64, 96)] * 3 + [(48, 64)]


def test_an_instance_that_is_damaged_is_a_gap(tmp_path: Path) -> None:
    for number in range(3):
        frames = [jpeg(smooth(number))] if number != 1 else [b"\xff\xd8" + bytes(60)]
        write_frames(tmp_path / f"DOE{number}", frames, smooth(0), BASELINE, InstanceNumber=number)
    readings = list(DicomSeries(tmp_path).pictures())
    assert [isinstance(r, Skipped) for r in readings] == [False, True, False]
    gap = readings[1]
    assert isinstance(gap, Skipped)
    assert "instance 1" in gap.why
    assert "DOE" not in gap.why


def test_every_picture_has_its_own_instances_masks(tmp_path: Path) -> None:
    regions = [region(0, 0, 15, 23), region(16, 0, 31, 23)]
    for number, found in enumerate(regions):
        instance(
            tmp_path / f"{number}", 200, InstanceNumber=number, SequenceOfUltrasoundRegions=[found]
        )
    left, right = images(DicomSeries(tmp_path, mask_auto=True))
    assert np.all(left[:, :16] == 200) and not left[:, 16:].any()
    assert np.all(right[:, 16:] == 200) and not right[:, :16].any()


def test_an_instance_that_declares_no_region_is_never_shown_unmasked(tmp_path: Path) -> None:
    kept = [region(0, 0, 15, 23)]
    instance(tmp_path / "0", 100, InstanceNumber=0)
    instance(tmp_path / "1", 200, InstanceNumber=1, SequenceOfUltrasoundRegions=kept)
    source = DicomSeries(tmp_path, mask_auto=True)
    assert greys(source) == [None, 200]
    assert source.first.masks


def test_where_no_instance_declares_a_region_automatic_masking_is_refused(tmp_path: Path) -> None:
    instance(tmp_path / "0", 100)
    with pytest.raises(BadInput, match="region"):
        DicomSeries(tmp_path, mask_auto=True)


def test_text_that_may_be_burned_into_any_instance_counts(tmp_path: Path) -> None:
    for number, said in enumerate(("NO", "YES", "NO")):
        instance(
            tmp_path / f"{number}", 1, InstanceNumber=number, BurnedInAnnotation=said, Modality="US"
        )
    assert DicomSeries(tmp_path).info.burned_in


def test_brightness_does_not_jump_between_instances(tmp_path: Path) -> None:
    for number, peak in enumerate((4000, 1000, 2000)):
        samples = np.linspace(0, peak, 24 * 32).astype("<u2").reshape(24, 32)
        ds = header(samples, None, InstanceNumber=number, BitsStored=12, Modality="CT")
        write(tmp_path / f"{number}", ds, samples.tobytes())
    peaks = greys(DicomSeries(tmp_path))
    assert peaks == pytest.approx([255, 64, 128], abs=1)


def test_a_damaged_instance_is_a_gap_in_its_place_and_told_beforehand(tmp_path: Path) -> None:
    paths = [instance(tmp_path / f"DOE{n}.dcm", n, InstanceNumber=n) for n in range(4)]
    paths[2].write_bytes(paths[2].read_bytes()[:-100])
    source = DicomSeries(tmp_path)
    assert greys(source) == [0, 1, None, 3]
    assert source.info.frame_count == 4
    told = [remark for remark in source.info.remarks if "can't be shown" in remark]
    assert len(told) == 1 and "1 instance" in told[0] and "end within the first picture" in told[0]
    assert "no DICOM picture" not in str(source.info.remarks)
    assert "DOE" not in str(source.info.remarks)


@pytest.mark.parametrize("at", [0, 2])
def test_a_first_or_last_instance_that_can_not_be_decoded_is_told_beforehand(
    at: int, tmp_path: Path
) -> None:
    for number in range(3):
        frames = [jpeg(smooth(number))] if number != at else [b"\xff\xd8" + bytes(60)]
        write_frames(tmp_path / f"DOE{number}", frames, smooth(0), BASELINE, InstanceNumber=number)
    remarks = DicomSeries(tmp_path).info.remarks
    assert any(f"instance {at} of the series" in remark for remark in remarks)


def test_a_file_cut_within_its_header_is_told_as_that(tmp_path: Path) -> None:
    instance(tmp_path / "a.dcm", 1, InstanceNumber=1)
    whole = instance(tmp_path / "b.dcm", 2, InstanceNumber=2, StudyDescription="x" * 60)
    data = whole.read_bytes()
    whole.write_bytes(data[: data.index(b"x" * 60) + 20])
    report = header(np.zeros((24, 32), np.uint8), None)
    report.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    for keyword in ("Rows", "Columns", "PhotometricInterpretation"):
        delattr(report, keyword)
    write(tmp_path / "c.dcm", report, b"")
    remarks = DicomSeries(tmp_path).info.remarks
    assert any("1 file of DICOM" in r and "cut short" in r for r in remarks)
    assert any("1 file in the folder" in r and "no DICOM picture" in r for r in remarks)


def test_changes_of_size_and_colour_in_a_series_are_told_beforehand(tmp_path: Path) -> None:
    instance(tmp_path / "a", 1, InstanceNumber=1)
    assert DicomSeries(tmp_path).info.remarks == ()
    taller = np.zeros((40, 32), np.uint8)
    write(tmp_path / "b", header(taller, None, InstanceNumber=2), taller.tobytes())
    assert any("2 sizes" in remark for remark in DicomSeries(tmp_path).info.remarks)
    colour = np.zeros((40, 32, 3), np.uint8)
    write(tmp_path / "c", header(colour, None, InstanceNumber=3), colour.tobytes())
    remarks = DicomSeries(tmp_path).info.remarks
    assert any("2 sizes" in remark for remark in remarks)
    assert any("grey pictures and ones in colour" in remark for remark in remarks)


def test_a_video_in_a_series_has_as_many_pictures_as_its_stream(tmp_path: Path) -> None:
    pictures = [smooth(n, (64, 96)) for n in range(3)]
    ds = header(pictures[0], 99, InstanceNumber=1)
    write(tmp_path / "a", ds, items([video(pictures, "libx264", "mpegts")]), H264, wrapped=True)
    source = DicomSeries(tmp_path)
    assert source.info.frame_count is None
    assert len(list(images(source))) == 3


def test_most_files_of_a_folder_say_what_it_is_and_the_others_are_told(tmp_path: Path) -> None:
    for number in range(3):
        instance(tmp_path / f"DOE{number}.dcm", 9, InstanceNumber=number, BurnedInAnnotation="YES")
    cv2.imwrite(str(tmp_path / "DOE1.png"), np.zeros((20, 20), np.uint8))
    cv2.imwrite(str(tmp_path / "DOE.jpg"), np.zeros((20, 20), np.uint8))
    series = open_source(str(tmp_path))
    assert (series.info.kind, series.info.frame_count) == ("dicom", 3)
    assert series.info.burned_in
    told = "2 files of other pictures passed over (1 .jpg, 1 .png): images:FOLDER plays them"
    assert told in series.info.remarks
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((20, 20), np.uint8))
    folder = open_source(str(tmp_path))
    assert (folder.info.kind, folder.info.frame_count) == ("images", 5)
    assert "3 DICOM files passed over: dicom:FOLDER plays them" in folder.info.remarks
    assert not any("no pictures" in remark for remark in folder.info.remarks)


def test_a_folder_of_dicom_and_no_pictures_opens_as_a_series(tmp_path: Path) -> None:
    instance(tmp_path / "IM0001", 5)
    (tmp_path / "README").write_text("words")
    for spec in (str(tmp_path), f"dicom:{tmp_path}"):
        assert open_source(spec).info.kind == "dicom"
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((20, 20), np.uint8))
    assert open_source(str(tmp_path)).info.kind == "images"
    assert open_source(f"dicom:{tmp_path}").info.kind == "dicom"


def test_a_folder_without_dicom_is_no_series(tmp_path: Path) -> None:
    (tmp_path / "DOE.txt").write_text("words")
    with pytest.raises(SourceFailed, match="no DICOM picture") as caught:
        open_source(f"dicom:{tmp_path}")
    assert "DOE" not in f"{caught.value}{caught.value.hint}"


def test_masking_by_regions_works_for_a_folder(tmp_path: Path) -> None:
    kept = [region(0, 0, 15, 23)]
    instance(tmp_path / "0", 100, SequenceOfUltrasoundRegions=kept)
    assert open_source(str(tmp_path), mask_auto=True).first.masks


def test_a_file_that_fails_in_an_unforeseen_way_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(header: Dataset) -> float | None:
        if header.get("InstanceNumber") == 2:
            raise OverflowError(header.PatientName)
        return None

    for number in (1, 2, 3):
        instance(tmp_path / f"{number}.dcm", 10 * number, InstanceNumber=number)
    monkeypatch.setattr("sender.sources.dicom.series.frame_rate", fail)
    source = DicomSeries(tmp_path)
    assert greys(source) == [10, 30]
    assert any("passed over" in remark for remark in source.info.remarks)


def test_an_instance_that_fails_in_an_unforeseen_way_is_a_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(header: Dataset) -> float | None:
        if header.InstanceNumber == 2:
            raise OverflowError(header.PatientName)
        return None

    for number in (1, 2, 3):
        instance(tmp_path / f"{number}.dcm", 10 * number, InstanceNumber=number)
    monkeypatch.setattr("sender.sources.dicom.instance.frame_rate", fail)
    readings = list(DicomSeries(tmp_path).pictures())
    assert [isinstance(reading, SourcePicture) for reading in readings] == [True, False, True]
    assert isinstance(readings[1], Skipped)
    assert "OverflowError" in readings[1].why
    assert "DOE" not in readings[1].why


def test_instances_that_were_looked_at_for_their_brightness_are_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[DicomFile] = []

    def recorded(path: Path) -> DicomFile:
        opened.append(open_dicom(path))
        return opened[-1]

    for number in (1, 2, 3):
        deep = np.full((24, 32), 100 * number, np.uint16)
        # Palette colour without a palette: there is a picture, but no way to show it.
        broken = {"PhotometricInterpretation": "PALETTE COLOR"} if number == 2 else {}
        ds = header(deep, None, InstanceNumber=number, **broken)
        write(tmp_path / f"{number}.dcm", ds, deep.tobytes())
    monkeypatch.setattr("sender.sources.dicom.series.open_dicom", recorded)
    assert greys(DicomSeries(tmp_path))[1] is None
    assert len(opened) > 3
    for file in opened:
        with pytest.raises(ValueError, match="closed"):
            file.contents.at(0, 1)
