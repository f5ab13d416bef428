"""A real signaling server on this machine's loopback address."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from shared.crypto import agreement, handshake, keyschedule
from shared.keystream.network import DEFAULT_FAMILY, build_network, save_network
from shared.keystream.selftest import known_answer
from signaling.config import ServerConfig
from signaling.server import SignalingServer
from tests.integration.peers import Ends, ends_at


@pytest.fixture
async def server() -> AsyncIterator[SignalingServer]:
    async with SignalingServer(ServerConfig(port=0)) as running:
        yield running


@pytest.fixture
def ends(server: SignalingServer) -> Ends:
    return ends_at(server.url)


@pytest.fixture
def other_network(tmp_path: Path) -> Path:
    """A well-formed network of the default family that is not the shipped one."""
    dice = np.random.default_rng(20261124)
    tensors: dict[str, np.ndarray] = {}
    for layer in (1, 2, 3):
        tensors[f"layer{layer}.weight"] = dice.integers(-64, 64, (128, 128)).astype(np.int8)
        tensors[f"layer{layer}.bias"] = dice.integers(-(2**15), 2**15, 128).astype(np.int32)
    path = tmp_path / "other.safetensors"
    answer = known_answer(build_network(DEFAULT_FAMILY, tensors))
    save_network(path, DEFAULT_FAMILY, tensors, known_answer=answer)
    return path


@pytest.fixture
def recorded_keys(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every pairwise and epoch key that the two sessions derive, as it is derived."""
    keys: list[bytes] = []
    agree, derive = agreement.session_keys, keyschedule.derive_epoch

    def agreed(*arguments: bytes) -> agreement.AgreedKeys:
        made = agree(*arguments)
        keys.extend(getattr(made, field.name) for field in fields(made))
        return made

    def derived(secret: bytes, epoch: int, sender: int) -> keyschedule.EpochKeys:
        made = derive(secret, epoch, sender)
        keys.extend((secret, made.seal_key, made.keystream_key, made.salt, made.digest_key))
        return made

    monkeypatch.setattr(handshake, "session_keys", agreed)
    monkeypatch.setattr(keyschedule, "derive_epoch", derived)
    return keys
