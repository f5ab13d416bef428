"""Letting receivers in: the code of the moment, how often it was tried, and who paired with it.

For each peer that joins the room: connect, run the handshake, and make the code for the next.  It
refuses more than three wrong tries at one code, and lets each code pair once.  A code that was
tried wrongly so often is closed, and the next one comes after a wait, a longer one each time: a
guesser gets few tries, and the session goes on.  Whom it can't let in it tells why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from shared.association import Association, associate
from shared.crypto.aborts import abort_message
from shared.crypto.handshake import DtlsFingerprints, NetworkId, SenderHandshake
from shared.crypto.pairing import PairingCode, PairingTries
from shared.errors import Busy, CodeUsed, LinkFailed, NotNow, PeerGone, VeilscopeError
from shared.link import Link
from signaling.client import SignalingClient

__all__ = ["Admission"]

# From the third wrong try at a code to the next code; the last for all later ones.  In a day a
# guesser gets under 900 tries, of 2^33 codes.
NEW_CODE_AFTER_S = (5.0, 15.0, 60.0, 300.0)
ANSWER_TIMEOUT_S = 20.0  # a receiver that joined answers as soon as it has gathered its candidates


class Admission:
    """The door of one room.

    `places` is how many receivers may pair.  `on_code` is called with every new code; what it
    raises comes out of the method that made the code.  `check(features)` is called with what a
    receiver that knows the code has in common with this end; what it raises refuses that receiver,
    and the code stays good.
    """

    def __init__(
        self,
        signaling: SignalingClient,
        nameplate: str,
        session_id: str,
        network: NetworkId,
        *,
        places: int,
        on_code: Callable[[PairingCode], None],
        check: Callable[[frozenset[str]], None] | None = None,
    ) -> None:
        self._check = check
        self._signaling = signaling
        self._nameplate = nameplate
        self._session_id = session_id
        self._network = network
        self._places = places
        self._on_code = on_code
        self._code: PairingCode | None = None
        self._closed = False
        self._filled = False
        self._burnt = 0  # codes closed by wrong tries
        self._waiting = False  # for the time of the next one
        self._tries = PairingTries()
        self._answers: dict[str, asyncio.Future[str]] = {}

    @property
    def code(self) -> PairingCode | None:
        """The code that the next receiver pairs with, or None when no more are let in."""
        return self._code

    @property
    def guessed_at(self) -> bool:
        """Whether the code was tried wrongly so often that it is no longer valid."""
        return self._tries.over and not self._tries.used

    @property
    def done(self) -> bool:
        """Whether as many have come as there are places, or nobody can come any more.

        A place that became free since may be taken again.
        """
        return self._filled or (self._code is None and not self._waiting)

    def open(self) -> None:
        """Make a code for the next receiver, if there is a place left."""
        self._tries = PairingTries()
        self._code = None
        if self._places > 0:
            self._code = PairingCode.generate(self._nameplate)
            self._on_code(self._code)

    @property
    def closed(self) -> bool:
        """Whether nobody can come any more, ever."""
        return self._closed

    def burn(self) -> float:
        """Close the code that was guessed at; in how many seconds to `reopen`."""
        after_s = NEW_CODE_AFTER_S[min(self._burnt, len(NEW_CODE_AFTER_S) - 1)]
        self._burnt += 1
        self._code, self._waiting = None, True
        return after_s

    def reopen(self) -> None:
        """The wait after `burn` is over."""
        self._waiting = False
        if not self._closed:
            self.open()

    def vacated(self) -> None:
        """A receiver that had paired has gone: its place is free for the next one."""
        self._places += 1
        if self._code is None and not (self._closed or self._waiting):
            self.open()

    def close(self) -> None:
        """Let nobody in any more."""
        self._closed = True
        self._code = None

    def answered(self, peer: str, sdp: str) -> None:
        """The peer's answer came through the signaling server."""
        answer = self._answers.get(peer)
        if answer is not None and not answer.done():
            answer.set_result(sdp)

    def left(self, peer: str) -> None:
        """The peer left the room."""
        answer = self._answers.get(peer)
        if answer is not None and not answer.done():
            answer.set_exception(PeerGone("it left before it was connected"))

    async def admit(self, peer: str, link: Link) -> Association:
        """Connect to `peer` over `link` and pair with it.

        Raises `PeerGone`, `LinkFailed`, `SignalingUnreachable`, `RoomUnavailable`, `CodeUsed`,
        `Busy`, `NotNow`, the handshake's `WrongCode`, `KeystreamMismatch` and `HandshakeFailed`,
        and what `check` raises.
        """
        await self._connect(peer, link)
        return await self._pair(link)

    async def _connect(self, peer: str, link: Link) -> None:
        answer = self._answers[peer] = asyncio.get_running_loop().create_future()
        try:
            await self._signaling.send(peer, {"type": "offer", "sdp": await link.create_offer()})
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                sdp = await answer
        except TimeoutError:
            raise LinkFailed("it did not answer in time") from None
        finally:
            answer.cancel()
            del self._answers[peer]
        await link.accept_answer(sdp)
        await link.connected()

    async def _pair(self, link: Link) -> Association:
        local, remote = link.fingerprints
        tries, code = self._tries, self._code
        try:
            if code is None:
                raise self._why_closed()
            tries.begin()
        except VeilscopeError as error:
            link.send_control(abort_message(error))
            raise
        handshake = SenderHandshake(
            code.secret,
            self._session_id,
            DtlsFingerprints(sender=local, receiver=remote),
            self._network,
        )

        def agreed() -> None:
            if self._check is not None and handshake.result is not None:
                self._check(handshake.result.features)
            tries.succeeded()

        try:
            association = await associate(link, handshake, on_agreed=agreed)
        except BaseException:
            if handshake.code_was_wrong:
                tries.wrong()
            elif not tries.used:
                tries.abandoned()
            raise
        self._places -= 1
        self._filled = self._filled or self._places == 0
        self.open()
        return association

    def _why_closed(self) -> VeilscopeError:
        """What to tell a receiver while there is no code to pair with."""
        if self._waiting:
            return CodeUsed(
                "it came while there was no code, after three wrong tries",
                hint="the next code is shown in a while: read that one out",
            )
        if self._places == 0:
            return Busy(
                "every place is taken: each code pairs once",
                hint="--receivers says how many may join",
            )
        return NotNow("nobody is let in any more", hint="start again for a new code")
