"""DICOM files as sources of pictures.

`source` is one file, `series` a folder of them; both play a `clip`: the still frames of an
`instance`, or a `video` inside DICOM.  `file` opens what is DICOM, `frames` and `fragments` find
its frames, and `decoding` chooses who makes samples of them: `uncompressed`, or `jpegfamily`, which
looks into the `codestream` first.  Beside them, pure, is what the header says: `rendering` (from
samples to 8 bits), `timing` (rates and times), `regions` (what is an image and what is not),
`presentation` (geometry, loss, burned-in text).
"""

from sender.sources.dicom.file import is_dicom
from sender.sources.dicom.series import DicomSeries, is_series
from sender.sources.dicom.source import DicomSource

__all__ = ["DicomSeries", "DicomSource", "is_dicom", "is_series"]
