"""What is opened, and what the errors say where nothing can be."""

from __future__ import annotations

import http.server
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition

from sender.sources import images
from sender.sources.source import DEFAULT_FPS
from sender.sources.video import VideoSource
from shared.errors import SourceFailed
from tests.sender.sources.video.videofiles import (
    pictures_of,
    plain_pictures,
    rewritten,
    rgb_pictures,
    rgb_video,
    write,
    yuv_frames,
)


def two_streams(path: Path, *dispositions: Disposition) -> Path:
    """A video of dark pictures first and of bright ones second."""
    with av.open(str(path), "w") as container:
        streams = []
        for disposition in dispositions:
            stream = container.add_stream("mpeg4", rate=10)
            stream.width, stream.height = 64, 48
            stream.pix_fmt = "yuv420p"
            stream.disposition = disposition
            streams.append(stream)
        for index in range(3):
            for stream, level in zip(streams, (40, 200), strict=True):
                (frame,) = yuv_frames(plain_pictures([level]), stream.pix_fmt)
                frame.pts = index
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("name", ["a.mkv", "a.mov"])
def test_the_default_stream_is_shown_not_the_first(name: str, tmp_path: Path) -> None:
    path = two_streams(tmp_path / name, Disposition(0), Disposition.default)
    pictures = list(images(VideoSource(path)))
    assert len(pictures) == 3
    assert pictures[0].mean() == pytest.approx(200, abs=6)


def test_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "secret.mka"
    cover = cv2.imencode(".jpg", np.zeros((48, 64), np.uint8))[1].tobytes()
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        container.add_attachment("cover.jpg", "image/jpeg", cover)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        sound.rate, sound.pts = 8000, 0
        container.mux(stream.encode(sound))
    assert "cover picture" in str(refusal(path))


def refusal(location: str | Path) -> SourceFailed:
    with pytest.raises(SourceFailed) as caught:
        VideoSource(location)
    for said in (str(caught.value), caught.value.hint):
        assert "secret" not in said
        assert "\n" not in said
    return caught.value


def test_a_codec_without_a_decoder_is_named(tmp_path: Path) -> None:
    path = write(
        tmp_path / "secret.mp4", yuv_frames(rgb_pictures(2)), codec="libx264", pixels="yuv420p"
    )
    # Essential Video Coding: FFmpeg reads it only with a library that PyAV does not bring.
    path.write_bytes(path.read_bytes().replace(b"avc1", b"evc1").replace(b"avcC", b"evcC"))
    said = str(refusal(path))
    assert "no decoder" in said
    assert "evc" in said
    assert "mp4" in said


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("secret.txt", b"Jane Doe, 1970\n" * 40, "no video"),
        ("secret.mp4", b"Jane Doe, 1970\n" * 40, "no video"),
        ("secret.avi", b"", "empty"),
        ("secret.bin", bytes(range(256)) * 40, "no video"),
        ("secret.srt", b"1\n00:00:01,000 --> 00:00:02,000\nJane\n\n" * 9, "no video"),
    ],
)
def test_a_file_that_is_no_video_is_refused(
    name: str, content: bytes, said: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert said in str(refusal(path))


def test_a_video_larger_than_can_be_sent_is_refused_with_its_size(tmp_path: Path) -> None:
    path = rgb_video(tmp_path / "secret.mkv", rgb_pictures(1, (16, 4800)))
    assert "4800x16" in str(refusal(path))


def test_an_mp4_whose_recording_was_never_finished_says_so(tmp_path: Path) -> None:
    path = write(
        tmp_path / "secret.mp4", yuv_frames(rgb_pictures(9)), codec="mpeg4", pixels="yuv420p"
    )
    path.write_bytes(path.read_bytes()[:-800])
    assert "moov" in str(refusal(path))


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    assert "not there" in str(refusal(tmp_path / "secret.mp4"))
    assert "folder" in str(refusal(tmp_path))


def test_a_name_that_looks_like_an_address_is_a_file(tmp_path: Path) -> None:
    path = rgb_video(tmp_path / "rtsp:a.mkv", rgb_pictures(2))
    assert len(list(images(VideoSource(path)))) == 2


@pytest.mark.parametrize("rate", [1000, 90_000])
def test_an_impossible_rate_is_passed_over_and_that_is_said(rate: int, tmp_path: Path) -> None:
    path = rgb_video(tmp_path / "a.avi", rgb_pictures(4), rate=rate)
    source = VideoSource(path)
    assert source.info.fps == DEFAULT_FPS
    assert any("impossible" in remark for remark in source.info.remarks)
    assert VideoSource(path, fps=12).info.fps == 12


def test_variable_rates_are_played_at_their_own_times(tmp_path: Path) -> None:
    times_ms = [0, 40, 80, 120, 320, 520, 720, 760, 1760]
    path = rgb_video(tmp_path / "a.mkv", rgb_pictures(len(times_ms)), rate=25, times=times_ms)
    source = VideoSource(path)
    for _ in range(2):
        shown = [picture.at_s for picture in pictures_of(list(source.pictures()))]
        assert shown == pytest.approx([ms / 1000 for ms in times_ms])


def test_a_rate_given_by_hand_is_kept_evenly(tmp_path: Path) -> None:
    path = rgb_video(tmp_path / "a.mkv", rgb_pictures(3), rate=25, times=[0, 40, 900])
    assert {p.at_s for p in pictures_of(list(VideoSource(path, fps=10).pictures()))} == {None}


def test_a_pause_that_nobody_sits_out_is_cut_and_told_once(tmp_path: Path) -> None:
    path = rgb_video(tmp_path / "a.mkv", rgb_pictures(3), rate=25, times=[0, 40, 7_200_000])
    source = VideoSource(path)
    readings = [*source.pictures(), *source.pictures()]
    assert max(p.at_s or 0.0 for p in pictures_of(readings)) < 1.0
    assert len(readings) - len(pictures_of(readings)) == 1


def test_a_video_within_another_file_is_read_from_its_start_and_left_open(tmp_path: Path) -> None:
    pictures = rgb_pictures(4)
    with rgb_video(tmp_path / "a.mkv", pictures).open("rb") as file:
        source = VideoSource(file)
        for _ in range(2):
            shown = list(images(source))
            assert all(np.array_equal(a, b) for a, b in zip(shown, pictures, strict=True))
        source.close()
        assert not file.closed


def test_a_file_that_ends_where_it_says_gives_no_remark(tmp_path: Path) -> None:
    for name, codec in (("a.mkv", "mpeg4"), ("a.avi", "mpeg4"), ("a.mp4", "libx264")):
        path = write(
            tmp_path / name, yuv_frames(rgb_pictures(60)), codec=codec, pixels="yuv420p", rate=20
        )
        assert VideoSource(path).info.remarks == ()


def test_a_file_cut_short_is_said_to_be_before_it_is_played(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.mkv", yuv_frames(rgb_pictures(60)), codec="mpeg4", pixels="yuv420p", rate=20
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    assert any("cut short" in remark for remark in VideoSource(path).info.remarks)


@pytest.mark.parametrize("start_s", [0, 3, 500])
@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts", "avi"])
def test_a_whole_video_that_starts_late_is_not_taken_for_cut_short(
    suffix: str, start_s: int, tmp_path: Path
) -> None:
    times = [1000 * start_s + 50 * n for n in range(60)]
    path = write(
        tmp_path / f"a.{suffix}",
        yuv_frames(rgb_pictures(60)),
        codec="mpeg4",
        pixels="yuv420p",
        rate=20,
        times=None if suffix == "avi" else times,
    )
    assert not any("cut short" in remark for remark in VideoSource(path).info.remarks)


def test_a_video_that_starts_late_and_is_cut_short_is_told(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.mkv",
        yuv_frames(rgb_pictures(60)),
        codec="mpeg4",
        pixels="yuv420p",
        rate=20,
        times=[500_000 + 50 * n for n in range(60)],
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    assert any("cut short" in remark for remark in VideoSource(path).info.remarks)


def test_a_damaged_first_picture_is_said_before_it_is_played(tmp_path: Path) -> None:
    def ruin(number: int, data: bytearray) -> None:
        if number == 0:
            data[:] = bytes(len(data))

    path = write(
        tmp_path / "a.avi",
        yuv_frames(rgb_pictures(20), "yuvj420p"),
        codec="mjpeg",
        pixels="yuvj420p",
    )
    source = VideoSource(rewritten(path, tmp_path / "b.avi", ruin))
    assert any("begins with pictures that can't be shown" in r for r in source.info.remarks)


def test_a_damaged_last_picture_is_said_before_it_is_played(tmp_path: Path) -> None:
    def ruin(number: int, data: bytearray) -> None:
        if number == 19:
            data[:] = bytes(len(data))

    path = write(
        tmp_path / "a.avi",
        yuv_frames(rgb_pictures(20), "yuvj420p"),
        codec="mjpeg",
        pixels="yuvj420p",
    )
    source = VideoSource(rewritten(path, tmp_path / "b.avi", ruin))
    assert any("last picture" in remark for remark in source.info.remarks)


class _Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path.startswith("/page"):
            page = b"<html><body>a page</body></html>" * 90
            self.send_response(200)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)
        else:
            self.send_error(int(self.path[1:4]))

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://name:secret@127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("path", "said"),
    [("404/secret", "404"), ("401/secret", "401"), ("503/secret", "5XX"), ("page", "no video")],
)
def test_what_a_server_answers_is_said_and_no_password(path: str, said: str, server: str) -> None:
    assert said in str(refusal(f"{server}/{path}"))


def test_an_address_that_nobody_serves_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    for scheme in ("http", "tcp", "rtsp"):
        said = str(refusal(f"{scheme}://name:secret@127.0.0.1:{port}/secret"))
        assert "refuses the connection" in said


def test_a_host_that_is_not_known_and_a_scheme_that_is_none_say_so() -> None:
    assert "resolved" in str(refusal("http://secret.invalid/"))
    assert "kind of address" in str(refusal("nonsense://secret/"))


@pytest.mark.parametrize("scheme", ["tcp", "http", "rtsp", "rtmp"])
def test_an_address_that_says_nothing_is_given_up_and_said_not_to_answer(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sender.sources.video.opening.OPEN_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        said = str(refusal(f"{scheme}://127.0.0.1:{mute.getsockname()[1]}"))
    assert "does not answer" in said


SDP = (
    b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    b"m=video 5004 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
)
M3U8 = b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nother.ts\n#EXT-X-ENDLIST\n"
LISTS = [
    ("secret.ffconcat", b"ffconcat version 1.0\nfile other.ts\n", "ffconcat"),
    ("secret.mp4", b"\xef\xbb\xbfffconcat version 1.0\nfile other.ts\n", "list|no video"),
    ("secret.m3u8", M3U8, "M3U8"),
    ("secret.ts", M3U8, "M3U8"),
    ("secret.sdp", SDP, "SDP"),
    ("secret.mp4", SDP.replace(b"\r", b""), "SDP"),
]


@pytest.mark.parametrize(("name", "content", "said"), LISTS)
def test_a_list_of_other_files_or_addresses_is_refused_as_what_it_is(
    name: str, content: bytes, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("other.ts"), yuv_frames(rgb_pictures(3)), codec="mpeg2video", pixels="yuv420p")
    Path(name).write_bytes(content)
    for location in (name, tmp_path / name, f"file:{name}"):
        assert re.search(said, str(refusal(location)))
    with Path(name).open("rb") as file, pytest.raises(SourceFailed, match=said):
        VideoSource(file)


def test_a_number_in_a_name_is_no_number_of_other_pictures(tmp_path: Path) -> None:
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((48, 64), np.uint8))
    with pytest.raises(SourceFailed):
        VideoSource(tmp_path / "%d.png")
    (tmp_path / "%d.png").write_bytes((tmp_path / "1.png").read_bytes())
    assert len(list(images(VideoSource(tmp_path / "%d.png")))) == 1


def test_what_lies_within_another_file_is_a_kind_of_video_that_lies_there(tmp_path: Path) -> None:
    path = tmp_path / "a.y4m"
    write(path, yuv_frames(rgb_pictures(2)), codec="wrapped_avframe", pixels="yuv420p")
    assert len(list(images(VideoSource(path)))) == 2
    with path.open("rb") as file, pytest.raises(SourceFailed, match="no video"):
        VideoSource(file)
