"""Bit-exact pictures, each kind by the codec that measured best for it (docs/BENCHMARKS.md).

Grey: H.264 at quantiser 0 (High 4:4:4 Predictive, CAVLC), each picture built on the one before; it
takes half of FFV1's time for FFV1's bytes.  Colour: FFV1, every picture on its own; H.264 in GBR
takes twice its bytes.  The first byte of a payload says which: 1 is FFV1 (`shared.codecs.ffv1`);
2 is followed by the CRC-32 of the samples u32, big-endian, and a chained payload
(`shared.codecs.chain`).

Both carry that CRC over the picture, not over the bytes sent (the seal looks after those): it
proves to the receiver that what it shows is bit for bit what the sender captured, whatever the two
ends' codec libraries.
"""

from __future__ import annotations

import struct
import zlib

from shared.codecs import ffv1
from shared.codecs.chain import ChainDecoder, ChainWriter, shape_of
from shared.codecs.codec import DEFAULT_TARGET, EncoderTarget
from shared.codecs.planes import PlaneWriter
from shared.codecs.x264 import X264
from shared.errors import DecodeFailed
from shared.frame import EncodedFrame, Image, checked_image
from shared.wire import check_announced

__all__ = ["LosslessDecoder", "LosslessEncoder"]

_NAME = "lossless"
_FORMAT_H264 = 2
_HEADER = struct.Struct(">BI")  # format, CRC-32 of the samples
_OPTIONS = {"preset": "ultrafast", "qp": "0"}


class LosslessEncoder:
    """See `shared.codecs.codec.Encoder`."""

    name = _NAME

    def __init__(self, target: EncoderTarget = DEFAULT_TARGET) -> None:  # noqa: ARG002
        self._chain = ChainWriter(_FORMAT_H264)
        self._colour = ffv1.Ffv1Encoder()
        self._grey: _GreyStream | None = None

    def retarget(self, target: EncoderTarget) -> None:
        """Exact pictures take the bytes that they take."""

    def encode(self, image: Image, *, key: bool = False) -> EncodedFrame:
        image = checked_image(image)
        width, height, channels = shape = shape_of(image)
        if channels == 3:
            self._grey, is_key = None, True
            payload = self._colour.encode(image)
        else:
            if self._grey is None or self._grey.shape != image.shape:
                self._grey = _GreyStream(image)
            data, is_key = self._grey.encode(image, key=key)
            header = _HEADER.pack(_FORMAT_H264, zlib.crc32(image.data))
            payload = header + self._chain.pack(data, shape=shape, key=is_key)
        return EncodedFrame(self.name, width, height, channels, payload, None, is_key)


class LosslessDecoder:
    """See `shared.codecs.codec.Decoder`."""

    name = _NAME

    def __init__(self) -> None:
        self._colour = ffv1.Ffv1Decoder()
        self._grey = ChainDecoder(_NAME, "h264", _FORMAT_H264, halved=True)

    def decode(
        self,
        payload: bytes | bytearray | memoryview,
        *,
        width: int,
        height: int,
        channels: int,
        key: bool = True,
    ) -> Image:
        check_announced(width, height, channels)
        if len(payload) <= _HEADER.size:
            raise DecodeFailed("the lossless payload is cut short")
        format_number, crc = _HEADER.unpack_from(payload)
        if format_number == ffv1.FORMAT:
            if not key:
                raise DecodeFailed("the payload is not the kind of picture it was announced as")
            return self._colour.decode(
                bytes(payload), width=width, height=height, channels=channels
            )
        if format_number != _FORMAT_H264 or channels != 1:
            raise DecodeFailed("the lossless payload has an unknown format")
        image = self._grey.decode(
            memoryview(payload)[_HEADER.size :],
            width=width,
            height=height,
            channels=channels,
            key=key,
        )
        if zlib.crc32(image.data) != crc:
            self._grey.forget()
            raise DecodeFailed("the lossless payload does not give the picture it was made from")
        return image


class _GreyStream:
    def __init__(self, image: Image) -> None:
        self.shape = image.shape
        self._planes = PlaneWriter(*shape_of(image), halved=True)
        self._x264 = X264(self._planes.frame, _OPTIONS)

    def encode(self, image: Image, *, key: bool) -> tuple[bytes, bool]:
        packet = self._x264.encode(self._planes.write(image), key=key)
        return bytes(packet), packet.is_keyframe
