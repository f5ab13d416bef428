"""The handshake between honest ends, and between ends with an attacker in the middle."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spake2 import SPAKE2_A, SPAKE2_B
from spake2.ed25519_basic import Zero
from spake2.parameters.ed25519 import ParamsEd25519

from shared.capabilities import BROWSER, MAX_FEATURES, OUR_FEATURES, Capabilities
from shared.crypto import messages
from shared.crypto.agreement import DtlsFingerprints, NetworkId, SessionKeys
from shared.crypto.handshake import (
    ReceiverHandshake,
    SenderHandshake,
    abort_message,
    new_session_id,
)
from shared.errors import (
    BadInput,
    Busy,
    CodeUsed,
    HandshakeFailed,
    KeystreamMismatch,
    NotNow,
    NotSupported,
    OtherVersion,
    PairingFailed,
    PeerGone,
    VeilscopeError,
    WrongCode,
)

CODE, OTHER_CODE = "abandon-crystal-zebra", "abandon-crystal-zoo"
FINGERPRINTS = DtlsFingerprints(sender=b"\x11" * 32, receiver=b"\x22" * 32)
NETWORK = NetworkId("bp", b"\xaa" * 32)
OTHER_NETWORK = NetworkId("bp", b"\xbb" * 32)
SESSION = "00112233445566778899aabbccddeeff"

Tamper = Callable[[int, bytes], list[bytes]]
"""What the network makes of message number 0 to 3."""


def a_sender(
    code: str = CODE,
    fingerprints: DtlsFingerprints = FINGERPRINTS,
    network: NetworkId = NETWORK,
    **more: Any,
) -> SenderHandshake:
    return SenderHandshake(code, SESSION, fingerprints, network, **more)


def a_receiver(
    code: str = CODE,
    fingerprints: DtlsFingerprints = FINGERPRINTS,
    held: NetworkId | None = NETWORK,
    **more: Any,
) -> ReceiverHandshake:
    def known(family: str) -> bytes | None:
        return held.digest if held is not None and held.family == family else None

    return ReceiverHandshake(code, fingerprints, known, **more)


@dataclass
class Outcome:
    """How it ended at both ends, and all that went over the network."""

    sender: SessionKeys | None = None
    receiver: SessionKeys | None = None
    sender_error: VeilscopeError | None = None
    receiver_error: VeilscopeError | None = None
    traffic: list[bytes] = field(default_factory=list)


def unaltered(number: int, message: bytes) -> list[bytes]:
    return [message]


def run(
    sender: SenderHandshake, receiver: ReceiverHandshake, tamper: Tamper = unaltered
) -> Outcome:
    """Carry messages to and fro until nobody has more to say, as the sessions do.

    An end that has its result or an error listens no more; one that fails tells the other.
    """
    outcome, numbers = Outcome(), itertools.count()
    pending: list[tuple[Any, bytes]] = []

    def post(to: Any, sent: list[bytes]) -> None:
        for message in sent:
            outcome.traffic.append(message)
            pending.extend((to, delivered) for delivered in tamper(next(numbers), message))

    post(receiver, sender.start())
    post(sender, receiver.start())
    errors: dict[int, VeilscopeError] = {}
    while pending:
        end, message = pending.pop(0)
        other = receiver if end is sender else sender
        if end.result is not None or id(end) in errors:
            continue
        try:
            post(other, end.receive(message))
        except PairingFailed as error:
            errors[id(end)] = error
            pending.append((other, end.abort_message(error)))
    outcome.sender, outcome.receiver = sender.result, receiver.result
    outcome.sender_error, outcome.receiver_error = (
        errors.get(id(sender)), errors.get(id(receiver))
    )  # fmt: skip
    return outcome


@cache
def a_recorded_session() -> list[bytes]:
    """The messages of a pairing that went well, made once: it takes longer than what reads them."""
    return run(a_sender(), a_receiver()).traffic


def altering(number: int, change: Callable[[bytes], bytes]) -> Tamper:
    return lambda n, message: [change(message) if n == number else message]


def flipped(message: bytes, at: int, by: int = 1) -> bytes:
    altered = bytearray(message)
    altered[at] ^= by
    return bytes(altered)


def assert_both_failed(outcome: Outcome, error: type[VeilscopeError]) -> None:
    assert type(outcome.sender_error) is error
    assert type(outcome.receiver_error) is error
    assert outcome.sender is None
    assert outcome.receiver is None


# -- honest ends ---------------------------------------------------------------------------------


def test_two_ends_with_one_code_come_to_share_their_keys() -> None:
    outcome = run(a_sender(), a_receiver())
    assert outcome.sender_error is None
    assert outcome.receiver_error is None
    assert outcome.sender is not None
    assert outcome.receiver == replace(
        outcome.sender,
        control_send=outcome.sender.control_receive,
        control_receive=outcome.sender.control_send,
        restart_send=outcome.sender.restart_receive,
        restart_receive=outcome.sender.restart_send,
    )
    keys = {outcome.sender.control_send, outcome.sender.control_receive}
    assert len(keys | {outcome.sender.restart_send, outcome.sender.restart_receive}) == 4
    assert outcome.sender.session_id == SESSION
    assert outcome.sender.network == NETWORK
    assert len(outcome.traffic) == 4


def test_two_handshakes_never_give_the_same_keys() -> None:
    one, two = (run(a_sender(), a_receiver()).sender for _ in range(2))
    assert one is not None
    assert two is not None
    keys = {one.control_send, one.control_receive, two.control_send, two.control_receive}
    assert len(keys) == 4


def test_known_answers_of_a_recorded_handshake(
    vectors: Callable[[str], Any], seeded_entropy: Any
) -> None:
    case = vectors("handshake.json")["receiver"]
    seed, network = bytes.fromhex(case["seed"]), bytes.fromhex(case["network_digest"])
    receiver = ReceiverHandshake(
        case["code_secret"],
        DtlsFingerprints(
            bytes.fromhex(case["sender_fingerprint"]), bytes.fromhex(case["receiver_fingerprint"])
        ),
        lambda family: network if family == case["family"] else None,
        capabilities=Capabilities(frozenset(case["receiver_features"]), case["receiver_kind"]),
        suites=case["suites"],
        entropy=seeded_entropy(seed),
    )
    assert [m.hex() for m in receiver.start()] == [case["receiver_hello"]]
    confirm = receiver.receive(bytes.fromhex(case["sender_hello"]))
    assert [m.hex() for m in confirm] == [case["receiver_confirm"]]
    assert receiver.receive(bytes.fromhex(case["sender_confirm"])) == []
    assert receiver.result is not None
    assert receiver.result.session_id == case["session_id"]
    assert receiver.result.suite == case["suite"]
    assert receiver.result.peer_kind == case["sender_kind"]
    assert sorted(receiver.result.features) == case["features"]
    heard = messages.parse_sender_hello(bytes.fromhex(case["sender_hello"])).capabilities
    assert heard == Capabilities(frozenset(case["sender_features"]), case["sender_kind"])
    assert receiver.result.control_send.hex() == case["control_to_sender"]
    assert receiver.result.control_receive.hex() == case["control_to_receiver"]


def test_spake2_is_what_the_docs_say_for_a_second_implementation() -> None:
    """docs/PROTOCOL.md, Shares; only the arithmetic of points is the package's."""
    digits = "15cfd18e385952982b6a8f8c7854963b58e34388c8e6dae891db756481a02312"
    group, m = ParamsEd25519.group, ParamsEd25519.group.bytes_to_element(bytes.fromhex(digits))
    digits = "f04f2e7eb734b2a8f8b472eaf9c3c632576ac64aea650b496a8a20ff00e583c3"
    n, password = group.bytes_to_element(bytes.fromhex(digits)), CODE.encode()
    sender = SPAKE2_A(password, idA=b"veilscope sender", idB=b"veilscope receiver")
    receiver = SPAKE2_B(password, idA=b"veilscope sender", idB=b"veilscope receiver")
    theirs, (x, ours) = receiver.start(), (7**80 % group.order(), sender.start())

    prk = hmac.digest(bytes(32), password, "sha256")
    first = hmac.digest(prk, b"SPAKE2 pw\x01", "sha256")
    oversized = first + hmac.digest(prk, first + b"SPAKE2 pw\x02", "sha256")[:16]
    w = int.from_bytes(oversized, "big") % group.order()

    def h(data: bytes) -> bytes:
        return hashlib.sha256(data).digest()

    blinded = group.Base.scalarmult(x).add(m.scalarmult(w)).to_bytes()
    k = group.bytes_to_element(theirs[1:]).add(n.scalarmult(-w)).scalarmult(x).to_bytes()
    names = h(b"veilscope sender") + h(b"veilscope receiver")
    assert h(h(password) + names + blinded + theirs[1:] + k) == receiver.finish(b"A" + blinded)
    assert (ours[:1], theirs[:1], len(ours)) == (b"A", b"B", 33)


# -- codes, fingerprints and networks that differ ------------------------------------------------


def test_a_wrong_code_ends_in_wrong_code_at_both_ends_and_counts_as_a_try() -> None:
    sender = a_sender()
    outcome = run(sender, a_receiver(OTHER_CODE))
    assert_both_failed(outcome, WrongCode)
    assert sender.code_was_wrong
    assert "codes differ" in str(outcome.receiver_error)
    assert "altered the exchange" in str(outcome.receiver_error)


@pytest.mark.parametrize(
    "seen_by_receiver",
    [
        DtlsFingerprints(FINGERPRINTS.receiver, FINGERPRINTS.sender),
        replace(FINGERPRINTS, sender=b"\x33" * 32),
        replace(FINGERPRINTS, receiver=b"\x33" * 32),
    ],
)
def test_swapped_fingerprints_end_in_wrong_code(seen_by_receiver: DtlsFingerprints) -> None:
    outcome = run(a_sender(), a_receiver(fingerprints=seen_by_receiver))
    assert_both_failed(outcome, WrongCode)


def test_both_networks_are_named_by_eight_hex_digits_only_where_both_are_genuine() -> None:
    sender = a_sender()
    outcome = run(sender, a_receiver(held=OTHER_NETWORK))
    assert_both_failed(outcome, KeystreamMismatch)
    assert "'bp'" in str(outcome.sender_error)
    assert "aaaaaaaa at the sender" in str(outcome.sender_error)
    assert "bbbbbbbb at the receiver" in str(outcome.sender_error)
    assert "aaaaaaaaa" not in str(outcome.sender_error)
    assert "this end's 'bp' is bbbbbbbb" in str(outcome.receiver_error)
    assert "aaaa" not in str(outcome.receiver_error), "an abort proves nothing of the hello"
    assert not sender.code_was_wrong


def test_somebody_without_the_code_puts_no_words_on_the_receiver_s_screen() -> None:
    stranger = a_sender(OTHER_CODE, network=NetworkId("call.555-0199.now", b"\xde\xad\xbe\xef" * 8))
    receiver = ReceiverHandshake(CODE, FINGERPRINTS, lambda _: None)
    receiver.receive(stranger.receive(receiver.start()[0])[0])
    with pytest.raises(KeystreamMismatch) as caught:
        receiver.receive(b"\x05\x03")
    for said in (str(caught.value), caught.value.hint, repr(caught.value)):
        assert "555" not in said and "deadbeef" not in said


def test_a_network_that_the_receiver_does_not_have_is_a_mismatch() -> None:
    outcome = run(a_sender(), a_receiver(held=None))
    assert_both_failed(outcome, KeystreamMismatch)
    assert "has no keystream network 'bp'" in str(outcome.sender_error)


def test_a_network_of_digest_zero_does_not_pass_for_one_that_is_missing() -> None:
    zero = NetworkId("bp", bytes(32))
    outcome = run(a_sender(network=zero), a_receiver(held=None))
    assert outcome.receiver is None
    assert type(outcome.receiver_error) is KeystreamMismatch


def test_a_wrong_code_is_told_before_a_different_network() -> None:
    assert_both_failed(run(a_sender(), a_receiver(OTHER_CODE, held=OTHER_NETWORK)), WrongCode)


# -- an attacker on the way ----------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 3), st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_one_altered_byte_anywhere_never_lets_both_ends_succeed(
    number: int, where: float, by: int
) -> None:
    outcome = run(
        a_sender(), a_receiver(), altering(number, lambda m: flipped(m, int(where * len(m)), by))
    )
    assert outcome.receiver is None
    assert isinstance(outcome.receiver_error, PairingFailed)
    # Alone the last message leaves the sender with a result; see the rules in handshake.py.
    assert (outcome.sender is not None) is (number == 3)
    if number != 3:
        assert isinstance(outcome.sender_error, PairingFailed)


RECEIVER_HELLO_FIELDS = {
    "nonce": 4,
    "x25519": 4 + 32 + 33,
    "mlkem": 4 + 32 + 33 + 32,
    "feature": -1,
}
SENDER_HELLO_FIELDS = {
    "session id": 3,
    "nonce": 3 + 16,
    "x25519": 3 + 16 + 32 + 33,
    "ciphertext": 3 + 16 + 32 + 33 + 32,
    "network digest": 3 + 16 + 32 + 33 + 32 + 1088,
    "family": 3 + 16 + 32 + 33 + 32 + 1088 + 32 + 1,
    "client kind": 3 + 16 + 32 + 33 + 32 + 1088 + 32 + 3 + 1,
    "feature": -1,
}


@pytest.mark.parametrize("name", RECEIVER_HELLO_FIELDS)
def test_a_tampered_receiver_hello_ends_at_the_confirmation_as_wrong_code(name: str) -> None:
    at = RECEIVER_HELLO_FIELDS[name]
    assert_both_failed(
        run(a_sender(), a_receiver(), altering(0, lambda m: flipped(m, at))), WrongCode
    )


@pytest.mark.parametrize("name", SENDER_HELLO_FIELDS)
def test_a_tampered_sender_hello_ends_at_the_confirmation_as_wrong_code(name: str) -> None:
    at = SENDER_HELLO_FIELDS[name]
    assert_both_failed(
        run(a_sender(), a_receiver(), altering(1, lambda m: flipped(m, at))), WrongCode
    )


def test_a_replaced_share_ends_at_the_confirmation_as_wrong_code() -> None:
    stranger = run(a_sender(), a_receiver()).traffic

    def spake2_of_a_stranger(message: bytes) -> bytes:
        return message[:36] + stranger[0][36:69] + message[69:]

    assert_both_failed(run(a_sender(), a_receiver(), altering(0, spake2_of_a_stranger)), WrongCode)


@pytest.mark.parametrize("number", range(4))
def test_a_dropped_message_leaves_no_result_but_the_senders_when_it_was_the_last(
    number: int,
) -> None:
    outcome = run(a_sender(), a_receiver(), lambda n, m: [] if n == number else [m])
    assert outcome.receiver is None
    assert (outcome.sender is not None) is (number == 3)


def test_a_repeated_hello_of_the_receiver_ends_the_handshake() -> None:
    outcome = run(a_sender(), a_receiver(), lambda n, m: [m, m] if n == 0 else [m])
    assert_both_failed(outcome, HandshakeFailed)


def test_a_repeated_hello_of_the_sender_is_refused_by_a_receiver_that_has_confirmed() -> None:
    outcome = run(a_sender(), a_receiver(), lambda n, m: [m, m] if n == 1 else [m])
    assert outcome.receiver is None
    assert type(outcome.receiver_error) is HandshakeFailed
    assert outcome.sender is not None  # something else came in the place of the last message


@pytest.mark.parametrize("number", [2, 3])
def test_a_repeated_confirmation_comes_to_an_end_that_is_done(number: int) -> None:
    outcome = run(a_sender(), a_receiver(), lambda n, m: [m, m] if n == number else [m])
    assert outcome.sender is not None
    assert outcome.receiver is not None
    assert outcome.sender.control_send == outcome.receiver.control_receive


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_messages_out_of_order_give_no_result(data: st.DataObject) -> None:
    recorded = a_recorded_session()
    sender, receiver = a_sender(), a_receiver()
    receiver.start()
    for end in (sender, receiver):
        fed = data.draw(st.lists(st.sampled_from([*recorded, b""]), max_size=3))
        for message in fed:
            try:
                end.receive(message)
            except PairingFailed:
                continue
        assert end.result is None


def test_a_recorded_session_does_not_replay() -> None:
    recorded = run(a_sender(), a_receiver()).traffic
    receiver = a_receiver()
    receiver.start()
    receiver.receive(recorded[1])
    with pytest.raises(WrongCode):
        receiver.receive(recorded[3])
    sender = a_sender()
    sender.receive(recorded[0])
    with pytest.raises(WrongCode):
        sender.receive(recorded[2])


def test_an_end_that_hears_itself_refuses() -> None:
    receiver = a_receiver()
    (hello,) = receiver.start()
    with pytest.raises(HandshakeFailed):
        receiver.receive(hello)
    sender = a_sender()
    (answer,) = sender.receive(a_receiver().start()[0])
    with pytest.raises(HandshakeFailed):
        sender.receive(answer)


def test_a_reflected_share_is_refused() -> None:
    receiver = a_receiver()
    (hello,) = receiver.start()
    own_point = b"A" + hello[37:69]  # the receiver's SPAKE2 point, dressed as a sender's

    def reflect(message: bytes) -> bytes:
        return message[:51] + own_point + message[84:]

    (answer,) = a_sender().receive(hello)
    with pytest.raises(HandshakeFailed):
        receiver.receive(reflect(answer))


def test_an_attacker_in_the_middle_needs_the_code() -> None:
    """It terminates both DTLS connections, so each end sees the attacker's certificate."""
    attacker = b"\x99" * 32
    to_sender = DtlsFingerprints(FINGERPRINTS.sender, attacker)
    to_receiver = DtlsFingerprints(attacker, FINGERPRINTS.receiver)
    # Relaying honest messages between the two connections:
    assert_both_failed(
        run(a_sender(fingerprints=to_sender), a_receiver(fingerprints=to_receiver)), WrongCode
    )
    # Playing the other end to each of them, on a guess:
    for guess, fooled in ((OTHER_CODE, False), (CODE, True)):
        played = run(a_sender(fingerprints=to_sender), a_receiver(guess, to_sender))
        assert (played.sender is not None) is fooled
        played = run(a_sender(guess, to_receiver), a_receiver(fingerprints=to_receiver))
        assert (played.receiver is not None) is fooled


def test_the_sender_proves_nothing_before_the_receiver_has_committed_itself() -> None:
    sender = a_sender()
    assert sender.start() == []
    (answer,) = sender.receive(a_receiver(OTHER_CODE).start()[0])
    assert len(answer) == len(run(a_sender(), a_receiver()).traffic[1])
    with pytest.raises(WrongCode):
        sender.receive(bytes((3,)) + bytes(64))
    assert sender.code_was_wrong


# -- messages that can't be computed with --------------------------------------------------------


BAD_SPAKE2 = {
    "the neutral element": b"B" + Zero.to_bytes(),
    "a point off the curve": b"B" + b"\x02" + bytes(31),
    "a point of low order": b"B" + bytes(32),
    "the sender's own side": b"A" + b"\x58" + b"\x66" * 31,
    "an unknown side": b"X" + b"\x58" + b"\x66" * 31,
}


@pytest.mark.parametrize("share", BAD_SPAKE2.values(), ids=BAD_SPAKE2.keys())
def test_a_bad_spake2_share_is_refused(share: bytes) -> None:
    outcome = run(a_sender(), a_receiver(), altering(0, lambda m: m[:36] + share + m[69:]))
    assert_both_failed(outcome, HandshakeFailed)


@pytest.mark.parametrize("point", [bytes(32), b"\x01" + bytes(31)])
def test_an_x25519_share_whose_secret_would_be_zero_is_refused(point: bytes) -> None:
    outcome = run(a_sender(), a_receiver(), altering(0, lambda m: m[:69] + point + m[101:]))
    assert_both_failed(outcome, HandshakeFailed)
    outcome = run(a_sender(), a_receiver(), altering(1, lambda m: m[:84] + point + m[116:]))
    assert_both_failed(outcome, HandshakeFailed)


def test_an_ml_kem_key_out_of_range_is_refused() -> None:
    outcome = run(
        a_sender(), a_receiver(), altering(0, lambda m: m[:101] + b"\xff" * 1184 + m[1285:])
    )
    assert_both_failed(outcome, HandshakeFailed)


def test_no_common_suite_is_refused_and_a_suite_not_offered_too() -> None:
    outcome = run(a_sender(), a_receiver(suites=(9, 200)))
    assert_both_failed(outcome, NotSupported)
    outcome = run(a_sender(), a_receiver(), altering(1, lambda m: m[:2] + b"\x09" + m[3:]))
    assert_both_failed(outcome, HandshakeFailed)


@pytest.mark.parametrize("number", range(4))
def test_every_truncation_and_any_addition_is_refused(number: int) -> None:
    message = run(a_sender(), a_receiver()).traffic[number]
    parse = (
        messages.parse_receiver_hello,
        messages.parse_sender_hello,
        messages.parse_receiver_confirm,
        messages.parse_sender_confirm,
    )[number]
    parse(message)
    for wrong in [*(message[:n] for n in range(len(message))), message + b"\x00"]:
        with pytest.raises(HandshakeFailed):
            parse(wrong)


@settings(deadline=None)
@given(st.binary(max_size=100))
def test_garbage_is_refused(garbage: bytes) -> None:
    for parse in (
        messages.parse_receiver_hello,
        messages.parse_sender_hello,
        messages.parse_receiver_confirm,
        messages.parse_sender_confirm,
    ):
        with pytest.raises(PairingFailed):
            parse(garbage)


# -- what the two ends have in common ------------------------------------------------------------

features = st.frozensets(st.from_regex(r"\A[a-z0-9][a-z0-9._-]{0,31}\Z"), max_size=MAX_FEATURES)


@settings(max_examples=15, deadline=None)
@given(features, features, features)
def test_the_session_has_what_both_ends_have(
    common: frozenset[str], one: frozenset[str], other: frozenset[str]
) -> None:
    ours = frozenset(sorted(common | one)[:MAX_FEATURES])
    theirs = frozenset(sorted(common | other)[:MAX_FEATURES])
    outcome = run(
        a_sender(capabilities=Capabilities(ours)),
        a_receiver(capabilities=Capabilities(theirs, BROWSER)),
    )
    assert outcome.sender is not None and outcome.receiver is not None
    assert outcome.sender.features == outcome.receiver.features == ours & theirs
    assert (outcome.sender.peer_kind, outcome.receiver.peer_kind) == ("browser", "native")


def test_a_kind_of_client_that_is_not_known_here_is_taken_as_it_is() -> None:
    outcome = run(a_sender(), a_receiver(capabilities=Capabilities(OUR_FEATURES, "glasses")))
    assert outcome.sender is not None
    assert outcome.sender.peer_kind == "glasses"


@pytest.mark.parametrize("feature", sorted(OUR_FEATURES))
@pytest.mark.parametrize("number", [0, 1])
def test_a_feature_that_somebody_between_takes_away_ends_the_handshake(
    number: int, feature: str
) -> None:
    """Well-formed to the last byte: it parses, and both find that they saw different hellos."""
    parse = (messages.parse_receiver_hello, messages.parse_sender_hello)[number]

    def strip(message: bytes) -> bytes:
        less = replace(parse(message), capabilities=Capabilities(OUR_FEATURES - {feature})).pack()
        assert feature not in parse(less).capabilities.features
        return less

    assert_both_failed(run(a_sender(), a_receiver(), altering(number, strip)), WrongCode)


@pytest.mark.parametrize("number", [0, 1])
def test_another_client_kind_than_was_sent_ends_the_handshake(number: int) -> None:
    parse = (messages.parse_receiver_hello, messages.parse_sender_hello)[number]

    def dress_up(message: bytes) -> bytes:
        return replace(parse(message), capabilities=Capabilities(OUR_FEATURES, BROWSER)).pack()

    assert_both_failed(run(a_sender(), a_receiver(), altering(number, dress_up)), WrongCode)


def test_suites_of_a_later_version_are_passed_over_and_taking_one_away_ends_the_handshake() -> None:
    outcome = run(a_sender(), a_receiver(suites=(200, 1, 7)))
    assert outcome.sender is not None and outcome.receiver is not None
    assert outcome.sender.suite == outcome.receiver.suite == 1

    def strip(message: bytes) -> bytes:
        return replace(messages.parse_receiver_hello(message), suites=(1,)).pack()

    stripped = run(a_sender(), a_receiver(suites=(200, 1, 7)), altering(0, strip))
    assert_both_failed(stripped, WrongCode)


def extended(monkeypatch: pytest.MonkeyPatch, *extensions: bytes) -> None:
    """Both ends are of a later version of this protocol and add extensions to their hellos."""
    for hello in (messages.ReceiverHello, messages.SenderHello):
        pack = hello.pack

        def more(self: Any, pack: Callable[[Any], bytes] = pack) -> bytes:
            return pack(self) + b"".join(extensions)

        monkeypatch.setattr(hello, "pack", more)


def an_extension(kind: int, value: bytes = b"") -> bytes:
    return bytes((kind,)) + len(value).to_bytes(2, "big") + value


def test_extensions_of_a_later_version_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    extended(monkeypatch, an_extension(1, b"new"), an_extension(127), an_extension(1, b"again"))
    outcome = run(a_sender(), a_receiver())
    assert outcome.sender is not None and outcome.receiver is not None


def test_a_critical_extension_that_is_not_known_ends_it_and_none_of_it_is_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    extended(monkeypatch, an_extension(1), an_extension(messages.CRITICAL | 1, b"call this number"))
    outcome = run(a_sender(), a_receiver())
    assert_both_failed(outcome, NotSupported)
    assert "insists" in str(outcome.sender_error)
    assert "call" not in str(outcome.sender_error) + str(outcome.receiver_error)


def test_a_hello_is_bounded_in_extensions_and_bytes() -> None:
    (hello,) = a_receiver().start()
    messages.parse_receiver_hello(hello + an_extension(1) * messages.MAX_EXTENSIONS)
    room = messages.MAX_HELLO_BYTES - len(hello)
    messages.parse_receiver_hello(hello + an_extension(1, bytes(room - 3)))
    for too_much in (
        an_extension(1) * (messages.MAX_EXTENSIONS + 1),
        an_extension(1, bytes(room - 2)),
    ):
        with pytest.raises(HandshakeFailed):
            messages.parse_receiver_hello(hello + too_much)


def test_no_more_extensions_are_read_than_there_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    (hello,) = a_receiver().start()
    read: list[bytes] = []
    monkeypatch.setattr(messages, "_EXTENSION", Counting(messages._EXTENSION, read))
    with pytest.raises(HandshakeFailed):
        messages.parse_receiver_hello(hello + an_extension(1) * 2000)
    assert len(read) == messages.MAX_EXTENSIONS


class Counting:
    """A struct that notes what it unpacks."""

    def __init__(self, struct: Any, read: list[bytes]) -> None:
        self.size, self._struct, self._read = struct.size, struct, read

    def unpack(self, data: bytes) -> Any:
        self._read.append(data)
        return self._struct.unpack(data)


@pytest.mark.parametrize(
    "tail",
    [
        b"",
        b"\x06native",
        b"\x00\x00",
        b"\x06NATIVE\x00",
        b"\x06nat\nve\x00",
        b"\x06nat\xc3\xa4e\x00",
        b"\x21" + b"a" * 33 + b"\x00",
        b"\x06native\x01",
        b"\x06native\x01\x00",
        b"\x06native\x01\x05a\x1b[2J",
        b"\x06native\x41" + b"\x01a" * 65,
        b"\x06native\x00\x01",
        b"\x06native\x00\x01\x00\x02a",
    ],
)
def test_capabilities_of_no_such_form_are_refused(tail: bytes) -> None:
    fixed = a_receiver().start()[0][:1285]
    messages.parse_receiver_hello(fixed + b"\x06native\x00")
    with pytest.raises(HandshakeFailed, match="malformed"):
        messages.parse_receiver_hello(fixed + tail)


@settings(deadline=None)
@given(st.binary(max_size=200) | st.lists(st.binary(max_size=40)).map(
    lambda names: b"\x06native" + bytes((len(names) & 255,)) + b"".join(
        bytes((len(name),)) + name for name in names
    )
))  # fmt: skip
def test_whatever_ends_a_hello_it_parses_within_the_limits_or_is_refused(tail: bytes) -> None:
    """No other error than the typed ones, and nothing that could not be shown gets through."""
    for parse, fixed in (
        (messages.parse_receiver_hello, b"\x01\x03\x01\x01" + bytes(1281)),
        (messages.parse_sender_hello, b"\x02\x03\x01" + bytes(1233) + b"\x02bp"),
    ):
        try:
            said = parse(fixed + tail).capabilities  # type: ignore[operator]
        except HandshakeFailed:
            continue
        assert len(said.features) <= MAX_FEATURES
        assert all(name.isascii() and name.isprintable() for name in (*said.features, said.kind))


@settings(deadline=None)
@given(st.data())
def test_a_hello_with_any_bytes_changed_parses_or_is_refused(data: st.DataObject) -> None:
    recorded = a_recorded_session()
    number = data.draw(st.integers(0, 1))
    message = bytearray(recorded[number])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(message) - 1) | st.integers(1280, len(message) - 1))
        message[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.none() | st.integers(0, len(message)))
    parse = (messages.parse_receiver_hello, messages.parse_sender_hello)[number]
    try:
        parse(bytes(message[:cut]))
    except PairingFailed:
        return


def test_capabilities_that_could_not_be_sent_are_not_made() -> None:
    Capabilities(frozenset(map(str, range(MAX_FEATURES))))
    for bad in ({"A"}, {""}, {"a" * 33}, {"a b"}, set(map(str, range(MAX_FEATURES + 1)))):
        with pytest.raises(BadInput):
            Capabilities(frozenset(bad))
    with pytest.raises(BadInput):
        Capabilities(OUR_FEATURES, "")


# -- ends of other versions ----------------------------------------------------------------------


def version_2_hears(message: bytes, *, from_sender: bool) -> str:
    """What protocol 2 makes of the other end's first message, as its code does."""
    least = 1 + 2 + struct.calcsize("16s32s33s32s1088s32s") + 1 if from_sender else 3
    if message[0] == 5:
        return "the other end gave up on pairing" if len(message) == 2 else "malformed"
    if message[0] != (2 if from_sender else 1):
        return "out of turn"
    if len(message) < least:
        return "malformed"
    if message[1] != 2:
        return f"the other end speaks version {message[1]} of the protocol, this one 2"
    return "understood"


def a_hello_of_version_2() -> bytes:
    return bytes((1, 2, 1, 1)) + bytes(32 + 33 + 32 + 1184)


def test_a_receiver_of_version_2_and_this_sender_each_say_what_is_wrong() -> None:
    sender = a_sender()
    with pytest.raises(
        OtherVersion, match=r"an older version .* \(protocol 2; this end speaks 3\)"
    ):
        sender.receive(a_hello_of_version_2())
    answer = sender.abort_message(OtherVersion("x"))
    told = version_2_hears(answer, from_sender=True)
    assert told == "the other end speaks version 3 of the protocol, this one 2"
    assert not sender.code_was_wrong


def test_a_sender_of_version_2_and_this_receiver_each_say_what_is_wrong() -> None:
    receiver = a_receiver()
    (hello,) = receiver.start()
    told = version_2_hears(hello, from_sender=False)
    assert told == "the other end speaks version 3 of the protocol, this one 2"
    with pytest.raises(OtherVersion, match="protocol 2 or older; this end speaks 3") as caught:
        receiver.receive(bytes((5, 0)))  # all that version 2 has to say
    assert "same version" in caught.value.hint


@pytest.mark.parametrize(
    ("version", "age"), [(0, "older"), (2, "older"), (4, "newer"), (255, "newer")]
)
@pytest.mark.parametrize("number", [0, 1])
def test_another_version_is_named_by_who_meets_it_whatever_follows_it(
    number: int, version: int, age: str
) -> None:
    sender, receiver = a_sender(), a_receiver()
    outcome = run(
        sender, receiver, altering(number, lambda m: bytes((m[0], version)) + b"\xff" * 7)
    )
    # Where the other end is of this version after all, what went to and fro was altered.
    assert isinstance(outcome.sender_error, HandshakeFailed)
    assert isinstance(outcome.receiver_error, HandshakeFailed)
    met = outcome.receiver_error if number else outcome.sender_error
    assert type(met) is OtherVersion
    assert f"{age} version of Veilscope (protocol {version}; this end speaks 3)" in str(met)
    assert not sender.code_was_wrong


def test_a_version_is_heard_before_anything_that_this_one_expects_of_a_hello() -> None:
    """A later version may make its hello as long as it likes."""
    for parse, kind in ((messages.parse_receiver_hello, 1), (messages.parse_sender_hello, 2)):
        for length in (2, 100, 60_000):
            with pytest.raises(OtherVersion):
                parse(bytes((kind, 4)) + bytes(length - 2))  # type: ignore[operator]


# -- the machine's own rules ---------------------------------------------------------------------


@pytest.mark.parametrize("number", range(5))
def test_after_success_nothing_more_is_taken_and_the_result_stays(number: int) -> None:
    sender, receiver = a_sender(), a_receiver()
    messages_heard = [*run(sender, receiver).traffic, abort_message(WrongCode("x"))]
    for end in (sender, receiver):
        kept = end.result
        with pytest.raises(HandshakeFailed):
            end.receive(messages_heard[number])
        assert end.result is kept


def test_after_a_failure_nothing_more_is_taken() -> None:
    honest, receiver = a_sender(), a_receiver()
    sender = a_sender()
    (hello,) = receiver.start()
    for end, message in ((sender, hello), (receiver, honest.receive(hello)[0])):
        with pytest.raises(HandshakeFailed):
            end.receive(b"nonsense")
        with pytest.raises(HandshakeFailed):
            end.receive(message)
        assert end.result is None
    with pytest.raises(HandshakeFailed):
        receiver.start()


def test_a_receiver_starts_once_and_listens_only_after_that() -> None:
    receiver = a_receiver()
    receiver.start()
    with pytest.raises(HandshakeFailed):
        receiver.start()
    (answer,) = a_sender().receive(a_receiver().start()[0])
    with pytest.raises(HandshakeFailed):
        a_receiver().receive(answer)


@pytest.mark.parametrize(
    ("error", "heard"),
    [
        (WrongCode("x"), WrongCode),
        (CodeUsed("x"), CodeUsed),
        (Busy("x"), Busy),
        (NotNow("x"), NotNow),
        (NotSupported("x"), NotSupported),
        (KeystreamMismatch("x"), KeystreamMismatch),
        (HandshakeFailed("x"), HandshakeFailed),
        (PeerGone("x"), HandshakeFailed),
    ],
)
def test_an_abort_raises_the_same_error_at_the_other_end_and_is_no_wrong_try(
    error: VeilscopeError, heard: type[PairingFailed]
) -> None:
    sender, receiver = a_sender(), a_receiver()
    abort = sender.abort_message(error)
    receiver.start()
    for end in (sender, receiver):
        with pytest.raises(heard) as caught:
            end.receive(abort)
        assert type(caught.value) is heard
        assert end.result is None
    assert not sender.code_was_wrong


@pytest.mark.parametrize("reason", [8, 100, 254, 255])
def test_an_abort_for_a_reason_of_a_later_version_is_one_for_any_other(reason: int) -> None:
    receiver = a_receiver()
    receiver.start()
    with pytest.raises(HandshakeFailed, match="gave up") as caught:
        receiver.receive(bytes((5, reason)))
    assert type(caught.value) is HandshakeFailed


def test_a_receiver_that_meets_another_version_says_so_in_its_abort() -> None:
    abort = a_receiver().abort_message(OtherVersion("x"))
    with pytest.raises(OtherVersion, match="another version"):
        a_sender().receive(abort)


def test_no_abort_of_this_version_is_one_of_an_older_version() -> None:
    for error in (HandshakeFailed("x"), PeerGone("x"), BadInput("x"), OtherVersion("x")):
        assert abort_message(error)[1] != 0


def test_an_abort_can_not_carry_words() -> None:
    with pytest.raises(HandshakeFailed) as caught:
        a_sender().receive(abort_message(WrongCode("x")) + b"call this number")
    assert "call" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("session_id", ["", "00", "zz" * 16, "00" * 17, "AA" * 16, "00 " * 16])
def test_a_session_id_is_32_lower_case_hex_digits(session_id: str) -> None:
    with pytest.raises(BadInput):
        SenderHandshake(CODE, session_id, FINGERPRINTS, NETWORK)
    SenderHandshake(CODE, new_session_id(), FINGERPRINTS, NETWORK)


def test_no_object_message_or_error_shows_the_code_or_a_key() -> None:
    sender, receiver = a_sender(), a_receiver()
    good = run(sender, receiver)
    assert good.sender is not None
    keys = [good.sender.control_send, good.sender.control_receive]
    forms = [form for key in keys for form in (key.hex(), repr(key)[2:-1])] + CODE.split("-")
    shown = [repr(x) for x in (sender, receiver, good.sender, good.receiver)]
    shown += [str(good.sender)]
    for bad in (
        run(a_sender(), a_receiver(OTHER_CODE)),
        run(a_sender(), a_receiver(held=OTHER_NETWORK)),
        run(a_sender(), a_receiver(), altering(0, lambda m: m[:69])),
    ):
        for error in (bad.sender_error, bad.receiver_error):
            assert error is not None
            shown += [str(error), repr(error), error.hint]
    assert not [form for form in forms for text in shown if form in text]
    for message in good.traffic:
        assert not any(word.encode() in message for word in CODE.split("-"))
        assert not any(key in message for key in keys)
