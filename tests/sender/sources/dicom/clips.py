"""DICOM files with pixel data of every kind, written byte by byte where a test needs them wrong."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image as Pillow
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, UltrasoundMultiFrameImageStorage

NAME = "DOE^JANE"

LITTLE = "1.2.840.10008.1.2.1"
BIG = "1.2.840.10008.1.2.2"
IMPLICIT = "1.2.840.10008.1.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
BASELINE = "1.2.840.10008.1.2.4.50"
EXTENDED = "1.2.840.10008.1.2.4.51"
LOSSLESS = "1.2.840.10008.1.2.4.70"
JPEG_LS = "1.2.840.10008.1.2.4.80"
J2K = "1.2.840.10008.1.2.4.90"
JPEG_XL = "1.2.840.10008.1.2.4.110"
MPEG2 = "1.2.840.10008.1.2.4.100"
H264 = "1.2.840.10008.1.2.4.102"
RLE = "1.2.840.10008.1.2.5"

DELIMITER = b"\xfe\xff\xdd\xe0\0\0\0\0"


def item(value: bytes) -> bytes:
    return b"\xfe\xff\x00\xe0" + struct.pack("<I", len(value)) + value


def even(data: bytes) -> bytes:
    return data + b"\0" * (len(data) % 2)


def items(frames: Sequence[bytes | Sequence[bytes]], table: Sequence[int] | None = ()) -> bytes:
    """Encapsulate frames, each whole or in fragments; `table` None: without the table's item."""
    head = b"" if table is None else item(struct.pack(f"<{len(table)}I", *table))
    cut = [[frame] if isinstance(frame, bytes) else frame for frame in frames]
    return head + b"".join(item(even(f)) for frame in cut for f in frame) + DELIMITER


def offsets(frames: Sequence[bytes | Sequence[bytes]]) -> list[int]:
    """The basic offset table that is right for `frames`."""
    found, at = [], 0
    for frame in frames:
        found.append(at)
        at += sum(8 + len(even(f)) for f in ([frame] if isinstance(frame, bytes) else frame))
    return found


def header(like: np.ndarray, count: int | None = None, **elements: Any) -> Dataset:
    """All but the pixels, for pictures `like` one; an element of None is left out."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = UltrasoundMultiFrameImageStorage, UID("1.2.3.4")
    ds.PatientName, ds.PatientID = NAME, "12345678"
    ds.Rows, ds.Columns = like.shape[:2]
    ds.SamplesPerPixel = 3 if like.ndim == 3 else 1
    if like.ndim == 3:
        ds.PlanarConfiguration = 0
    ds.PhotometricInterpretation = "RGB" if like.ndim == 3 else "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 8 * like.dtype.itemsize
    ds.PixelRepresentation = int(like.dtype.kind == "i")
    ds.NumberOfFrames = count
    for name, value in elements.items():
        setattr(ds, name, value)
    ds.HighBit = elements.get("HighBit", ds.BitsStored - 1)
    for name in [element.keyword for element in ds if element.value is None]:
        delattr(ds, name)
    return ds


def write(
    path: Path, ds: Dataset, pixels: bytes, syntax: str = LITTLE, *, wrapped: bool = False
) -> Path:
    """Write a file; `wrapped`: the pixels are items."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, UID("1.2.3.4")
    meta.TransferSyntaxUID = UID(syntax)
    ds.file_meta = meta
    ds.PixelData = pixels
    ds["PixelData"].VR = "OW" if ds.BitsAllocated > 8 else "OB"
    ds["PixelData"].is_undefined_length = wrapped
    dcmwrite(path, ds, enforce_file_format=True)
    return path


def write_frames(
    path: Path, frames: Sequence[bytes], like: np.ndarray, syntax: str, **elements: Any
) -> Path:
    """Write compressed frames with a right offset table, of pictures `like` one."""
    ds = header(like, len(frames), **elements)
    return write(path, ds, items(frames, offsets(frames)), syntax, wrapped=True)


def noise(shape: tuple[int, ...], seed: int = 0, dtype: str = "u1", peak: int = 255) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, peak + 1, shape).astype(dtype)


def smooth(number: int, shape: tuple[int, int] = (48, 64), *, colour: bool = True) -> np.ndarray:
    """A picture that compression hardly harms, another for each number."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    planes = [x * 2 + number * 20, y * 3, 255 - x - y]
    picture = np.clip(np.stack(planes, axis=-1), 0, 255).astype(np.uint8)
    return picture if colour else np.ascontiguousarray(picture[:, :, 0])


def jpeg(picture: np.ndarray, **options: Any) -> bytes:
    out = io.BytesIO()
    Pillow.fromarray(picture).save(out, "JPEG", **{"quality": 95, "subsampling": 0} | options)
    return out.getvalue()


def video(
    pictures: Sequence[np.ndarray], codec: str, form: str, *, bit_rate: int = 4_000_000
) -> bytes:
    """Encode RGB pictures, 25 a second, into a container or an elementary stream."""
    out = io.BytesIO()
    with av.open(out, "w", format=form) as container:
        stream: Any = container.add_stream(codec, rate=25)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt, stream.bit_rate = "yuv420p", bit_rate
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return out.getvalue()
