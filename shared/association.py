"""A link that has been secured: the handshake is run over its control channel, and what follows
there is sealed.

The thin shell between the pure handshake (`shared.crypto.handshake`) and a link
(`shared.link`).  It refuses to hand out anything before both ends have confirmed the key.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from shared import control
from shared.crypto.aborts import is_abort
from shared.crypto.handshake import SessionKeys
from shared.crypto.securechannel import SecureChannel
from shared.errors import HandshakeFailed, PairingFailed, PeerGone, VeilscopeError
from shared.link import Link
from shared.restart import Restarts

__all__ = ["Association", "Handshake", "associate"]

HANDSHAKE_TIMEOUT_S = 15.0
"""From the open channel to the confirmed key: four small messages and two SPAKE2 halves of some
50 ms each; the rest is for slow machines and lossy paths."""


class Handshake(Protocol):
    """What `SenderHandshake` and `ReceiverHandshake` have in common."""

    @property
    def result(self) -> SessionKeys | None: ...

    def start(self) -> list[bytes]: ...

    def receive(self, message: bytes) -> list[bytes]: ...

    def abort_message(self, error: VeilscopeError) -> bytes: ...


class Association:
    """The sealed control channel of one secured link, and what the two ends agreed on.

    `features` are those that both have (`shared.capabilities`), `peer_kind` is the other end's
    kind of client.  `restarts` are where its link finds a path again.  `ignored` counts what it
    said that this version does not know: messages of unknown `types`, and unknown `fields` of known
    ones.
    """

    def __init__(self, link: Link, keys: SessionKeys) -> None:
        self.link = link
        self.session_id = keys.session_id
        self.network = keys.network
        self.suite = keys.suite
        self.features = keys.features
        link.agreed(keys.features)
        self.peer_kind = keys.peer_kind
        self.restarts = Restarts(link, keys)
        self.ignored: Counter[str] = Counter()
        self._channel = SecureChannel(keys.control_send, keys.control_receive)

    def send(self, message: control.ControlMessage) -> None:
        """Seal `message` and queue it on the control channel (reliable and in order)."""
        self.link.send_control(self._channel.seal(control.pack(message)))

    async def receive(self) -> control.ControlMessage:
        """The next control message of a type that is known here.

        Raises `AuthenticationFailed` if it was altered, `HandshakeFailed` if it can't be read, and
        `NotSupported` for one that may not be passed over.
        """
        while True:
            opened = self._channel.open(await self.link.receive_control())
            message = control.parse(opened, self.ignored)
            if message is not None:
                return message
            await asyncio.sleep(0)  # while others wait: the rest of this end goes on between them


def _nothing() -> None:
    return


async def associate(
    link: Link, handshake: Handshake, *, on_agreed: Callable[[], None] = _nothing
) -> Association:
    """Run `handshake` over the control channel of `link`.

    `on_agreed` is called when this end has its keys, before its last message goes out; what it
    raises refuses the other end.

    Raises the handshake's own errors (`WrongCode`, `KeystreamMismatch`, `CodeUsed`, `Busy`,
    `NotNow`, `HandshakeFailed`) after telling the other end, unless that said so itself,
    `HandshakeFailed` if it takes more than `HANDSHAKE_TIMEOUT_S`, and `PeerGone` if the link ends
    first.
    """
    received = b""
    try:
        async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
            # SPAKE2 and ML-KEM are big-integer work of tens of milliseconds: not on the loop.
            _send(link, await asyncio.to_thread(handshake.start))
            keys: SessionKeys | None = None
            while keys is None:
                received = await link.receive_control()
                answers = await asyncio.to_thread(handshake.receive, received)
                keys = handshake.result
                if keys is not None:
                    on_agreed()
                _send(link, answers)
    except PairingFailed as error:
        if not is_abort(received):
            _send(link, [handshake.abort_message(error)])
        raise
    except TimeoutError:
        late = HandshakeFailed(
            "the other end did not finish the key agreement in time",
            hint="check that both ends run the same version, and try again with a new code",
        )
        _send(link, [handshake.abort_message(late)])
        raise late from None
    except PeerGone as error:
        raise PeerGone("the other end left during the key agreement", hint=error.hint) from error
    return Association(link, keys)


def _send(link: Link, messages: list[bytes]) -> None:
    """Send, unless the other end is gone: why it went may still wait to be received."""
    with suppress(PeerGone):
        for message in messages:
            link.send_control(message)
