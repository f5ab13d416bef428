"""A keystream network: public integer weights, their digest, and their file.

The weights are no secret; secrecy comes from the key alone.  Both ends must hold the same
network, so its digest is part of the handshake.  A file is safetensors with metadata; whatever
is not exactly a valid network is refused here, before anything computes with it.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from shared.errors import BadInput
from shared.keystream.families import find_family
from shared.keystream.families.family import Tensors
from shared.keystream.layers import Layer, check_layers

__all__ = [
    "DEFAULT_FAMILY",
    "FORMAT",
    "KeystreamNetwork",
    "build_network",
    "load_network",
    "save_network",
    "shipped_families",
]

DEFAULT_FAMILY = "bp"
FORMAT = "veilscope-keystream/1"
MAX_FILE_BYTES = 16 << 20  # 8 layers of the widest kind take 2 MiB
_SHIPPED = Path(__file__).parent / "networks"
_DIGEST_LABEL = b"veilscope/keystream/1/network"


@dataclass(frozen=True, slots=True, eq=False)
class KeystreamNetwork:
    """`layers` of a network of `family`; raises `BadInput` unless they are well formed.

    `digest` (32 bytes) is SHA-256 over a canonical encoding of family and layers: it does not
    depend on how a file lays them out.  `known_answer` (32 bytes) is the digest of the
    reference's answers on fixed keys (`shared.keystream.selftest`), where a file records it.
    """

    family: str
    layers: tuple[Layer, ...] = field(repr=False)
    known_answer: bytes | None = field(default=None, repr=False)
    digest: bytes = field(init=False)

    def __post_init__(self) -> None:
        check_layers(self.layers)
        if self.known_answer is not None and len(self.known_answer) != hashlib.sha256().digest_size:
            raise BadInput("a keystream network's known answer must be 32 bytes")
        for layer in self.layers:
            layer.weight.flags.writeable = False
            layer.bias.flags.writeable = False
        object.__setattr__(self, "digest", _digest(self.family, self.layers))

    @property
    def lanes(self) -> int:
        """Bytes of one block."""
        return self.layers[0].lanes_in


def _digest(family: str, layers: tuple[Layer, ...]) -> bytes:
    name = family.encode()
    sha = hashlib.sha256(_DIGEST_LABEL + struct.pack(">H", len(name)) + name)
    sha.update(struct.pack(">H", len(layers)))
    for layer in layers:
        add_from = 0xFFFF if layer.add_from is None else layer.add_from
        sha.update(struct.pack(">HHH", layer.lanes_out, layer.lanes_in, add_from))
        sha.update(layer.weight.tobytes())  # row-major, two's complement
        sha.update(layer.bias.astype(">i4").tobytes())
    return sha.digest()


def build_network(
    family: str, tensors: Tensors, *, known_answer: bytes | None = None
) -> KeystreamNetwork:
    """Return the network of `family` with these tensors, or raise `BadInput`."""
    return KeystreamNetwork(family, find_family(family).lower(tensors), known_answer)


def save_network(path: Path, family: str, tensors: Tensors, *, known_answer: bytes) -> None:
    """Write a network file that `load_network` reads; `BadInput` if it would not."""
    network = build_network(family, tensors, known_answer=known_answer)
    metadata = {
        "format": FORMAT,
        "family": family,
        "lanes": str(network.lanes),
        "layers": str(len(network.layers)),
        "known_answer": known_answer.hex(),
    }
    path.write_bytes(
        save({name: np.ascontiguousarray(t) for name, t in tensors.items()}, metadata=metadata)
    )


def shipped_families() -> tuple[str, ...]:
    """Return the families of which a trained network comes with this package."""
    return tuple(sorted(path.stem for path in _SHIPPED.glob("*.safetensors")))


def load_network(family_or_path: str = DEFAULT_FAMILY) -> KeystreamNetwork:
    """Load a shipped network by its family's name, or any network file by its path.

    Raises `BadInput` where there is no such network, or its file is damaged in any way.
    """
    if family_or_path in shipped_families():
        return _load(_SHIPPED / f"{family_or_path}.safetensors")
    path = Path(family_or_path)
    if not path.is_file():
        raise BadInput(
            f"there is no keystream network {family_or_path!r}",
            hint=f"give a network file, or one of: {', '.join(shipped_families())}",
        )
    return _load(path)


def _load(path: Path) -> KeystreamNetwork:
    hint = "copy it again from where it was trained, or train it anew"
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise BadInput(f"{path.name} is too large for a keystream network", hint=hint)
        with safe_open(path, framework="numpy") as file:
            metadata: dict[str, str] = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    # AttributeError: a dtype that this NumPy does not have.
    except (OSError, SafetensorError, AttributeError, TypeError, ValueError) as error:
        raise BadInput(f"{path.name} can't be read as a keystream network", hint=hint) from error
    if metadata.get("format") != FORMAT:
        raise BadInput(f"{path.name} is not a {FORMAT} file", hint=hint)
    try:
        known_answer = bytes.fromhex(metadata["known_answer"])
        network = build_network(metadata["family"], tensors, known_answer=known_answer)
        if metadata["lanes"] != str(network.lanes) or metadata["layers"] != str(
            len(network.layers)
        ):
            raise BadInput(f"{path.name} says something else than it holds", hint=hint)
    except (KeyError, ValueError) as error:
        raise BadInput(f"{path.name} lacks a part of a keystream network", hint=hint) from error
    return network
