"""STUN messages from anybody, and from a peer that knows the session's passwords.

An input is a row of datagrams.  The first byte of each says how long it comes after the one before,
from which address, and whether it is made to stand the checks of a genuine message.
"""

from __future__ import annotations

import contextlib
import random
import struct
from collections.abc import Iterator

from aioice import stun as rfc8489

from shared.link.webrtc.checks import Base, Checks, Credentials
from tests.fuzz.inputs import join, split

OURS = Credentials("ours", "o" * 22)
THEIRS = Credentials("them", "t" * 22)
BASE = Base(0, "192.0.2.1")
ADDRESSES = [("192.0.2.2", 5000 + i) for i in range(4)]
GENUINE, ANSWER = 0x40, 0x80  # bits of the first byte
MOST_ANSWERED = 8  # datagrams that one datagram may make this end send at once


def one(data: bytes) -> None:
    now = 1_000.0
    checks = Checks(OURS, controlling=False, tie_breaker=5, dice=random.Random(1))
    checks.add_base(BASE)
    checks.add_remote(ADDRESSES[0], "host", 1)
    checks.start(THEIRS, now)
    for message in split(data):
        if not message:
            continue
        how, datagram = message[0], message[1:]
        now += (0.0, 0.05, 0.5, 3.0)[how & 3]
        checks.advance(now)
        asked = [sent[2][8:20] for sent in checks.take_datagrams()]
        if how & ANSWER and asked:
            datagram = datagram[:8] + asked[0] + datagram[20:]
        if how & GENUINE:
            datagram = _genuine(datagram, THEIRS if how & ANSWER else OURS)
        checks.receive(BASE, ADDRESSES[how >> 2 & 3], datagram, now)
        assert len(checks.take_datagrams()) <= MOST_ANSWERED
        assert len(checks.remotes) <= 32
    checks.advance(now + 1.0)


def _genuine(datagram: bytes, credentials: Credentials) -> bytes:
    """The same with the integrity that its parser asks for, if it can be parsed."""
    with contextlib.suppress(Exception):
        message = rfc8489.parse_message(_with_length(datagram))
        for attribute in ("MESSAGE-INTEGRITY", "FINGERPRINT"):
            message.attributes.pop(attribute, None)
        message.add_message_integrity(credentials.password.encode())
        return bytes(message)
    return datagram


def _with_length(datagram: bytes) -> bytes:
    return datagram[:2] + struct.pack("!H", max(0, len(datagram) - 20)) + datagram[4:]


def seeds() -> Iterator[tuple[str, bytes]]:
    request = rfc8489.Message(
        rfc8489.Method.BINDING,
        rfc8489.Class.REQUEST,
        transaction_id=b"t" * 12,
        attributes={
            "USERNAME": "ours:them",
            "PRIORITY": 1,
            "ICE-CONTROLLING": 9,
            "USE-CANDIDATE": None,
        },
    )
    response = rfc8489.Message(
        rfc8489.Method.BINDING,
        rfc8489.Class.RESPONSE,
        transaction_id=b"t" * 12,
        attributes={"XOR-MAPPED-ADDRESS": ("192.0.2.1", 5000)},
    )
    conflict = rfc8489.Message(
        rfc8489.Method.BINDING,
        rfc8489.Class.ERROR,
        transaction_id=b"t" * 12,
        attributes={"ERROR-CODE": (487, "Role Conflict")},
    )
    yield "stranger", join([b"\0" + bytes(request)])
    yield "requests", join(bytes((GENUINE | i << 2,)) + bytes(request) for i in range(4))
    yield "answers", join(bytes((GENUINE | ANSWER | 1,)) + bytes(response) for _ in range(3))
    yield "conflict", join([bytes((GENUINE | ANSWER,)) + bytes(conflict)])
    # A PRIORITY of two bytes: what can't be unpacked is no answer of the parser's own.
    short = struct.pack("!HHL12s", 1, 6, 0x2112A442, b"t" * 12) + struct.pack("!HHH", 0x24, 2, 1)
    yield "short", join([b"\0" + short])
