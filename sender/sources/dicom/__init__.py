"""DICOM files as sources of pictures.

`source` is the shell that reads a file; beside it, pure, what the header says: `rendering` (from
stored samples to 8 bits), `timing` (rates and times), `regions` (what is an image and what is not).
"""

from sender.sources.dicom.source import DicomSource, is_dicom

__all__ = ["DicomSource", "is_dicom"]
