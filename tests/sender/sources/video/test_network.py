"""Streams that break off are opened again, and both ends are told."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sender.sources.geometry import Geometry
from sender.sources.source import Reading, Skipped, SourcePicture
from sender.sources.video import VideoSource
from sender.sources.video.network import (
    FIRST_DELAY_S,
    LOST,
    MAX_DELAY_S,
    ConnectionBroke,
    NetworkReader,
    unbroken,
)
from shared.control import Notice
from shared.errors import SourceFailed
from tests.sender.sources.video.videofiles import (
    pictures_of,
    plain_pictures,
    write,
    yuv_frames,
)


def picture(level: int) -> SourcePicture:
    return SourcePicture(np.full((16, 16), level, np.uint8), Geometry(16, 16))


def level(reading: Reading) -> int:
    assert isinstance(reading, SourcePicture)
    return int(reading.image[0, 0])


def connection(*levels: int, breaks: bool = False) -> Iterator[Reading]:
    for value in levels:
        yield picture(value)
    if breaks:
        raise ConnectionBroke("it broke off")


class Line:
    """Connections in a row, with a clock that only waiting moves; the last sleep ends it all."""

    def __init__(self, *connections: Iterator[Reading], sleeps: int) -> None:
        self._connections = iter(connections)
        self._sleeps = sleeps
        self.now_ns = 1_000
        self.slept: list[float] = []

    def reopen(self) -> Iterator[Reading]:
        following = next(self._connections, None)
        if following is None:
            raise ConnectionBroke("nobody answers")
        return following

    def sleep(self, seconds: float) -> bool:
        self.slept.append(seconds)
        self.now_ns += round(seconds * 1e9)
        return len(self.slept) < self._sleeps

    def read(self, *, endless: bool = True) -> list[Reading]:
        return list(
            unbroken(
                self.reopen(),
                self.reopen,
                endless=endless,
                clock=lambda: self.now_ns,
                sleep=self.sleep,
            )
        )


def test_a_stream_that_breaks_off_goes_on_and_the_break_is_told() -> None:
    line = Line(connection(1, 2, breaks=True), connection(3), sleeps=2)
    readings = line.read()
    notices = [reading for reading in readings if isinstance(reading, Notice)]
    assert [level(r) for r in readings if not isinstance(r, Notice)] == [1, 2, 3]
    assert [readings.index(notice) for notice in notices] == [2, 3, 5]
    assert [(notice.kind, notice.lasting) for notice in notices] == [
        (LOST, True),
        (LOST, False),
        (LOST, True),
    ]
    assert notices[0].since_ns == 1_000


def test_the_end_of_an_endless_stream_is_a_break_and_that_of_a_file_its_end() -> None:
    assert len(Line(connection(1), connection(2), sleeps=9).read(endless=False)) == 1
    line = Line(connection(1), connection(2), sleeps=2)
    assert [level(r) for r in line.read() if isinstance(r, SourcePicture)] == [1, 2]


def test_tries_come_ever_later_and_a_break_is_told_once() -> None:
    line = Line(connection(1, breaks=True), sleeps=8)
    readings = line.read()
    assert line.slept == [FIRST_DELAY_S, 1.0, 2.0, 4.0, 8.0, MAX_DELAY_S, MAX_DELAY_S, MAX_DELAY_S]
    assert [isinstance(reading, Notice) for reading in readings] == [False, True]


def test_a_picture_makes_the_next_break_begin_anew() -> None:
    line = Line(
        connection(1, breaks=True), connection(breaks=True), connection(2), connection(3), sleeps=4
    )
    line.read()
    assert line.slept == [FIRST_DELAY_S, 2 * FIRST_DELAY_S, FIRST_DELAY_S, FIRST_DELAY_S]


def test_a_connection_that_gives_no_picture_is_not_back() -> None:
    def mute() -> Iterator[Reading]:
        yield Skipped("damaged")

    line = Line(connection(1), mute(), connection(2), sleeps=3)
    notices = [r.lasting for r in line.read() if isinstance(r, Notice)]
    assert notices == [True, False, True]


def test_a_file_that_can_not_be_decoded_is_not_tried_again() -> None:
    def undecodable() -> Iterator[Reading]:
        yield picture(1)
        raise SourceFailed("600 pictures in a row")

    with pytest.raises(SourceFailed, match="600"):
        Line(undecodable(), sleeps=9).read(endless=False)
    assert Line(undecodable(), sleeps=1).read() != []


# -- the pump --------------------------------------------------------------------------------------


def test_a_pump_hands_on_everything_in_order_and_ends() -> None:
    pump = NetworkReader(connection(*range(20)), newest_only=False)
    assert [level(reading) for reading in pump.taken()] == list(range(20))


def test_a_pump_of_a_live_stream_hands_on_the_newest_picture_and_every_notice() -> None:
    ended = threading.Event()

    def readings() -> Iterator[Reading]:
        yield picture(1)
        yield Notice(kind=LOST, text="gone", lasting=True)
        yield Notice(kind="other", text="something else")
        yield Notice(kind=LOST, text="back")
        yield picture(2)
        yield picture(3)
        ended.set()

    pump = NetworkReader(readings(), newest_only=True)
    ended.wait()
    pump.join()
    taken = list(pump.taken())
    assert [reading.text for reading in taken[:2] if isinstance(reading, Notice)] == [
        "something else",
        "back",
    ]
    assert [level(reading) for reading in taken[2:]] == [3]


def test_what_nobody_takes_is_bounded() -> None:
    pump = NetworkReader((Skipped("damaged") for _ in range(10_000)), newest_only=True)
    pump.join()
    assert len(list(pump.taken())) < 100


def test_an_error_comes_out_of_the_pump_after_what_came_before_it() -> None:
    pump = NetworkReader(connection(1, breaks=True), newest_only=False)
    taken = pump.taken()
    assert level(next(taken)) == 1
    with pytest.raises(SourceFailed, match="broke off"):
        next(taken)


def test_an_unforeseen_error_is_told_without_its_text() -> None:
    def readings() -> Iterator[Reading]:
        yield picture(1)
        raise RuntimeError("rtsp://name:secret@host")

    with pytest.raises(SourceFailed) as caught:
        list(NetworkReader(readings(), newest_only=False).taken())
    assert "secret" not in str(caught.value)


def test_closing_lets_go_of_whoever_waits_while_the_read_is_blocked() -> None:
    blocked, let_go = threading.Event(), threading.Event()

    def readings() -> Iterator[Reading]:
        blocked.set()
        let_go.wait()
        yield picture(1)

    pump = NetworkReader(readings(), newest_only=True)
    taken: list[Reading] = []
    taker = threading.Thread(target=lambda: taken.extend(pump.taken()))
    taker.start()
    blocked.wait()
    pump.close()
    taker.join()  # though the read goes on
    assert taken == []
    let_go.set()
    pump.join()


# -- with FFmpeg -----------------------------------------------------------------------------------


def transport_stream(folder: Path, value: int) -> bytes:
    path = write(
        folder / f"{value}.ts",
        yuv_frames(plain_pictures([value] * 40)),
        codec="mpeg2video",
        pixels="yuv420p",
        rate=25,
        options={"g": "5"},
    )
    return path.read_bytes()


class Camera:
    """Serves one transport stream a connection; keeps the last one open, and silent."""

    def __init__(self, *streams: bytes) -> None:
        self._streams = streams
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self.done = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        for number, stream in enumerate(self._streams, 1):
            connected, _ = self._listener.accept()
            with connected:
                connected.sendall(stream)
                if number == len(self._streams):
                    self.done.wait()
        self._listener.close()


def test_a_live_stream_that_breaks_off_is_taken_up_again(tmp_path: Path) -> None:
    camera = Camera(*(transport_stream(tmp_path, value) for value in (40, 120, 200)))
    source = VideoSource(camera.address, sleep=lambda _: True)
    assert source.info.live
    assert source.info.frame_count is None
    notices, readings = [], source.pictures()
    for reading in readings:
        if isinstance(reading, Notice):
            notices.append(reading.lasting)
        elif isinstance(reading, SourcePicture) and reading.image.mean() > 180:
            break
    assert notices[0]
    assert not notices[-1]
    source.close()
    assert list(readings) == []
    camera.done.set()


def test_a_live_stream_that_goes_silent_is_taken_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sender.sources.video.opening.SILENCE_S", 0.2)
    camera = Camera(transport_stream(tmp_path, 40))
    waits: list[float] = []
    source = VideoSource(camera.address, sleep=lambda seconds: bool(waits.append(seconds)))
    notices = [r.text for r in source.pictures() if isinstance(r, Notice)]
    assert notices == ["the source does not answer: trying again"]
    assert waits == [FIRST_DELAY_S]
    camera.done.set()


class _Shaky(http.server.BaseHTTPRequestHandler):
    """Serves a file: first half of it, then nothing for two requests, then what is asked for."""

    protocol_version = "HTTP/1.1"
    content = b""
    requests = 0

    def do_GET(self) -> None:
        type(self).requests += 1
        first = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        self.close_connection = True
        if self.requests in (2, 3):
            return
        body = self.content[first:]
        self.send_response(206)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(body)))
        size = len(self.content)
        self.send_header("Content-Range", f"bytes {first}-{size - 1}/{size}")
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.requests == 1 else body)

    def log_message(self, *_: object) -> None:
        pass


def test_a_file_from_the_network_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    pictures = [rng.integers(0, 256, (96, 128, 3), dtype=np.uint8) for _ in range(60)]
    for number, each in enumerate(pictures):
        each[:32, :32] = 4 * number
    path = write(
        tmp_path / "a.mp4",
        yuv_frames(pictures),
        codec="libx264",
        pixels="yuv420p",
        rate=25,
        options={"g": "10", "bf": "0"},
        container_options={"movflags": "faststart"},  # its index before its pictures
    )
    _Shaky.content, _Shaky.requests = path.read_bytes(), 0
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Shaky) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{serving.server_port}/a"
        source = VideoSource(address, sleep=lambda _: True)
        assert not source.info.live
        readings = list(source.pictures())
        serving.shutdown()
        thread.join()
    shown = [round(float(p.image[8, 8].mean()) / 4) for p in pictures_of(readings)]
    assert shown == list(range(60))
    lost = [r.lasting for r in readings if isinstance(r, Notice) and r.kind == LOST]
    assert lost == [True, False]


def test_a_live_source_may_be_closed_while_it_waits(tmp_path: Path) -> None:
    camera = Camera(transport_stream(tmp_path, 40))
    source = VideoSource(camera.address)
    taken = source.pictures()
    next(taken)
    rest: list[Reading] = []
    taker = threading.Thread(target=lambda: rest.extend(taken))
    taker.start()
    source.close()
    taker.join()
    camera.done.set()


def test_a_live_picture_that_nobody_took_says_when_it_was_delivered() -> None:
    pump = NetworkReader(connection(1), newest_only=True, clock=lambda: 77)
    (taken,) = pump.taken()
    assert isinstance(taken, SourcePicture)
    assert taken.delivered_at_ns == 77


def test_a_picture_of_a_stream_that_waits_was_delivered_when_it_is_taken() -> None:
    (taken,) = NetworkReader(connection(1), newest_only=False).taken()
    assert isinstance(taken, SourcePicture)
    assert taken.delivered_at_ns is None
