"""The topologies that a keystream network can have, by name.

A family turns the named tensors of a network file into layers, and refuses what is not of its
shape.  How its weights come about is the matter of `lab`.  To add one: write its file with a
`Family`, and name it here.
"""

from __future__ import annotations

from shared.errors import BadInput
from shared.keystream.families import bp, cnn, gan, resnet
from shared.keystream.families.family import Family

__all__ = ["FAMILIES", "Family", "find_family"]

FAMILIES: dict[str, Family] = {
    family.name: family for family in (bp.FAMILY, cnn.FAMILY, resnet.FAMILY, gan.FAMILY)
}


def find_family(name: str) -> Family:
    """Return the family called `name`, or raise `BadInput`."""
    try:
        return FAMILIES[name]
    except KeyError:
        raise BadInput(
            f"there is no keystream family {name!r}", hint=f"known: {', '.join(FAMILIES)}"
        ) from None
