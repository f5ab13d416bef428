"""What the codecs cost and give on a real picture, beside PNG at its fastest."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from pydicom import examples
from pydicom.pixels.processing import convert_color_space
from rich.console import Console
from rich.table import Table

from lab.bench.timing import medians_ms
from shared.codecs import CODECS, open_decoder, open_encoder
from shared.errors import BadInput
from shared.frame import EncodedFrame, Image, checked_image

__all__ = ["main"]

_PNG_FASTEST = [cv2.IMWRITE_PNG_COMPRESSION, 1]


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Medians are over this many.")] = 15,
    image: Annotated[
        list[Path] | None,
        typer.Option(help="Picture files instead of the echocardiogram; repeatable."),
    ] = None,
) -> None:
    """Encode (with its PSNR) and decode, by codec, beside PNG level 1."""
    table = Table("picture", "codec", "encode ms", "decode ms", "KiB", "PSNR dB", "encode / PNG")
    pictures = [_read(path) for path in image or ()] or _echocardiogram()
    for picture in pictures:
        height, width = picture.shape[:2]
        name = f"{width}x{height}\N{NO-BREAK SPACE}{'grey' if picture.ndim == 2 else 'rgb'}"
        for row in _measure(picture, rounds):
            table.add_row(name, *row)
    Console().print(table)


def _echocardiogram() -> list[Image]:
    """One frame of the echocardiogram that pydicom carries: in colour, and as grey."""
    clip = examples.ybr_color
    rgb = checked_image(convert_color_space(clip.pixel_array[15], "YBR_FULL_422", "RGB"))
    return [np.ascontiguousarray(rgb[:, :, 1]), rgb]


def _read(path: Path) -> Image:
    pixels = cv2.imread(str(path), cv2.IMREAD_ANYCOLOR)
    if pixels is None:
        raise BadInput(f"{path} can't be read as a picture", hint="give a PNG or JPEG file")
    image = np.asarray(pixels, np.uint8)
    return checked_image(image if image.ndim == 2 else image[:, :, ::-1])


def _measure(picture: Image, rounds: int) -> list[tuple[str, ...]]:
    height, width = picture.shape[:2]
    channels = 1 if picture.ndim == 2 else 3
    encoded = {name: open_encoder(name).encode(picture) for name in CODECS}
    encoders = {name: open_encoder(name) for name in CODECS}
    decoders = {name: open_decoder(name) for name in CODECS}
    png = cv2.imencode(".png", picture, _PNG_FASTEST)[1]

    def decode(name: str) -> Image:
        payload = encoded[name].payload
        return decoders[name].decode(payload, width=width, height=height, channels=channels)

    encoding = medians_ms(
        {
            "png-1": lambda: cv2.imencode(".png", picture, _PNG_FASTEST),
            **{name: partial(encoders[name].encode, picture) for name in CODECS},
        },
        rounds,
    )
    decoding = medians_ms(
        {
            "png-1": lambda: cv2.imdecode(png, cv2.IMREAD_UNCHANGED),
            **{name: partial(decode, name) for name in CODECS},
        },
        rounds,
    )
    rival = encoding["png-1"]
    return [
        (
            name,
            f"{encoding[name]:.1f}",
            f"{decoding[name]:.1f}",
            f"{(len(png) if name not in encoded else len(encoded[name].payload)) / 1024:.0f}",
            _quality(encoded.get(name)),
            f"{encoding[name] / rival:.2f}",
        )
        for name in encoding
    ]


def _quality(encoded: EncodedFrame | None) -> str:
    psnr = None if encoded is None else encoded.psnr_db
    return "lossless" if psnr is None else f"{psnr:.1f}"
