"""The topologies that a keystream network can have, by name.

To add one, add its file to this folder: every module with a `FAMILY` is found.
"""

from __future__ import annotations

import importlib
import pkgutil

from shared.errors import BadInput
from shared.keystream.families.family import Family

__all__ = ["FAMILIES", "Family", "find_family"]


def _all_here() -> dict[str, Family]:
    families: dict[str, Family] = {}
    for name in sorted(module.name for module in pkgutil.iter_modules(__path__, f"{__name__}.")):
        family = getattr(importlib.import_module(name), "FAMILY", None)
        if isinstance(family, Family) and families.setdefault(family.name, family) is not family:
            raise ValueError(f"two keystream families are called {family.name}")
    return families


FAMILIES = _all_here()


def find_family(name: str) -> Family:
    """Return the family called `name`, or raise `BadInput`."""
    try:
        return FAMILIES[name]
    except KeyError:
        raise BadInput(
            f"there is no keystream family {name!r}", hint=f"known: {', '.join(FAMILIES)}"
        ) from None
