"""Masks and names through the real programs: what a receiver has of a file that names somebody."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, UltrasoundMultiFrameImageStorage
from typer.testing import CliRunner

from shared.errors import BadInput
from tests.doubles import picture
from tests.integration.programs import both, program, signaling
from veilscope.cli import app

NAME = "DOE_JANE"
WIDTH, HEIGHT = 98, 72
LEFT, TOP, RIGHT, BOTTOM = 20, 16, 79, 60  # the image; all else is to be hidden


def clip(path: Path, burned_in: str = "YES") -> tuple[Path, np.ndarray]:
    """An ultrasound clip that names its patient wherever it can; and its frames."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UltrasoundMultiFrameImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    frames = np.stack([picture(index, height=HEIGHT, width=WIDTH) | 1 for index in range(3)])
    ds = Dataset()
    ds.file_meta = meta
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = meta.MediaStorageSOPClassUID, "1.2.3.4", "US"
    ds.PatientName, ds.PatientID, ds.BurnedInAnnotation = NAME, NAME, burned_in
    ds.NumberOfFrames, ds.Rows, ds.Columns = frames.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = 1, 1, 0
    item.RegionLocationMinX0, item.RegionLocationMinY0 = LEFT, TOP
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = RIGHT, BOTTOM
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 3
    item.PhysicalDeltaX = item.PhysicalDeltaY = 0.1
    ds.SequenceOfUltrasoundRegions = [item]
    ds.PixelData = frames.tobytes()
    ds["PixelData"].VR = "OB"
    ds.save_as(path, enforce_file_format=True)
    return path, frames


async def test_what_a_file_declares_is_hidden_and_no_name_gets_out(tmp_path: Path) -> None:
    folder = tmp_path / NAME
    folder.mkdir()
    source, frames = clip(folder / f"{NAME}.dcm")
    code_file, shown = tmp_path / "code", tmp_path / "shown"
    logs = {"sender": tmp_path / "s.jsonl", "receiver": tmp_path / "r.jsonl"}
    report = tmp_path / "report.html"
    async with (
        signaling() as url,
        program(
            "sender", *both(url), "--source", source, "--mask-auto", "--mask", "30,30,8,4",
            "--codec", "lossless", "--loop", "--frames", "30", "--fps", "25",
            "--code-file", code_file, "--log", logs["sender"],
        ) as sender,
        program(
            "receiver", *both(url), "--code-file", code_file, "--display", "none",
            "--save-frames", shown, "--log", logs["receiver"], "--report", report,
        ) as receiver,
    ):  # fmt: skip
        received, sent = await receiver.ended(), await sender.ended()
    assert (received.status, sent.status) == (0, 0), received.errors + sent.errors

    kept = np.zeros((HEIGHT, WIDTH), bool)
    kept[TOP : BOTTOM + 1, LEFT : RIGHT + 1] = True
    kept[30:34, 30:38] = False
    saved = sorted(shown.glob("frame-*.png"))
    assert saved
    for path in saved:
        picture_shown = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        original = frames[int(path.stem.removeprefix("frame-")) % 3]
        assert np.array_equal(picture_shown[kept], original[kept])
        assert not picture_shown[~kept].any()

    share = f"{round(100 * kept.mean())} % of the picture stays visible"
    assert share in sent.output
    assert share in logs["sender"].read_text()
    told = [received.output, received.errors, sent.output, sent.errors, report.read_text()]
    told += [log.read_text() for log in logs.values()]
    told += [str(path.relative_to(tmp_path)) for path in saved]
    for text in told:
        assert NAME not in text
        assert ".dcm" not in text


def refused(*options: str | Path) -> BadInput:
    """What `veilscope send` says before it looks for a server."""
    result = CliRunner().invoke(app, ["send", *map(str, options)])
    assert isinstance(result.exception, BadInput)
    assert "pairing code" not in result.output
    assert NAME not in result.output + str(result.exception) + result.exception.hint
    assert result.exception.exit_status == 2
    return result.exception


def test_text_that_may_be_burned_in_is_asked_about_before_pairing(tmp_path: Path) -> None:
    source, _ = clip(tmp_path / f"{NAME}.dcm")
    assert "--burned-in-ok" in refused("--source", source).hint


async def test_with_leave_it_is_sent_as_it_is(tmp_path: Path) -> None:
    source, frames = clip(tmp_path / f"{NAME}.dcm")
    code_file, shown, log = tmp_path / "code", tmp_path / "shown", tmp_path / "s.jsonl"
    async with (
        signaling() as url,
        program(
            "sender", *both(url), "--source", source, "--burned-in-ok", "--codec", "lossless",
            "--loop", "--frames", "15", "--fps", "25", "--code-file", code_file, "--log", log,
        ) as sender,
        program(
            "receiver", *both(url), "--code-file", code_file, "--display", "none",
            "--save-frames", shown,
        ) as receiver,
    ):  # fmt: skip
        received, sent = await receiver.ended(), await sender.ended()
    assert (received.status, sent.status) == (0, 0), received.errors + sent.errors
    saved = sorted(shown.glob("frame-*.png"))
    assert saved
    for path in saved:
        original = frames[int(path.stem.removeprefix("frame-")) % 3]
        assert np.array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), original)
    assert "100 % of the picture stays visible" in sent.output

    events = [line for line in map(json.loads, log.read_text().splitlines()) if "event" in line]
    told = [line["detail"] for line in events if line["event"] == "source"]
    assert sum(detail.startswith("sent by leave: ") for detail in told) == 1, told
    assert NAME not in log.read_text()


@pytest.mark.parametrize("mask", ["98,0,5,5", "0,72,5,5"])
def test_a_mask_that_hides_nothing_is_told_before_pairing(mask: str, tmp_path: Path) -> None:
    source, _ = clip(tmp_path / f"{NAME}.dcm", burned_in="NO")
    assert "would hide nothing" in str(refused("--source", source, "--mask", mask))
