from __future__ import annotations

import asyncio
import sys

import pytest

from veilscope import demo as demo_module
from veilscope.demo import DemoFailed, _complaint, _Program


@pytest.mark.parametrize(
    ("said", "text", "hint"),
    [
        ("error: the disk is full\n  → free some space\n", "the disk is full", "free some space"),
        ("warning: slow disk\n  → x\nerror: gone\n  → look\n", "gone", "look"),
        ("error: first\n  → one\nerror: last\n", "last", ""),
        ("unexpected error: ValueError: x\n", "ValueError: x", ""),
        ("warning: only this\n", "", ""),
        ("", "", ""),
    ],
)
def test_of_what_a_program_said_its_last_error_and_hint_are_quoted(
    said: str, text: str, hint: str
) -> None:
    assert _complaint(said) == (text, hint)


async def running(code: str) -> _Program:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    return _Program("sender", process)


async def test_a_program_that_fails_is_quoted_and_its_status_kept() -> None:
    code = "import sys; sys.exit(print('warning: w\\nerror: no', file=sys.stderr) or 6)"
    program = await running(code)
    with pytest.raises(DemoFailed, match="the sender failed: no") as failed:
        await program.ended()
    assert failed.value.exit_status == 6


async def test_a_program_that_says_nothing_in_time_fails_the_demo(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(demo_module, "START_TIMEOUT_S", 0.05)
    program = await running("import sys; sys.stdin.read(); import time; time.sleep(60)")
    try:
        with pytest.raises(DemoFailed, match="did not start in time"):
            await program.line_after("listening")
    finally:
        await program.stop()
