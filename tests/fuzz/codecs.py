"""Payloads of every codec, as a paired sender may send them: damaged, cut, of another size.

The first byte chooses codec, channels and whether it is called a key frame; the rest is the
payload, after the seal and its digest were found good.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np

from shared.codecs import CODECS, open_decoder, open_encoder
from shared.codecs.ffv1record import slices_of
from shared.errors import DecodeFailed

WIDTH, HEIGHT = 64, 48
_NAMES = tuple(CODECS)


def one(data: bytes) -> None:
    if not data:
        return
    how, payload = data[0], data[1:]
    with contextlib.suppress(DecodeFailed):
        slices_of(payload[:64])
    channels = 3 if how & 0x40 else 1
    with contextlib.suppress(DecodeFailed):
        image = open_decoder(_NAMES[how % len(_NAMES)]).decode(
            payload, width=WIDTH, height=HEIGHT, channels=channels, key=not how & 0x80
        )
        assert image.shape[:2] == (HEIGHT, WIDTH)


def seeds() -> Iterator[tuple[str, bytes]]:
    picture = np.add.outer(np.arange(HEIGHT), np.arange(WIDTH)).astype(np.uint8)
    for channels in (1, 3):
        image = picture if channels == 1 else np.ascontiguousarray(np.stack([picture] * 3, axis=-1))
        for number, name in enumerate(_NAMES):
            how = next(
                byte
                for byte in range(256)
                if byte % len(_NAMES) == number
                and bool(byte & 0x40) == (channels == 3)
                and not byte & 0x80
            )
            payload = open_encoder(name).encode(image, key=True).payload
            yield f"{name}-{channels}", bytes((how,)) + bytes(payload)
