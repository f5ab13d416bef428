"""From a decoded frame to the picture as it is shown: levels, colours, transparency, geometry.

Grey frames give grey pictures, all others RGB, in full range.  A colour matrix that the video names
is taken (BT.601, BT.709, BT.2020, SMPTE 240M, FCC); where it names none, HD is BT.709 and smaller
is BT.601, as players take it.  What is transparent is black.  Transfer functions are left as they
are: HDR (PQ, HLG) is not mapped to ordinary range.
"""

from __future__ import annotations

from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.sidedata.sidedata import Type as SideDataType
from av.video.format import VideoFormat
from av.video.reformatter import ColorRange, ColorTrc, Interpolation, VideoReformatter

from sender.sources.compression import LOSSLESS, grid_of
from sender.sources.geometry import Geometry, orientation_by
from shared.errors import SourceFailed
from shared.frame import MAX_SIDE, Image

__all__ = ["Compression", "FrameRenderer", "orientation", "picture_remarks"]

_BT709, _BT601, _BT2020 = 1, 6, 9  # AVColorSpace, which follows ITU-T H.273
_NAMED = frozenset({1, 4, 5, 6, 7, 9})
_UNNAMED = frozenset({0, 2, 3})  # RGB (said of YUV: a mistake), unspecified, reserved
_BT2020_CONSTANT = 10  # players take it as 9
_HD_WIDTH, _HD_HEIGHT = 1280, 720
_ASPECTS = (Fraction(1, 8), Fraction(8))  # beyond, a broken field of a file

# FFmpeg's quick way is off by 1.7 levels at most for 8 bits, by 3 for more; the other by 0.5, for
# twice the time (10 ms instead of 5.6 for 1920x1080).
_QUICK = Interpolation.BILINEAR
_DEEP = Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INT


def _unlisted(cls: type[SideDataType], value: object) -> SideDataType:
    member: SideDataType = object.__new__(cls)
    member._name_ = f"UNLISTED_{value}"
    member._value_ = value  # type: ignore[assignment]  # PyAV's stub
    return member


# PyAV 18 lists fewer kinds of side data than its FFmpeg has, and fails to read any where there is
# one that it does not list: EXIF, of each JPEG and TIFF picture that says how it is turned.
SideDataType._missing_ = classmethod(_unlisted)  # type: ignore[assignment]

# ITU-R BT.601/709: black is 16 and white is 235.
_FROM_LIMITED = np.rint(np.clip((np.arange(256) - 16.0) / 219.0, 0.0, 1.0) * 255.0).astype(np.uint8)


class FrameRenderer:
    """For the frames of one pass, decoded by `codec`; holds FFmpeg's scaler between them."""

    def __init__(self, codec: str) -> None:
        self._scaler = VideoReformatter()
        # Recorders of raw video leave the fourth byte of their pixels 0 and mean no transparency.
        self._zero_is_opaque = codec == "rawvideo"

    def image(self, frame: av.VideoFrame) -> Image:
        """Return a frame as uint8 grey `(H, W)` or RGB `(H, W, 3)`, as it is stored.

        Raises `SourceFailed` for a colour matrix or a pixel format that can't be shown right, and
        for a side above `MAX_SIDE` (before memory is taken for it).
        """
        if max(frame.width, frame.height) > MAX_SIDE:
            raise SourceFailed(
                f"a picture of {frame.width}x{frame.height} is larger than {MAX_SIDE} pixels a side"
            )
        name = frame.format.name
        if name.startswith(("gray", "ya", "mono")):
            return self._grey(frame)
        if frame.format.is_rgb or name == "pal8":
            if name == "pal8" or _has_alpha(frame.format):
                return self._on_black(frame)
            return self._as(frame, "rgb24")
        frame.colorspace = _matrix(frame)
        if _has_alpha(frame.format):
            return self._on_black(frame)
        return self._as(frame, "rgb24")

    def _grey(self, frame: av.VideoFrame) -> Image:
        if _has_alpha(frame.format):
            grey = np.ascontiguousarray(self._on_black(frame)[:, :, 0])
        else:
            grey = self._as(frame, "gray")
        # FFmpeg takes all grey for full range; where the stream says limited, it is limited.
        return np.take(_FROM_LIMITED, grey) if frame.color_range == ColorRange.MPEG else grey

    def _on_black(self, frame: av.VideoFrame) -> Image:
        """Lay a frame over black: colour under what is transparent is meant for nobody."""
        rgba = self._as(frame, "rgba")
        alpha = rgba[:, :, 3]
        if np.all(alpha == 255) or (self._zero_is_opaque and not np.any(alpha)):
            return np.ascontiguousarray(rgba[:, :, :3])
        shown = (rgba[:, :, :3].astype(np.uint16) * alpha[:, :, None] + 127) // 255
        return shown.astype(np.uint8)

    def _as(self, frame: av.VideoFrame, pixels: str) -> Image:
        # One thread: the picture is converted in the source's own, beside the decoder's.
        try:
            converted = self._scaler.reformat(
                frame,
                format=pixels,
                threads=1,
                interpolation=_DEEP if frame.format.components[0].bits > 8 else _QUICK,
            )
        except (av.FFmpegError, ValueError):
            raise SourceFailed(
                f"FFmpeg can't turn the video's pixels ({frame.format.name}) into RGB",
                hint="convert the video to yuv420p with FFmpeg",
            ) from None
        return cast(Image, converted.to_ndarray())


class Compression:
    """How the codec's grid carries what stands in one place of a picture into its neighbourhood.

    Of one pass: frames that say nothing of how they are turned are turned as the one before.
    """

    def __init__(self, codec: av.Codec) -> None:
        self._orientation = 1
        self._alone = codec.intra_only  # each picture speaks for itself, as those of cameras do
        lossless = codec.lossless and not codec.lossy
        self._grid = LOSSLESS if lossless else grid_of(codec.canonical_name)

    def geometry(
        self,
        frame: av.VideoFrame,
        shape: tuple[int, ...],
        aspect: Fraction | None,
        *,
        interlaced: bool,
    ) -> Geometry:
        """Return how a frame whose image has `shape` (height, width) is shown."""
        height, width = shape
        chroma = _chroma_side(frame.format)
        grid = self._grid.with_colours(chroma)
        block, reach = grid.block, grid.reach
        if chroma > 1 and frame.format.components[0].bits > 8:
            reach += chroma  # FFmpeg's scaler mixes neighbouring chroma there
        if interlaced:
            # A block of one field covers twice its lines; bwdif takes lines up to four away.
            block, reach = 2 * block, reach + 4
        if aspect is None or not _ASPECTS[0] <= aspect <= _ASPECTS[1]:
            aspect = Fraction(1)
        # A stream may say it once (ITU-T H.264 D.2.27, H.265 D.3.17), and players keep to that.
        if self._alone or "DISPLAYMATRIX" in frame.side_data:
            self._orientation = orientation(frame)
        return Geometry(width, height, self._orientation, aspect, block, reach)


def orientation(frame: av.VideoFrame) -> int:
    """Return EXIF's orientation (1 to 8) nearest to the frame's display matrix.

    The matrix is that of ISO 14496-12 6.2.2 (`a b u c d v x y w`): a pixel at (x, y) is shown at
    (a x + c y, b x + d y).
    """
    data = cast(bytes | None, frame.side_data.get("DISPLAYMATRIX"))
    matrix = np.frombuffer(b"" if data is None else bytes(data), np.int32)
    if len(matrix) != 9:
        return 1
    a, b, c, d = (int(matrix[index]) for index in (0, 1, 3, 4))
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return orientation_by(swapped=False, mirrored=a < 0, flipped=d < 0)
    return orientation_by(swapped=True, mirrored=c < 0, flipped=b < 0)


def _matrix(frame: av.VideoFrame) -> int:
    named = frame.colorspace
    if named in _NAMED:
        return named
    if named == _BT2020_CONSTANT:
        return _BT2020
    if named in _UNNAMED:
        return _BT709 if frame.width >= _HD_WIDTH or frame.height >= _HD_HEIGHT else _BT601
    raise SourceFailed(
        f"the video's colour matrix (number {named} of ITU-T H.273) can't be shown right",
        hint="convert the video to BT.709 with FFmpeg",
    )


def _has_alpha(pixels: VideoFormat) -> bool:
    return any(component.is_alpha for component in pixels.components)


def _chroma_side(pixels: VideoFormat) -> int:
    """Luma samples that share one sample of chroma, along a side."""
    return max(8 // max(1, pixels.chroma_width(8)), 8 // max(1, pixels.chroma_height(8)))


def picture_remarks(frame: av.VideoFrame, geometry: Geometry, interlaced: bool) -> tuple[str, ...]:
    """Return what had to be done to a video's first frame to show it right, a line each."""
    remarks = []
    if geometry.orientation != 1:
        remarks.append(f"the video is turned: {_TURNS[geometry.orientation]}, as it says")
    if geometry.shown_size not in (
        (geometry.width, geometry.height),
        (geometry.height, geometry.width),
    ):
        width, height = geometry.shown_size
        aspect = geometry.pixel_aspect
        remarks.append(
            f"the video's pixels are not square ({aspect.numerator}:{aspect.denominator}): "
            f"stretched to {width}x{height}"
        )
    if interlaced:
        remarks.append("the video is interlaced: its fields are made whole pictures")
    if frame.color_trc in (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67):
        remarks.append("the video is HDR and is not mapped to ordinary range: colours look flat")
    return tuple(remarks)


_TURNS = {
    2: "mirrored",
    3: "upside down",
    4: "mirrored top to bottom",
    5: "a quarter counter-clockwise and mirrored top to bottom",
    6: "a quarter clockwise",
    7: "a quarter clockwise and mirrored top to bottom",
    8: "a quarter counter-clockwise",
}
