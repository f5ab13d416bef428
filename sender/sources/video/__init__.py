"""Any video file or network stream that FFmpeg opens, through PyAV.

`source` is the source itself, `opening` what is found in a file or at an address, `claims` what it
says of itself, `decoding` its packets as frames, `fields` interlaced frames made whole, `rendering`
frames as pictures, `timeline` when they are shown, and `network` a stream that is opened again
whenever it breaks off.
"""

from sender.sources.video.source import VideoSource

__all__ = ["VideoSource"]
