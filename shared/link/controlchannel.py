"""The control channel: the sessions' messages in order, and goodbye.

A thin shell: who reads waits here.  What a message says it does not look at, and it never ends the
link itself: `take` says when it must end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from shared.errors import BadInput
from shared.link.lifetime import Lifetime
from shared.link.link import MAX_CONTROL_BYTES, LinkEnd
from shared.link.messages import APP, pack_app, pack_bye, parse_control

__all__ = ["ControlChannel"]

MAX_WAITING = 256  # messages that nobody has read; the handshake needs 3


class ControlChannel:
    """Sends with `post`, while `lifetime` lasts; `len` is how many messages wait to be read."""

    def __init__(self, *, post: Callable[[bytes], None], lifetime: Lifetime) -> None:
        self._post = post
        self._lifetime = lifetime
        self._waiting: deque[bytes] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def send(self, message: bytes) -> None:
        """Hand over 1 to `MAX_CONTROL_BYTES` bytes; raises `BadInput`, `LinkFailed`, `PeerGone`."""
        if not 1 <= len(message) <= MAX_CONTROL_BYTES:
            raise BadInput(
                f"a control message is 1 to {MAX_CONTROL_BYTES} bytes, not {len(message)}"
            )
        self._lifetime.raise_if_not_up()
        self._post(pack_app(message))

    def send_goodbye(self) -> None:
        """Tell the other end that this one leaves."""
        self._post(pack_bye())

    async def receive(self) -> bytes:
        """The next message; raises `PeerGone` when the link is over and all were read."""
        await self._lifetime.until(lambda: bool(self._waiting))
        if not self._waiting:
            self._lifetime.raise_if_over()
        return self._waiting.popleft()

    def take(self, message: bytes) -> LinkEnd | None:
        """Take what arrived, and return the end of the link if it comes to that.

        Raises `MalformedFrame` for what is to be ignored.
        """
        kind, body = parse_control(message)
        if kind != APP:
            return LinkEnd("peer")
        if self._lifetime.end is not None:
            return None
        if not 1 <= len(body) <= MAX_CONTROL_BYTES or len(self._waiting) >= MAX_WAITING:
            return LinkEnd("lost", "it broke the rules of the control channel")
        self._waiting.append(body)
        self._lifetime.wake()
        return None
