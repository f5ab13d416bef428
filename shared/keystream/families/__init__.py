"""The topologies that a keystream network can have, by name.

To add one, add its file to this folder: every module with a `FAMILY` is found.
"""

from __future__ import annotations

import importlib
import pkgutil

from shared.errors import BadInput
from shared.keystream.families.family import Family

__all__ = ["FAMILIES", "Family", "find_family"]

_MODULES = sorted(module.name for module in pkgutil.iter_modules(__path__, f"{__name__}."))
FAMILIES: dict[str, Family] = {
    family.name: family
    for module in map(importlib.import_module, _MODULES)
    if isinstance(family := getattr(module, "FAMILY", None), Family)
}


def find_family(name: str) -> Family:
    """Return the family called `name`, or raise `BadInput`."""
    try:
        return FAMILIES[name]
    except KeyError:
        raise BadInput(
            f"there is no keystream family {name!r}", hint=f"known: {', '.join(FAMILIES)}"
        ) from None
