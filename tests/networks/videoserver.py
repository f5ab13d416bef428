"""A video stream over TCP at port 8800, from a server that has its own troubles.

As a program of its own: `closes` in the middle of each connection, is `mute`, or sends the file as
it is, in real time, again and again.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np

from tests.networks.hosts import ROUTER_V4, Host
from tests.networks.programs import running
from tests.sender.sources.video.videofiles import write

__all__ = ["STREAM", "film", "serving"]

STREAM = f"tcp://{ROUTER_V4}:8800"
CHUNK = 7 * 188  # bytes: whole packets of an MPEG transport stream, and no more than a datagram's


def film(path: Path, *sizes: tuple[int, int], count: int = 50) -> Path:
    """`count` moving pictures of each size in turn, 25 a second."""
    parts = list[bytes]()
    for number, (width, height) in enumerate(sizes):
        frames = list[av.VideoFrame]()
        for index in range(count):
            picture = np.zeros((height, width, 3), np.uint8)
            picture[:, index * 4 % width :][:, :20] = 255
            picture[..., 1] = index
            frames.append(av.VideoFrame.from_ndarray(picture, format="rgb24"))
        part = path.with_name(f"{number}.ts")
        write(
            part,
            frames,
            codec="libx264",
            pixels="yuv420p",
            rate=25,
            options={"g": "25", "bf": "0", "preset": "ultrafast"},
        )
        parts.append(part.read_bytes())
    path.write_bytes(b"".join(parts))
    return path


@contextmanager
def serving(host: Host, folder: Path, file: Path, how: str, seconds: float) -> Iterator[None]:
    """Serve `file` from `host`, so that all of it takes `seconds`."""
    with running(
        host, __name__, file, how, str(seconds), output=folder / "videoserver.out"
    ) as server:
        if not server.says("serving", 30):
            raise RuntimeError(f"no video server: {server.output}")
        yield


def _feed(connection: socket.socket, data: bytes, how: str, seconds: float) -> None:
    if how == "mute":
        time.sleep(3600)
    began = time.monotonic()
    end = len(data) // 2 if how == "closes" else len(data)
    with contextlib.suppress(OSError), connection:
        for at in range(0, end, CHUNK):
            connection.sendall(data[at : at + CHUNK])
            time.sleep(max(0, began + seconds * at / len(data) - time.monotonic()))


def _serve(file: Path, how: str, seconds: float) -> None:
    with socket.create_server(("", 8800)) as server:
        sys.stdout.write("serving\n")
        while True:
            connection, _ = server.accept()
            threading.Thread(
                target=_feed, args=(connection, file.read_bytes(), how, seconds), daemon=True
            ).start()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
