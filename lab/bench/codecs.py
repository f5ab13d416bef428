"""What the codecs cost and give on moving pictures, beside PNG at its fastest.

Every picture goes through every codec in turn, encoded (PSNR included) and decoded, so that the
machine's moods fall on all alike.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated

import av
import cv2
import numpy as np
import typer
from pydicom import examples
from pydicom.pixels.processing import convert_color_space
from rich.console import Console
from rich.table import Table

from lab.bench.machine import describe_machine
from lab.bench.timing import Spread
from lab.resultfile import ResultFile
from shared.codecs import CODECS, EncoderTarget, open_decoder, open_encoder
from shared.errors import BadInput
from shared.frame import EncodedFrame, Image, checked_image
from shared.quality import psnr_db

__all__ = ["CodecFigures", "main", "measure"]

_PNG = "png-1"
_PNG_FASTEST = [cv2.IMWRITE_PNG_COMPRESSION, 1]
_PICTURE_FILES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True, slots=True)
class CodecFigures:
    """One codec on one clip; times in ms, sizes in KiB, PSNR in dB (None: bit-exact).

    `…_cpu_ms` is the mean of processor time, all threads together: what the machine's load bends
    least.
    """

    clip: str
    codec: str
    frames: int
    encode_p50_ms: float
    encode_p95_ms: float
    decode_p50_ms: float
    decode_p95_ms: float
    encode_cpu_ms: float
    decode_cpu_ms: float
    mean_kib: float
    largest_kib: float
    key_kib: float
    inter_kib: float | None
    psnr_mean_db: float | None
    psnr_least_db: float | None


def main(
    frames: Annotated[int, typer.Option(min=2, help="Pictures of each clip.")] = 30,
    clip: Annotated[
        list[Path] | None,
        typer.Option(
            help="Video files, picture files or folders of them instead of the clips drawn here;"
            " repeatable."
        ),
    ] = None,
    grey: Annotated[bool, typer.Option(help="Take the given clips as grey.")] = False,
    codec: Annotated[list[str] | None, typer.Option(help="Only these codecs; repeatable.")] = None,
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of the lossy codecs.")] = 90,
    bitrate: Annotated[
        float | None, typer.Option(min=0.02, help="Mbit/s at 30 frames a second; else as quality.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the figures here.")
    ] = None,
) -> None:
    """Encode (with its PSNR) and decode clips by every codec, beside PNG level 1."""
    file = ResultFile(json_file)
    target = EncoderTarget(
        quality=quality, bitrate_bps=None if bitrate is None else round(bitrate * 1e6)
    )
    names = tuple(codec or CODECS)
    clips: Iterator[tuple[str, list[Image]]]
    if clip:
        clips = ((_name(path, grey), _read(path, frames, grey=grey)) for path in clip)
    else:
        clips = _own_clips(frames)
    table = Table(
        "clip", "codec", "encode ms p50/p95", "decode ms p50/p95", "CPU ms enc/dec",
        "KiB mean/most", "KiB key/inter", "PSNR dB mean/least", "encode / PNG",
    )  # fmt: skip
    found: list[CodecFigures] = []
    for name, pictures in clips:
        rows = measure(name, pictures, names, target)
        found += rows
        png = next(row for row in rows if row.codec == _PNG)
        for row in rows:
            table.add_row(*_cells(row, png))
    Console().print(table)
    file.write(
        {
            "machine": describe_machine(),
            "target": asdict(target),
            "codecs": [asdict(row) for row in found],
        }
    )


def measure(
    clip: str, pictures: Sequence[Image], codecs: Sequence[str], target: EncoderTarget
) -> list[CodecFigures]:
    """Put `pictures` through PNG and each of `codecs`, in turns; one row of figures each."""
    ways: dict[str, _Png | _Codec] = {_PNG: _Png()}
    ways |= {name: _Codec(name, target) for name in codecs}
    runs: Mapping[str, list[_Run]] = {name: [] for name in ways}
    for picture in pictures:
        for name, way in ways.items():
            runs[name].append(way.run(picture))
    return [_figures(clip, name, found) for name, found in runs.items()]


@dataclass(frozen=True, slots=True)
class _Run:
    encode_s: float
    decode_s: float
    encode_cpu_s: float
    decode_cpu_s: float
    size: int
    key: bool
    psnr_db: float | None


class _Codec:
    def __init__(self, name: str, target: EncoderTarget) -> None:
        self._encoder = open_encoder(name, target=target)
        self._decoder = open_decoder(name)

    def run(self, picture: Image) -> _Run:
        start, start_cpu = time.perf_counter(), time.process_time()
        frame: EncodedFrame = self._encoder.encode(picture)
        encoded, encoded_cpu = time.perf_counter(), time.process_time()
        shown = self._decoder.decode(
            frame.payload,
            width=frame.width,
            height=frame.height,
            channels=frame.channels,
            key=frame.key,
        )
        decoded, decoded_cpu = time.perf_counter(), time.process_time()
        return _Run(
            encoded - start,
            decoded - encoded,
            encoded_cpu - start_cpu,
            decoded_cpu - encoded_cpu,
            len(frame.payload),
            frame.key,
            psnr_db(picture, shown),  # the true one, not the codec's word
        )


class _Png:
    def run(self, picture: Image) -> _Run:
        start, start_cpu = time.perf_counter(), time.process_time()
        png = cv2.imencode(".png", picture, _PNG_FASTEST)[1]
        encoded, encoded_cpu = time.perf_counter(), time.process_time()
        cv2.imdecode(png, cv2.IMREAD_UNCHANGED)
        decoded, decoded_cpu = time.perf_counter(), time.process_time()
        return _Run(
            encoded - start,
            decoded - encoded,
            encoded_cpu - start_cpu,
            decoded_cpu - encoded_cpu,
            len(png),
            True,
            None,
        )


def _figures(clip: str, codec: str, runs: Sequence[_Run]) -> CodecFigures:
    # The first picture opens the codecs: its size counts, its time does not.
    encode = Spread.of([run.encode_s for run in runs[1:]])
    decode = Spread.of([run.decode_s for run in runs[1:]])
    sizes = [run.size / 1024 for run in runs]
    inter = [run.size / 1024 for run in runs if not run.key]
    decibels = [run.psnr_db for run in runs if run.psnr_db is not None]
    return CodecFigures(
        clip=clip,
        codec=codec,
        frames=len(runs),
        encode_p50_ms=encode.median_s * 1e3,
        encode_p95_ms=encode.p95_s * 1e3,
        decode_p50_ms=decode.median_s * 1e3,
        decode_p95_ms=decode.p95_s * 1e3,
        encode_cpu_ms=statistics.mean(run.encode_cpu_s for run in runs[1:]) * 1e3,
        decode_cpu_ms=statistics.mean(run.decode_cpu_s for run in runs[1:]) * 1e3,
        mean_kib=statistics.mean(sizes),
        largest_kib=max(sizes),
        key_kib=statistics.mean(run.size / 1024 for run in runs if run.key),
        inter_kib=statistics.mean(inter) if inter else None,
        psnr_mean_db=statistics.mean(decibels) if decibels else None,
        psnr_least_db=min(decibels, default=None),
    )


def _cells(row: CodecFigures, png: CodecFigures) -> tuple[str, ...]:
    inter = "-" if row.inter_kib is None else f"{row.inter_kib:.0f}"
    psnr = (
        "lossless"
        if row.psnr_mean_db is None or row.psnr_least_db is None
        else f"{row.psnr_mean_db:.1f}/{row.psnr_least_db:.1f}"
    )
    return (
        row.clip,
        row.codec,
        f"{row.encode_p50_ms:.1f}/{row.encode_p95_ms:.1f}",
        f"{row.decode_p50_ms:.1f}/{row.decode_p95_ms:.1f}",
        f"{row.encode_cpu_ms:.1f}/{row.decode_cpu_ms:.1f}",
        f"{row.mean_kib:.0f}/{row.largest_kib:.0f}",
        f"{row.key_kib:.0f}/{inter}",
        psnr,
        f"{row.encode_p50_ms / png.encode_p50_ms:.2f}",
    )


def _own_clips(frames: int) -> Iterator[tuple[str, list[Image]]]:
    """The echocardiogram that pydicom carries, and moving speckle as large as scanners send it."""
    dataset = examples.ybr_color
    rgb = convert_color_space(dataset.pixel_array[:frames], "YBR_FULL_422", "RGB")
    colour = [checked_image(picture) for picture in rgb]
    yield "echocardiogram 320x240 grey", [np.ascontiguousarray(p[:, :, 1]) for p in colour]
    yield "echocardiogram 320x240 colour", colour
    for width, height in ((640, 480), (1280, 720)):
        yield f"speckle {width}x{height} grey", list(_speckle(width, height, frames))


def _speckle(width: int, height: int, frames: int) -> Iterator[Image]:
    """Rayleigh speckle under a sector-like shade, drifting by a pixel, with fresh noise on it."""
    rng = np.random.default_rng(0)
    drawn = cv2.GaussianBlur(rng.rayleigh(60, (height, width + frames)), (5, 5), 1.2)
    shade = np.hypot(*np.meshgrid(np.linspace(-1, 1, width), np.linspace(0, 1, height))) < 1
    for index in range(frames):
        noisy = drawn[:, index : index + width] + rng.normal(0, 2, (height, width))
        yield np.clip(noisy * shade, 0, 255).astype(np.uint8)


def _name(path: Path, grey: bool) -> str:
    return f"{path.stem} grey" if grey else path.stem


def _read(path: Path, frames: int, *, grey: bool) -> list[Image]:
    """The first `frames` pictures of a video file, a picture file or a folder of those."""
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in _PICTURE_FILES)
        pictures = [_picture(file) for file in files[:frames]]
    elif path.suffix.lower() in _PICTURE_FILES:
        pictures = [_picture(path)] * frames
    else:
        try:
            with av.open(str(path)) as container:
                decoded = islice(container.decode(video=0), frames)
                arrays = (f.to_ndarray(format="rgb24") for f in decoded)
                pictures = [checked_image(np.asarray(a, np.uint8)) for a in arrays]
        except (av.FFmpegError, OSError):
            pictures = []
    if len(pictures) < 2:
        raise BadInput(
            f"{path} holds no clip that can be read", hint="give a video or a folder of pictures"
        )
    if grey:
        return [np.ascontiguousarray(p if p.ndim == 2 else p[:, :, 1]) for p in pictures]
    return pictures


def _picture(path: Path) -> Image:
    pixels = cv2.imread(str(path), cv2.IMREAD_ANYCOLOR)
    if pixels is None:
        raise BadInput(f"{path} can't be read as a picture", hint="give a PNG or JPEG file")
    image = np.asarray(pixels, np.uint8)
    return checked_image(image if image.ndim == 2 else image[:, :, ::-1])
