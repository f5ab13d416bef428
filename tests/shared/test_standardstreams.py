"""Programs whose standard streams are closed, full, left by their reader, or of few letters."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from shared.errors import PeerGone

LAUNCH = """
    def command():
        def speak():
            import asyncio, sys
            from shared.terminal import ask, run_async, stdout, warn
            from shared.errors import PeerGone

            async def serve():
                server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
                _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
                writer.close()
                await writer.wait_closed()
                server.close()
                stdout.print("the café is open │ " + "x" * 20_000)
                warn("ünusual")

            run_async(serve)
            raise PeerGone("the other end is gone")
        return speak

    from shared.launch import launch
    launch(command)
"""
EVERY_COMBINATION = [
    " ".join(some)
    for count in range(1, 4)
    for some in itertools.combinations(("<&-", ">&-", "2>&-"), count)
]


def run(redirections: str, *, code: str = LAUNCH, **environment: str) -> subprocess.Popen[bytes]:
    """Start it by a shell: `subprocess` has no way to close a stream."""
    return subprocess.Popen(
        ["sh", "-c", f'exec "$0" -c "$1" {redirections}', sys.executable, textwrap.dedent(code)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
    )


def outcome(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    output, errors = process.communicate(timeout=60)
    return process.returncode, output.decode(), errors.decode()


@pytest.mark.parametrize("redirections", EVERY_COMBINATION)
def test_a_program_whose_streams_are_closed_serves_sockets_and_ends_with_its_own_status(
    redirections: str,
) -> None:
    status, output, errors = outcome(run(redirections))
    assert status == PeerGone.exit_status
    assert ("the café is open" in output) == (">&-" not in redirections.split())
    assert ("error: the other end is gone" in errors) == ("2>&-" not in redirections)
    assert "Assertion" not in errors
    assert "Exception" not in errors


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "redirections", [">/dev/full", "2>/dev/full", ">/dev/full 2>/dev/full", "<&- >/dev/full"]
)
def test_a_disk_that_is_full_takes_what_is_said_and_changes_nothing(
    redirections: str, unbuffered: str
) -> None:
    status, _, errors = outcome(run(redirections, PYTHONUNBUFFERED=unbuffered))
    assert status == PeerGone.exit_status
    assert "Exception" not in errors


def test_a_reader_that_is_gone_changes_nothing() -> None:
    process = run("")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stderr.close()
    assert process.wait(60) == PeerGone.exit_status


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_while_a_session_runs_a_reader_that_stands_still_is_not_waited_for(unbuffered: str) -> None:
    code = """
        def command():
            def speak():
                from shared.terminal import run_async, stdout, warn
                async def tell():
                    for _ in range(30):
                        stdout.print("x" * 10_000)
                        warn("y" * 10_000)
                run_async(tell)
                stdout.print("summary")
            return speak
        from shared.launch import launch
        launch(command)
    """
    process = run("", code=code, PYTHONUNBUFFERED=unbuffered)
    assert process.wait(60) == 0, "it waits for somebody to read"
    outcome(process)


def test_nothing_is_lost_on_the_way_to_a_reader_that_is_slow() -> None:
    code = """
        def command():
            def speak():
                from shared.terminal import run_async, stdout
                async def tell():
                    for number in range(2000):
                        stdout.print(f"{number} " + "x" * 100, soft_wrap=True)
                run_async(tell)
            return speak
        from shared.launch import launch
        launch(command)
    """
    process = run("", code=code)
    assert process.stdout is not None
    numbers = [int(line.split()[0]) for line in process.stdout]
    assert numbers == list(range(2000))
    assert outcome(process)[0] == 0


def test_a_pipe_that_does_not_block_and_is_full_loses_what_it_can_not_take() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    code = "from shared.standardstreams import forgive; forgive(); print('x' * 500_000, flush=True)"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(reading)
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_letters_that_the_stream_does_not_have_become_question_marks() -> None:
    status, output, errors = outcome(run("", PYTHONIOENCODING="ascii"))
    assert status == PeerGone.exit_status
    assert output.startswith("the caf? is open ? ")
    assert errors.splitlines()[-1] == "error: the other end is gone"


def test_at_a_prompt_a_closed_input_has_ended() -> None:
    code = """
        def command():
            def enter():
                from shared.terminal import ask, run_async
                run_async(lambda: ask("Code: "))
            return enter
        from shared.launch import launch
        launch(command)
    """
    status, _, errors = outcome(run("<&-", code=code))
    assert status == 2
    assert errors == "error: the input ended before a line was typed\n"


def test_what_is_started_inherits_the_streams_that_were_opened() -> None:
    code = """
        from shared.standardstreams import reopen
        reopen()
        import subprocess, sys
        child = "import os; [os.fstat(n) for n in (0, 1, 2)]"
        sys.exit(subprocess.run([sys.executable, "-c", child]).returncode)
    """
    assert run("<&- >&- 2>&-", code=code).wait(60) == 0


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_a_program_is_imported_ends_it_without_a_word(
    number: signal.Signals, status: int
) -> None:
    code = """
        def command():
            print("importing", flush=True)
            import time
            while True:
                time.sleep(60)
        from shared.launch import launch
        launch(command)
    """
    process = run("", code=code)
    assert process.stdout is not None
    assert process.stdout.readline() == b"importing\n"
    process.send_signal(number)
    assert outcome(process) == (status, "", "")


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    code = """
        import os, signal
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        def command():
            os.kill(os.getpid(), signal.SIGINT)
            return lambda: os.kill(os.getpid(), signal.SIGINT)
        from shared.launch import launch
        launch(command)
    """
    assert outcome(run("", code=code)) == (0, "", "")
