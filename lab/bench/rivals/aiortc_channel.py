"""A rival's end: what a first attempt at live pictures over a data channel looks like.

Each picture is one JPEG in one message of the default channel, reliable and ordered, and is sent as
it comes.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial

import numpy as np
from aiortc import RTCDataChannel

from lab.bench.rivals.aiortc_video import connected, connection, describe
from lab.bench.rivals.clip import feed
from lab.bench.rivals.ends import Mail, Note, Orders, Watch, jpeg, run_end, top_of, unpacked, until
from shared.frame import Image

__all__: list[str] = []


async def _send(orders: Orders, mail: Mail, note: Note) -> None:
    peer = connection(orders.address)
    channel = peer.createDataChannel("pictures")
    await describe(peer, mail, offering=True)
    await connected(peer)
    await until(lambda: channel.readyState == "open")
    mail.send(type="started")
    encoding: asyncio.Queue[Image | None] = asyncio.Queue()

    async def encode() -> None:
        while (image := await encoding.get()) is not None:
            channel.send(await asyncio.to_thread(jpeg, image, orders.quality))

    sending = asyncio.create_task(encode())
    async for frame in feed(orders.clip, fps=orders.fps, seconds=orders.seconds, note=note):
        encoding.put_nowait(frame.image)
    encoding.put_nowait(None)
    await sending
    mail.send(type="fed")
    await mail.stopped()
    await peer.close()


async def _receive(orders: Orders, mail: Mail, watch: Watch) -> None:
    peer = connection(orders.address)
    arrived: asyncio.Queue[bytes | None] = asyncio.Queue()

    def opened(channel: RTCDataChannel) -> None:
        channel.on("message", lambda data: arrived.put_nowait(data))

    async def look() -> None:
        while (data := await arrived.get()) is not None:
            image = await asyncio.to_thread(unpacked, data, orders.channels)
            watch.see(time.monotonic_ns(), top_of(image), partial(np.ascontiguousarray, image))

    peer.on("datachannel", opened)
    looking = asyncio.create_task(look())
    await describe(peer, mail, offering=False)
    await mail.stopped()
    await peer.close()
    arrived.put_nowait(None)
    await looking


if __name__ == "__main__":
    run_end(_send, _receive)
