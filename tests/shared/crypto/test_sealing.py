"""A frame is opened as it was sealed, once, or it is refused and leaves no trace."""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from shared.crypto import sealing
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
from shared.wire import HEADER, VERSION, SealedHeader, pack_header

SENDER = 7
SECRET = b"\x42" * 32
KEYS = derive_epoch(SECRET, 3, SENDER)


@pytest.fixture
def keystream(shake_keystream: Any) -> Callable[[], Any]:
    return lambda: shake_keystream(KEYS.keystream_key)


def seal(sealer: Sealer, inner: bytes, flags: int = 0) -> bytes:
    return sealer.seal(sealer.draw(len(inner)), inner, flags)


def opens(opener: Opener, sealed: bytes) -> bytes:
    return bytes(opener.open(sealed).inner)


# A second implementation, from HKDF (RFC 5869), AES-GCM (NIST SP 800-38D) and docs/PROTOCOL.md; of
# the code under test, and of a library's GCM, it uses nothing but the AES block.


def by_hand(case: dict[str, Any]) -> bytes:
    epoch, sender, counter = case["epoch"], case["sender"], case["counter"]
    inner = bytes.fromhex(case["inner"])

    def expand(label: bytes, length: int) -> bytes:
        info: bytes = b"veilscope 1 " + label + b"\0" + epoch.to_bytes(4) + sender.to_bytes(2)
        return hmac.digest(prk, info + b"\1", "sha256")[:length]

    prk = hmac.digest(b"veilscope 1 epoch", bytes.fromhex(case["secret"]), "sha256")
    nonce = xor(expand(b"salt", 12), counter.to_bytes(12))
    stream = hashlib.shake_256(expand(b"keystream", 32) + counter.to_bytes(8)).digest(len(inner))
    wrapped = xor(inner, stream) + gcm_by_hand(expand(b"digest", 32), nonce, b"", inner)
    header = bytes([case["version"], 1]) + case["flags"].to_bytes(2) + sender.to_bytes(2)
    header += epoch.to_bytes(4) + counter.to_bytes(8)
    return header + gcm_by_hand(expand(b"seal", 32), nonce, wrapped, header)


def gcm_by_hand(key: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
    cipher = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 -- GCM is built on it
    blocks = -(-len(plaintext) // 16)
    stream = b"".join(cipher.update(nonce + (i + 2).to_bytes(4)) for i in range(blocks))
    ciphertext = xor(plaintext, stream[: len(plaintext)])
    subkey, total = int.from_bytes(cipher.update(bytes(16))), 0
    lengths = (8 * len(aad)).to_bytes(8) + (8 * len(ciphertext)).to_bytes(8)
    hashed = padded(aad) + padded(ciphertext) + lengths
    for start in range(0, len(hashed), 16):
        total = gf128(total ^ int.from_bytes(hashed[start : start + 16]), subkey)
    return ciphertext + xor(total.to_bytes(16), cipher.update(nonce + b"\0\0\0\1"))


def gf128(x: int, y: int) -> int:
    """The product in GF(2^128), bits as GCM numbers them (SP 800-38D, algorithm 1)."""
    product = 0
    for bit in range(127, -1, -1):
        if x >> bit & 1:
            product ^= y
        y = (y >> 1) ^ (0xE1 << 120 if y & 1 else 0)
    return product


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 16)


def xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))


def test_the_second_implementation_gives_the_gcm_specs_answers() -> None:
    # McGrew and Viega, "The Galois/Counter Mode of Operation", appendix B, test cases 13 and 16
    assert gcm_by_hand(bytes(32), bytes(12), b"", b"").hex() == "530f8afbc74536b9a963b4f1c4cb738b"
    plaintext = bytes.fromhex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
    )
    sealed = gcm_by_hand(
        bytes.fromhex("feffe9928665731c6d6a8f9467308308" * 2),
        bytes.fromhex("cafebabefacedbaddecaf888"),
        plaintext,
        bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2"),
    )
    assert sealed[-16:].hex() == "76fc6ece0f4e1768cddf8853bb2d551b"


def test_known_answers(vectors: Callable[[str], Any], shake_keystream: Any) -> None:
    for case in vectors("sealing.json")["frames"]:
        keys = derive_epoch(bytes.fromhex(case["secret"]), case["epoch"], case["sender"])
        sealer = Sealer(keys, case["sender"], shake_keystream(keys.keystream_key))
        for _ in range(case["counter"]):
            sealer.draw(0)
        sealed = seal(sealer, bytes.fromhex(case["inner"]), case["flags"])
        assert sealed.hex() == case["sealed"]
        opener = Opener(keys, case["sender"], shake_keystream(keys.keystream_key))
        assert opens(opener, bytes.fromhex(case["sealed"])).hex() == case["inner"]


def test_the_known_answers_are_those_of_a_second_implementation(
    vectors: Callable[[str], Any],
) -> None:
    for case in vectors("sealing.json")["frames"]:
        assert by_hand(case | {"version": VERSION}).hex() == case["sealed"]


@given(st.binary(max_size=100), st.integers(0, 3), st.integers(0, 2**16 - 1))
def test_a_sealed_frame_is_the_documented_formula(
    shake_keystream: Any, inner: bytes, counter: int, flags: int
) -> None:
    sealer = Sealer(KEYS, SENDER, shake_keystream(KEYS.keystream_key))
    for _ in range(counter):
        sealer.draw(5)
    case = {"secret": SECRET.hex(), "epoch": 3, "sender": SENDER, "counter": counter}
    case |= {"flags": flags, "inner": inner.hex(), "version": VERSION}
    assert seal(sealer, inner, flags) == by_hand(case)


@pytest.mark.parametrize("size", [307_200, 307_201, 921_615])
def test_a_large_frame_sealed_in_its_pads_own_memory_is_the_formula_as_well(
    keystream: Any, size: int
) -> None:
    inner = hashlib.shake_256(b"picture").digest(size)
    masked = xor(inner, keystream().take(0, size).tobytes())
    digest = AESGCM(KEYS.digest_key).encrypt(KEYS.salt, b"", inner)
    header = pack_header(SealedHeader(1, 0, SENDER, 3, 0))
    body = AESGCM(KEYS.seal_key).encrypt(KEYS.salt, masked + digest, header)
    assert seal(Sealer(KEYS, SENDER, keystream()), inner) == header + body


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
    other_epoch = derive_epoch(SECRET, 4, SENDER)
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


@given(st.lists(st.integers(0, 300), max_size=12))
def test_an_openers_frames_of_changing_sizes_share_a_buffer_and_nothing_else(
    shake_keystream: Any, sizes: list[int]
) -> None:
    sealer = Sealer(KEYS, SENDER, shake_keystream(KEYS.keystream_key))
    opener = Opener(KEYS, SENDER, shake_keystream(KEYS.keystream_key))
    inners = [bytes([number]) * size for number, size in enumerate(sizes)]
    sealed = [seal(sealer, inner) for inner in inners]
    frames = [opener.open(frame) for frame in sealed]
    assert [bytes(frame.inner) for frame in frames] == inners
    assert all(frame.inner.readonly for frame in frames)


def test_frames_sealed_and_opened_in_many_threads_at_once_are_whole(
    shake_keystream: Any,
) -> None:
    sealer = Sealer(KEYS, SENDER, shake_keystream(KEYS.keystream_key))
    opener = Opener(KEYS, SENDER, shake_keystream(KEYS.keystream_key))
    inners = [bytes([number]) * (20_000 + 500 * number) for number in range(48)]

    def there_and_back(inner: bytes) -> bytes:
        return opens(opener, seal(sealer, inner))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(there_and_back, inners)) == inners


def test_of_one_frame_in_two_threads_at_once_exactly_one_is_opened(shake_keystream: Any) -> None:
    both_are_good = threading.Barrier(2, timeout=20.0)

    class Meeting(Opener):
        """Both copies have passed the replay check and the tag before either is marked."""

        def _decrypt(self, *arguments: Any) -> None:
            super()._decrypt(*arguments)
            both_are_good.wait()

    stream = shake_keystream(KEYS.keystream_key)
    sealed = seal(Sealer(KEYS, SENDER, shake_keystream(KEYS.keystream_key)), b"a frame")
    opener = Meeting(KEYS, SENDER, stream)
    with ThreadPoolExecutor(2) as pool:
        ends = [pool.submit(opens, opener, sealed) for _ in range(2)]
        errors = [end.exception() for end in ends]
    assert sorted(type(error) for error in errors if error is not None) == [Replayed]
    assert [end.result() for end in ends if end.exception() is None] == [b"a frame"]
    assert stream.taken == [0]


def test_a_frame_that_is_refused_leaves_its_buffer_for_the_next(keystream: Any) -> None:
    sealer, opener = Sealer(KEYS, SENDER, keystream()), Opener(KEYS, SENDER, keystream())
    for _ in range(3):
        sealed = seal(sealer, bytes(1000))
        with pytest.raises(AuthenticationFailed):
            opener.open(sealed[:-1] + bytes([sealed[-1] ^ 1]))
        assert opens(opener, sealed) == bytes(1000)
    assert len(opener._scratch._idle) == 1


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


BROKEN: dict[str, Callable[[int], NDArray[Any]]] = {
    "a byte too few": lambda nbytes: np.zeros(nbytes - 1, np.uint8),
    "a byte too many": lambda nbytes: np.zeros(nbytes + 1, np.uint8),
    "16-bit numbers": lambda nbytes: np.zeros(nbytes, np.int16),
    "a column": lambda nbytes: np.zeros((nbytes, 1), np.uint8),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_a_keystream_that_breaks_its_promise_seals_and_opens_nothing(
    keystream: Any, broken: Callable[[int], NDArray[Any]]
) -> None:
    class Broken:
        def take(self, counter: int, nbytes: int) -> NDArray[Any]:
            return broken(nbytes)

    with pytest.raises(BadInput, match="something else than the bytes"):
        Sealer(KEYS, SENDER, Broken()).draw(4)
    with pytest.raises(BadInput, match="something else than the bytes"):
        Opener(KEYS, SENDER, Broken()).open(seal(Sealer(KEYS, SENDER, keystream()), b"four"))


class Elsewhere:
    """AES-GCM as a library may have it that does not write where it reads from."""

    def __init__(self, key: bytes) -> None:
        self.aead = AESGCM(key)
        self.encrypt, self.decrypt_into = self.aead.encrypt, self.aead.decrypt_into

    def encrypt_into(self, nonce: Any, data: Any, aad: Any, buf: Any) -> None:
        read, written = np.frombuffer(data, np.uint8), np.frombuffer(buf, np.uint8)
        clash = np.shares_memory(read, written)
        if clash:
            self.refuse()
        self.aead.encrypt_into(nonce, data, aad, buf)
        if clash:
            written[4096:] ^= 1

    def refuse(self) -> None:
        raise BufferError("the buffers overlap")


class Wrong(Elsewhere):
    """It takes what it has written for what it was to read, after 4 KiB."""

    def refuse(self) -> None:
        pass


@pytest.mark.parametrize("aead", [AESGCM, Elsewhere, Wrong])
def test_where_aes_gcm_can_not_write_where_it_reads_the_seal_is_the_same(
    keystream: Any, monkeypatch: pytest.MonkeyPatch, aead: type
) -> None:
    inner = bytes(range(256)) * 40
    expected = seal(Sealer(KEYS, SENDER, keystream()), inner)
    monkeypatch.setattr(sealing, "AESGCM", aead)
    monkeypatch.setattr(
        sealing, "_encrypts_in_place", cache(sealing._encrypts_in_place.__wrapped__)
    )
    assert sealing._encrypts_in_place() == (aead is AESGCM)
    assert seal(Sealer(KEYS, SENDER, keystream()), inner) == expected
    assert opens(Opener(KEYS, SENDER, keystream()), expected) == inner


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


def test_a_frame_of_another_suite_than_was_agreed_on_is_refused(keystream: Any) -> None:
    sealed = seal(Sealer(KEYS, SENDER, keystream()), b"inner")
    with pytest.raises(MalformedFrame, match="agreed"):
        Opener(KEYS, SENDER, keystream(), suite=2).open(sealed)
    later = seal(Sealer(KEYS, SENDER, keystream(), suite=2), b"inner")
    assert later[1] == 2
    with pytest.raises(MalformedFrame):
        Opener(KEYS, SENDER, keystream()).open(later)
