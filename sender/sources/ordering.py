"""The order of files in a folder."""

from __future__ import annotations

import re

__all__ = ["NaturalOrder", "natural_order"]

NaturalOrder = tuple[list[tuple[int, str]], str]


def natural_order(name: str) -> NaturalOrder:
    """Return what names are sorted by to come as people order them.

    Runs of digits by their value (2 before 10), the rest by letters, large and small alike.
    """
    parts = re.findall(r"[0-9]+|[^0-9]+", name.casefold())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], name
