"""Epoch keys: known answers, independence of labels, and when epochs begin and end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.crypto.keyschedule import (
    REJECT_AFTER_S,
    REKEY_AFTER_S,
    EpochSecret,
    ReceiverSchedule,
    SenderSchedule,
    derive_epoch,
)
from shared.errors import BadInput, HandshakeFailed, UnknownEpoch

SECOND = 10**9
secrets = st.binary(min_size=32, max_size=32)
epochs = st.integers(0, 2**32 - 1)
senders = st.integers(0, 2**16 - 1)


def parts(secret: bytes, epoch: int, sender: int) -> list[bytes]:
    keys = derive_epoch(secret, epoch, sender)
    return [keys.seal_key, keys.keystream_key, keys.salt, keys.digest_key]


def test_known_answers(vectors: Callable[[str], Any]) -> None:
    for case in vectors("keyschedule.json")["epochs"]:
        keys = derive_epoch(bytes.fromhex(case["secret"]), case["epoch"], case["sender"])
        assert keys.epoch == case["epoch"]
        for name in ("seal_key", "keystream_key", "salt", "digest_key"):
            assert getattr(keys, name).hex() == case[name]


@given(secrets, epochs, senders)
def test_keys_are_rfc_5869_under_the_documented_labels(
    hkdf: Callable[..., bytes], secret: bytes, epoch: int, sender: int
) -> None:
    context = b"\x00" + epoch.to_bytes(4, "big") + sender.to_bytes(2, "big")
    assert parts(secret, epoch, sender) == [
        hkdf(b"veilscope 1 epoch", secret, b"veilscope 1 " + label + context, length)
        for label, length in ((b"seal", 32), (b"keystream", 32), (b"salt", 12), (b"digest", 32))
    ]


@given(secrets, epochs, senders, st.integers(0, 255), epochs, senders)
def test_no_two_purposes_epochs_senders_or_secrets_share_key_material(
    secret: bytes, epoch: int, sender: int, bit: int, other_epoch: int, other_sender: int
) -> None:
    flipped = (int.from_bytes(secret, "big") ^ 1 << bit).to_bytes(32, "big")
    contexts = {(secret, epoch, sender), (flipped, epoch, sender)}
    contexts |= {(secret, other_epoch, sender), (secret, epoch, other_sender)}
    material = [part[:12] for context in contexts for part in parts(*context)]
    assert len(set(material)) == 4 * len(contexts)


@pytest.mark.parametrize(
    ("secret", "epoch", "sender"),
    [(bytes(31), 1, 1), (bytes(33), 1, 1), (bytes(32), -1, 1), (bytes(32), 2**32, 1),
     (bytes(32), 1, -1), (bytes(32), 1, 2**16)],
)  # fmt: skip
def test_arguments_out_of_range_are_refused(secret: bytes, epoch: int, sender: int) -> None:
    with pytest.raises(BadInput):
        derive_epoch(secret, epoch, sender)


def test_a_rekey_is_due_after_sixty_seconds_and_not_before() -> None:
    schedule = SenderSchedule(1)
    assert schedule.due(0)
    schedule.start(5 * SECOND)
    assert REKEY_AFTER_S == 60
    assert not schedule.due(65 * SECOND - 1)
    assert schedule.due(65 * SECOND)
    schedule.rotate(65 * SECOND, "time")
    assert not schedule.due(66 * SECOND)


@given(st.lists(st.sampled_from(["time", "join", "leave"]), max_size=20))
def test_epochs_strictly_increase_with_fresh_secrets_and_receivers_follow(
    reasons: list[Any],
) -> None:
    sender, receiver = SenderSchedule(7), ReceiverSchedule(7)
    announced = [sender.start(0)] + [sender.rotate(i, r) for i, r in enumerate(reasons)]
    assert [a.epoch for a in announced] == list(range(1, len(announced) + 1))
    assert [a.reason for a in announced] == ["start", *reasons]
    assert len({a.secret for a in announced}) == len(announced)
    for secret in announced:
        assert receiver.install(secret) == derive_epoch(secret.secret, secret.epoch, 7)
    for secret in announced[:-2]:
        with pytest.raises(UnknownEpoch):
            receiver.keys(secret.epoch)
        with pytest.raises(UnknownEpoch):
            sender.keys(secret.epoch, len(reasons))
    for secret in announced[-2:]:
        assert receiver.keys(secret.epoch) == sender.keys(secret.epoch, len(reasons))


def test_nothing_is_sealed_under_an_epoch_of_180_seconds_even_while_the_next_has_begun() -> None:
    schedule = SenderSchedule(1)
    schedule.start(0)
    schedule.rotate(100 * SECOND, "time")
    schedule.keys(1, round(REJECT_AFTER_S) * SECOND - 1)
    assert REJECT_AFTER_S == 180
    with pytest.raises(UnknownEpoch):
        schedule.keys(1, 180 * SECOND)
    schedule.keys(2, 180 * SECOND)
    with pytest.raises(UnknownEpoch):
        schedule.keys(3, 180 * SECOND)


def test_a_schedule_starts_once_and_rotates_only_after_that() -> None:
    schedule = SenderSchedule(1)
    with pytest.raises(BadInput):
        schedule.rotate(0, "join")
    schedule.start(0)
    with pytest.raises(BadInput):
        schedule.start(1)


@pytest.mark.parametrize("rekey_after_s", [0.0, -1.0, REKEY_AFTER_S + 0.001])
def test_the_rekey_interval_can_be_shortened_only(rekey_after_s: float) -> None:
    with pytest.raises(BadInput):
        SenderSchedule(1, rekey_after_s=rekey_after_s)
    assert SenderSchedule(1, rekey_after_s=0.5).due(0)


@pytest.mark.parametrize("epoch", [0, 1, 4, 5])
def test_a_receiver_refuses_an_epoch_that_is_not_newer_than_all_before(epoch: int) -> None:
    receiver = ReceiverSchedule(1)
    receiver.install(EpochSecret(2, bytes(32)))
    newest = receiver.install(EpochSecret(5, b"5" * 32))
    with pytest.raises(HandshakeFailed):
        receiver.install(EpochSecret(epoch, b"x" * 32))
    assert receiver.keys(5) == newest


def test_a_bad_secret_leaves_the_receiver_as_it_was() -> None:
    receiver = ReceiverSchedule(1)
    with pytest.raises(BadInput):
        receiver.install(EpochSecret(9, b"short"))
    receiver.install(EpochSecret(1, bytes(32)))


def test_reprs_hide_every_secret() -> None:
    secret = EpochSecret(1, b"S" * 32)
    keys = derive_epoch(secret.secret, 1, 1)
    assert repr(secret) == "EpochSecret(epoch=1, reason='start')"
    assert repr(keys) == "EpochKeys(epoch=1)"
    assert replace(keys, epoch=2) != keys
