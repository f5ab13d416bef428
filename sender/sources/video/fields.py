"""Interlaced video made whole: two fields, taken at different moments, become one picture.

FFmpeg's bwdif does it, one picture for each frame.  Progressive frames pass through untouched, and
until the first interlaced one comes no filter is built at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av
from av.filter import Graph

from shared.errors import SourceFailed

__all__ = ["Deinterlacer"]

# AVFieldOrder: the order of fields as they are shown, by what a container says.
_FIELD_ORDERS = {2: "tff", 3: "bff", 4: "bff", 5: "tff"}
# Decoders that say of each frame whether it is interlaced; what their container says is less.
_SAYING = frozenset(
    {"h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4", "vc1", "wmv3", "dvvideo", "prores"}
    | {"mjpeg", "dnxhd", "cavs", "vp9", "av1", "libdav1d", "vp8"}
)


class Deinterlacer:
    """For the frames of one pass; `seen` once an interlaced one came.

    Once a filter stands it holds one frame back: bwdif looks at the frame that follows.
    """

    def __init__(self, codec: str, field_order: int, time_base: Fraction) -> None:
        self._order = None if codec in _SAYING else _FIELD_ORDERS.get(field_order)
        self._time_base = time_base
        self._graph: Graph | None = None
        self._shape: tuple[object, ...] = ()
        self.seen = False

    def push(self, frame: av.VideoFrame) -> Iterator[av.VideoFrame]:
        """Take one decoded frame and yield those that are ready.

        Raises `SourceFailed` for interlaced frames of a pixel format that no filter takes.
        """
        shape = (frame.width, frame.height, frame.format.name, frame.colorspace, frame.color_range)
        if self._graph is not None and shape != self._shape:
            yield from self.end()
        interlaced = frame.interlaced_frame or self._order is not None
        self.seen |= interlaced
        if self._graph is None and not interlaced:
            yield frame
            return
        if self._graph is None:
            self._graph, self._shape = self._built(frame), shape
        self._graph.vpush(frame)
        yield from _drained(self._graph)

    def end(self) -> Iterator[av.VideoFrame]:
        """Yield what is held back."""
        graph, self._graph = self._graph, None
        if graph is not None:
            graph.vpush(None)
            yield from _drained(graph)

    def _built(self, frame: av.VideoFrame) -> Graph:
        try:
            return self._joined(frame)
        except (av.FFmpegError, ValueError):
            raise SourceFailed(
                f"interlaced video of this pixel format ({frame.format.name}) can't be made whole",
                hint="deinterlace it with FFmpeg's bwdif",
            ) from None

    def _joined(self, frame: av.VideoFrame) -> Graph:
        graph = Graph()
        nodes = [
            graph.add(
                "buffer",
                video_size=f"{frame.width}x{frame.height}",
                pix_fmt=frame.format.name,
                time_base=str(self._time_base),
                colorspace=str(frame.colorspace),
                range=str(frame.color_range),
            )
        ]
        if frame.format.name.startswith(("gray", "ya", "mono")):
            nodes.append(graph.add("format", "pix_fmts=gray"))  # else bwdif is given colour
        if self._order is not None:
            nodes.append(graph.add("setfield", f"mode={self._order}"))
        nodes.append(graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced"))
        nodes.append(graph.add("buffersink"))
        graph.link_nodes(*nodes)
        graph.configure()
        return graph


def _drained(graph: Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            yield graph.vpull()
        except (av.BlockingIOError, av.EOFError):  # it wants more, or is at its end
            return
