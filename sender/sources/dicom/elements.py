"""What is read of a DICOM header: elements that may be missing, odd or broken.

Real files hold numbers that are words, empty sequences and attributes in the wrong place.  The
readers here answer with what can be used and never raise: what follows from a missing value is for
the caller to decide.  Attributes of an enhanced file lie in functional groups (PS3.3 C.7.6.16);
`places` says where to look, nearest first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydicom.dataset import Dataset

__all__ = [
    "frame_count",
    "is_big_endian",
    "items",
    "number",
    "numbers",
    "places",
    "raw",
    "whole",
    "wholes",
    "word",
]


def raw(dataset: Dataset, keyword: str) -> Any:
    """Return the element's value, None where it is missing, empty or can't be read."""
    try:
        value = dataset.get(keyword)
    except Exception:  # pydicom converts values as they are asked for, and raises what it pleases
        return None
    return None if value is None or (isinstance(value, str) and not value.strip()) else value


def items(dataset: Dataset, keyword: str) -> Sequence[Dataset]:
    """Return the items of a sequence, none where it is missing or no sequence."""
    value = raw(dataset, keyword)
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        return ()
    try:
        return value if all(isinstance(item, Dataset) for item in value[:1]) else ()  # type: ignore[index, return-value]
    except Exception:
        return ()


def numbers(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """Return all values of a numeric element; NaN for each that is no finite number."""
    value = raw(dataset, keyword)
    if value is None or isinstance(value, bytes):
        return ()
    several = isinstance(value, Iterable) and not isinstance(value, str)
    return tuple(_finite(each) for each in (value if several else (value,)))


def number(dataset: Dataset, keyword: str) -> float | None:
    """Return the first value of a numeric element, None where it is no finite number."""
    values = numbers(dataset, keyword)
    return values[0] if values and not math.isnan(values[0]) else None


def wholes(dataset: Dataset, keyword: str) -> tuple[int, ...]:
    """Return all values of a numeric element as whole numbers, none if one of them is none."""
    values = numbers(dataset, keyword)
    return () if any(math.isnan(value) for value in values) else tuple(int(v) for v in values)


def whole(dataset: Dataset, keyword: str) -> int | None:
    """Return the first value of a numeric element as a whole number, None where it is none."""
    value = number(dataset, keyword)
    return None if value is None else int(value)


def word(dataset: Dataset, keyword: str) -> str:
    """Return a code string's first value in capitals, "" where there is none."""
    value = raw(dataset, keyword)
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        value = next(iter(value), None)
    return "" if value is None else str(value).strip(" \0").upper()


def frame_count(header: Dataset) -> int:
    """Return the number of frames that the header names, at least 1 (C.7.6.6)."""
    return max(1, whole(header, "NumberOfFrames") or 1)


def is_big_endian(header: Dataset) -> bool:
    """Whether words in the header's byte strings begin with their most significant byte."""
    encoding = getattr(header, "original_encoding", (None, None))
    return bool(encoding[1] is False)


def places(header: Dataset, macro: str, ordinal: int) -> Iterator[Dataset]:
    """Yield where the attributes of `macro` may be for frame `ordinal`, the nearest first.

    The frame's own functional groups come before those that all frames share, and those before the
    file itself (C.7.6.16).  Odd files put the attributes beside the macro's sequence instead of
    into it, or the sequence outside of the groups: these places come next after the right one.
    """
    groups = (("PerFrameFunctionalGroupsSequence", ordinal), ("SharedFunctionalGroupsSequence", 0))
    for keyword, at in groups:
        listed = items(header, keyword)
        if at < len(listed):
            yield from items(listed[at], macro)[:1]
            yield listed[at]
    yield from items(header, macro)[:1]
    yield header


def _finite(value: Any) -> float:
    try:
        # A decimal comma is against the standard, and means what it says.
        found = float(value.replace(",", ".") if isinstance(value, str) else value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return found if math.isfinite(found) else math.nan
