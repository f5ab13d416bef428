"""A frame is opened as it was sealed, once, or it is refused and leaves no trace."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from shared.crypto.keyschedule import EpochKeys, derive_epoch
from shared.crypto.sealing import SEAL_OVERHEAD, Opener, Sealer
from shared.errors import (
    AuthenticationFailed,
    BadInput,
    FrameRejected,
    KeystreamDisagreed,
    MalformedFrame,
    Replayed,
    UnknownEpoch,
)
from shared.wire import HEADER, SealedHeader, pack_header

SENDER = 7
KEYS = derive_epoch(b"\x42" * 32, 3, SENDER)


@pytest.fixture
def keystream(shake_keystream: Any) -> Callable[[], Any]:
    return lambda: shake_keystream(KEYS.keystream_key)


def seal(sealer: Sealer, inner: bytes, flags: int = 0) -> bytes:
    return sealer.seal(sealer.draw(len(inner)), inner, flags)


def opens(opener: Opener, sealed: bytes) -> bytes:
    return bytes(opener.open(sealed).inner)


def test_known_answers(vectors: Callable[[str], Any], shake_keystream: Any) -> None:
    for case in vectors("sealing.json")["frames"]:
        keys = derive_epoch(bytes.fromhex(case["secret"]), case["epoch"], case["sender"])
        sealer = Sealer(keys, case["sender"], shake_keystream(keys.keystream_key))
        for _ in range(case["counter"]):
            sealer.draw(0)
        sealed = seal(sealer, bytes.fromhex(case["inner"]), case["flags"])
        assert sealed.hex() == case["sealed"]


@given(st.lists(st.binary(max_size=500), min_size=1, max_size=8), st.integers(0, 2**16 - 1))
def test_frames_open_as_they_were_sealed_in_any_order(
    shake_keystream: Any, inners: list[bytes], flags: int
) -> None:
    sealer = Sealer(KEYS, SENDER, shake_keystream(KEYS.keystream_key))
    opener = Opener(KEYS, SENDER, shake_keystream(KEYS.keystream_key))
    sealed = [seal(sealer, inner, flags) for inner in inners]
    for counter in reversed(range(len(inners))):
        frame = opener.open(sealed[counter])
        assert bytes(frame.inner) == inners[counter]
        assert frame.header == SealedHeader(1, flags, SENDER, 3, counter)
        assert len(sealed[counter]) == len(inners[counter]) + SEAL_OVERHEAD


def test_a_sealed_frame_is_the_documented_formula(keystream: Any) -> None:
    inner = b"metadata and payload"
    sealer, stream = Sealer(KEYS, SENDER, keystream()), keystream()
    sealer.draw(5)
    header = pack_header(SealedHeader(1, 0, SENDER, 3, 1))
    nonce = bytes(a ^ b for a, b in zip(KEYS.salt, (1).to_bytes(12, "big"), strict=True))
    wrapped = bytes(a ^ b for a, b in zip(inner, stream.take(1, len(inner)), strict=True))
    digest = hmac.digest(KEYS.digest_key, header + inner, "sha256")[:16]
    body = AESGCM(KEYS.seal_key).encrypt(nonce, wrapped + digest, header)
    assert seal(sealer, inner) == header + body


def test_every_flipped_bit_is_rejected_and_leaves_the_window_unmarked(keystream: Any) -> None:
    sealer, stream = Sealer(KEYS, SENDER, keystream()), keystream()
    opener = Opener(KEYS, SENDER, stream)
    sealed = seal(sealer, b"a small frame")
    for bit in range(8 * len(sealed)):
        altered = bytearray(sealed)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises((MalformedFrame, UnknownEpoch, AuthenticationFailed)):
            opener.open(altered)
    assert stream.taken == [], "the keystream ran for a frame whose tag was bad"
    assert opens(opener, sealed) == b"a small frame"


@given(st.binary(max_size=200))
def test_garbage_is_rejected(shake_keystream: Any, garbage: bytes) -> None:
    stream = shake_keystream(KEYS.keystream_key)
    opener = Opener(KEYS, SENDER, stream)
    with pytest.raises(FrameRejected):
        opener.open(garbage)
    with pytest.raises(FrameRejected):
        opener.open(pack_header(SealedHeader(1, 0, SENDER, 3, 0)) + garbage)
    assert stream.taken == []


def test_every_truncation_and_any_addition_is_rejected(keystream: Any) -> None:
    sealed = seal(Sealer(KEYS, SENDER, keystream()), b"a small frame")
    opener = Opener(KEYS, SENDER, keystream())
    for length in range(len(sealed)):
        with pytest.raises((MalformedFrame, AuthenticationFailed)):
            opener.open(sealed[:length])
    with pytest.raises(AuthenticationFailed):
        opener.open(sealed + b"\x00")


def test_a_frame_opens_once(keystream: Any) -> None:
    sealed = seal(Sealer(KEYS, SENDER, keystream()), b"frame")
    stream = keystream()
    opener = Opener(KEYS, SENDER, stream)
    opener.open(sealed)
    with pytest.raises(Replayed):
        opener.open(sealed)
    assert stream.taken == [0]


def test_a_forged_counter_can_not_push_the_window_past_honest_frames(keystream: Any) -> None:
    sealed = seal(Sealer(KEYS, SENDER, keystream()), b"frame")
    opener = Opener(KEYS, SENDER, keystream())
    for counter in (1, 5000, 2**64 - 1):
        forged = pack_header(SealedHeader(1, 0, SENDER, 3, counter)) + sealed[HEADER.size :]
        with pytest.raises(AuthenticationFailed):
            opener.open(forged)
    assert opens(opener, sealed) == b"frame"


def test_another_epoch_is_unknown_and_another_sender_is_not_authentic(keystream: Any) -> None:
    other_epoch = derive_epoch(b"\x42" * 32, 4, SENDER)
    with pytest.raises(UnknownEpoch):
        Opener(KEYS, SENDER, keystream()).open(seal(Sealer(other_epoch, SENDER, keystream()), b"x"))
    with pytest.raises(AuthenticationFailed):
        Opener(KEYS, SENDER, keystream()).open(seal(Sealer(KEYS, SENDER + 1, keystream()), b"x"))


def test_a_keystream_that_differs_is_caught_and_nothing_is_given_out(
    keystream: Any, shake_keystream: Any
) -> None:
    sealed = seal(Sealer(KEYS, SENDER, keystream()), b"frame")
    opener = Opener(KEYS, SENDER, shake_keystream(b"another network"))
    with pytest.raises(KeystreamDisagreed):
        opener.open(sealed)
    with pytest.raises(Replayed):  # its tag was good: the counter is spent
        opener.open(sealed)


@pytest.mark.parametrize("byte", [0, 3, -1])
def test_a_keystream_that_differs_in_one_byte_is_caught(keystream: Any, byte: int) -> None:
    class OneByteOff:
        def take(self, counter: int, nbytes: int) -> NDArray[np.uint8]:
            stream: NDArray[np.uint8] = keystream().take(counter, nbytes)
            stream[byte] ^= 1
            return stream

    with pytest.raises(KeystreamDisagreed):
        Opener(KEYS, SENDER, OneByteOff()).open(
            seal(Sealer(KEYS, SENDER, keystream()), b"a small frame")
        )


@given(st.lists(st.sampled_from(["draw", "seal", "again"]), max_size=40))
def test_no_counter_repeats_under_an_epoch_and_no_pad_seals_twice(
    shake_keystream: Any, steps: list[str]
) -> None:
    stream = shake_keystream(KEYS.keystream_key)
    sealer = Sealer(KEYS, SENDER, stream)
    pads, spent, headers = [], [], set()
    for step in steps:
        if step == "draw":
            pads.append(sealer.draw(4))
        elif step == "seal" and pads:
            spent.append(pads.pop())
            header = sealer.seal(spent[-1], b"same")[: HEADER.size]
            assert header not in headers
            headers.add(header)
        elif step == "again" and spent:
            with pytest.raises(BadInput):
                sealer.seal(spent[-1], b"same")
    assert stream.taken == list(range(len(pads) + len(spent)))


def test_a_pad_of_another_sealer_or_size_is_refused_and_spent(keystream: Any) -> None:
    one, other = Sealer(KEYS, SENDER, keystream()), Sealer(KEYS, SENDER, keystream())
    foreign, short = other.draw(4), one.draw(3)
    for pad, inner in ((foreign, b"four"), (short, b"four")):
        with pytest.raises(BadInput):
            one.seal(pad, inner)
    with pytest.raises(BadInput):
        one.seal(short, b"abc")
    with pytest.raises(BadInput):
        one.draw(-1)


@pytest.mark.parametrize(
    "wrong", [np.zeros(3, np.uint8), np.zeros(4, np.int16), np.zeros((4, 1), np.uint8)]
)
def test_a_keystream_that_breaks_its_promise_seals_nothing(wrong: NDArray[Any]) -> None:
    class Broken:
        def take(self, counter: int, nbytes: int) -> NDArray[np.uint8]:
            return wrong

    with pytest.raises(BadInput):
        Sealer(KEYS, SENDER, Broken()).draw(4)


def test_the_counters_of_an_epoch_end_and_are_not_reused(keystream: Any) -> None:
    sealer = Sealer(KEYS, SENDER, keystream())
    sealer._next = 2**64 - 1
    assert sealer.draw(1).counter == 2**64 - 1
    with pytest.raises(BadInput):
        sealer.draw(1)


def test_the_network_sees_neither_the_picture_nor_a_repetition(keystream: Any) -> None:
    sealer = Sealer(KEYS, SENDER, keystream())
    one, two = (seal(sealer, bytes(4096)) for _ in range(2))
    assert one[HEADER.size :] != two[HEADER.size :]
    assert bytes(8) not in one[HEADER.size :] + two[HEADER.size :]


def test_reprs_hide_key_and_pad() -> None:
    class Fixed:
        def take(self, counter: int, nbytes: int) -> NDArray[np.uint8]:
            return np.full(nbytes, 77, np.uint8)

    keys = EpochKeys(1, b"K" * 32, b"L" * 32, b"M" * 12, b"N" * 32)
    sealer = Sealer(keys, 1, Fixed())
    assert repr(sealer.draw(8)) == "Pad(counter=0, nbytes=8)"
    for shown in (repr(keys), repr(sealer), repr(Opener(keys, 1, Fixed()))):
        assert not any(part in shown for part in ("KK", "LL", "MM", "NN"))
