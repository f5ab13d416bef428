"""Files of the formats that sources read, written for `veilscope bench sources`.

All hold the same pictures, RGB, in the encoding that devices and viewers use.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import av
import cv2
import jpeg_ls
import numpy as np
from av.video.stream import VideoStream
from openjpeg.utils import encode_array as j2k_encode
from PIL import Image as Pillow
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import RLELosslessEncoder
from pydicom.uid import UID, UltrasoundMultiFrameImageStorage

from shared.frame import Image

__all__ = ["WRITERS", "write_dicom"]

_JPEG_QUALITY = 90
_J2K_RATIO = 10.0
_VIDEO_BPS = 8_000_000


def write_dicom(
    path: Path, frames: Sequence[bytes], like: Image, syntax: str, photometric: str = "RGB"
) -> Path:
    """Write compressed frames of pictures `like` one as a multi-frame ultrasound file."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UltrasoundMultiFrameImageStorage
    meta.MediaStorageSOPInstanceUID = UID("1.2.3.4")
    meta.TransferSyntaxUID = UID(syntax)
    data = Dataset()
    data.file_meta = meta
    data.SOPClassUID = meta.MediaStorageSOPClassUID
    data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    data.NumberOfFrames, data.FrameTime = len(frames), 33.3
    data.Rows, data.Columns = like.shape[:2]
    data.SamplesPerPixel, data.PlanarConfiguration = 3, 0
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation = 7, 0
    data.PhotometricInterpretation = photometric
    compressed = UID(syntax).is_compressed
    data.PixelData = encapsulate(list(frames)) if compressed else b"".join(frames)
    data["PixelData"].VR = "OB"
    data["PixelData"].is_undefined_length = compressed
    data.save_as(path, enforce_file_format=True)
    return path


def _native(folder: Path, images: Sequence[Image]) -> Path:
    frames = [image.tobytes() for image in images]
    return write_dicom(folder / "native.dcm", frames, images[0], "1.2.840.10008.1.2.1")


def _jpeg(folder: Path, images: Sequence[Image]) -> Path:
    frames = [_jpeg_bytes(image) for image in images]
    syntax = "1.2.840.10008.1.2.4.50"
    return write_dicom(folder / "jpeg.dcm", frames, images[0], syntax, "YBR_FULL_422")


def _jpeg_bytes(image: Image) -> bytes:
    out = io.BytesIO()
    Pillow.fromarray(image).save(out, "JPEG", quality=_JPEG_QUALITY, subsampling="4:2:2")
    return out.getvalue()


def _jpeg_ls(folder: Path, images: Sequence[Image]) -> Path:
    # Samples of a line are interleaved, as devices do.
    frames = [bytes(jpeg_ls.encode_array(image, interleave_mode=1)) for image in images]
    return write_dicom(folder / "jpegls.dcm", frames, images[0], "1.2.840.10008.1.2.4.80")


def _jpeg_2000(folder: Path, images: Sequence[Image]) -> Path:
    frames = [
        bytes(j2k_encode(image, photometric_interpretation=1, compression_ratios=[_J2K_RATIO]))
        for image in images
    ]
    syntax = "1.2.840.10008.1.2.4.91"
    return write_dicom(folder / "jpeg2000.dcm", frames, images[0], syntax, "YBR_ICT")


def _rle(folder: Path, images: Sequence[Image]) -> Path:
    def packed(image: Image) -> bytes:
        return RLELosslessEncoder.encode(
            image.tobytes(),
            rows=image.shape[0],
            columns=image.shape[1],
            samples_per_pixel=3,
            planar_configuration=0,
            bits_allocated=8,
            bits_stored=8,
            pixel_representation=0,
            photometric_interpretation="RGB",
            number_of_frames=1,
        )

    frames = [packed(image) for image in images]
    return write_dicom(folder / "rle.dcm", frames, images[0], "1.2.840.10008.1.2.5")


def _video(codec: str, name: str, pixels: str) -> Callable[[Path, Sequence[Image]], Path]:
    def write(folder: Path, images: Sequence[Image]) -> Path:
        path = folder / name
        with av.open(str(path), "w") as container:
            stream = cast(VideoStream, container.add_stream(codec, rate=30))
            stream.height, stream.width = images[0].shape[:2]
            stream.pix_fmt = pixels
            stream.bit_rate = _VIDEO_BPS
            for image in images:
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return write


def _video_in_dicom(folder: Path, images: Sequence[Image]) -> Path:
    video = _video("libx264", "inner.mp4", "yuv420p")(folder, images).read_bytes()
    syntax = "1.2.840.10008.1.2.4.102"
    return write_dicom(folder / "video.dcm", [video], images[0], syntax, "YBR_PARTIAL_420")


def _folder(suffix: str) -> Callable[[Path, Sequence[Image]], Path]:
    def write(folder: Path, images: Sequence[Image]) -> Path:
        inside = folder / suffix
        inside.mkdir()
        for ordinal, image in enumerate(images):
            bgr = np.ascontiguousarray(image[:, :, ::-1])
            cv2.imwrite(str(inside / f"{ordinal}.{suffix}"), bgr)
        return inside

    return write


WRITERS: dict[str, Callable[[Path, Sequence[Image]], Path]] = {
    "DICOM, uncompressed": _native,
    "DICOM, JPEG baseline 4:2:2": _jpeg,
    "DICOM, JPEG-LS": _jpeg_ls,
    "DICOM, RLE": _rle,
    "DICOM, JPEG 2000": _jpeg_2000,
    "DICOM, H.264 video": _video_in_dicom,
    "AVI, Motion JPEG": _video("mjpeg", "motion.avi", "yuvj422p"),
    "MP4, H.264": _video("libx264", "plain.mp4", "yuv420p"),
    "folder of PNG": _folder("png"),
    "folder of JPEG": _folder("jpg"),
}
"""Each writes pictures, RGB of one size, as one source into a folder, and returns its path."""
