"""A rival's end: headless Chromium's video, driven by a page of ours.

The page and this program talk over a WebSocket on the loopback address: the sender's pictures go
into the browser as they are captured, and what the browser hands out comes back.  Each of the two
hops adds a millisecond or two, which is part of this rival's figures.  Memory is summed over the
browser's processes, so that what they share counts several times.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import struct
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import WSMsgType, web

from lab.bench.rivals.clip import feed
from lab.bench.rivals.ends import Mail, Note, Orders, Watch, from_i420, i420, run_end, top_of

__all__ = ["BROWSERS"]

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_PAGE = Path(__file__).with_name("chromium.html")
_LOOPBACK = "127.0.0.1"
_MOST_BYTES = 32 << 20  # of a picture; 4K in I420 are 13 MB
_START_S = 60.0  # for a browser to start on a busy machine
# Before a picture's planes: width, height, and ms: into the browser of the stream's time, out of it
# since the picture was handed out.
_HEAD = struct.Struct("<HHf")
_FLAGS = (
    "--headless",
    "--no-sandbox",  # which a browser that runs as root needs
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-features=WebRtcHideLocalIpsWithMdns",  # nobody answers multicast DNS here
    "--allow-loopback-in-peer-connection",
    # A page that may use a microphone is told all addresses of the machine, others the default
    # route's alone, which an isolated network does not have.
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
)


class _Browser:
    """A browser with our page open: what the page says, and a way to tell it something."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket
        self.said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.pictures: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()

    async def tell(self, **told: object) -> None:
        await self._socket.send_str(json.dumps(told))

    async def show(self, picture: bytes) -> None:
        await self._socket.send_bytes(picture)

    async def listen(self) -> None:
        async for message in self._socket:
            if message.type == WSMsgType.BINARY:
                self.pictures.put_nowait((time.monotonic_ns(), message.data))
            elif message.type == WSMsgType.TEXT:
                self.said.put_nowait(json.loads(message.data))

    async def hear(self, kind: str) -> dict[str, Any]:
        async with asyncio.timeout(_START_S):
            said = await self.said.get()
        if said.get("type") != kind:
            raise SystemExit(f"the page said {said}, not {kind}")
        return said


@asynccontextmanager
async def _browser(folder: Path) -> AsyncIterator[_Browser]:
    """A browser that has opened our page; its own files lie in `folder`."""
    opened: asyncio.Future[_Browser] = asyncio.get_running_loop().create_future()

    async def page(_: web.Request) -> web.StreamResponse:
        return web.Response(text=_PAGE.read_text(encoding="utf-8"), content_type="text/html")

    async def talk(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(max_msg_size=_MOST_BYTES)
        await socket.prepare(request)
        browser = _Browser(socket)
        if not opened.done():
            opened.set_result(browser)
        await browser.listen()
        return socket

    application = web.Application()
    application.add_routes([web.get("/", page), web.get("/talk", talk)])
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, _LOOPBACK, 0)
    await site.start()
    port = runner.addresses[0][1]
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        raise SystemExit("there is no Chromium here")
    process = await asyncio.create_subprocess_exec(
        executable, *_FLAGS, f"--user-data-dir={folder}", f"http://{_LOOPBACK}:{port}/",
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(folder)},
    )  # fmt: skip
    try:
        async with asyncio.timeout(_START_S):
            browser = await opened
        yield browser
    finally:
        process.terminate()
        await process.wait()
        await runner.cleanup()


async def _send(orders: Orders, mail: Mail, note: Note) -> None:
    async with _browser(orders.record.with_suffix(".browser")) as browser:
        await browser.tell(type="send", codec=orders.codec)
        mail.send(**await browser.hear("offer"))
        await browser.tell(**await mail.receive())
        await browser.hear("connected")
        mail.send(type="started")
        async for frame in feed(orders.clip, fps=orders.fps, seconds=orders.seconds, note=note):
            data = await asyncio.to_thread(i420, frame.image)
            at_ms = 1000 * frame.index / orders.fps
            await browser.show(_HEAD.pack(frame.width, frame.height, at_ms) + data)
        mail.send(type="fed")
        await mail.stopped()


async def _receive(orders: Orders, mail: Mail, watch: Watch) -> None:
    async with _browser(orders.record.with_suffix(".browser")) as browser:
        await browser.tell(type="receive", every=orders.sample_every)
        await browser.tell(**await mail.receive())
        mail.send(**await browser.hear("answer"))

        async def look() -> None:
            while True:
                at_ns, data = await browser.pictures.get()
                width, height, age_ms = _HEAD.unpack_from(data)
                planes = np.frombuffer(data, np.uint8, offset=_HEAD.size).reshape(-1, width)
                watch.see(
                    at_ns - round(age_ms * 1e6),
                    top_of(planes),
                    partial(from_i420, planes, orders.channels),
                    keep=planes.shape[0] > height,  # the page sends every so many whole
                )

        looking = asyncio.create_task(look())
        await mail.stopped()
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


if __name__ == "__main__":
    run_end(_send, _receive)
