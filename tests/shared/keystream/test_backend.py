from __future__ import annotations

import dataclasses
import logging

import numpy as np
import pytest

from shared.errors import BadInput, DeviceUnavailable, SelfTestFailed
from shared.keystream import backend as backend_module
from shared.keystream import reference
from shared.keystream.backend import open_backend
from shared.keystream.network import KeystreamNetwork, load_network, shipped_families
from shared.keystream.reference import ReferenceBackend
from shared.keystream.selftest import check_backend, known_answer
from shared.keystream.torch_backend import TorchCpuBackend, _TorchGenerator

KEY = bytes(32)


class Corrupted:
    """A backend right in everything but one thing."""

    name = "corrupted"

    def __init__(self, network: KeystreamNetwork, damage) -> None:
        self.inner = TorchCpuBackend(network)
        self.damage = damage

    def keyed(self, keystream_key: bytes):
        generator = self.inner.keyed(keystream_key)
        damage = self.damage

        class Generator:
            block_nbytes = generator.block_nbytes

            def generate(self, counter: int, nbytes: int, first_block: int = 0):
                return damage(generator, counter, nbytes, first_block)

        return Generator()


def flip_last(generator, counter, nbytes, first):
    output = generator.generate(counter, nbytes, first)
    output[-1:] ^= 1
    return output


def flip_after_chunk(generator, counter, nbytes, first):
    output = generator.generate(counter, nbytes, first)
    output[16_383 * 128 + 128 :] ^= 1
    return output


DAMAGES = {
    "last byte": flip_last,
    "counters end at 32 bits": lambda g, c, n, f: g.generate(c % 2**32, n, f),
    "counters end at 63 bits": lambda g, c, n, f: g.generate(c % 2**63, n, f),
    "block counters end at 32 bits": lambda g, c, n, f: g.generate(c, n, min(f % 2**32, 2**32 - 9)),
    "too short": lambda g, c, n, f: g.generate(c, n, f)[:-1],
    "wrong type": lambda g, c, n, f: g.generate(c, n, f).view(np.int8),
    "a second chunk": flip_after_chunk,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_the_self_test_catches_a_corrupted_backend(make_network, damage) -> None:
    network = make_network(1)
    check_backend(Corrupted(network, lambda g, c, n, f: g.generate(c, n, f)), network)
    with pytest.raises(SelfTestFailed, match="corrupted"):
        check_backend(Corrupted(network, damage), network)


def test_a_backend_that_saturates_is_not_opened(make_network, monkeypatch) -> None:
    """What a u8 x s8 product does on a processor that adds pairs in too few bits."""
    run = _TorchGenerator._run
    monkeypatch.setattr(_TorchGenerator, "_run", lambda *args: run(*args).clamp(max=126))
    with pytest.raises(SelfTestFailed, match="torch-cpu"):
        open_backend(make_network(1), "cpu")


@pytest.mark.parametrize("family", shipped_families())
def test_the_reference_itself_is_checked_against_the_networks_file(monkeypatch, family) -> None:
    network = load_network(family)
    assert network.known_answer == known_answer(network)
    monkeypatch.setattr(reference, "fold", lambda accumulator: accumulator & 255)
    with pytest.raises(SelfTestFailed, match="reference"):
        check_backend(ReferenceBackend(network), network)


def test_a_network_with_another_known_answer_is_refused() -> None:
    network = dataclasses.replace(load_network("bp"), known_answer=bytes(32))
    with pytest.raises(SelfTestFailed, match="reference"):
        open_backend(network, "cpu")


@pytest.mark.parametrize("family", shipped_families())
def test_the_cpu_opens_and_gives_the_bytes_of_the_reference(family) -> None:
    network = load_network(family)
    backend = open_backend(network, "cpu")
    assert backend.name == "torch-cpu"
    output = backend.keyed(KEY).generate(1, 777)
    assert np.array_equal(output, ReferenceBackend(network).keyed(KEY).generate(1, 777))


def test_an_unknown_device_is_bad_input(make_network) -> None:
    with pytest.raises(BadInput, match="no device"):
        open_backend(make_network(1), "tpu")


def fail_on_cuda(monkeypatch, error):
    opened = []
    real = backend_module._open

    def fake(network, device):
        opened.append(device)
        if device == "cuda":
            raise error
        return real(network, device)

    monkeypatch.setattr(backend_module, "_open", fake)
    return opened


@pytest.mark.parametrize(
    ("error", "level"),
    [(DeviceUnavailable("none here"), logging.INFO), (SelfTestFailed("wrong"), logging.WARNING)],
)
def test_auto_falls_back_to_the_cpu_and_says_why(
    make_network, monkeypatch, caplog, error, level
) -> None:
    opened = fail_on_cuda(monkeypatch, error)
    with caplog.at_level(logging.INFO, logger=backend_module.__name__):
        assert open_backend(make_network(1)).name == "torch-cpu"
    assert opened == ["cuda", "cpu"]
    assert [(record.levelno, str(error) in record.getMessage()) for record in caplog.records] == [
        (level, True)
    ]


def test_a_named_device_does_not_fall_back(make_network, monkeypatch) -> None:
    opened = fail_on_cuda(monkeypatch, DeviceUnavailable("none here"))
    with pytest.raises(DeviceUnavailable):
        open_backend(make_network(1), "cuda")
    assert opened == ["cuda"]
