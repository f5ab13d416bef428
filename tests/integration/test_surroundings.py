"""The programs where they are started: their standard streams, and the way to the server."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared.telemetry.reader import read_log
from tests.integration.programs import LIMIT_S, both, program, signaling
from tests.signaling.proxies import HttpProxy, running

PHANTOM = ("--source", "phantom:ultrasound", "--size", "98x75", "--fps", "25", "--frames", "25")
CLOSED = "<&- >&- 2>&-"
FULL = ">/dev/full 2>/dev/full"


def shell(redirections: str, module: str, *arguments: str | Path) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.Popen(
        ["sh", "-c", f'exec "$@" {redirections}', "sh", *words],
        env={key: text for key, text in os.environ.items() if not key.startswith("VEILSCOPE_")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


@pytest.mark.parametrize("redirections", [CLOSED, FULL, ""])
async def test_a_stream_whose_programs_have_nobody_to_talk_to_runs_to_its_end(
    redirections: str, tmp_path: Path
) -> None:
    """Their streams are closed, full, or pipes whose reader has gone."""
    code, logs = tmp_path / "code", (tmp_path / "s.jsonl", tmp_path / "r.jsonl")
    async with signaling() as url:
        options = (*both(url), "--code-file", code)
        ends = (
            shell(redirections, "sender", *options, *PHANTOM, "--log", logs[0]),
            shell(redirections, "receiver", *options, "--display", "none", "--log", logs[1]),
        )
        try:
            for end in ends:
                assert end.stdout is not None
                if not redirections:
                    end.stdout.close()
            statuses = [await asyncio.to_thread(end.wait, LIMIT_S) for end in ends]
            said = [end.stdout.read() for end in ends if end.stdout and redirections]
        finally:
            for end in ends:
                end.kill()
                end.wait()
    assert statuses == [0, 0], said
    assert all(not words for words in said)
    for log in logs:
        assert not read_log(log).summary_computed, "it was cut off"


def test_the_demo_needs_nobody_to_talk_to(tmp_path: Path) -> None:
    demo = shell(
        "<&- >&- 2>/dev/full", "veilscope", "demo", "--seconds", "1", "--display", "none",
        "--output", tmp_path,
    )  # fmt: skip
    assert demo.wait(2 * LIMIT_S) == 0
    assert (tmp_path / "report.html").stat().st_size > 0


@pytest.mark.parametrize("redirections", [CLOSED, FULL])
def test_a_preview_needs_nobody_to_talk_to(redirections: str, tmp_path: Path) -> None:
    picture = tmp_path / "look.png"
    preview = shell(redirections, "veilscope", "preview", "phantom:ultrasound", "-o", picture)
    assert preview.wait(LIMIT_S) == 0
    assert picture.stat().st_size > 0


async def test_both_ends_meet_through_a_proxy_whose_password_is_told_nowhere(
    tmp_path: Path,
) -> None:
    code, logs = tmp_path / "code", (tmp_path / "s.jsonl", tmp_path / "r.jsonl")
    async with signaling() as url, running(HttpProxy()) as proxy:
        port = int(url.rpartition(":")[2])
        proxy.target = ("127.0.0.1", port)
        through = proxy.url.replace("//", "//alice:hunter2@")
        options = (*both(f"ws://signal.invalid:{port}"), "--code-file", code, "--debug")
        async with (
            program("sender", *options, *PHANTOM, "--log", logs[0], "--proxy", through) as sender,
            program(
                "receiver", *options, "--display", "none", "--log", logs[1],
                environment={"HTTPS_PROXY": through, "no_proxy": "elsewhere.invalid"},
            ) as receiver,
        ):  # fmt: skip
            sent, received = await asyncio.gather(sender.ended(), receiver.ended())
    assert (sent.status, received.status) == (0, 0), (sent, received)
    assert proxy.asked_for == 2 * [f"CONNECT signal.invalid:{port} HTTP/1.1"]
    for text in (sent.output, sent.errors, received.output, received.errors):
        assert "hunter2" not in text
    for log in logs:
        assert "hunter2" not in log.read_text()


async def test_a_proxy_that_wants_credentials_ends_a_program_with_one_line(tmp_path: Path) -> None:
    async with running(HttpProxy(b"HTTP/1.1 407 No\r\n\r\n")) as proxy:
        variable = {"http_proxy": proxy.url.replace("//", "//alice:hunter2@")}
        options = (*both("ws://signal.invalid:80"), "--code", "7-abandon-ability-able")
        async with program(
            "receiver", *options, "--display", "none", environment=variable
        ) as receiver:
            ended = await receiver.ended()
    assert ended.status == 4
    assert ended.errors.splitlines() == [
        f"error: the proxy at 127.0.0.1:{proxy.port} does not accept the credentials (407)",
        "  → check user name and password in http_proxy",
    ]
