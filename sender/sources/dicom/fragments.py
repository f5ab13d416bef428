"""Encapsulated pixel data: items become fragments, fragments become frames (PS3.5 A.4).

A frame may be cut into several fragments, and what says where frames begin (the basic or the
extended offset table, the number of frames) is often wrong in real files.  What can't be wrong is
believed first: a compressed picture begins and ends with marks of its own.

Pure: what is read comes through a function.  Work and memory are bounded by the bytes that are
there, never by what a field claims.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from sender.sources.dicom.codestream import begins, ends
from shared.errors import SourceFailed

__all__ = ["MAX_FRAGMENTS", "Encapsulated", "Fragment", "frames_of", "parse_items"]

MAX_FRAGMENTS = 1 << 20  # nine hours at 30 frames a second; a file of empty items has more

_ITEM = 0xE000FFFE  # (FFFE,E000), its two halves in little endian
_DELIMITER = 0xE0DDFFFE
_HEADER_BYTES = 8
_LOOK_BYTES = 16  # enough to see how a compressed picture begins, and its end before padding

Read = Callable[[int, int], bytes]
"""Offset and number of bytes in; that many bytes out, or fewer where the data end."""


class Fragment(NamedTuple):
    """Where a fragment's value lies in the file, and how its first and last bytes look."""

    at: int
    nbytes: int
    begins: bool  # a compressed picture begins with it
    ends: bool  # a compressed picture ends with it


@dataclass(frozen=True, slots=True)
class Encapsulated:
    """The items of one pixel data element.

    `offsets` is the basic offset table as it stands there.  `origin` is where the first fragment's
    item begins, from which offsets count.  `complete`: the delimiter that ends the items was found.
    """

    offsets: tuple[int, ...]
    fragments: tuple[Fragment, ...]
    origin: int
    complete: bool


def parse_items(read: Read, start: int, end: int) -> Encapsulated:
    """Return the items between the offsets `start` and `end` of what `read` reads.

    Reading stops, without an error, at the first thing that is no item.  Raises `SourceFailed`
    where there is none at all, or where there are more than `MAX_FRAGMENTS`.
    """
    at, complete = start, False
    offsets: tuple[int, ...] | None = None
    origin = start
    fragments: list[Fragment] = []
    while at + _HEADER_BYTES <= end:
        tag, nbytes = struct.unpack("<II", read(at, _HEADER_BYTES))
        if tag != _ITEM:
            complete = tag == _DELIMITER
            break
        value_at = at + _HEADER_BYTES
        nbytes = min(nbytes, end - value_at)
        if len(fragments) == MAX_FRAGMENTS:
            raise SourceFailed(f"the pixel data are cut into more than {MAX_FRAGMENTS} fragments")
        head = read(value_at, min(nbytes, _LOOK_BYTES))
        # The first item is the offset table, though some writers leave it out.
        if offsets is None and not begins(head):
            table = read(value_at, min(nbytes, 4 * MAX_FRAGMENTS) // 4 * 4)
            offsets = struct.unpack(f"<{len(table) // 4}I", table[: len(table) // 4 * 4])
            origin = value_at + nbytes
        else:
            offsets = offsets or ()
            tail = head if nbytes <= _LOOK_BYTES else read(at + 8 + nbytes - 16, _LOOK_BYTES)
            fragments.append(Fragment(value_at, nbytes, begins(head), ends(tail)))
        at = value_at + nbytes
    if not fragments:
        raise SourceFailed(
            "the DICOM file's compressed pixel data hold no picture",
            hint="the file is damaged or was cut short: fetch it anew",
        )
    return Encapsulated(offsets or (), tuple(fragments), origin, complete)


def frames_of(
    items: Encapsulated, count: int | None, *, extended: Sequence[int] = (), single: bool = False
) -> tuple[tuple[Fragment, ...], ...]:
    """Return the fragments of each frame, at least one frame of at least one fragment.

    `count` is how many frames there should be, None where nobody says.  `extended` is the extended
    offset table (PS3.3 C.7.6.3.1.8).  `single`: the encoding allows one fragment a frame only.
    """
    fragments = items.fragments
    if len(fragments) != count:  # else an empty fragment stands for a frame that is missing
        fragments = tuple(f for f in fragments if f.nbytes) or fragments[:1]
    one_each = tuple((fragment,) for fragment in fragments)
    if count == 1 and not single and not any(f.begins for f in fragments[1:]):
        return (fragments,)
    by_table = _by_table(items, fragments, extended) or _by_table(items, fragments, items.offsets)
    if by_table and len(by_table) == count and all(f[0].begins for f in by_table):
        return by_table
    if fragments[0].begins:
        by_marks = _cut(fragments, [0, *_marked(fragments)])
        return by_table if by_table and len(by_marks) != count == len(by_table) else by_marks
    if by_table and (count is None or len(by_table) == count) and not single:
        return by_table
    return one_each


def _marked(fragments: Sequence[Fragment]) -> list[int]:
    """The fragments, but for the first, with which a picture begins by the marks.

    One whose own beginning is damaged still follows upon an end.
    """
    return [i for i in range(1, len(fragments)) if fragments[i].begins or fragments[i - 1].ends]


def _by_table(
    items: Encapsulated, fragments: Sequence[Fragment], offsets: Sequence[int]
) -> tuple[tuple[Fragment, ...], ...] | None:
    """The frames by an offset table, None where it can't be right."""
    if not offsets or offsets[0] != 0:
        return None
    numbers = {f.at - _HEADER_BYTES - items.origin: i for i, f in enumerate(fragments)}
    firsts = [numbers.get(offset, -1) for offset in offsets]
    if firsts[0] != 0 or any(b <= a for a, b in pairwise(firsts)):
        return None
    return _cut(fragments, firsts)


def _cut(fragments: Sequence[Fragment], firsts: Sequence[int]) -> tuple[tuple[Fragment, ...], ...]:
    ends = [*firsts[1:], len(fragments)]
    return tuple(
        tuple(fragments[first:end]) for first, end in zip(firsts, ends, strict=True) if first < end
    )
