"""Every test file that pydicom's wheel carries and that holds pictures: what we make of it.

Each is played as a sender would, and its first and last picture are compared with those of an
independent decoder: dcmtk where it is installed (for JPEG 2000, which it does not know, on samples
that pydicom and Pillow decoded), else pydicom's own pipeline where that needs no choice of ours.
The table is Markdown, for docs/SOURCES.md.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000TransferSyntaxes, JPEGLSTransferSyntaxes

from shared.errors import VeilscopeError
from shared.frame import Image

__all__ = ["Conformance", "as_markdown", "examine"]

TOLERANCE = 2  # of 255: decoders round colours and transforms differently
_TIMEOUT_S = 60.0

Play = Callable[[str], Iterator[Image]]
"""All pictures of the DICOM file at a path, as they are shown."""


@dataclass(frozen=True, slots=True)
class Conformance:
    """What became of one file."""

    name: str
    syntax: str
    pictures: str
    outcome: str
    right: bool


def examine(play: Play, pattern: str = "*") -> Iterator[Conformance]:
    """Yield a verdict on each file whose name fits `pattern`, in the order of their names."""
    warnings.simplefilter("ignore")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    root = Path(pydicom.__file__).parent / "data" / "test_files"
    for path in sorted(entry for entry in root.rglob(pattern) if entry.is_file()):
        header = _header_of_pictures(path)
        if header is not None:
            yield _verdict(path, path.relative_to(root).as_posix(), header, play)


def as_markdown(verdicts: list[Conformance]) -> str:
    """Return the table."""
    lines = [
        "| file | transfer syntax | pictures | what we make of it |",
        "|---|---|---|---|",
        *(f"| `{v.name}` | {v.syntax} | {v.pictures} | {v.outcome} |" for v in verdicts),
    ]
    right = sum(verdict.right for verdict in verdicts)
    return "\n".join([*lines, "", f"{right} of {len(verdicts)} files play right."])


def _header_of_pictures(path: Path) -> Dataset | None:
    """Return the data set of a file that holds pictures, None of any other."""
    try:
        dataset = pydicom.dcmread(path, force=True)
        found = any(name in dataset for name in ("PixelData", "FloatPixelData"))
    except Exception:  # pydicom raises many kinds
        return None
    return dataset if found and "Rows" in dataset else None


def _verdict(path: Path, name: str, header: Dataset, play: Play) -> Conformance:
    uid = getattr(header, "file_meta", {}).get("TransferSyntaxUID")
    syntax = uid.name if uid else "not named"
    size = f"{header.Columns}x{header.Rows}"
    try:
        pictures = list(play(str(path)))
    except VeilscopeError as error:
        return Conformance(name, syntax, size, f"refused: {error}", right=False)
    if not pictures:
        return Conformance(name, syntax, size, "**no picture**", right=False)
    told = f"{len(pictures)} of {size}"
    compared = []
    for ordinal in sorted({0, len(pictures) - 1}):
        expected, oracle = _expected(path, header, ordinal)
        if expected is None:
            return Conformance(name, syntax, told, f"plays; not compared: {oracle}", right=False)
        compared.append(_difference(pictures[ordinal], expected))
    worst = max(compared)
    if worst > TOLERANCE:
        return Conformance(name, syntax, told, f"**differs from {oracle} by {worst}**", right=False)
    return Conformance(name, syntax, told, f"plays right ({oracle})", right=True)


def _difference(picture: Image, expected: Image) -> int:
    """The largest difference; pixels that are not square were stretched by bilinear weights."""
    if picture.ndim == 2 and expected.ndim == 3:
        picture = np.repeat(picture[:, :, None], 3, axis=2)
    elif picture.ndim == 3 and expected.ndim == 2:
        expected = np.repeat(expected[:, :, None], 3, axis=2)
    if picture.shape != expected.shape:
        size = (picture.shape[1], picture.shape[0])
        expected = np.asarray(cv2.resize(expected, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    return int(np.abs(picture.astype(int) - expected).max())


def _expected(path: Path, header: Dataset, ordinal: int) -> tuple[Image | None, str]:
    """Return the picture as another decoder shows it, or None and why there is none."""
    uid = getattr(header, "file_meta", {}).get("TransferSyntaxUID")
    program = "dcml2pnm" if uid in JPEGLSTransferSyntaxes else "dcmj2pnm"
    if shutil.which(program) is None:
        return _by_pydicom(header, ordinal)
    with TemporaryDirectory(prefix="veilscope-bench-") as folder:
        oracle = "dcmtk"
        if uid in JPEG2000TransferSyntaxes:
            oracle = "dcmtk, samples by pydicom"
            try:
                path = _uncompressed(path, header, Path(folder))
            except Exception as error:
                return None, f"pydicom can't decode it ({type(error).__name__})"
        out = Path(folder) / "picture.pnm"
        command = [
            program,
            "-O",
            "+F",
            str(ordinal + 1),
            *_window(header),
            "+op",
            str(path),
            str(out),
        ]
        run = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, check=False)
        picture = cv2.imread(str(out), cv2.IMREAD_UNCHANGED) if out.exists() else None
    if run.returncode or picture is None:
        picture, other = _by_pydicom(header, ordinal)
        return picture, other if picture is not None else "dcmtk can't decode it"
    return np.asarray(picture[..., ::-1] if picture.ndim == 3 else picture, np.uint8), oracle


def _window(header: Dataset) -> list[str]:
    """The options that make dcmtk show what we show: the file's first table, else its window."""
    if int(header.get("SamplesPerPixel", 1)) > 1 or "PALETTE" in header.PhotometricInterpretation:
        return []
    tables = header.get("VOILUTSequence")
    if tables and tables[0].get("LUTData"):
        return ["+Wl", "1"]
    if header.get("WindowWidth") not in (None, ""):
        return ["+Wi", "1"]
    # Of one bit, dcmtk shows the greater value in a middle grey unless it is told.
    bits = int(header.get("BitsStored", 8))
    return ["+Wm"] if bits > 8 or bits == 1 else []


def _uncompressed(path: Path, header: Dataset, folder: Path) -> Path:
    """Write the samples without compression."""
    samples = pixel_array(header)
    plain = pydicom.dcmread(path)
    plain.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    plain.PixelData = samples.tobytes()
    plain["PixelData"].VR = "OW" if samples.dtype.itemsize > 1 else "OB"
    plain["PixelData"].is_undefined_length = False
    if int(header.SamplesPerPixel) > 1:
        plain.PhotometricInterpretation = "RGB"
        plain.PlanarConfiguration = 0
    out = folder / "plain.dcm"
    plain.save_as(out, enforce_file_format=True)
    return out


def _by_pydicom(header: Dataset, ordinal: int) -> tuple[Image | None, str]:
    """pydicom's own pixels, where they are 8-bit grey or colour and are shown as they are."""
    plain = header.get("PhotometricInterpretation") == "MONOCHROME2" and not any(
        name in header for name in ("WindowCenter", "VOILUTSequence", "RescaleSlope")
    )
    if int(header.get("BitsStored", 8)) != 8 or not (plain or int(header.SamplesPerPixel) > 1):
        return None, "no independent decoder for it here"
    try:
        samples = pixel_array(header, index=ordinal)
    except Exception as error:  # decoders raise whatever they please
        return None, f"pydicom can't decode it ({type(error).__name__})"
    return np.asarray(samples, np.uint8), "pydicom"
