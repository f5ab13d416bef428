"""What sealing and opening a frame costs on its path, beside AES-256-GCM alone."""

from __future__ import annotations

from itertools import count
from typing import Annotated

import numpy as np
import typer
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from lab.bench.timing import medians_ms
from shared.crypto.keyschedule import EpochKeys, derive_epoch
from shared.crypto.sealing import Opener, Sealer
from shared.keystream.backend import KeyedGenerator, open_backend
from shared.keystream.network import DEFAULT_FAMILY, load_network

__all__ = ["main"]

_SIZES = (16 << 10, 64 << 10, 307_200, 921_600)  # JPEG frames; raw 640x480 grey and RGB
_SECRET = bytes(range(32))
_EPOCH, _SENDER = 1, 0


class _Prepared:
    """The pads of coming frames, made before: all that `KeystreamAhead` leaves on the path."""

    def __init__(self, generator: KeyedGenerator, frames: int, nbytes: int) -> None:
        self._pads = [generator.generate(counter, nbytes) for counter in range(frames)]

    def take(self, counter: int, nbytes: int) -> NDArray[np.uint8]:
        return self._pads[counter][:nbytes]


class _OnTheSpot:
    def __init__(self, generator: KeyedGenerator) -> None:
        self._generator = generator

    def take(self, counter: int, nbytes: int) -> NDArray[np.uint8]:
        return self._generator.generate(counter, nbytes)


def _seal(sealer: Sealer, frame: bytes) -> bytes:
    return sealer.seal(sealer.draw(len(frame)), frame)


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Medians are over this many.")] = 30,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Seal and open frames, with the keystream made ahead and on the spot."""
    keys = derive_epoch(_SECRET, _EPOCH, _SENDER)
    generator = open_backend(load_network(DEFAULT_FAMILY), device).keyed(keys.keystream_key)
    table = Table(
        "one frame, ms",
        "AES-256-GCM alone",
        "seal, keystream ahead",
        "seal, on the spot",
        "open, keystream ahead",
        "seal ahead / AES-GCM",
    )
    for nbytes in _SIZES:
        found = _measure(keys, generator, nbytes, rounds)
        table.add_row(
            f"{nbytes / 1024:,.0f} KiB",
            *(f"{milliseconds:.3f}" for milliseconds in found.values()),
            f"{found['seal ahead'] / found['AES-GCM']:.1f}",
        )
    Console().print(table)


def _measure(
    keys: EpochKeys, generator: KeyedGenerator, nbytes: int, rounds: int
) -> dict[str, float]:
    frame = bytes(nbytes)
    frames = rounds + 1
    aead, nonces = AESGCM(_SECRET), count()
    ahead = Sealer(keys, _SENDER, _Prepared(generator, frames, nbytes))
    on_the_spot = Sealer(keys, _SENDER, _OnTheSpot(generator))
    arriving = Sealer(keys, _SENDER, _OnTheSpot(generator))
    sealed = iter([_seal(arriving, frame) for _ in range(frames)])
    opener = Opener(keys, _SENDER, _Prepared(generator, frames, nbytes))
    return medians_ms(
        {
            "AES-GCM": lambda: aead.encrypt(next(nonces).to_bytes(12, "big"), frame, b""),
            "seal ahead": lambda: _seal(ahead, frame),
            "seal on the spot": lambda: _seal(on_the_spot, frame),
            "open ahead": lambda: opener.open(next(sealed)),
        },
        rounds,
    )
