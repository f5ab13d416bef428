"""Handshake messages, aborts, and what is sealed for the control channel and as frames.

The first byte says what the rest is taken for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from shared.crypto import messages
from shared.crypto.aborts import parse_abort
from shared.crypto.keyschedule import derive_epoch
from shared.crypto.sealing import Opener, Sealer
from shared.crypto.securechannel import SecureChannel
from shared.errors import AuthenticationFailed, FrameRejected, PairingFailed, VeilscopeError
from shared.wire import SENDER_ID, FrameMetadata, pack_inner, parse_header, parse_inner
from tests.doubles import ShakeGenerator

_PARSERS = (
    messages.parse_receiver_hello,
    messages.parse_sender_hello,
    messages.parse_receiver_confirm,
    messages.parse_sender_confirm,
)
_KEYS = derive_epoch(bytes(32), 1, SENDER_ID)


def one(data: bytes) -> None:
    if not data:
        return
    how, body = data[0] % 8, data[1:]
    if how < 4:
        with contextlib.suppress(PairingFailed, VeilscopeError):
            hello = _PARSERS[how](body)
            if isinstance(hello, messages.ReceiverHello | messages.SenderHello):
                assert _PARSERS[how](hello.pack()) == hello
    elif how == 4:
        parse_abort(body)
    elif how == 5:
        with contextlib.suppress(AuthenticationFailed):
            SecureChannel(b"\1" * 32, b"\2" * 32).open(body)
    elif how == 6:
        with contextlib.suppress(FrameRejected):
            parse_header(body)
            Opener(_KEYS, SENDER_ID, ShakeGenerator(_KEYS.keystream_key)).open(body)
    else:
        with contextlib.suppress(FrameRejected):
            metadata, payload = parse_inner(body)
            assert len(payload) <= len(body)
            with contextlib.suppress(OverflowError):
                parse_inner(pack_inner(metadata, payload))


def seeds() -> Iterator[tuple[str, bytes]]:
    capabilities = messages.Capabilities(frozenset({"jpeg", "stills"}), "native")
    network = messages.NetworkId("bp", bytes(32))
    hellos = (
        messages.ReceiverHello((1,), bytes(32), b"s" * 33, bytes(32), bytes(1184), capabilities),
        messages.SenderHello(
            1, bytes(16), bytes(32), b"s" * 33, bytes(32), bytes(1088), network, capabilities
        ),
        messages.ReceiverConfirm(bytes(32), bytes(32)),
        messages.SenderConfirm(bytes(32)),
    )
    for how, (name, hello) in enumerate(
        zip(
            ("receiver-hello", "sender-hello", "receiver-confirm", "sender-confirm"),
            hellos,
            strict=True,
        )
    ):
        yield name, bytes((how,)) + hello.pack()
    yield "abort", b"\4\5\1"
    yield "record", b"\5" + SecureChannel(b"\2" * 32, b"\1" * 32).seal(b"a word")
    metadata = FrameMetadata(
        5, 12, "jpeg", 64, 48, 3, 41.5, {"capture": 1, "mask": 2, "encode": 3}, depends_on=4
    )
    inner = pack_inner(metadata, b"payload")
    sealer = Sealer(_KEYS, SENDER_ID, ShakeGenerator(_KEYS.keystream_key))
    yield "sealed", b"\6" + sealer.seal(sealer.draw(len(inner)), inner)
    yield "inner", b"\7" + inner
