"""What computes a keystream network, and which implementation a device gets.

A backend is opened for one network, proves itself against known answers, and then makes bytes
for any key.  To add one: write its file, and name its class here under the device it runs on.
"""

from __future__ import annotations

import importlib
import logging
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shared.errors import BadInput, DeviceUnavailable, SelfTestFailed
from shared.keystream.network import KeystreamNetwork
from shared.keystream.selftest import check_backend

__all__ = ["DEVICES", "Backend", "KeyedGenerator", "open_backend"]

_LOG = logging.getLogger(__name__)

# Device -> module and class of its backend, imported only when asked for.  `auto` tries the
# devices in this order.
_BACKENDS = {
    "cuda": ("shared.keystream.torch_backend", "TorchCudaBackend"),
    "cpu": ("shared.keystream.torch_backend", "TorchCpuBackend"),
}
DEVICES = ("auto", *_BACKENDS)


class KeyedGenerator(Protocol):
    """A network under one key.  Any thread may call it, several at once."""

    @property
    def block_nbytes(self) -> int:
        """Bytes of one block."""
        ...

    def generate(self, counter: int, nbytes: int, first_block: int = 0) -> NDArray[np.uint8]:
        """Return `nbytes` keystream bytes of frame `counter` from block `first_block` on.

        A fresh uint8 array (nbytes,) that the caller may overwrite.  `ValueError` where the
        frame or block counter would leave an unsigned 64-bit number, or `nbytes` is negative.
        """
        ...


class Backend(Protocol):
    """An implementation, opened for one network.  Its class takes the network alone and raises
    `DeviceUnavailable` where its device is not there."""

    @property
    def name(self) -> str: ...

    def keyed(self, keystream_key: bytes) -> KeyedGenerator:
        """Return the generator under a 32-byte key; `ValueError` for any other length."""
        ...


def open_backend(network: KeystreamNetwork, device: str = "auto") -> Backend:
    """Return a backend for `network` on `device` that has passed its self-test.

    `auto` takes the first of `DEVICES` that is there and passes; it falls back in that order and
    logs why.  A named device never falls back: `DeviceUnavailable`, `SelfTestFailed`.
    `BadInput` for an unknown device.  Blocks for seconds when torch is first imported.
    """
    if device not in DEVICES:
        raise BadInput(f"there is no device {device!r}", hint=f"choose from {', '.join(DEVICES)}")
    if device != "auto":
        return _open(network, device)
    *preferred, last = _BACKENDS
    for candidate in preferred:
        try:
            return _open(network, candidate)
        except (DeviceUnavailable, SelfTestFailed) as error:
            level = logging.INFO if isinstance(error, DeviceUnavailable) else logging.WARNING
            _LOG.log(level, "keystream does not run on %s: %s", candidate, error)
    return _open(network, last)


def _open(network: KeystreamNetwork, device: str) -> Backend:
    module, class_name = _BACKENDS[device]
    backend: Backend = getattr(importlib.import_module(module), class_name)(network)
    check_backend(backend, network)
    return backend
