"""How the programs end, seen from outside: each case is a process of its own."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import pytest

from shared import terminal
from shared.terminal import EndOfInput

PROGRAM = """
    import asyncio
    from shared.errors import BadInput, OutputFailed, PeerGone, WrongCode
    from shared.terminal import DebugOption, ask, hush_libraries, run_async, run_command
    from shared.terminal import stdout, warn

    def command(case: str, number: int = 0, debug: DebugOption = False):
        '''A program that ends in many ways.'''
        secret = "zebra-" * 3
        if case == "wrong-code":
            raise WrongCode("the [two] codes\\ndiffer\\x1b[2J", hint="ask for a new one")
        if case == "no-hint":
            raise PeerGone("the other end is gone")
        if case == "group":
            raise ExceptionGroup("tasks", [ExceptionGroup("more", [OutputFailed("no space")])])
        if case == "unexpected":
            raise ZeroDivisionError("no [way]")
        if case == "interrupt":
            raise KeyboardInterrupt
        if case == "status":
            return number
        if case == "warn":
            warn("the disk is nearly full")
        if case == "chatter":
            import ctypes, logging, sys
            hush_libraries()
            hush_libraries()
            library = ctypes.CDLL(None)
            library.dprintf(2, b"TIFFReadDirectory: Warning, unknown field\\n")
            warn("the disk is nearly full")
            logging.warning("the path changed")
            print("plain words", file=sys.stderr)
            raise BadInput("no such thing")
        if case == "result":
            stdout.print(run_async(lambda: asyncio.sleep(0, "done")))
        if case == "async-error":
            async def fail():
                raise BadInput("no such thing")
            run_async(fail)
        if case in ("wait", "stubborn", "raises"):
            async def wait():
                print("ready", flush=True)
                try:
                    await asyncio.sleep(60)
                finally:
                    await asyncio.sleep(0 if case != "stubborn" else 60)
                    print("ended well", flush=True)
                    if case == "raises":
                        raise OutputFailed("the log is not whole")
            run_async(wait)
        if case == "ask":
            async def prompt():
                stdout.print("got", await ask("Code: "))
            run_async(prompt)

    run_command(command)
"""


def arguments(*words: str) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(PROGRAM), *words]


def run(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments(*words), capture_output=True, text=True, timeout=60, check=False, input=stdin
    )


def test_an_error_is_one_line_its_hint_another_and_its_status_its_own() -> None:
    result = run("wrong-code")
    assert result.returncode == 3
    assert result.stdout == ""
    assert result.stderr == "error: the [two] codes differ?[2J\n  → ask for a new one\n"


def test_what_libraries_in_c_write_is_kept_off_the_terminal_and_nothing_else_is() -> None:
    said = [
        "warning: the disk is nearly full",
        "warning: the path changed",
        "plain words",
        "error: no such thing",
    ]
    assert run("chatter").stderr.splitlines() == said
    assert "unknown field" in run("chatter", "--debug").stderr


def test_an_error_without_hint_is_one_line() -> None:
    result = run("no-hint")
    assert (result.returncode, result.stderr) == (5, "error: the other end is gone\n")


def test_out_of_a_task_group_the_error_raised_on_purpose_is_told() -> None:
    result = run("group")
    assert (result.returncode, result.stderr) == (7, "error: no space\n")


def test_anything_unexpected_is_one_line_that_names_its_kind_and_debug_but_no_value() -> None:
    result = run("unexpected")
    assert result.returncode == 1
    assert result.stderr == (
        "unexpected error: ZeroDivisionError; run with --debug for the traceback\n"
    )


@pytest.mark.parametrize("case", ["unexpected", "wrong-code"])
def test_debug_shows_the_traceback_and_no_local_variables(case: str) -> None:
    result = run(case, "--debug")
    assert "Traceback (most recent call last)" in result.stderr
    assert "zebra-zebra" not in result.stderr
    assert result.returncode == (1 if case == "unexpected" else 3)


def test_wrong_usage_is_status_2_and_names_the_help() -> None:
    result = run("status", "--number", "many")
    assert result.returncode == 2
    assert result.stderr.startswith("error: Invalid value for '--number'")
    assert "--help" in result.stderr
    assert run().returncode == 2


@pytest.mark.parametrize(("number", "status"), [("0", 0), ("9", 9)])
def test_a_command_may_choose_its_status(number: str, status: int) -> None:
    assert run("status", "--number", number).returncode == status


def test_an_interrupt_is_status_130_and_silent() -> None:
    result = run("interrupt")
    assert (result.returncode, result.stderr) == (130, "")


def test_a_warning_is_one_line_on_stderr() -> None:
    result = run("warn")
    assert (result.stdout, result.stderr) == ("", "warning: the disk is nearly full\n")


def test_an_async_command_gives_its_result_and_its_errors() -> None:
    assert run("result").stdout == "done\n"
    result = run("async-error")
    assert (result.returncode, result.stderr) == (2, "error: no such thing\n")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_lets_the_session_end_well(number: signal.Signals, status: int) -> None:
    with subprocess.Popen(
        arguments("wait"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (status, "ended well\n", "")


def test_the_second_signal_ends_the_program_at_once() -> None:
    with subprocess.Popen(arguments("stubborn"), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        while process.poll() is None:  # the first may not have been taken in yet
            process.send_signal(signal.SIGINT)
        assert "ended well" not in process.stdout.read()
    assert process.returncode == -signal.SIGINT


def test_an_error_while_ending_after_a_signal_is_told() -> None:
    with subprocess.Popen(
        arguments("raises"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (7, "error: the log is not whole\n")


def test_a_prompt_takes_a_line() -> None:
    assert run("ask", stdin="7-one-two\nmore").stdout == "Code: got 7-one-two\n"


def test_a_prompt_whose_input_ends_is_an_error() -> None:
    result = run("ask")
    assert result.returncode == 2
    assert result.stderr == "error: the input ended before a line was typed\n"


async def test_an_input_that_ends_is_told_apart_from_an_answer_that_is_no_good(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(terminal, "os", SimpleNamespace(read=lambda *_: b""))
    async with asyncio.timeout(30):
        with pytest.raises(EndOfInput):
            await terminal.ask("Code: ")


def test_ctrl_c_at_the_prompt_ends_the_program() -> None:
    with subprocess.Popen(
        arguments("ask"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(6) == b"Code: "
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_colours_are_for_terminals_only() -> None:
    assert "\x1b" not in run("wrong-code").stderr
    try:
        ours, theirs = pty.openpty()
    except OSError:
        pytest.skip("this machine gives no pseudo-terminals")
    environment = {**os.environ, "TERM": "xterm-256color"}
    with subprocess.Popen(arguments("no-hint"), stderr=theirs, env=environment) as process:
        process.wait(60)
    os.close(theirs)
    assert b"\x1b[1;31m" in os.read(ours, 1000)
    os.close(ours)


def test_the_terminal_is_light() -> None:
    heavy = "numpy torch cv2 av aiortc matplotlib"
    code = (
        "import sys, shared.terminal; "
        f"print([name for name in '{heavy}'.split() if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"
