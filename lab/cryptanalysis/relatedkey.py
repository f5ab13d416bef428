"""Related keys: what two keys that differ in one bit have in common.

Above the key derivation nothing should: SHAKE-256 stands between.  Below it, related *biases*
can't be arranged by anyone who does not know the key; `lab.cryptanalysis.differential` measures
how deep a flipped bias bit is seen all the same.  And since a fold makes 8 bits of 15, some steps
of a sum leave its byte as it was: biases so related give the same blocks, at any depth.
"""

from __future__ import annotations

import math

import numpy as np

from lab.cryptanalysis.evidence import Evidence, chi_square, floor, normal, strongest
from lab.cryptanalysis.target import SUM_BITS, Target
from shared.keystream.material import KEY_BYTES, frame_material, key_biases
from shared.keystream.network import KeystreamNetwork
from shared.keystream.reference import ReferenceBackend, fold

__all__ = ["blind_biases", "blind_step", "derived_keys", "related_streams"]


def derived_keys(network: KeystreamNetwork, rng: np.random.Generator, *, keys: int = 8) -> Evidence:
    """Flip each of the 256 key bits of random keys, and watch the derived biases and material."""
    flips = []
    for _ in range(keys):
        key = rng.bytes(KEY_BYTES)
        base = _derived(network, key)
        flips += [base ^ _derived(network, other) for other in _neighbours(key)]
    return _avalanche("key bits through SHAKE-256", np.stack(flips))


def related_streams(
    network: KeystreamNetwork, rng: np.random.Generator, *, blocks: int = 8
) -> Evidence:
    """Flip each of the 256 bits of one key, and compare the keystreams of its frame 0."""
    key = rng.bytes(KEY_BYTES)
    backend, nbytes = ReferenceBackend(network), blocks * network.lanes
    base = backend.keyed(key).generate(0, nbytes)
    flips = [base ^ backend.keyed(other).generate(0, nbytes) for other in _neighbours(key)]
    return _avalanche("keystreams of keys one bit apart", np.unpackbits(np.stack(flips), axis=1))


def blind_step() -> tuple[int, float]:
    """Return what can be added to a sum and is lost most often in its fold, and how often.

    Exact, over uniform sums.
    """
    sums = 1 << SUM_BITS
    folded = fold(np.arange(sums))
    lost = np.zeros(sums)
    for byte in range(256):
        lost += np.fft.irfft(np.square(np.abs(np.fft.rfft(folded == byte))), sums)
    counts = np.rint(lost).astype(int)
    step = int(counts[1:].argmax()) + 1
    return step, float(counts[step] / sums)


def blind_biases(target: Target, rng: np.random.Generator, *, samples: int = 4096) -> Evidence:
    """Add the blind step to one bias of the first layer, and count blocks that stay as they are."""
    step, _ = blind_step()
    key = target.draw_key(rng, samples)
    inputs = rng.integers(256, size=(samples, target.lanes), dtype=np.uint8)
    moved = key[0].copy()
    lane = int(rng.integers(moved.shape[1]))
    moved[:, lane] += step
    same = target.run(key, inputs) == target.run((moved, *key[1:]), inputs)
    share = float(same.all(axis=1).mean())
    text = f"{step:#x} more in lane {lane} leaves {share:.1%} of whole blocks as they are"
    return Evidence("a blind step of a bias", 0.0 if share else 1.0, text)


def _neighbours(key: bytes) -> list[bytes]:
    number = int.from_bytes(key, "big")
    return [(number ^ 1 << bit).to_bytes(KEY_BYTES, "big") for bit in range(8 * KEY_BYTES)]


def _derived(network: KeystreamNetwork, key: bytes) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    biases = np.concatenate(key_biases(network, key)).astype(">u2").view(np.uint8)
    return np.unpackbits(np.concatenate((biases, frame_material(network, key, 0))))


def _avalanche(name: str, flips: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Evidence:
    samples, bits = flips.shape
    per_bit = (2 * flips.mean(axis=0) - 1) * math.sqrt(samples)
    per_pair = (2 * flips.mean(axis=1) - 1) * math.sqrt(bits)
    worst = strongest(
        [
            Evidence(name, chi_square(float(np.square(per_bit).sum()), bits), ""),
            Evidence(name, chi_square(float(np.square(per_pair).sum()), samples), ""),
            Evidence(name, normal(float(np.abs(per_bit).max()), bits), ""),
        ]
    )
    text = (
        f"a bit flips with {flips.mean():.5f}; farthest bit {np.abs(per_bit).max():.1f} sd "
        f"(chance {floor(bits):.1f}), {samples:,} pairs of keys"
    )
    return Evidence(name, worst.chance, text)
