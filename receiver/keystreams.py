"""The keystream networks that a receiver has, and the backend of the one that is agreed on.

It refuses to take a network from the other end: what is not here, by its digest, is not used.
"""

from __future__ import annotations

from shared.keystream.backend import Backend, open_backend
from shared.keystream.network import DEFAULT_FAMILY, load_network, shipped_families

__all__ = ["Keystreams"]


class Keystreams:
    """The networks that this end has, by family, and a backend for the one that is used.

    Which one that is becomes known in the handshake.  The likely one is opened before: loading
    torch takes seconds, during which a connected peer would hear nothing of this end.
    """

    def __init__(self, custom: str | None, device: str) -> None:
        self.networks = {family: load_network(family) for family in shipped_families()}
        likely = load_network(custom or DEFAULT_FAMILY)
        self.networks[likely.family] = likely
        self._device = device
        self._likely = likely.family, open_backend(likely, device)

    def digest(self, family: str) -> bytes | None:
        network = self.networks.get(family)
        return None if network is None else network.digest

    def backend(self, family: str) -> Backend:
        likely, backend = self._likely
        return backend if family == likely else open_backend(self.networks[family], self._device)
