"""A rival's end: aiortc's own video track, VP8 or H.264, with its jitter buffer, as it ships.

The sender's track hands over the newest picture of the source whenever aiortc asks for one, so a
slow encoder costs pictures and not delay.
"""

from __future__ import annotations

import asyncio
import time
from fractions import Fraction
from functools import partial

import aioice.ice
import av
import numpy as np
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError

from lab.bench.rivals.clip import feed
from lab.bench.rivals.ends import Mail, Note, Orders, Watch, run_end, top_of, until
from shared.frame import Frame, Image

__all__ = ["connected", "connection", "describe", "luma"]

_CLOCK = Fraction(1, 90_000)  # RFC 3551: video's RTP clock


class _SourceTrack(MediaStreamTrack):
    kind = "video"

    def __init__(self, start_ns: int) -> None:
        super().__init__()
        self._newest: Frame | None = None
        self._there = asyncio.Event()
        self._start_ns = start_ns

    def put(self, frame: Frame) -> None:
        self._newest = frame
        self._there.set()

    async def recv(self) -> av.VideoFrame:
        await self._there.wait()
        self._there.clear()
        taken = self._newest
        if taken is None or self.readyState != "live":
            raise MediaStreamError
        layout = "gray" if taken.channels == 1 else "rgb24"
        frame = av.VideoFrame.from_ndarray(taken.image, format=layout)
        frame.pts = round((taken.captured_at_ns - self._start_ns) / 1e9 / _CLOCK)
        frame.time_base = _CLOCK
        return frame


def connection(address: str | None) -> RTCPeerConnection:
    """A connection without any server; `address` restricts it to one address of this machine."""
    if address is not None:
        aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: [address]  # noqa: ARG005
    return RTCPeerConnection(RTCConfiguration(iceServers=[]))


async def describe(peer: RTCPeerConnection, mail: Mail, *, offering: bool) -> None:
    """Exchange descriptions through the bench."""
    if offering:
        await peer.setLocalDescription(await peer.createOffer())
        mail.send(type="offer", sdp=peer.localDescription.sdp)
        answer = await mail.receive()
        await peer.setRemoteDescription(RTCSessionDescription(answer["sdp"], "answer"))
    else:
        offer = await mail.receive()
        await peer.setRemoteDescription(RTCSessionDescription(offer["sdp"], "offer"))
        await peer.setLocalDescription(await peer.createAnswer())
        mail.send(type="answer", sdp=peer.localDescription.sdp)


async def connected(peer: RTCPeerConnection) -> None:
    """Wait until the peer is connected."""
    await until(lambda: peer.connectionState in ("connected", "failed", "closed"))
    if peer.connectionState != "connected":
        raise SystemExit("the two ends did not connect")


def luma(frame: av.VideoFrame) -> Image:
    """The luma of a planar frame, `(H, W)`, without copying it."""
    plane = frame.planes[0]
    rows: Image = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    return rows[: frame.height, : frame.width]


async def _send(orders: Orders, mail: Mail, note: Note) -> None:
    peer = connection(orders.address)
    track = _SourceTrack(time.monotonic_ns())
    transceiver = peer.addTransceiver(track, direction="sendonly")
    wanted = f"video/{orders.codec}".lower()
    transceiver.setCodecPreferences(
        [c for c in RTCRtpSender.getCapabilities("video").codecs if c.mimeType.lower() == wanted]
    )
    await describe(peer, mail, offering=True)
    await connected(peer)
    mail.send(type="started")
    async for frame in feed(orders.clip, fps=orders.fps, seconds=orders.seconds, note=note):
        track.put(frame)
    mail.send(type="fed")
    await mail.stopped()
    await peer.close()


async def _receive(orders: Orders, mail: Mail, watch: Watch) -> None:
    peer = connection(orders.address)
    watching: list[asyncio.Task[None]] = []

    async def look(track: MediaStreamTrack) -> None:
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            at_ns = time.monotonic_ns()
            assert isinstance(frame, av.VideoFrame)  # noqa: S101 -- a video track's
            watch.see(at_ns, top_of(luma(frame)), partial(_whole, frame, orders.channels))

    peer.on("track", lambda track: watching.append(asyncio.create_task(look(track))))
    await describe(peer, mail, offering=False)
    await mail.stopped()
    await peer.close()
    await asyncio.gather(*watching)


def _whole(frame: av.VideoFrame, channels: int) -> Image:
    rgb = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)  # whose range is never in doubt
    return np.ascontiguousarray(rgb[:, :, 1] if channels == 1 else rgb)


if __name__ == "__main__":
    run_end(_send, _receive)
