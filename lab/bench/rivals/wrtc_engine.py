"""A rival's end: the engine of Chrome (libwebrtc, by the optional package wrtc), without a browser.

`--codec` VP8, VP9 or AV1: its video track, with its jitter buffer and congestion control.
`channel`: one JPEG a message over its default data channel, reliable and ordered.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from functools import partial

import numpy as np
import webrtc

from lab.bench.rivals.clip import feed
from lab.bench.rivals.ends import (
    Mail,
    Note,
    Orders,
    Watch,
    from_i420,
    i420,
    jpeg,
    run_end,
    top_of,
    unpacked,
    until,
)

__all__: list[str] = []

CHANNEL = "channel"
_GATHER_S = 10.0


def _connection(address: str | None) -> webrtc.RTCPeerConnection:
    if address is not None and address.startswith("127."):
        webrtc.allow_loopback()
    return webrtc.RTCPeerConnection()


async def _described(peer: webrtc.RTCPeerConnection) -> str:
    """The local description with all candidates in it."""
    async with asyncio.timeout(_GATHER_S):
        await until(lambda: peer.ice_gathering_state == "complete")
    description = peer.local_description
    assert description is not None  # noqa: S101 -- set before
    sdp: str = description.sdp
    return sdp


async def _describe(peer: webrtc.RTCPeerConnection, mail: Mail, *, offering: bool) -> None:
    if offering:
        await peer.set_local_description(await peer.create_offer())
        mail.send(type="offer", sdp=await _described(peer))
        said, kind = await mail.receive(), webrtc.RTCSdpType.answer
        await peer.set_remote_description(webrtc.RTCSessionDescription(kind, said["sdp"]))
    else:
        said, kind = await mail.receive(), webrtc.RTCSdpType.offer
        await peer.set_remote_description(webrtc.RTCSessionDescription(kind, said["sdp"]))
        await peer.set_local_description(await peer.create_answer())
        mail.send(type="answer", sdp=await _described(peer))


async def _connected(peer: webrtc.RTCPeerConnection) -> None:
    await until(lambda: peer.connection_state in ("connected", "failed", "closed"))
    if peer.connection_state != "connected":
        raise SystemExit("the two ends did not connect")


async def _send(orders: Orders, mail: Mail, note: Note) -> None:
    if orders.codec == CHANNEL:
        await _send_on_channel(orders, mail, note)
        return
    peer = _connection(orders.address)
    generator = webrtc.VideoTrackGenerator()
    transceiver = peer.add_transceiver(
        generator.track, webrtc.RTCRtpTransceiverInit(direction="sendonly")
    )
    wanted = f"video/{orders.codec}".lower()
    capabilities = webrtc.RTCRtpSender.get_capabilities("video")
    assert capabilities is not None  # noqa: S101 -- of video there are always some
    transceiver.set_codec_preferences(
        [c for c in capabilities.codecs if c.mime_type.lower() in (wanted, "video/rtx")]
    )
    await _describe(peer, mail, offering=True)
    await _connected(peer)
    mail.send(type="started")
    writer = generator.writable.get_writer()
    async for frame in feed(orders.clip, fps=orders.fps, seconds=orders.seconds, note=note):
        data = await asyncio.to_thread(i420, frame.image)
        init = webrtc.VideoFrameBufferInit(
            format="I420",
            coded_width=frame.width,
            coded_height=frame.height,
            timestamp=frame.captured_at_ns // 1000,
        )
        await writer.write(webrtc.VideoFrame(data, init))
    mail.send(type="fed")
    await mail.stopped()
    peer.close()


async def _send_on_channel(orders: Orders, mail: Mail, note: Note) -> None:
    peer = _connection(orders.address)
    channel = peer.create_data_channel("pictures")
    await _describe(peer, mail, offering=True)
    await _connected(peer)
    await until(lambda: channel.ready_state == "open")
    mail.send(type="started")
    async for frame in feed(orders.clip, fps=orders.fps, seconds=orders.seconds, note=note):
        data = await asyncio.to_thread(jpeg, frame.image, orders.quality)
        with suppress(webrtc.OperationError):  # its queue of 16 MB is full: the picture is lost
            channel.send(data)
    mail.send(type="fed")
    await mail.stopped()
    peer.close()


async def _receive(orders: Orders, mail: Mail, watch: Watch) -> None:
    peer = _connection(orders.address)
    looking: list[asyncio.Task[None]] = []
    arrived: asyncio.Queue[bytes] = asyncio.Queue()

    async def look_at_track(track: webrtc.MediaStreamTrack) -> None:
        init = webrtc.MediaStreamTrackProcessorInit(track=track, max_buffer_size=8)
        reader = webrtc.MediaStreamTrackProcessor(init).readable.get_reader()
        while not (result := await reader.read()).done:
            at_ns = time.monotonic_ns()
            frame = result.value
            assert isinstance(frame, webrtc.VideoFrame)  # noqa: S101 -- a video track's
            width, height = frame.coded_width, frame.coded_height
            data = bytearray(frame.allocation_size())
            await frame.copy_to(data)
            frame.close()
            planes = np.frombuffer(data, np.uint8)[: width * height * 3 // 2].reshape(-1, width)
            watch.see(at_ns, top_of(planes[:height]), partial(from_i420, planes, orders.channels))

    async def look_at_channel() -> None:
        while True:
            image = await asyncio.to_thread(unpacked, await arrived.get(), orders.channels)
            watch.see(time.monotonic_ns(), top_of(image), partial(np.ascontiguousarray, image))

    def took_track(event: webrtc.RTCTrackEvent) -> None:
        looking.append(asyncio.create_task(look_at_track(event.track)))

    def took_message(event: webrtc.MessageEvent) -> None:
        assert isinstance(event.data, bytes)  # noqa: S101 -- what our sender sends
        arrived.put_nowait(event.data)

    def took_channel(event: webrtc.RTCDataChannelEvent) -> None:
        event.channel.on("message", took_message)

    peer.on("track", took_track)
    peer.on("datachannel", took_channel)
    looking.append(asyncio.create_task(look_at_channel()))
    await _describe(peer, mail, offering=False)
    await mail.stopped()
    for task in looking:
        task.cancel()
    await asyncio.gather(*looking, return_exceptions=True)
    peer.close()


if __name__ == "__main__":
    run_end(_send, _receive)
