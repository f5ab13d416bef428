"""What a video says of itself, and how far it is to be believed: its rate, pixel aspect and end."""

from __future__ import annotations

from fractions import Fraction

import av
from av.container import InputContainer

from sender.sources.video.opening import OpenVideo

__all__ = ["PixelAspect", "ending_remark", "ends_after", "own_rate"]

_MAX_OWN_FPS = 500.0  # what a file says of itself beyond this is its clock's unit, no rate
_BACK_S = 0.5  # from the end that the file claims, to the key picture before
_SHORT_S = 1.0  # by less, a duration is only rounded, or that of the sound
_MAX_PACKETS = 5000  # looked at, not decoded
_MAX_DECODED_PIXELS = 300 * 1280 * 720  # about a second on one core


def own_rate(video: OpenVideo) -> tuple[float | None, tuple[str, ...]]:
    """Return the rate that a stream says or shows, in frames a second, and what was passed over."""
    stream = video.stream
    rates = [
        float(rate)
        for rate in (stream.average_rate, stream.guessed_rate, stream.codec_context.framerate)
        if rate
    ]
    possible = next((rate for rate in rates if 0.0 < rate <= _MAX_OWN_FPS), None)
    if rates and rates[0] != possible:
        then = "; its pictures keep their own times" if video.timed else ""
        return possible, (f"the video's own frame rate ({rates[0]:.6g}) is impossible{then}",)
    return possible, ()


class PixelAspect:
    """The pixel aspect of a stream: its container's word goes before its codec's, as in FFmpeg."""

    def __init__(self, video: OpenVideo) -> None:
        self._codec = video.stream.codec_context
        self._at_first = self._codec.sample_aspect_ratio
        self._guess = video.stream.sample_aspect_ratio

    @property
    def now(self) -> Fraction | None:
        coded = self._codec.sample_aspect_ratio
        return self._guess if coded == self._at_first or not coded else coded


def ends_after(time_s: float, video: OpenVideo) -> bool:
    """Whether a video says that it goes on well after `time_s` (s, by the file's own times)."""
    stream = video.stream
    if video.duration_s is None or stream.time_base is None:
        return False
    start_s = float((stream.start_time or 0) * stream.time_base)
    return time_s - start_s < video.duration_s - _SHORT_S


def ending_remark(video: OpenVideo) -> str | None:
    """Return what is wrong with the end of a file, None where nothing is or it can't be told.

    Reads on from near the end; the container can't be used for anything else after it.
    """
    duration_s, stream = video.duration_s, video.stream
    if not video.timed or duration_s is None or duration_s <= 0 or stream.time_base is None:
        return None
    start = stream.start_time or 0
    target = start + int(max(0.0, duration_s - _BACK_S) / stream.time_base)
    try:
        video.container.seek(target, stream=stream)
    except av.FFmpegError:
        return None  # it has no index; only playing it will tell
    try:
        packets = _last_packets(video.container, video)
    except av.FFmpegError:
        return "the file seems cut short: its end can't be read"
    if packets is None:
        return None
    if not packets:
        return "the file seems cut short: there are no pictures where it says that it ends"
    if packets[-1].is_corrupt:
        return "the file seems cut short: it breaks off in its last picture"
    times = [(p.pts + (p.duration or 0)) for p in packets if p.pts is not None]
    if times:
        end_s = float((max(times) - start) * stream.time_base)
        if duration_s - end_s > max(_SHORT_S, 0.02 * duration_s):
            return (
                f"the file seems cut short: it says that it lasts {duration_s:.1f} s, "
                f"and its pictures end at {end_s:.1f} s"
            )
    # Where seeking found no key picture, the decoder can't tell.
    key = next((number for number, packet in enumerate(packets) if packet.is_keyframe), None)
    if key is None:
        return None
    packets = packets[key:]
    if len(packets) * stream.width * stream.height <= _MAX_DECODED_PIXELS:
        return None if _decodes(video, packets) else "the last picture of the file is damaged"
    return None


def _last_packets(
    container: InputContainer, video: OpenVideo
) -> list[av.Packet[av.VideoStream]] | None:
    packets: list[av.Packet[av.VideoStream]] = []
    for packet in container.demux(video.stream):
        if packet.size:
            packets.append(packet)
        if len(packets) > _MAX_PACKETS:
            return None
    return packets


def _decodes(video: OpenVideo, packets: list[av.Packet[av.VideoStream]]) -> bool:
    """Whether the last of `packets` gives a picture that FFmpeg takes for whole."""
    whole = False
    for packet in (*packets, None):
        try:
            for frame in video.stream.decode(packet):
                whole = not frame.is_corrupt
        except (av.FFmpegError, ValueError):
            whole = False
    return whole
