"""Where pictures come from: one `spec` text names a source of any kind.

    demo                      a real echocardiogram that comes with pydicom, endlessly
    FILE, dicom:FILE          a DICOM file, single- or multi-frame, or with a video in it
    FOLDER, dicom:FOLDER      a folder of DICOM files, if pictures are fewer: a series, in order
    FILE, URL, video:FILE     any video file or stream that FFmpeg opens
    FOLDER, images:FOLDER     a folder of pictures, in natural order of their names
    FILE, images:FILE         one picture, or one file of several: TIFF, GIF
    camera:N                  the camera number N, or at a path of its own, /dev/v4l/by-id/...
    phantom:ultrasound        a procedural beating B-mode picture, any size and rate
    phantom:endoscopy         a procedural moving endoscopic picture, any size and rate

A bare path is told apart by what is there.  Adding a kind is adding an entry to `_OPENERS`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sender.sources.camera import CameraSource
from sender.sources.demo import DemoSource
from sender.sources.dicom import DicomSeries, DicomSource, is_dicom, is_series
from sender.sources.images import ImagesSource, is_picture
from sender.sources.phantom import PhantomSource
from sender.sources.pictures import SUFFIXES
from sender.sources.source import (
    DEFAULT_FPS,
    Reading,
    Skipped,
    Source,
    SourceInfo,
    SourcePicture,
    images,
)
from sender.sources.video import VideoSource
from shared.errors import BadInput, SourceFailed

__all__ = [
    "DEFAULT_FPS",
    "KINDS",
    "Reading",
    "Skipped",
    "Source",
    "SourceInfo",
    "SourcePicture",
    "images",
    "open_source",
]

KINDS = (
    "demo",
    "a file, folder or URL",
    "dicom:FILE or FOLDER",
    "video:FILE",
    "images:FOLDER",
    "camera:N",
    "phantom:ultrasound",
    "phantom:endoscopy",
)

Size = tuple[int, int]


def _dicom(location: str, fps: float | None, mask_auto: bool) -> Source:
    kind = DicomSeries if Path(location).is_dir() else DicomSource
    return kind(location, fps=fps, mask_auto=mask_auto)


_OPENERS: dict[str, Callable[[str, Size | None, float | None, bool], Source]] = {
    "dicom": lambda rest, _size, fps, mask_auto: _dicom(rest, fps, mask_auto),
    "video": lambda rest, _size, fps, _mask_auto: VideoSource(rest, fps=fps),
    "images": lambda rest, _size, fps, _mask_auto: ImagesSource(rest, fps=fps),
    "camera": lambda rest, size, fps, _mask_auto: CameraSource(rest, size=size, fps=fps),
    "phantom": lambda rest, size, fps, _mask_auto: PhantomSource(rest, size=size, fps=fps),
}
_SIZED = frozenset({"camera", "phantom"})  # the kinds that can be asked for a size


def open_source(
    spec: str,
    *,
    size: Size | None = None,
    fps: float | None = None,
    mask_auto: bool = False,
) -> Source:
    """Open the source that `spec` names (see the top of this module); blocks.

    `size` is (width, height) and is for cameras and phantoms.  `fps` overrides the source's own
    rate.  `mask_auto` masks all of a DICOM picture but its declared ultrasound regions.

    Raises `BadInput` for a spec or an option that makes no sense, `SourceFailed` for a source that
    is missing or holds no picture.
    """
    kind, rest = _kind_of(spec)
    if size is not None and kind not in _SIZED:
        raise BadInput(
            "this source has a size of its own", hint="--size is for cameras and phantoms"
        )
    if kind == "demo":
        return DemoSource(fps=fps)  # masked always, with or without mask_auto
    if mask_auto and kind != "dicom":
        raise BadInput(
            "automatic masking needs a DICOM file, which declares its ultrasound regions",
            hint="give the regions to hide with --mask x,y,w,h",
        )
    try:
        return _OPENERS[kind](rest, size, fps, mask_auto)
    except SourceFailed:
        # A file named like a picture that is neither is told of as the picture that it is to be.
        if kind != "video" or spec != rest or Path(rest).suffix.lower() not in SUFFIXES:
            raise
    return ImagesSource(rest, fps=fps)


def _kind_of(spec: str) -> tuple[str, str]:
    """Return the kind of source and what comes after its prefix."""
    kinds = f"the kinds are: {', '.join(KINDS)}"
    if spec == "demo":
        return "demo", ""
    prefix, colon, rest = spec.partition(":")
    if colon and prefix in _OPENERS and rest:
        return prefix, rest
    if not spec or (colon and prefix in _OPENERS):
        raise BadInput("the source is not named in full", hint=kinds)
    if "://" in spec:
        return "video", spec
    try:
        path = Path(spec)
        if path.is_dir():
            return ("dicom" if is_series(path) else "images"), spec
        if path.is_char_device():  # to read it in search of a file's mark might never end
            return "camera", spec
        if path.exists():
            if is_dicom(path):
                return "dicom", spec
            return ("images" if is_picture(path) else "video"), spec
    except (OSError, ValueError):  # unreadable, or no path at all
        pass
    if colon and len(prefix) > 1 and prefix.isalpha():  # C: is a drive
        raise BadInput("there is no source of that kind", hint=kinds)
    if not any(mark in spec for mark in "/\\."):
        raise BadInput("that is neither a kind of source nor a file that is there", hint=kinds)
    raise SourceFailed(
        "the source file can't be found or read", hint="check the path and its permissions"
    )
