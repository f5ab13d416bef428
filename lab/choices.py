"""How the laboratory's commands refuse a name that they do not know."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from shared.errors import BadInput

__all__ = ["refuse_unknown"]


def refuse_unknown(what: str, names: Iterable[str], known: Collection[str]) -> None:
    """Raise `BadInput` for the first of `names` that is not `known`; `what` is what they name."""
    for name in names:
        if name not in known:
            raise BadInput(f"there is no {what} {name!r}", hint=f"choose from {', '.join(known)}")
