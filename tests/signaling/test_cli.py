"""The server as a program: on its own, without the packages that handle pictures or WebRTC."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from signaling.client import PeerJoined, SignalingClient
from signaling.tls import client_context

ROOT = Path(__file__).parents[2]
WAIT_S = 30.0  # a program that starts on a busy machine

# Everything that the project needs elsewhere is made impossible to import, then the server runs.
BLOCKED = [
    "aioice",
    "aiortc",
    "av",
    "cryptography",
    "cv2",
    "jinja2",
    "matplotlib",
    "mnemonic",
    "numpy",
    "PIL",
    "pydicom",
    "safetensors",
    "spake2",
    "torch",
    "uvloop",
]
RUN_BLOCKED = f"""
import runpy, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ImportError(f"{{name}} is not to be imported")

sys.meta_path.insert(0, Blocker())
sys.argv[0] = "signaling"
runpy.run_module("signaling", run_name="__main__")
"""


@asynccontextmanager
async def program(
    *arguments: str, blocked: bool = False, **environment: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    run = ["-c", RUN_BLOCKED] if blocked else ["-m", "signaling"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *run,
        *arguments,
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if not k.startswith("VEILSCOPE")} | environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(WAIT_S):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def url_of(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    assert line.startswith("signaling listening on ws")
    return line.removeprefix("signaling listening on ").strip()


async def end_of(process: asyncio.subprocess.Process) -> tuple[int | None, str]:
    _, errors = await process.communicate()
    return process.returncode, errors.decode()


async def test_it_serves_without_the_heavy_packages_and_ends_on_ctrl_c() -> None:
    async with program("--host", "127.0.0.1", "--port", "0", blocked=True) as process:
        url = await url_of(process)
        async with SignalingClient(url) as sender, SignalingClient(url) as receiver:
            room = await sender.create_room()
            joined = await receiver.join_room(room.nameplate)
            async for event in sender.events():
                assert event == PeerJoined(joined.peer)
                break
        process.send_signal(signal.SIGINT)
        status, errors = await end_of(process)
    assert status == 130
    assert errors.splitlines()[0] == f"info: room {room.nameplate}: created"
    assert "Traceback" not in errors


async def test_sigterm_stops_it_while_clients_are_connected() -> None:
    async with (
        program("--port", "0", "--quiet") as process,
        SignalingClient(await url_of(process), reconnect_for_s=0.1) as client,
    ):
        await client.create_room()
        process.send_signal(signal.SIGTERM)
        assert await end_of(process) == (143, "")


async def test_address_and_ice_servers_may_come_from_the_environment(tmp_path: Path) -> None:
    config = tmp_path / "ice.json"
    config.write_text('[{"urls": ["turn:t.example.org"], "username": "u", "credential": "c"}]')
    environment = {
        "VEILSCOPE_SIGNALING_HOST": "127.0.0.2",
        "VEILSCOPE_SIGNALING_PORT": "0",
        "VEILSCOPE_ICE_CONFIG": str(config),
    }
    async with program(**environment) as process:
        url = await url_of(process)
        assert url.startswith("ws://127.0.0.2:")
        async with SignalingClient(url) as client:
            room = await client.create_room()
    assert [server.urls for server in room.ice_servers] == [["turn:t.example.org"]]


async def test_it_serves_tls(certificate: Any) -> None:
    tls = ("--cert", str(certificate.cert), "--key", str(certificate.key))
    async with program("--port", "0", *tls) as process:
        url = await url_of(process)
        assert url.startswith("wss://")
        context = client_context(certificate.cert)
        async with SignalingClient(url, ssl_context=context) as client:
            await client.create_room()


async def test_a_port_in_use_ends_it_with_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with program("--port", str(port)) as process:
            status, errors = await end_of(process)
    assert status == 2
    first, hint = errors.splitlines()
    assert first == f"error: port {port} on 127.0.0.1 is in use"
    assert "--port 0" in hint


async def test_an_address_of_another_machine_ends_it_with_one_line_that_repeats_nothing() -> None:
    async with program("--host", "192.0.2.1", "--port", "8765") as process:
        status, errors = await end_of(process)
    assert status == 2
    first = next(line for line in errors.splitlines() if line.startswith("error"))
    assert first == "error: can't listen on 192.0.2.1:8765: cannot assign requested address"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--cert", "missing.pem", "--key", "missing.pem"),
        ("--cert", "missing.pem"),
        ("--ice-config", "missing.json"),
        ("--ice-server", "turn:example.org"),
        ("--ice-server", "stun:example.org:port"),
        ("--port", "65536"),
        ("--peers-per-room", "1"),
    ],
)
async def test_an_option_that_cannot_be_used_ends_it_with_status_2(
    arguments: tuple[str, ...],
) -> None:
    async with program("--port", "0", *arguments) as process:
        status, errors = await end_of(process)
    assert status == 2
    assert errors.startswith("error: ")
    assert "Traceback" not in errors


def test_the_light_install_asks_for_the_same_versions_as_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    lines = (ROOT / "signaling" / "requirements.txt").read_text().splitlines()
    light = [line for line in lines if line and not line.startswith("#")]
    assert sorted(light) == light
    assert [line.partition(">")[0] for line in light] == ["aiohttp", "pydantic", "rich", "typer"]
    assert set(light) <= set(project)
