"""What an encoder and a decoder are, whatever the codec.

Neither is thread-safe: an end of a session holds its own and calls it from one thread at a time
(never from the event loop).  Different instances may run at once.
"""

from __future__ import annotations

from typing import Protocol

from shared.errors import DecodeFailed
from shared.frame import MAX_SIDE, MIN_SIDE, EncodedFrame, Image

__all__ = ["Decoder", "Encoder", "check_announced"]


class Encoder(Protocol):
    """Pictures in, payloads out."""

    name: str

    def encode(self, image: Image) -> EncodedFrame:
        """Encode one picture, uint8 `(H, W)` or `(H, W, 3)` RGB, and measure its PSNR.

        `psnr_db` of the result compares the picture with what a decoder will make of the payload.
        Raises `BadInput` for a picture that `shared.frame.checked_image` refuses.
        """
        ...


class Decoder(Protocol):
    """Payloads in, pictures out."""

    name: str

    def decode(
        self, payload: bytes | bytearray | memoryview, *, width: int, height: int, channels: int
    ) -> Image:
        """Decode one payload announced as `width` x `height` with 1 or 3 channels.

        The result is a new C-contiguous uint8 array.  Raises `DecodeFailed` for a damaged payload
        and for one whose picture is not as announced; nothing is allocated on the word of the
        payload alone.
        """
        ...


def check_announced(width: int, height: int, channels: int) -> None:
    """Raise `DecodeFailed` for a picture size that no sender may announce."""
    if channels not in (1, 3):
        raise DecodeFailed(f"a picture has 1 or 3 channels, not {channels}")
    if not (MIN_SIDE <= width <= MAX_SIDE and MIN_SIDE <= height <= MAX_SIDE):
        raise DecodeFailed(f"a picture of {width}x{height} is out of range")
