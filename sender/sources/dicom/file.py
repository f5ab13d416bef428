"""Opening anything that is DICOM: with or without preamble, meta information, or deflation.

A file is known by its content: "DICM" after 128 bytes (PS3.10 7.1), or a bare data set whose first
elements make sense.  All before the pixels is parsed by pydicom; the pixels stay in the file and
are read where they are needed, by any thread.  What a file claims is never allocated: a read ends
where the data end, and a deflated file inflates up to a limit.

Nothing here repeats a value of the file, or its name.
"""

from __future__ import annotations

import io
import logging
import struct
import threading
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.uid import UID

from sender.sources.dicom.elements import raw, word
from shared.errors import SourceFailed

__all__ = ["Contents", "DicomFile", "NoPicture", "is_dicom", "open_dicom"]

# pydicom's warnings quote the values they are about, and those may name the patient.
warnings.filterwarnings("ignore", module=r"pydicom\b")
logging.getLogger("pydicom").setLevel(logging.CRITICAL)

MAX_INFLATED_BYTES = 512 << 20  # of a deflated file; it is inflated in memory
_PART_BYTES = 1 << 20  # of a deflated file, read at a time
_PREAMBLE_BYTES = 132
_SNIFFED_BYTES = 4096
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_INFLATED = b"1.2.840.10008.1.2.1\0\0\0"  # explicit little endian, padded to the same length
_UNDEFINED = 0xFFFFFFFF
_LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN"}) | {
    b"UR",
    b"UT",
    b"UV",
}
_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
_PIXELS = {0x0010: "PixelData", 0x0008: "FloatPixelData", 0x0009: "DoubleFloatPixelData"}
_NEEDED = ("Rows", "Columns", "PhotometricInterpretation")


class NoPicture(SourceFailed):
    """DICOM of a kind that is no picture: a report, a directory."""


class Contents:
    """The bytes of a file, or of what it inflates to; `at` may be called by any thread.

    `read`, `seek` and `tell` are for pydicom, by one thread.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._lock = threading.Lock()
        self.size = file.seek(0, io.SEEK_END)
        self._position = 0

    def at(self, offset: int, nbytes: int) -> bytes:
        """Return up to `nbytes` bytes from `offset` on, fewer where the file ends.

        Raises `ValueError` after `close`, and `OSError`.
        """
        with self._lock:
            self._file.seek(offset)
            return self._file.read(max(0, min(nbytes, self.size - offset)))

    def read(self, nbytes: int = -1) -> bytes:
        data = self.at(self._position, self.size if nbytes < 0 else nbytes)
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = (0, self._position, self.size)[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def close(self) -> None:
        with self._lock:
            self._file.close()


@dataclass(frozen=True, slots=True, eq=False)
class DicomFile:
    """A DICOM file with a picture: its `header` (all before the pixels), and where they lie.

    `transfer_syntax` is None where the file does not name it.  The pixels are the value of the
    element `keyword`, from `start` to `end`, in `words` of 16 bits or in bytes.  `encapsulated`:
    they are items (PS3.5 A.4), whatever the transfer syntax says.
    """

    header: Dataset
    contents: Contents
    transfer_syntax: UID | None
    big_endian: bool
    keyword: str
    words: bool
    start: int
    end: int
    encapsulated: bool

    def close(self) -> None:
        self.contents.close()


def is_dicom(path: Path) -> bool:
    """Whether the file is DICOM by its first elements, or claims to be by the usual suffix."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            head = file.read(_SNIFFED_BYTES)
            size = file.seek(0, io.SEEK_END)
    except OSError:
        return False
    return _known(head, size) or path.suffix.lower() in {".dcm", ".dicom"}


def open_dicom(path: Path) -> DicomFile:
    """Open the file at `path`, which stays open until it is closed.

    Raises `SourceFailed`, naming what is missing, for a file that is no DICOM or holds no picture.
    """
    try:
        contents = Contents(path.open("rb"))
    except OSError:
        raise SourceFailed(
            "the DICOM file can't be found or read", hint="check the path and its permissions"
        ) from None
    try:
        return _opened(contents)
    except Exception:
        contents.close()
        raise


def _opened(contents: Contents) -> DicomFile:
    head = contents.at(0, _SNIFFED_BYTES)
    if not _known(head, contents.size):
        raise SourceFailed(
            "the file is not DICOM, or its beginning is damaged",
            hint="for other kinds of file write video:FILE",
        )
    if deflated := _DEFLATED in head[: _data_set_start(head)]:
        contents = _inflated(contents, head)
    try:
        header = dcmread(contents, stop_before_pixels=True, force=True)
        missing = [keyword for keyword in _NEEDED if header.get(keyword) in (None, "")]
    except Exception:  # pydicom raises many kinds on damaged files
        raise SourceFailed(
            "the DICOM file is damaged: its elements can't be parsed", hint="fetch it anew"
        ) from None
    pixels = contents.at(contents.tell(), 12)
    if len(missing) == len(_NEEDED):
        if _is_of_images(header):
            raise SourceFailed(
                "the DICOM file ends before its picture: it was cut short, or never finished",
                hint="fetch it anew",
            )
        raise NoPicture("the DICOM file holds no picture")
    if missing:
        raise SourceFailed(f"the DICOM file holds no picture: {', '.join(missing)} missing")
    return _located(contents, header, pixels, deflated)


def _located(contents: Contents, header: Dataset, element: bytes, deflated: bool) -> DicomFile:
    """Find the pixels from the first bytes of their `element`."""
    big_endian = header.original_encoding[1] is False
    order = ">" if big_endian else "<"
    at = contents.tell()
    if len(element) >= 8:
        group, number = struct.unpack(f"{order}HH", element[:4])
        if group == 0x7FE0 and number in _PIXELS:
            # Not by its bytes alone: the length of an implicit one may look like letters.
            explicit = not _is_implicit(header) and element[4:6].isalpha() and len(element) == 12
            vr, header_bytes = (element[4:6], 12) if explicit else (b"OW", 8)
            nbytes = struct.unpack(f"{order}I", element[header_bytes - 4 : header_bytes])[0]
            start = at + header_bytes
            undefined = nbytes == _UNDEFINED
            end = contents.size if undefined else min(start + nbytes, contents.size)
            named = word(getattr(header, "file_meta", Dataset()), "TransferSyntaxUID")
            return DicomFile(
                header=header,
                contents=contents,
                transfer_syntax=UID(_DEFLATED.decode() if deflated else named) if named else None,
                big_endian=big_endian,
                keyword=_PIXELS[number],
                words=vr == b"OW",
                start=start,
                end=end,
                encapsulated=undefined,
            )
    raise SourceFailed("the DICOM file holds no picture: PixelData is missing")


def _is_of_images(header: Dataset) -> bool:
    """Whether a file is of a class (PS3.6 A) whose files hold pictures, by what is left of it."""
    meta = getattr(header, "file_meta", Dataset())
    classes = (raw(header, "SOPClassUID"), raw(meta, "MediaStorageSOPClassUID"))
    return any("Image Storage" in UID(str(found)).name for found in classes if found)


def _is_implicit(header: Dataset) -> bool:
    """Whether the elements have no VR, as they were parsed: what a file says of that may be wrong.

    An explicit one may still go on with implicit elements.
    """
    unread = (element for element in header.values() if isinstance(element, RawDataElement))
    first = next(unread, None)
    return bool(header.original_encoding[0] if first is None else first.is_implicit_VR)


def _inflated(contents: Contents, head: bytes) -> Contents:
    """Return the same file without deflation (PS3.5 A.5); closes `contents`."""
    at = _data_set_start(head)
    data = io.BytesIO()
    data.write(head[:at].replace(_DEFLATED, _INFLATED))
    limit = data.tell() + MAX_INFLATED_BYTES
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        while not inflater.eof and (part := contents.at(at, _PART_BYTES)):
            at += len(part)
            data.write(inflater.decompress(part, limit + 1 - data.tell()))
            if data.tell() > limit:
                raise SourceFailed(
                    f"the deflated DICOM file inflates to more than {MAX_INFLATED_BYTES >> 20} MiB",
                    hint="convert it first, for example with dcmtk's dcmconv +te",
                )
    except (zlib.error, MemoryError):
        raise SourceFailed(
            "the deflated DICOM file can't be inflated: it is damaged", hint="fetch it anew"
        ) from None
    contents.close()
    return Contents(data)


def _data_set_start(head: bytes) -> int:
    """Where the meta information ends: its elements are explicit little endian (PS3.10 7.1)."""
    at = _PREAMBLE_BYTES if head[128:132] == b"DICM" else 0
    while head[at : at + 2] == b"\x02\x00" and at + 12 <= len(head):
        long = head[at + 4 : at + 6] in _LONG_VRS
        form, value_at = ("<I", at + 12) if long else ("<H", at + 8)
        nbytes = struct.unpack_from(form, head, value_at - struct.calcsize(form))[0]
        at = value_at + nbytes
    return at


def _known(head: bytes, size: int) -> bool:
    return head[128:132] == b"DICM" or _plausible(head, size)


def _plausible(head: bytes, size: int) -> bool:
    """Whether `head` begins a bare data set: a few elements in order, of group 2 or 8 first."""
    return any(_elements_in_order(head, size, order) >= 3 for order in "<>")


def _elements_in_order(head: bytes, size: int, order: str) -> int:
    at, seen, last = 0, 0, (0, -1)
    while seen < 4 and at + 12 <= len(head):
        tag = struct.unpack_from(f"{order}HH", head, at)
        if tag <= last or (seen == 0 and tag[0] not in (0x0002, 0x0008)):
            break
        nbytes = _element_bytes(head, at, order)
        if nbytes is None or at + nbytes > size:
            break
        last, seen, at = tag, seen + 1, at + nbytes
    return seen


def _element_bytes(head: bytes, at: int, order: str) -> int | None:
    """How long the element at `at` is with its header; None for what is none."""
    vr = head[at + 4 : at + 6]
    if vr in _SHORT_VRS:
        return 8 + int(struct.unpack_from(f"{order}H", head, at + 6)[0])
    header_bytes = 12 if vr in _LONG_VRS else 8
    nbytes = int(struct.unpack_from(f"{order}I", head, at + header_bytes - 4)[0])
    if nbytes == _UNDEFINED:  # a sequence: its items follow as if they were elements
        return header_bytes
    # Values have even lengths (PS3.5 7.1.1), and those of these groups are short.
    return None if nbytes % 2 or nbytes > 1 << 20 else header_bytes + nbytes
