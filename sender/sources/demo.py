"""The demo clip: a real echocardiogram that the pydicom package carries, played endlessly.

Apical four-chamber view, 320x240 RGB, 30 frames of 33.3 ms, without a patient's name.  The device's
screen text is burned into it, as it is in most real recordings, and so the clip masks it: every
label, number and the whole bottom bar.  What is left is the sector, its orientation mark and the
depth scale.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pydicom.examples import get_path

from sender.sources.dicom import DicomSource
from sender.sources.source import SourceInfo, SourcePicture
from shared.errors import SourceFailed
from shared.frame import Rect

__all__ = ["DEMO_MASKS", "DemoSource"]

DEMO_MASKS = (
    # On the borders of the clip's 8x8 JPEG blocks, beyond which the text leaves no trace.
    Rect(0, 0, 40, 32),  # "PLA", "Gen THI", "S"
    Rect(288, 8, 32, 136),  # "Crd", "P21", MI and TIS with their values, "A", "B" and icons
    Rect(280, 192, 18, 16),  # "19", the depth; leaves the scale beside it
    Rect(0, 224, 320, 16),  # the bottom bar
)


class DemoSource:
    """The demo clip, over and over; see `sender.sources.source.Source`."""

    def __init__(self, *, fps: float | None = None) -> None:
        try:
            path = get_path("ybr_color")
        except (KeyError, OSError, ValueError):
            raise SourceFailed(
                "the demo clip is missing from the pydicom package", hint="install pydicom anew"
            ) from None
        clip = DicomSource(path, fps=fps)
        self._pictures = tuple(  # 7 MB: decoded once, played many times
            replace(reading, masks=DEMO_MASKS)
            for reading in clip.pictures()
            if isinstance(reading, SourcePicture)
        )
        clip.close()
        self.info = SourceInfo(
            kind="demo",
            width=clip.info.width,
            height=clip.info.height,
            channels=clip.info.channels,
            fps=clip.info.fps,
            frame_count=None,
            live=False,
        )

    @property
    def first(self) -> SourcePicture:
        return self._pictures[0]

    def pictures(self) -> Iterator[SourcePicture]:
        while True:
            yield from self._pictures

    def close(self) -> None:
        """Nothing is held open."""
