"""Keys of the handshake follow from every secret and every byte of the transcript."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import astuple
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.crypto.agreement import (
    AgreedKeys,
    DtlsFingerprints,
    NetworkId,
    SessionKeys,
    session_keys,
    transcript_hash,
)
from shared.errors import BadInput

key = st.binary(min_size=32, max_size=32)


def test_known_answers(vectors: Callable[[str], Any]) -> None:
    for case in vectors("handshake.json")["session_keys"]:
        keys = session_keys(
            *(bytes.fromhex(case[n]) for n in ("spake2", "x25519", "mlkem", "transcript"))
        )
        assert [k.hex() for k in astuple(keys)] == [*case["keys"], *case["restart_keys"]]


@given(key, key, key, key)
def test_keys_are_rfc_5869_salted_by_the_transcript(
    hkdf: Callable[..., bytes], spake2: bytes, x25519: bytes, mlkem: bytes, transcript: bytes
) -> None:
    labels = [b"confirm receiver", b"confirm sender"]
    labels += [b"control sender to receiver", b"control receiver to sender"]
    labels += [b"restart sender to receiver", b"restart receiver to sender"]
    assert astuple(session_keys(spake2, x25519, mlkem, transcript)) == tuple(
        hkdf(transcript, spake2 + x25519 + mlkem, b"veilscope 1 " + label) for label in labels
    )


@given(st.tuples(key, key, key, key), st.integers(0, 3), st.integers(0, 255))
def test_one_bit_of_any_secret_or_of_the_transcript_changes_every_key(
    given_parts: tuple[bytes, bytes, bytes, bytes], which: int, bit: int
) -> None:
    altered = list(given_parts)
    altered[which] = (int.from_bytes(altered[which], "big") ^ 1 << bit).to_bytes(32, "big")
    before, after = astuple(session_keys(*given_parts)), astuple(session_keys(*altered))
    assert len({*before, *after}) == 12


@given(key, key, st.binary(max_size=40), st.binary(max_size=40), st.data())
def test_the_transcript_hash_depends_on_every_byte_and_on_where_parts_end(
    sender: bytes, receiver: bytes, one: bytes, other: bytes, data: st.DataObject
) -> None:
    honest = transcript_hash(DtlsFingerprints(sender, receiver), one, other)
    parts = [sender, receiver, one, other]
    which = data.draw(st.sampled_from([i for i, part in enumerate(parts) if part]))
    at = data.draw(st.integers(0, len(parts[which]) - 1))
    altered = bytearray(parts[which])
    altered[at] ^= data.draw(st.integers(1, 255))
    parts[which] = bytes(altered)
    hashes = {honest, transcript_hash(DtlsFingerprints(parts[0], parts[1]), parts[2], parts[3])}
    hashes.add(transcript_hash(DtlsFingerprints(sender, receiver), one + b"\x00", other))
    hashes.add(transcript_hash(DtlsFingerprints(sender, receiver), one, b"\x00" + other))
    assert len(hashes) == 4


def test_swapped_fingerprints_give_another_transcript() -> None:
    one, other = b"1" * 32, b"2" * 32
    assert transcript_hash(DtlsFingerprints(one, other), b"r", b"s") != transcript_hash(
        DtlsFingerprints(other, one), b"r", b"s"
    )


def test_the_transcript_is_the_documented_bytes() -> None:
    parts = (b"veilscope handshake 1", b"sender", b"receiver", b"1" * 32, b"2" * 32, b"rh", b"sh")
    flat = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    fingerprints = DtlsFingerprints(sender=b"1" * 32, receiver=b"2" * 32)
    assert transcript_hash(fingerprints, b"rh", b"sh") == hashlib.sha256(flat).digest()


@pytest.mark.parametrize("which", range(4))
@pytest.mark.parametrize("size", [0, 31, 33])
def test_parts_of_another_size_are_refused(which: int, size: int) -> None:
    parts = [bytes(32)] * 4
    parts[which] = bytes(size)
    with pytest.raises(BadInput):
        session_keys(*parts)


@pytest.mark.parametrize("family", ["", "BP", "a b", "x" * 33, "-bp", "bp\x1b[2J", "bp\n"])
def test_a_family_name_is_plain_lower_case(family: str) -> None:
    with pytest.raises(BadInput):
        NetworkId(family, bytes(32))


def test_digests_and_fingerprints_have_32_bytes() -> None:
    with pytest.raises(BadInput):
        NetworkId("bp", bytes(20))
    with pytest.raises(BadInput):
        DtlsFingerprints(bytes(32), bytes(20))


def test_reprs_hide_the_keys() -> None:
    keys = [letter.encode() * 32 for letter in "ABCDEF"]
    agreed = AgreedKeys(*keys)
    session = SessionKeys("00" * 16, NetworkId("bp", bytes(32)), *keys[:4])
    assert not any(2 * letter in repr(agreed) + repr(session) for letter in "ABCDEF")
