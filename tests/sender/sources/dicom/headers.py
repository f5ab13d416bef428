"""Headers and files for tests of what a DICOM header says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, UltrasoundMultiFrameImageStorage


def header_of(words: np.ndarray, **elements: Any) -> Dataset:
    """Return a header for frames `(H, W)` of `words`; an element of None is taken out."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = UltrasoundMultiFrameImageStorage, "1.2.3.4"
    ds.Modality = "US"
    ds.NumberOfFrames = 1
    ds.Rows, ds.Columns = words.shape[:2]
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 8 * words.dtype.itemsize
    ds.PixelRepresentation = int(words.dtype.kind == "i")
    for name, value in elements.items():
        setattr(ds, name, value)
    if "HighBit" not in elements:
        ds.HighBit = ds.BitsStored - 1
    for name, value in elements.items():
        if value is None:
            delattr(ds, name)
    return ds


def item(**elements: Any) -> Dataset:
    """Return an item of a sequence."""
    found = Dataset()
    for name, value in elements.items():
        setattr(found, name, value)
    return found


def lut(first: int, entries: Any, bits: int, *, signed: bool = False, vr: str = "US") -> Dataset:
    """Return an item of a LUT sequence; `signed`: its descriptor says SS instead of US."""
    found = Dataset()
    count = len(entries) // 2 if isinstance(entries, bytes) else len(entries)
    found.add_new(Tag("LUTDescriptor"), "SS" if signed else "US", [count % 0x10000, first, bits])
    found.add_new(Tag("LUTData"), vr, entries)
    return found


def palette(first: int, bits: int, tables: Any, *, prefix: str = "", **more: Any) -> dict[str, Any]:
    """Return a palette's elements; `tables` are three byte strings."""
    elements: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR", **more}
    count = elements.pop("count", 256)
    for colour, table in zip(("Red", "Green", "Blue"), tables, strict=True):
        elements[f"{colour}PaletteColorLookupTableDescriptor"] = [count, first, bits]
        elements[f"{prefix}{colour}PaletteColorLookupTableData"] = table
    return elements


def save(path: Path, words: np.ndarray, header: Dataset) -> Path:
    """Write a file of one frame, little endian."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = header.SOPClassUID, "1.2.3.4"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta = meta
    header.PixelData = words.tobytes()
    header["PixelData"].VR = "OW"
    header.save_as(path, enforce_file_format=True)
    return path
