"""The room at the signaling server: peers come, are let in, are served, and go.

Each peer has a task of its own from its coming to its going.  What one does wrong disturbs none of
the others: it is told to the person and forgotten.  The room is not needed by those who have
paired; when the server goes away they watch on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from functools import partial

from sender.admission import Admission
from sender.attendee import Attendee
from sender.audience import Audience
from sender.epochs import Epochs
from sender.notices import Notices
from shared import control
from shared.capabilities import RESTART
from shared.errors import (
    PeerGone,
    RoomUnavailable,
    SignalingUnreachable,
    VeilscopeError,
)
from shared.link import Link
from shared.restart import SILENT_S, is_restart
from signaling.client import (
    ConnectionLost,
    PeerJoined,
    PeerLeft,
    Reconnected,
    Relayed,
    SignalingClient,
)

__all__ = ["MAX_JOINING", "WaitingRoom"]

MAX_JOINING = 8  # peers that are let in at once: each costs a socket and a handshake
RENEW_EVERY_S = 10.0  # … the connection to the signaling server, while a link is silent

_LOG = logging.getLogger(__name__)


class WaitingRoom:
    """The room of one session.

    `make_link()` opens the link to one peer.  `conclude(error)` is called when an error ends the
    session, or (None) that the last receiver has left where nobody can follow, or with `until_left`
    nobody is waited for.
    """

    def __init__(
        self,
        signaling: SignalingClient,
        admission: Admission,
        audience: Audience,
        epochs: Epochs,
        notices: Notices,
        *,
        make_link: Callable[[], Link],
        until_left: bool,
        conclude: Callable[[Exception | None], Awaitable[None]],
    ) -> None:
        self._signaling = signaling
        self._admission = admission
        self._audience = audience
        self._epochs = epochs
        self._notices = notices
        self._make_link = make_link
        self._until_left = until_left
        self._conclude = conclude
        self._peers: dict[str, asyncio.Task[None]] = {}
        self._restarts: dict[Attendee, asyncio.Task[None]] = {}
        self._renewing: asyncio.Task[None] | None = None

    async def attend(self) -> None:
        """Let peers in for as long as the room is open and the server there.

        Raises `RoomUnavailable` or `SignalingUnreachable` where nobody watches by then.
        """
        try:
            await self._follow_events()
            raise RoomUnavailable(
                "the signaling server closed the room, since nobody came",
                hint="start the sender again for a new code",
            )
        except (SignalingUnreachable, RoomUnavailable) as error:
            if not self._audience:
                raise
            self._admission.close()
            self._notices.event("signaling ended, the stream goes on", error)

    async def close(self) -> None:
        """Serve nobody any more."""
        peers = [*self._peers.values(), *self._restarts.values()]
        if self._renewing is not None:
            peers.append(self._renewing)
        for peer in peers:
            peer.cancel()
        await asyncio.gather(*peers, return_exceptions=True)

    async def _follow_events(self) -> None:
        async for event in self._signaling.events():
            match event:
                case PeerJoined(peer=peer):
                    self._welcome(peer)
                case Relayed(sender_peer=peer, payload={"sdp": str(request)}) if is_restart(
                    request
                ):
                    self._asked_for_restart(peer, request)
                case Relayed(sender_peer=peer, payload={"type": "answer", "sdp": str(sdp)}):
                    self._admission.answered(peer, sdp)
                case PeerLeft(peer=peer):
                    self._admission.left(peer)
                case ConnectionLost() if self._audience:
                    self._notices.event("signaling server lost", "the stream goes on without it")
                case ConnectionLost():
                    self._notices.event("signaling server lost", "trying to reach it again")
                case Reconnected():
                    self._notices.event("signaling server reached again")

    def _welcome(self, peer: str) -> None:
        """Begin to let `peer` in, unless the server says a peer twice or too many come at once."""
        joining = len(self._peers) - len(self._audience)
        if peer not in self._peers and joining < MAX_JOINING:
            task = self._peers[peer] = asyncio.create_task(self._serve(peer))
            # Not in the task: one that is cancelled before its first step never gets there.
            task.add_done_callback(lambda _: self._peers.pop(peer))

    def _asked_for_restart(self, peer: str, request: str) -> None:
        """One that has paired came back to the room as `peer`, since its link carries nothing."""
        for attendee in self._audience:
            if attendee not in self._restarts and attendee.restarts.opens(request):
                task = asyncio.create_task(self._restart(attendee, peer, request))
                self._restarts[attendee] = task
                task.add_done_callback(partial(self._restarted, attendee))
                if peer in self._peers:  # it does not want to be let in
                    self._peers[peer].cancel()
                return

    def _restarted(self, attendee: Attendee, _: asyncio.Task[None]) -> None:
        del self._restarts[attendee]

    async def _restart(self, attendee: Attendee, peer: str, request: str) -> None:
        with suppress(VeilscopeError):
            answer = await attendee.restarts.answer(request)
            self._notices.note("ICE restart", f"asked for by receiver {attendee.number}")
            await self._signaling.send(peer, {"type": "offer", "sdp": answer})

    async def _stay_reachable(self, attendee: Attendee) -> None:
        """It may come to the room to ask for a restart: our place there must not be a dead one."""
        with suppress(PeerGone):
            while RESTART in attendee.features:
                await attendee.link.fallen_silent(SILENT_S)
                self._signaling.renew()
                await asyncio.sleep(RENEW_EVERY_S)

    async def _serve(self, peer: str) -> None:
        """Let one receiver in and serve it until it leaves."""
        try:
            async with AsyncExitStack() as stack:
                attendee = await self._admit(peer, stack)
                if attendee is not None:
                    await self._accompany(attendee)
        except Exception as error:  # handed on whole to whoever awaits the session's end
            await self._conclude(error)

    async def _admit(self, peer: str, stack: AsyncExitStack) -> Attendee | None:
        """The paired receiver; None where the try failed, which disturbs nobody else.

        Its link is closed with `stack`.
        """
        try:
            link = self._make_link()
            stack.push_async_callback(link.close)
            association = await self._admission.admit(peer, link)
        except VeilscopeError as error:
            self._notices.event("a receiver could not join", error)
        except Exception as error:  # whatever a stranger sent: those who watch go on
            _LOG.debug("a receiver could not join", exc_info=error)
            self._notices.event("a receiver could not join", error)
        else:
            return self._audience.expect(peer, association)
        if self._admission.code is not None and self._admission.guessed_at:
            self._renewing = asyncio.create_task(self._renew_code(self._admission.burn()))
        return None

    async def _renew_code(self, after_s: float) -> None:
        """Too many wrong codes: whoever watches is not disturbed, and who comes needs the next."""
        detail = f"that code is closed; a new one is shown in {after_s:g} s"
        self._notices.event("three wrong codes were tried", detail)
        await asyncio.sleep(after_s)
        try:
            self._admission.reopen()
        except Exception as error:  # the code could not be shown: handed on whole
            await self._conclude(error)

    async def _accompany(self, attendee: Attendee) -> None:
        """Serve a paired receiver, with an epoch of its own coming and one of its going."""
        self._audience.add(attendee)
        serving = asyncio.create_task(attendee.attend())
        reachable = asyncio.create_task(self._stay_reachable(attendee))
        try:
            await self._epochs.begin("join")
            self._notices.event("a receiver joined", "in a browser" if attendee.in_browser else "")
            await serving
            if attendee.left is not None:
                self._farewell(attendee.left)
        except VeilscopeError as error:  # gone, or not to be understood any more
            self._notices.event("a receiver is lost", error)
            await attendee.turn_away(error)
            if len(self._audience) == 1 and self._over_without_more:
                raise
        finally:
            serving.cancel()
            reachable.cancel()
            await asyncio.gather(serving, reachable, return_exceptions=True)
            self._audience.remove(attendee)
            self._note_ignored(attendee)
        if self._audience.dismissed:
            return
        if not self._audience and self._over_without_more:
            await self._conclude(None)
            return
        self._admission.vacated()
        if self._audience:
            await self._epochs.begin("leave")

    @property
    def _over_without_more(self) -> bool:
        """Whether the session ends with the last of those who watch."""
        return self._admission.closed or (self._until_left and self._admission.done)

    def _farewell(self, bye: control.Bye) -> None:
        if bye.reason == "error":
            self._notices.event("a receiver failed", PeerGone(bye.detail or "it did not say why"))
        else:
            self._notices.event("a receiver left")

    def _note_ignored(self, attendee: Attendee) -> None:
        """What the receiver said that this version does not know: for who reads the log."""
        if attendee.ignored:
            self._notices.note(
                "passed over", f"{attendee.ignored} messages or fields, unknown here"
            )
