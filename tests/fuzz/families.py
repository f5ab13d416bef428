"""The families of parsers that read bytes from the network, and the inputs kept of each.

A family is a module beside this one with `one(data)`, which is pure and returns for whatever bytes
anybody may send, and `seeds()`, inputs that its parsers take.  The seeds, and every input that was
once a finding, are kept as files in `seeds/FAMILY`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import cast

__all__ = ["FAMILIES", "kept", "keep_seeds", "target"]

FAMILIES = (
    "codecs",
    "control",
    "descriptions",
    "frames",
    "handshake",
    "link",
    "sctp",
    "signaling",
    "stun",
)

_SEEDS = Path(__file__).parent / "seeds"


def target(family: str) -> Callable[[bytes], None]:
    """What takes the inputs of a family; it raises where a parser stumbles."""
    return cast(Callable[[bytes], None], import_module(f"tests.fuzz.{family}").one)


def folder(family: str) -> Path:
    return _SEEDS / family


def kept(family: str) -> list[bytes]:
    """The inputs kept of a family, in the order of their names."""
    return [path.read_bytes() for path in sorted(folder(family).iterdir())]


def keep_seeds(family: str) -> None:
    """Write a family's seeds anew, for when a format has changed; findings stay."""
    made: Iterator[tuple[str, bytes]] = import_module(f"tests.fuzz.{family}").seeds()
    folder(family).mkdir(parents=True, exist_ok=True)
    for name, data in made:
        (folder(family) / name).write_bytes(data)
