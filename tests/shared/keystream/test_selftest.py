from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest

from shared.errors import SelfTestFailed
from shared.keystream import reference
from shared.keystream.network import KeystreamNetwork, load_network, shipped_families
from shared.keystream.reference import ReferenceBackend
from shared.keystream.selftest import KnownAnswers, known_answer
from shared.keystream.torch_cpu import TorchCpuBackend

SHAPES = {
    "128 lanes": (128, 128, 128),
    "narrowest": (16, 16),
    "narrow": (64, 256, 64),
    "bulging": (256, 64, 256),
}


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


def intact(generator, counter, nbytes, first):
    return generator.generate(counter, nbytes, first)


def flip_last(generator, counter, nbytes, first):
    output = generator.generate(counter, nbytes, first)
    output[-1:] ^= 1
    return output


def flip_once_every(blocks):
    def damage(generator, counter, nbytes, first):
        output = generator.generate(counter, nbytes, first)
        output[blocks * generator.block_nbytes :: blocks * generator.block_nbytes] ^= 1
        return output

    return damage


def flip_every_4096th_from_the_end(generator, counter, nbytes, first):
    output = generator.generate(counter, nbytes, first)
    step = 4_096 * generator.block_nbytes
    output[::-1][step::step] ^= 1
    return output


def flip_where_chunks_of_turns_begin(generator, counter, nbytes, first):
    """At every twelfth whole turn of a call that has begun before it.  Turns are blocks 0 to 255,
    256 to 511, ... of the frame, wherever the call begins."""
    output = generator.generate(counter, nbytes, first)
    begin, chunk = -first % 256, 12 * 256
    for block in range(begin or chunk, nbytes // generator.block_nbytes - chunk, chunk):
        output[block * generator.block_nbytes] ^= 1
    return output


DAMAGES = {
    "last byte": flip_last,
    "counters end at 32 bits": lambda g, c, n, f: g.generate(c % 2**32, n, f),
    "counters end at 63 bits": lambda g, c, n, f: g.generate(c % 2**63, n, f),
    "block counters end at 32 bits": lambda g, c, n, f: g.generate(
        c, n, min(f % 2**32, 2**32 - 99)
    ),
    "too short": lambda g, c, n, f: g.generate(c, n, f)[:-1],
    "wrong type": lambda g, c, n, f: g.generate(c, n, f).view(np.int8),
    "seams of 512 blocks": flip_once_every(512),
    "seams of 3,000 blocks": flip_once_every(3_000),
    "seams of 4,096 blocks": flip_once_every(4_096),
    "one seam": flip_once_every(16_384),
    "the second tiles of 264 programs": flip_once_every(264 * 64),
    "seams counted from a call's end": flip_every_4096th_from_the_end,
    "seams at every twelfth turn": flip_where_chunks_of_turns_begin,
}


@pytest.mark.parametrize("widths", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_corrupted_backend_is_caught(make_network, widths, damage) -> None:
    network = make_network(11, widths)
    with pytest.raises(SelfTestFailed, match="corrupted"):
        KnownAnswers.of(network).check(Corrupted(network, damage))


@pytest.mark.parametrize("widths", SHAPES.values(), ids=SHAPES.keys())
def test_a_right_backend_passes_at_any_width(make_network, widths) -> None:
    network = make_network(11, widths)
    KnownAnswers.of(network).check(Corrupted(network, intact))


def test_another_network_is_caught(make_network) -> None:
    with pytest.raises(SelfTestFailed, match="torch-cpu"):
        KnownAnswers.of(make_network(2)).check(TorchCpuBackend(make_network(1)))


@pytest.mark.parametrize("family", shipped_families())
def test_the_reference_itself_is_checked_against_the_networks_file(monkeypatch, family) -> None:
    network = load_network(family)
    assert network.known_answer == known_answer(network)
    monkeypatch.setattr(reference, "fold", lambda accumulator: accumulator & 255)
    with pytest.raises(SelfTestFailed, match="reference"):
        KnownAnswers.of(network)


def test_a_network_with_another_known_answer_is_refused(make_network) -> None:
    network = dataclasses.replace(make_network(1), known_answer=bytes(32))
    with pytest.raises(SelfTestFailed, match="reference"):
        KnownAnswers.of(network)


def test_the_known_answer_covers_what_the_definition_says(make_network) -> None:
    """Recorded in network files: another digest would refuse every file there is."""
    network = make_network(1)
    generators = [
        ReferenceBackend(network).keyed(key)
        for key in (bytes(range(32)), bytes(range(255, 223, -1)))
    ]
    cases = [
        (0, 0, 1, 0),
        (0, 1, 1000, 0),
        (1, 2**32 - 1, 127, 5),
        (1, 2**32, 513, 2**32 - 2),
        (0, 2**63 - 1, 256, 255),
        (1, 2**63, 300, 2**56 - 1),
        (0, 2**64 - 1, 384, 2**64 - 3),
        *((0, 7, 256, first) for first in (0, 4_095, 16_383, 16_398)),
    ]
    text = b"".join(generators[key].generate(*case).tobytes() for key, *case in cases)
    assert known_answer(network) == hashlib.sha256(text).digest()
