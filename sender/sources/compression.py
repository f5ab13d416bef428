"""How far compression with loss carries what stands in one place of a picture.

Text that is masked leaves traces around it: a lossy codec spreads the edges of letters through the
whole block that they lie in, filters smooth blocks into each other, wavelets overlap, and colours
that are stored at half the resolution are enlarged across the edges of blocks.  Masks grow by all
of that.  This file alone says by how much, for every way of compression and by whatever name a
source knows it: FFmpeg's of a codec, Pillow's of a format, the FourCC of a capture device, the UID
of a DICOM transfer syntax.  What is not known here counts as compressed with loss.

Pure.  Lengths are in stored pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LOSSLESS", "Grid", "grid_of", "is_known", "jpeg_grid"]


@dataclass(frozen=True, slots=True)
class Grid:
    """`block` is the side of what is coded as one, 1 without loss; `reach` how far beyond it goes.

    Colours of half the resolution are reckoned with.
    """

    block: int
    reach: int

    def with_colours(self, side: int) -> Grid:
        """Return the grid of a picture of which one colour sample covers `side` pixels a side.

        Colours of less than the full resolution are mixed with their neighbours when they are made
        and when they are enlarged, without any other loss too.  Measured with FFmpeg (red on grey,
        62 levels): nothing is left beyond 2 pixels of halved colours, and 6 of quartered ones.
        """
        if side <= 1:
            return self
        block = side if self.block == 1 else self.block * max(1, side // 2)
        return Grid(block, max(self.reach, 2 * side))


LOSSLESS = Grid(1, 0)
_HALVED = LOSSLESS.with_colours(2)
_QUARTERED = LOSSLESS.with_colours(4)
_TRANSFORM = 8  # JPEG's, ITU-T T.81
# Macroblocks of MPEG and H.264, JPEG with halved colours; a margin for what has no grid of its own.
# Measured: enlarged colours in the pixel beside a block of JPEG (51 levels) and of MPEG (49);
# deblocking (H.264 8.7) up to 29 levels within 3 pixels, 2 or less beyond.
_USUAL = Grid(16, 4)
_WAVELET = Grid(32, 16)  # a coefficient of the fifth level covers 32 pixels, and they overlap

# Blocks are the largest transform or tree of a codec; reaches are those of the loop filters of HEVC
# (8.7.2; measured: 18 levels within 3 pixels), VP9, AV1 and VVC.
_LOSSY = {
    Grid(4, 0): "dds ftex",  # S3TC: each block by itself, and no colours of less resolution
    Grid(16, 16): "snow",
    _WAVELET: "jpeg2000 icns dirac cfhd indeo4 indeo5",
    Grid(64, 4): "hevc h265 hvc1 hev1 jpegxl jxl",
    Grid(64, 8): "vp9 vp90",
    Grid(64, 16): "av1 av01 avif heif",  # of HEIF, the widest of what it can hold
    Grid(128, 16): "vvc evc avs2 avs3",
    _USUAL: (
        "jpeg tiff_jpeg mjpeg mjpg mpo blp webp vp8 vp80 h264 avc1 "
        "mpeg mpg1 mpg2 mpg4 mpeg1video mpeg2video mpeg4 dvsd dvvideo prores dnxhd"
    ),
}
_UNCOMPRESSED = {
    LOSSLESS: (
        # Pillow's formats, then the ways of compression inside of a TIFF
        "bmp cur dcx dib fits fli gbr gif ico im imt mcidas msp pcx pixar png ppm psd qoi sgi "
        "spider sun tga xbm xpm xvthumb "
        "raw tiff_ccitt group3 group4 tiff_lzw tiff_raw_16 packbits tiff_thunderscan tiff_deflate "
        "tiff_adobe_deflate lzma zstd "
        # FourCC (linux/videodev2.h): grey, then all three colours of each pixel
        "grey y800 y8 y8i y10 y12 y14 y16 "
        "rgb3 bgr3 rgb4 bgr4 ar24 xr24 ba24 bx24 ra24 rx24 ab24 xb24 yuv3 yuv4 nv24 444p"
    ),
    _HALVED: "yuyv yuy2 uyvy yvyu vyuy hdyc nv12 nv21 nv16 nv61 yu12 yv12 i420 iyuv 422p yv16 p010",
    _QUARTERED: "y41p 411p yuv9 yvu9",
}
_DICOM = "1.2.840.10008.1.2"
_UIDS = {  # PS3.6 table A-1; video is known by the name of its codec
    LOSSLESS: (
        ".1 .1.98 .1.99 .2 .5 .8.1 "  # uncompressed, deflated, run-length
        ".4.57 .4.58 .4.70 .4.80 .4.90 .4.92 .4.110 .4.201 .4.202"
    ),
    _WAVELET: ".4.91 .4.93 .4.203",
    Grid(64, 4): ".4.112",
}


def _by_name() -> dict[str, Grid]:
    named = {
        name: grid for grid, names in (_LOSSY | _UNCOMPRESSED).items() for name in names.split()
    }
    syntaxes = {_DICOM + end: grid for grid, ends in _UIDS.items() for end in ends.split()}
    return named | syntaxes | {_DICOM: LOSSLESS}  # implicit VR little endian


_GRIDS = _by_name()


def grid_of(name: str) -> Grid:
    """Return the grid of a way of compression by any of its names, in capitals or not.

    Of a format that allows both, it is that with loss.
    """
    return _GRIDS.get(name.casefold(), _USUAL)


def is_known(name: str) -> bool:
    """Whether `grid_of` knows the name, and does not take it for lossy to be on the safe side."""
    return name.casefold() in _GRIDS


def jpeg_grid(side: int) -> Grid:
    """Return the grid of a JPEG of which a sample of the sparsest colour covers `side` pixels."""
    return Grid(_TRANSFORM * side, max(_USUAL.reach, 2 * side))
