from __future__ import annotations

import errno
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from receiver.sinks import ShownFrame
from receiver.sinks.record import RecordSink, Timeline
from shared.errors import BadInput, OutputFailed
from shared.frame import Frame, Image


def shown(index: int, at_ms: int, image: Image) -> ShownFrame:
    frame = Frame(index, 5_000_000_000 + at_ms * 1_000_000, image)
    return ShownFrame(frame, b"", 20.0, 0.5, 41.0, 1, "jpeg", 30.0)


def record(path: Path, frames: list[tuple[int, Image]]) -> None:
    sink = RecordSink(path)
    sink.start()
    for index, (at_ms, image) in enumerate(frames):
        sink.show(shown(index, at_ms, image))
    sink.close()


def decoded(path: Path) -> list[tuple[int, NDArray[np.uint8]]]:
    with av.open(str(path)) as container:
        return [
            (round((frame.time or 0) * 1000), frame.to_ndarray(format="rgb24"))
            for frame in container.decode(video=0)
        ]


def smooth(height: int, width: int, red: int) -> Image:
    image = np.zeros((height, width, 3), np.uint8)
    image[:, :, 0] = red
    image[:, :, 1] = np.linspace(0, 200, width).astype(np.uint8)
    image[: height // 2, :, 2] = 120
    return image


@pytest.mark.parametrize(("name", "size"), [("a.mp4", (48, 64)), ("b.mkv", (48, 64)),
                                            ("c.mp4", (49, 63)), ("D.MKV", (17, 16))])  # fmt: skip
def test_a_recording_keeps_size_colours_and_timing(
    tmp_path: Path, name: str, size: tuple[int, int]
) -> None:
    times = [0, 33, 67, 400, 433, 5000]
    images = [smooth(*size, red=40 + 30 * index) for index in range(len(times))]
    record(tmp_path / name, list(zip(times, images, strict=True)))
    frames = decoded(tmp_path / name)
    assert [at_ms for at_ms, _ in frames] == times
    for (_, picture), image in zip(frames, images, strict=True):
        assert picture.shape == image.shape
        assert np.abs(picture.astype(int) - image).mean() < 6


def test_a_grey_picture_stays_grey(tmp_path: Path) -> None:
    image = np.tile(np.arange(0, 240, 5, dtype=np.uint8), (32, 1))
    record(tmp_path / "g.mp4", [(0, image)])
    picture = decoded(tmp_path / "g.mp4")[0][1].astype(int)
    assert np.abs(picture - image[:, :, None]).max() <= 6


def test_a_smaller_picture_of_the_same_proportions_is_enlarged(tmp_path: Path) -> None:
    white = np.full((48, 64, 3), 255, np.uint8)
    record(tmp_path / "s.mkv", [(0, white), (40, white[:36, :48]), (80, white)])
    assert [path.name for path in tmp_path.iterdir()] == ["s.mkv"]
    pictures = [picture for _, picture in decoded(tmp_path / "s.mkv")]
    assert [picture.shape for picture in pictures] == [(48, 64, 3)] * 3
    assert pictures[1].min() > 230


@pytest.mark.parametrize("size", [(96, 128), (96, 32), (17, 640)])
def test_a_picture_that_the_file_can_t_hold_whole_goes_on_in_the_next(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    first, other = smooth(48, 64, 90), smooth(*size, 120)
    (tmp_path / "s-2.mp4").write_bytes(b"of an earlier recording")
    told = []
    sink = RecordSink(tmp_path / "s.mp4")
    sink.on_next = lambda *what: told.append(what)
    sink.start()
    for index, image in enumerate([first, first, other, other, other]):
        sink.show(shown(index, index * 40, image))
    sink.close()
    assert told == [(tmp_path / "s-3.mp4", 2, (size[1], size[0]))]
    assert (tmp_path / "s-2.mp4").read_bytes() == b"of an earlier recording"
    assert [at_ms for at_ms, _ in decoded(tmp_path / "s.mp4")] == [0, 40]
    after = decoded(tmp_path / "s-3.mp4")
    assert [at_ms for at_ms, _ in after] == [0, 40, 80]
    assert np.abs(after[0][1].astype(int) - other).mean() < 8


def test_a_recording_of_a_source_that_changes_all_the_time_has_a_bounded_number_of_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.sinks.record.MOST_FILES", 3)
    shapes = [smooth(48, 64, 90), smooth(64, 48, 90)] * 4
    told = []
    sink = RecordSink(tmp_path / "s.mp4")
    sink.on_fitted = lambda *what: told.append(what)
    sink.start()
    for index, image in enumerate(shapes):
        sink.show(shown(index, 40 * index, image))
    sink.close()
    assert told == [(1, (48, 64)), (3, None)], "said once, and counted: 48x64 is not 64x48"
    files = sorted(tmp_path.iterdir())
    assert [path.name for path in files] == ["s-2.mp4", "s-3.mp4", "s.mp4"]
    assert sum(len(decoded(path)) for path in files) == 8, "a picture is in no file"


def test_a_source_that_stands_still_is_as_long_in_the_recording_as_it_was_watched(
    tmp_path: Path,
) -> None:
    image = smooth(32, 32, 90)
    sink = RecordSink(tmp_path / "s.mp4")
    sink.start()
    sink.show(shown(0, 0, image))
    for index, age_ms in ((1, 1000.0), (2, 2000.0)):
        still = Frame(index, 5_000_000_000, image, repeated=True)
        sink.show(ShownFrame(still, b"", age_ms, 0.5, 41.0, 1, "jpeg", 30.0))
    sink.show(shown(3, 3000, image))
    sink.close()
    assert [at_ms for at_ms, _ in decoded(tmp_path / "s.mp4")] == [0, 1000, 2000, 3000]


@pytest.mark.parametrize("step_back_ms", [0, 5])
def test_a_capture_stamp_that_stands_still_or_runs_back_gives_way_to_when_it_was_shown(
    step_back_ms: int,
) -> None:
    timeline = Timeline()
    image = smooth(32, 32, 90)
    moments = []
    for index, shown_at_ms in enumerate([1000, 2000, 3000, 4000]):
        stamp_ms = 1000 - step_back_ms * index
        frame = Frame(index, stamp_ms * 1_000_000, image)
        age_ms = float(shown_at_ms - stamp_ms)
        told = ShownFrame(frame, b"", age_ms, 0.5, 41.0, 1, "jpeg", 30.0)
        moments.append(timeline.moment_of(told, 0) // 1_000_000)
    assert moments == [1000, 2000, 3000, 4000]


@pytest.mark.parametrize("off_ms", [600_000, 10**10, -(10**7), -61_000])
def test_a_capture_that_can_t_have_been_then_does_not_spoil_the_times_of_the_others(
    tmp_path: Path, off_ms: int
) -> None:
    image = smooth(32, 32, 90)
    stamps = [0, 40, 80 + off_ms, 120, 160, 1000]
    sink = RecordSink(tmp_path / "s.mp4")
    sink.start()
    for index, (at_ms, stamp_ms) in enumerate(
        zip([0, 40, 80, 120, 160, 1000], stamps, strict=True)
    ):
        frame = Frame(index, 5_000_000_000 + stamp_ms * 1_000_000, image)
        age_ms = 20.0 + at_ms - stamp_ms
        sink.show(ShownFrame(frame, b"", age_ms, 0.5, 41.0, 1, "jpeg", 30.0))
    sink.close()
    times = [at_ms for at_ms, _ in decoded(tmp_path / "s.mp4")]
    assert times == [0, 40, 100, 120, 160, 1000]


def test_a_first_capture_in_the_future_or_long_ago_is_the_beginning_all_the_same(
    tmp_path: Path,
) -> None:
    for off_ms in (3_600_000, -3_600_000):
        timeline = Timeline()
        moments = []
        for at_ms, stamp_ms in ((0, off_ms), (40, 40), (80, 80)):
            frame = Frame(0, stamp_ms * 1_000_000, smooth(32, 32, 90))
            told = ShownFrame(frame, b"", float(at_ms - stamp_ms), 0.5, 41.0, 1, "jpeg", 30.0)
            moments.append(timeline.moment_of(told, 0) // 1_000_000)
        assert moments == [0, 40, 80]


def test_without_compared_clocks_a_recording_goes_by_when_pictures_were_shown() -> None:
    timeline = Timeline()
    frame = Frame(0, 10**18, smooth(32, 32, 90))
    told = ShownFrame(frame, b"", None, None, 41.0, 1, "jpeg", 30.0)
    assert [timeline.moment_of(told, now_ns) for now_ns in (5, 9)] == [5, 9]


def test_times_that_stand_still_or_run_back_are_put_in_order(tmp_path: Path) -> None:
    image = smooth(32, 32, 90)
    record(tmp_path / "t.mp4", [(0, image), (40, image), (40, image), (20, image)])
    times = [at_ms for at_ms, _ in decoded(tmp_path / "t.mp4")]
    assert len(times) == 4
    assert times == sorted(times)


@pytest.mark.parametrize("name", ["x.avi", "x", "x.mp3", "mp4"])
def test_an_ending_that_is_no_video_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match=r"\.mp4 or \.mkv"):
        RecordSink(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_cannot_be_written_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(OutputFailed, match="can't be written"):
        RecordSink(tmp_path / "nowhere" / "x.mp4").start()


def test_a_session_that_showed_nothing_leaves_no_video(tmp_path: Path) -> None:
    record(tmp_path / "x.mp4", [])
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_once_and_show_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "x.mkv"
    path.symlink_to("/dev/full")
    failures: list[OutputFailed] = []
    sink = RecordSink(path, on_failure=failures.append)
    sink.start()
    noise = np.random.default_rng(1)
    for index in range(20):
        sink.show(shown(index, index * 33, noise.integers(0, 256, (240, 320, 3), np.uint8)))
    with pytest.raises(OutputFailed, match="No space left"):
        sink.close()
    sink.close()
    sink.show(shown(99, 9000, noise.integers(0, 256, (240, 320, 3), np.uint8)))
    assert len(failures) == 1


def test_a_failure_of_any_kind_is_told_and_the_container_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[OutputFailed] = []
    path = tmp_path / "x.mkv"
    sink = RecordSink(path, on_failure=failures.append)
    sink.start()
    container = sink._video._container  # type: ignore[union-attr]
    closed = threading.Event()

    class Container:
        def add_stream(self, *_: object, **__: object) -> None:
            raise ValueError("no such pixel format")

        def close(self) -> None:
            container.close()
            closed.set()

    sink._video._container = Container()  # type: ignore[union-attr]
    for index in range(3):
        sink.show(shown(index, index * 33, smooth(32, 32, 90)))
    with pytest.raises(OutputFailed, match="3 frames are missing") as failed:
        sink.close()
    assert closed.is_set()
    assert isinstance(failed.value.__cause__, ValueError)
    assert [str(failure) for failure in failures] == [
        f"the recording {path} can't be written (ValueError); the session goes on"
    ]


def test_a_failure_at_the_end_is_told_though_no_frame_is_missing(tmp_path: Path) -> None:
    sink = RecordSink(tmp_path / "x.mkv")
    sink.start()

    class Container:
        def close(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    sink._video._container = Container()  # type: ignore[union-attr]
    with pytest.raises(OutputFailed, match="No space left"):
        sink.close()


RECORDING = """
import resource, signal, sys, time
from pathlib import Path
import numpy as np
from receiver.sinks import ShownFrame
from receiver.sinks.record import RecordSink
from shared.errors import OutputFailed
from shared.frame import Frame

path, frames, limit = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
sink = RecordSink(path)
sink.start()
dice = np.random.default_rng(1)
for index in range(frames):
    image = dice.integers(0, 256, (120, 160, 3), np.uint8)
    frame = Frame(index, index * 33_000_000, image)
    sink.show(ShownFrame(frame, b"", 1.0, 0.1, 40.0, 1, "jpeg", 30.0))
while sink.kept + sink.lost < frames:
    time.sleep(0.01)
if limit:
    try:
        sink.close()
    except OutputFailed as error:
        print(error)
        sys.exit(7)
    sys.exit(0)
print("kept", flush=True)
signal.pause()
"""


@pytest.mark.parametrize("name", ["x.mp4", "x.mkv"])
def test_a_recording_that_does_not_fit_is_never_passed_off_as_whole(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    run = subprocess.run(
        [sys.executable, "-c", RECORDING, str(path), "100", "200000"],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert run.returncode == 7, run.stderr
    assert "missing" in run.stdout
    assert path.stat().st_size <= 200_000


@pytest.mark.parametrize("name", ["x.mp4", "x.mkv"])
def test_a_recording_cut_off_by_a_crash_plays_up_to_a_second_before(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    with subprocess.Popen(
        [sys.executable, "-c", RECORDING, str(path), "100", "0"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "kept\n"
        process.kill()
    with av.open(str(path)) as container:
        frames = 0
        with suppress(av.error.FFmpegError):  # the last packet may be half there
            for _ in container.decode(video=0):
                frames += 1
    assert frames >= 60


def test_an_older_recording_stays_until_the_first_frame_and_gives_its_rights_to_nobody(
    tmp_path: Path,
) -> None:
    path = tmp_path / "x.mkv"
    path.write_bytes(b"an earlier session")
    path.chmod(0o644)
    record(path, [])
    assert path.read_bytes() == b"an earlier session"
    assert path.stat().st_mode & 0o777 == 0o644
    record(path, [(0, smooth(32, 32, 90))])
    assert len(decoded(path)) == 1
    assert path.stat().st_mode & 0o777 == 0o600
