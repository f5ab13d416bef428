"""Baseline JPEG (ITU-T T.81) through OpenCV: the small, quick, lossy codec.

The payload is a plain JPEG file that any viewer opens.  From quality 95 up the chroma planes are
kept at full resolution (4:4:4), below that they are halved both ways (4:2:0).  Given a bitrate,
each picture is coded at the quality that about fills its share, never better than the one asked
for, and again, coarser, where it came out too large.

The decoder reads the frame header itself before a pixel is allocated and refuses all but baseline
pictures of the announced size.  Flipped bits inside the entropy-coded data often decode to a wrong
picture without a sign of it, in every JPEG decoder: noticing those is the task of the seal, not of
this codec.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.codecs.codec import DEFAULT_TARGET, EncoderTarget
from shared.errors import DecodeFailed
from shared.frame import EncodedFrame, Image, checked_image
from shared.quality import psnr_db
from shared.wire import check_announced

__all__ = ["FULL_CHROMA_QUALITY", "JpegDecoder", "JpegEncoder"]

FULL_CHROMA_QUALITY = 95  # whoever asks for this much quality does not want blurred colour edges

_TOLERANCE = 0.1  # of its share that a picture may take more before it is coded again
_ATTEMPTS = 3  # a picture is coded so many times at most
_FINER = 1.3  # times fewer bytes than its share: the most that one picture's finding counts for
_SCALE_PER_BYTES = 1.4  # log-log slope: bytes fall by 10 % where the scale rises by 15 %
_FINEST, _COARSEST = 0.01, 50.0  # scales of libjpeg's qualities 100 (nearly) and 1

_START_OF_IMAGE = b"\xff\xd8"
_END_OF_IMAGE = b"\xff\xd9"
_SOF0 = 0xC0  # baseline DCT
_SOS = 0xDA  # start of scan
# What else may stand before the scan of a baseline picture: DHT, DQT, DRI, COM, APP0 to APP15.  All
# have a length.  Others, without one, decoders step over in their own ways: behind such a marker
# they could see another header than the walk here does.
_SEGMENTS = frozenset({0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)})


class JpegEncoder:
    """See `shared.codecs.codec.Encoder`; every picture is key."""

    name = "jpeg"

    def __init__(self, target: EncoderTarget = DEFAULT_TARGET) -> None:
        self._target = target
        self._scale = _scale(target.quality)

    def retarget(self, target: EncoderTarget) -> None:
        self._target = target

    def encode(self, image: Image, *, key: bool = False) -> EncodedFrame:  # noqa: ARG002 -- all are
        image = checked_image(image)
        grey = image.ndim == 2
        source = image if grey else np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), np.uint8)
        encoded = self._encode(source)
        flags = _IMREAD_GREY if grey else _IMREAD_COLOUR
        return EncodedFrame(
            codec=self.name,
            width=int(image.shape[1]),
            height=int(image.shape[0]),
            channels=1 if grey else 3,
            payload=encoded.tobytes(),
            # PSNR does not depend on the order of the channels: BGR is compared with BGR.
            psnr_db=psnr_db(source, np.asarray(cv2.imdecode(encoded, flags), np.uint8)),
        )

    def _encode(self, source: Image) -> NDArray[np.uint8]:
        """The JPEG file of `source`, of at most its share of the bitrate if that can be done."""
        finest, share = _scale(self._target.quality), self._target.frame_bytes
        if share is None:
            self._scale = finest
            return _encoded(source, self._target.quality)
        self._scale = max(self._scale, finest)
        for attempt in range(_ATTEMPTS):
            encoded = _encoded(source, _quality(self._scale))
            ratio = encoded.size / share
            # Bytes fall a little slower than the scale rises.  Up from below only by steps.
            factor = max(ratio, 1 / _FINER) ** _SCALE_PER_BYTES
            self._scale = min(max(self._scale * factor, finest, _FINEST), _COARSEST)
            if ratio <= 1 + _TOLERANCE or attempt == _ATTEMPTS - 1:
                break
        return encoded


def _encoded(source: Image, quality: int) -> NDArray[np.uint8]:
    sampling = (
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
        if quality >= FULL_CHROMA_QUALITY
        else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420
    )
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    return np.asarray(cv2.imencode(".jpg", source, options)[1], np.uint8)


def _scale(quality: int) -> float:
    """The factor on T.81's example tables that libjpeg takes `quality` (1 to 100) to mean."""
    return 50 / quality if quality < 50 else (100 - quality) / 50


def _quality(scale: float) -> int:
    return max(1, round(50 / scale) if scale > 1 else round(100 - 50 * scale))


# An orientation tag must not turn the picture: masks and sizes speak of the pixels as sent.
_IMREAD_GREY = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION
_IMREAD_COLOUR = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION


class JpegDecoder:
    """See `shared.codecs.codec.Decoder`."""

    name = "jpeg"

    def decode(
        self,
        payload: bytes | bytearray | memoryview,
        *,
        width: int,
        height: int,
        channels: int,
        key: bool = True,  # noqa: ARG002 -- all are
    ) -> Image:
        check_announced(width, height, channels)
        data = bytes(payload)
        if _frame_header(data) != (width, height, channels):
            raise DecodeFailed("the JPEG holds a picture of another size than announced")
        flags = _IMREAD_GREY if channels == 1 else _IMREAD_COLOUR
        try:
            decoded = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        except cv2.error:
            decoded = None
        if decoded is None:
            raise DecodeFailed("the JPEG is damaged")
        expected = (height, width) if channels == 1 else (height, width, 3)
        if decoded.shape != expected:
            raise DecodeFailed("the JPEG decodes to another size than announced")
        if channels == 3:
            decoded = cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
        return np.ascontiguousarray(decoded, dtype=np.uint8)


def _frame_header(data: bytes) -> tuple[int, int, int]:
    """Return (width, height, components) from the one baseline frame header of `data`.

    Follows T.81 Annex B: segments up to the first scan, with nothing between them.  Raises
    `DecodeFailed` for anything else.
    """
    if not (data.startswith(_START_OF_IMAGE) and data.endswith(_END_OF_IMAGE)):
        raise DecodeFailed("the payload is not a whole JPEG")
    header: tuple[int, int, int] | None = None
    at = len(_START_OF_IMAGE)
    while True:
        if at + 4 > len(data) or data[at] != 0xFF:
            raise DecodeFailed("the JPEG is damaged before its picture begins")
        marker = data[at + 1]
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == _SOS:
            break
        if length < 2 or (marker != _SOF0 and marker not in _SEGMENTS):
            raise DecodeFailed("the JPEG is not a single baseline picture")
        if marker == _SOF0:
            if header is not None:
                raise DecodeFailed("the JPEG is not a single baseline picture")
            if length < 8 or at + 10 > len(data) or data[at + 4] != 8:
                raise DecodeFailed("the JPEG has a malformed frame header")
            lines = int.from_bytes(data[at + 5 : at + 7], "big")
            samples = int.from_bytes(data[at + 7 : at + 9], "big")
            header = (samples, lines, data[at + 9])
        at += 2 + length
    if header is None:
        raise DecodeFailed("the JPEG has no frame header")
    return header
