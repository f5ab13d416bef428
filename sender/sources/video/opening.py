"""Opening a video: its container, the stream to show, and why not where it can't be.

An error says what was found or checked; it never repeats a path or an address, which may hold a
patient's name or a password.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import av
import av.logging
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from shared.errors import SourceFailed
from shared.frame import MAX_SIDE

__all__ = ["Location", "OpenVideo", "is_network", "opened", "reason"]

Location = str | BinaryIO
"""A path or an address, or a seekable file object that holds a video."""

OPEN_TIMEOUT_S = 10.0  # to connect and to find the first pictures of a network stream
SILENCE_S = 5.0  # a network stream that sends nothing for so long is gone

_TEXT_AS_VIDEO = frozenset({"ansi", "bintext", "idf", "xbin"})  # FFmpeg draws text files
_COVERS = Disposition.attached_pic | Disposition.timed_thumbnails
_NO_TIMES = 0x80  # AVFMT_NOTIMESTAMPS: elementary streams

# Formats that hold no pictures but name other files or addresses, which FFmpeg would open: what is
# played is the one file that the person gave.
_LISTS = frozenset({"concat", "dash", "hls", "imf", "rtsp", "rtp", "sap", "sdp", "vobsub"})
_LISTS_BEGIN = (
    (b"ffconcat", "ffconcat"),
    (b"#EXTM3U", "M3U8"),
    (b"v=0\n", "SDP"),
    (b"v=0\r", "SDP"),
)
_LOCAL = {
    "protocol_whitelist": "file",
    "format_whitelist": ",".join(sorted(av.formats_available - _LISTS)),
    "pattern_type": "none",  # a "%d" in a name is no number of other pictures
}
# What lies inside another file is one stream, read from there.
_INNER = {
    "protocol_whitelist": "",
    "format_whitelist": "h264,hevc,m4v,mpegvideo,mpeg,mpegts,mov,matroska,avi",
}

# What a file says of its size is bounded before memory is taken for it; coded sizes are padded.
_BOUNDS = {"max_pixels": str(2 * MAX_SIDE**2)}
_OPTIONS: dict[str, dict[str, str]] = {
    # A lost packet mars pictures until the next key picture; TCP loses none.
    "rtsp": {"rtsp_flags": "prefer_tcp"},
    "rtsps": {"rtsp_flags": "prefer_tcp"},
    "udp": {"overrun_nonfatal": "1"},
}


@dataclass(frozen=True, slots=True)
class OpenVideo:
    """An open container and the stream of it that is shown."""

    container: InputContainer
    stream: VideoStream
    codec: str
    format: str

    @property
    def timed(self) -> bool:
        """Whether the container holds times; an elementary stream does not."""
        return not self.container.format.flags & _NO_TIMES

    @property
    def duration_s(self) -> float | None:
        """How long the file says the pictures last."""
        if self.stream.duration is not None and self.stream.time_base is not None:
            return float(self.stream.duration * self.stream.time_base)
        if self.container.duration is not None and len(self.container.streams) == 1:
            duration_s = self.container.duration / av.time_base
            # Matroska's is the end of the last picture by its clock, wherever the first lies.
            start_s = (self.container.start_time or 0) / av.time_base
            from_zero = "matroska" in self.format and 0 < start_s < duration_s
            return duration_s - start_s if from_zero else duration_s
        return None


def is_network(location: Location) -> bool:
    return isinstance(location, str) and "://" in location and not location.startswith("file:")


def opened(location: Location, *, live_threads: bool, strict: bool = True) -> OpenVideo:
    """Open a video and choose its stream: the default one, never a cover picture.

    `live_threads`: decode without holding pictures back.  `strict`: refuse JPEG pictures that break
    off in the middle, which FFmpeg else gives as if they were whole.  Raises `SourceFailed`.
    """
    options = dict(_BOUNDS)
    timeout = None
    began = time.monotonic()
    try:
        if not isinstance(location, str):
            location.seek(0)
            options |= _INNER
        elif is_network(location):
            options |= _OPTIONS.get(urlsplit(location).scheme, {})
            timeout = (OPEN_TIMEOUT_S, SILENCE_S)
        else:
            options |= _LOCAL
        container = av.open(location, "r", options=options, timeout=timeout)
    except (av.FFmpegError, OSError, ValueError) as error:
        if is_network(location) and time.monotonic() - began >= OPEN_TIMEOUT_S:
            # FFmpeg's RTSP calls it invalid data when it gave up waiting.
            raise _no_answer() from None
        raise _refusal(location, error) from None
    try:
        if not container.streams and not is_network(location):
            raise _no_video(location)
        stream = _chosen(container)
    except SourceFailed:
        container.close()
        raise
    codec = stream.codec_context
    strict_jpeg = strict and codec.name == "mjpeg"
    if codec.name == "h264" and live_threads:
        # With slice threads FFmpeg neither conceals nor marks what is damaged in H.264.
        codec.thread_count = 1
    elif live_threads:
        stream.thread_type = "SLICE"
    else:
        # Frame threads are quick but hold several frames back.
        stream.thread_type = "AUTO"
    codec.options = {**_BOUNDS, **({"err_detect": "explode"} if strict_jpeg else {})}
    return OpenVideo(container, stream, codec.name, container.format.name)


def reason(error: BaseException) -> str:
    """Return what FFmpeg says of an error, without the address that it happened at."""
    if isinstance(error, av.ExitError):
        return f"no answer for {SILENCE_S:.0f} s"
    if isinstance(error, av.FFmpegError) and error.strerror:
        return error.strerror[:1].lower() + error.strerror[1:]
    return type(error).__name__


def _chosen(container: InputContainer) -> VideoStream:
    streams = [s for s in container.streams.video if not s.disposition & _COVERS]
    if not streams:
        held = sorted({stream.type for stream in container.streams} - {"unknown"})
        found = f"only {' and '.join(held)}" if held else "no stream that FFmpeg knows"
        if container.streams.video:
            found = "a cover picture, but no pictures that move"
        raise SourceFailed(
            f"there is no video in it: FFmpeg finds {found} ({container.format.name})",
            hint="give a video, DICOM file or folder",
        )
    stream = next((s for s in streams if s.disposition & Disposition.default), streams[0])
    if stream.codec_context is None:  # where there is no decoder
        raise SourceFailed(
            f"FFmpeg here has no decoder for the video's codec, {_codec_name(container, stream)} "
            f"(in {container.format.name})",
            hint="convert the video to H.264 with the program that wrote it",
        )
    if max(stream.width, stream.height) > MAX_SIDE:
        raise SourceFailed(
            f"the video is {stream.width}x{stream.height}: more than {MAX_SIDE} pixels a side",
            hint=f"scale it down to {MAX_SIDE} pixels with FFmpeg",
        )
    if stream.codec_context.name in _TEXT_AS_VIDEO:
        raise SourceFailed(
            "the file is no video: FFmpeg could only draw its bytes as text",
            hint="give a video, DICOM file or folder",
        )
    return stream


_dumping = threading.Lock()  # FFmpeg's log level is the process's


def _codec_name(container: InputContainer, stream: VideoStream) -> str:
    # FFmpeg tells the name of a codec without a decoder only in its log.
    with _dumping:
        level = av.logging.get_level()
        try:
            av.logging.set_level(av.logging.INFO)
            said = str(container.dumps_format())  # type: ignore[attr-defined]  # PyAV's stub
        finally:
            av.logging.set_level(level)
    found = re.search(rf"Stream #0:{stream.index}\b.*?: Video: (\w+)(?: \((\w{{4}}) /)?", said)
    if found is None:
        return "an unknown one"
    name, tag = found.groups()
    name = "an unknown one" if name == "none" else name
    return f"{name} (tag {tag})" if tag else name


def _refusal(location: Location, error: BaseException) -> SourceFailed:
    """Why a video can't be opened, as far as it was checked."""
    if isinstance(location, str) and is_network(location):
        return _network_refusal(location, error)
    match error:
        case av.FileNotFoundError() | FileNotFoundError():
            return SourceFailed("the video file is not there", hint="check the path")
        case av.PermissionError() | PermissionError():
            return SourceFailed(
                "the video file can't be read: permission denied", hint="check its permissions"
            )
        case av.IsADirectoryError() | IsADirectoryError():
            return SourceFailed("that is a folder, no video", hint="images:FOLDER plays pictures")
        # An argument that is wrong: the format is none of those allowed.
        case av.InvalidDataError() | av.ArgumentError():
            return _no_video(location)
    return SourceFailed(
        f"the video can't be opened ({reason(error)})", hint="check that FFmpeg plays it"
    )


def _no_video(location: Location) -> SourceFailed:
    beginning, has_index = _looked_at(location)
    text = beginning.removeprefix(b"\xef\xbb\xbf").lstrip()
    kind = next((kind for start, kind in _LISTS_BEGIN if text.startswith(start)), None)
    if kind is not None:
        return SourceFailed(
            f"the file holds no pictures: it is a list ({kind}) of other files or addresses, which "
            "are not opened",
            hint="give the video itself, or the address of the stream",
        )
    if beginning == b"":
        return SourceFailed("the video file is empty", hint="copy or export it anew")
    if beginning[4:8] == b"ftyp" and not has_index:
        return SourceFailed(
            "the MP4 or MOV file has no whole index (moov): it was cut short, or never finished",
            hint="copy it anew, or finish it on the device that recorded it",
        )
    return SourceFailed(
        "the file is no video: none of FFmpeg's formats fits what it holds",
        hint="give a video, DICOM file or folder",
    )


def _looked_at(location: Location) -> tuple[bytes, bool]:
    """Return the first bytes of a file, and whether an MP4's boxes have an index among them."""
    try:
        if not isinstance(location, str):
            return _boxes(location)
        with Path(location.removeprefix("file:")).open("rb") as file:
            return _boxes(file)
    except (OSError, ValueError):
        return b"?", False


def _boxes(file: BinaryIO) -> tuple[bytes, bool]:
    at, beginning = 0, b""
    for number in range(1000):  # ISO 14496-12 4.2; a file has a handful at its top
        file.seek(at)
        header = file.read(16)
        if number == 0:
            beginning = header
        size = int.from_bytes(header[:4], "big")
        if size == 1:
            size = int.from_bytes(header[8:16], "big")
        if header[4:8] == b"moov":
            return beginning, at + size <= file.seek(0, 2)
        if len(header) < 8 or size < 8:
            break
        at += size
    return beginning, False


_HOST_HINT = "check the address and port, and that the device is on and reachable from here"


def _no_answer() -> SourceFailed:
    return SourceFailed(
        f"the source does not answer: no video came from its address within {OPEN_TIMEOUT_S:.0f} s",
        hint=_HOST_HINT,
    )


def _network_refusal(location: str, error: BaseException) -> SourceFailed:
    match error:
        case av.ConnectionRefusedError():
            return SourceFailed("the source's address refuses the connection", hint=_HOST_HINT)
        case av.HTTPNotFoundError():
            return SourceFailed(
                "the source's server has nothing at this address (404, not found)",
                hint="check the part of the address after the host",
            )
        case av.HTTPUnauthorizedError() | av.HTTPForbiddenError():
            return SourceFailed(
                "the source's server refuses access (401 or 403)",
                hint="give name and password in the address, as scheme://name:password@host/...",
            )
        case av.HTTPClientError() | av.HTTPServerError():
            return SourceFailed(
                f"the source's server refuses ({reason(error)})", hint="check the address"
            )
        case av.ExitError() | av.TimeoutError():
            return _no_answer()
        case av.ProtocolNotFoundError():
            return SourceFailed(
                "FFmpeg here does not know this kind of address",
                hint="it knows rtsp, rtsps, http, https, udp, tcp, rtmp and rtp",
            )
        case av.InvalidDataError():
            return SourceFailed(
                "what the source's address sends is no video that FFmpeg knows",
                hint="check that the address is that of the stream, not of a web page about it",
            )
        case av.OSError() if not _resolves(location):
            return SourceFailed(
                "the name of the source's host can't be resolved",
                hint="check the address, or give the host by its number",
            )
    return SourceFailed(f"the source can't be opened ({reason(error)})", hint=_HOST_HINT)


def _resolves(location: str) -> bool:
    try:
        host = urlsplit(location).hostname
        return host is None or bool(socket.getaddrinfo(host, None))
    except (OSError, ValueError):
        return False
