from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from shared.errors import OutputFailed
from shared.telemetry import log as log_module
from shared.telemetry.log import JsonLinesLog
from shared.telemetry.records import EventLine


def note(number: int, padding: int = 0) -> EventLine:
    return EventLine(at_s=number, event="note", detail="x" * padding)


def numbers(path: Path) -> list[int]:
    """The lines' numbers; fails on half a line."""
    text = path.read_bytes()
    assert text.endswith(b"\n")
    return [round(json.loads(line)["at_s"]) for line in text.splitlines()]


def test_lines_come_out_in_the_order_written(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with JsonLinesLog(path) as log:
        for number in range(500):
            log.write(note(number))
    assert numbers(path) == list(range(500))


def test_a_log_is_for_its_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    before = os.umask(0)
    try:
        with JsonLinesLog(path) as log:
            log.write(note(1))
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_older_log_of_the_name_is_replaced_and_gives_its_rights_to_nobody(
    tmp_path: Path,
) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("old\n" * 100)
    path.chmod(0o644)
    with JsonLinesLog(path) as log:
        log.write(note(1))
    assert numbers(path) == [1]
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_older_log_stays_until_the_first_line_of_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("an earlier session\n")
    JsonLinesLog(path).close()
    assert path.read_text() == "an earlier session\n"


def test_a_session_that_wrote_nothing_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    JsonLinesLog(path).close()
    assert not path.exists()
    path.touch()  # somebody else's, though empty
    JsonLinesLog(path).close()
    assert path.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks")
def test_the_log_of_a_running_session_is_refused_to_another(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with JsonLinesLog(path) as log:
        log.write(note(1))
        with pytest.raises(OutputFailed, match="another session's log") as refused:
            JsonLinesLog(path)
        assert "--log" in refused.value.hint
        log.write(note(2))
    assert numbers(path) == [1, 2]
    with JsonLinesLog(path) as log:
        log.write(note(3))
    assert numbers(path) == [3]


def test_devices_take_any_number_of_logs() -> None:
    with JsonLinesLog(Path("/dev/null")), JsonLinesLog(Path("/dev/null")):
        pass


def test_a_log_that_cannot_be_opened_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(OutputFailed, match="can't be opened"):
        JsonLinesLog(tmp_path / "nowhere" / "log.jsonl")


def test_lines_after_the_end_are_ignored_and_closing_twice_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = JsonLinesLog(path)
    log.write(note(1))
    log.close()
    log.write(note(2))
    log.close()
    assert numbers(path) == [1]


def test_a_full_disk_is_told_once_and_fails_no_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_module, "RETRY_AFTER_S", 0.01)
    failures: list[OutputFailed] = []
    told = threading.Event()

    def on_failure(error: OutputFailed) -> None:
        failures.append(error)
        told.set()

    log = JsonLinesLog(Path("/dev/full"), on_failure=on_failure)
    for number in range(50):
        log.write(note(number))
    assert told.wait(10)
    with pytest.raises(OutputFailed, match="50 of its lines are lost"):
        log.close()
    log.close()  # told already
    assert len(failures) == 1
    assert "No space left" in str(failures[0])


def test_with_too_many_lines_waiting_old_ones_are_given_up_but_never_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_module, "LINES_KEPT", 10)
    monkeypatch.setattr(log_module, "RETRY_AFTER_S", 60.0)  # closing tries again at once
    full = threading.Event()
    log = JsonLinesLog(Path("/dev/full"), on_failure=lambda error: full.set())
    log.write(note(0))
    assert full.wait(10)
    for number in range(1, 25):
        log.write(note(number))
    with pytest.raises(OutputFailed, match="25 of its lines are lost"):
        log.close()
    assert [line.at_s for line in log._pending] == [0, *range(16, 25)]


LIMITED = """
    import json, resource, sys, threading
    from pathlib import Path
    from shared.errors import OutputFailed
    from shared.telemetry import log as log_module
    from shared.telemetry.log import JsonLinesLog
    from shared.telemetry.records import EventLine

    log_module.RETRY_AFTER_S = 0.01
    path = Path(sys.argv[1])
    full = threading.Event()
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))  # no file grows beyond
    log = JsonLinesLog(path, on_failure=lambda error: full.set())
    for number in range(200):
        log.write(EventLine(at_s=number, event="note", detail="x" * 150))
    assert full.wait(10)
    kept = path.read_bytes()
    assert 9_000 < len(kept) <= 10_000, len(kept)
    assert kept.endswith(b"\\n")
    assert [json.loads(line)["at_s"] for line in kept.splitlines()][0] == 0
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))  # space returns
    log.write(EventLine(at_s=200, event="note"))
    log.close()
"""


def run_python(source: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_when_space_returns_no_line_is_torn_lost_or_doubled(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    result = run_python(LIMITED, path)
    assert result.returncode == 0, result.stderr
    assert numbers(path) == list(range(201))


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root")
def test_a_small_disk_that_fills_up_holds_whole_lines(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=False,
        capture_output=True,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        path = disk / "log.jsonl"
        log = JsonLinesLog(path)
        for number in range(1000):
            log.write(note(number, padding=200))
        with pytest.raises(OutputFailed):
            log.close()
        kept = numbers(path)
        assert kept == list(range(len(kept)))
        assert 100 < len(kept) < 1000
    finally:
        subprocess.run(["umount", str(disk)], check=True)


ENDLESS = """
    import sys
    from pathlib import Path
    from shared.telemetry.log import JsonLinesLog
    from shared.telemetry.records import EventLine

    log = JsonLinesLog(Path(sys.argv[1]))
    number = 0
    while True:
        while len(log._pending) > 100:
            pass
        log.write(EventLine(at_s=number, event="note"))
        number += 1
        if number == 300:
            print("going", flush=True)
"""


def test_a_killed_program_leaves_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(ENDLESS), str(path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"going\n"
        process.send_signal(signal.SIGKILL)
    written = numbers(path)
    assert written == list(range(len(written)))
    assert len(written) >= 199


def test_a_pipe_gets_every_line_whole() -> None:
    reading, writing = os.pipe()
    collected: list[bytes] = []

    def collect() -> None:
        with os.fdopen(reading, "rb") as file:
            collected.append(file.read())

    reader = threading.Thread(target=collect)
    reader.start()
    with JsonLinesLog(Path(f"/dev/fd/{writing}")) as log:
        os.close(writing)
        for number in range(300):
            log.write(note(number, padding=500))
    reader.join(10)
    lines = collected[0].splitlines()
    assert [round(json.loads(line)["at_s"]) for line in lines] == list(range(300))
