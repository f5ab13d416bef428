"""From the bytes of one frame to its samples, by transfer syntax (PS3.5 8.2, A.4).

A decoder is called by several threads.  It allocates by the file's rows and columns, which were
checked, never by what a compressed frame claims.
"""

from __future__ import annotations

import re

from pydicom.uid import UID

from sender.sources.dicom.jpegfamily import compressed
from sender.sources.dicom.uncompressed import RLE, Decode, Layout, deflated, native, run_lengths
from shared.errors import SourceFailed

__all__ = ["decoder_of", "syntax_name"]

# Newer than the dictionary of pydicom 3.0.
_NEW_NAMES = {
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
    "1.2.840.10008.1.2.8.1": "Deflated Image Frame Compression",
}
_DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
_NATIVE_IN_ITEMS = "1.2.840.10008.1.2.1.98"
_JPEG_FAMILY = "1.2.840.10008.1.2.4."
_UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
_UID = re.compile(r"[0-9.]{1,64}")


def syntax_name(uid: UID | str | None) -> str:
    """Return the name of a transfer syntax, its UID where it has no name that is known.

    Text of any other kind that a file has in its place is not repeated.
    """
    if uid is None:
        return "an unnamed transfer syntax"
    if _UID.fullmatch(str(uid)) is None:
        return "a transfer syntax whose UID is none"
    return _NEW_NAMES.get(str(uid)) or str(UID(str(uid)).name)


def decoder_of(layout: Layout, transfer_syntax: UID | None, *, encapsulated: bool) -> Decode:
    """Return what decodes the frames of a file.

    Raises `SourceFailed` for an encoding that has no decoder here, saying what would decode it;
    the decoder itself raises `BadFrame`.
    """
    uid = str(transfer_syntax)
    if not encapsulated or uid == _NATIVE_IN_ITEMS:
        return lambda frame: native(frame, layout)
    if uid == RLE:
        return lambda frame: run_lengths(frame, layout)
    if uid == _DEFLATED_FRAMES:
        return lambda frame: deflated(frame, layout)
    # What says that it is not compressed, or says nothing, and is, is known by its content as well.
    if not (transfer_syntax is None or uid in _UNCOMPRESSED or uid.startswith(_JPEG_FAMILY)):
        raise SourceFailed(
            f"there is no decoder here for {syntax_name(uid)}",
            hint="convert the file first, with dcmtk's dcmdjpeg or GDCM's gdcmconv",
        )
    return lambda frame: compressed(frame, layout)
