"""The receivers that watch now, taken together: what is offered and told goes to all of them.

One stream serves them all, so whoever makes it asks and tells this one thing: who is there, that
something changed among them, a frame, a notice, the farewell.  What differs from one to the other
is in `attendee`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator
from itertools import count

from sender.attendee import Attendee
from sender.journal import SenderJournal
from sender.pipeline import SealedFrame
from shared import control
from shared.association import Association
from shared.capabilities import OUR_FEATURES
from shared.noticeboard import NoticeBoard
from shared.telemetry.records import DropReason

__all__ = ["Audience"]


class Audience(Collection[Attendee]):
    """The attendees of one session, each by the name that the signaling server gave it.

    `changed` is set whenever one of them comes, goes, or may have become able to take a frame.
    """

    def __init__(self, journal: SenderJournal) -> None:
        self.changed = asyncio.Event()
        self._journal = journal
        self._attendees: dict[str, Attendee] = {}
        self._numbers = count(1)
        self._quality: control.QualityNotice | None = None
        self._board = NoticeBoard()
        self._dismissed = False

    def __iter__(self) -> Iterator[Attendee]:
        return iter(self._attendees.values())

    def __len__(self) -> int:
        return len(self._attendees)

    def __contains__(self, attendee: object) -> bool:
        return attendee in self._attendees.values()

    @property
    def dismissed(self) -> bool:
        """Whether the farewell has begun."""
        return self._dismissed

    @property
    def features(self) -> frozenset[str]:
        """What all that watch have in common with this end."""
        return OUR_FEATURES.intersection(*(attendee.features for attendee in self))

    @property
    def silent(self) -> bool:
        """Whether nothing has been heard of any of them for a while."""
        return all(attendee.silent for attendee in self)

    # -- who is there -----------------------------------------------------------------------------

    def expect(
        self, peer: str, association: Association, on_still: Callable[[Attendee, int], None]
    ) -> Attendee:
        """The attendee for one that has just paired; it is not among the others yet."""
        return Attendee(
            peer,
            association,
            on_ready=self.changed.set,
            on_sent=self._journal.frame_sent,
            drops_before=self._drops(),
            on_still=on_still,
            number=next(self._numbers),
        )

    def add(self, attendee: Attendee) -> None:
        """From now on it is offered and told what all are, and first what is told already."""
        self._attendees[attendee.peer] = attendee
        if self._quality is not None:
            attendee.tell_quality(self._quality)
        for notice in self._board:
            attendee.tell_notice(notice)

    def remove(self, attendee: Attendee) -> None:
        """It has gone; a frame that only it was offered, and never sent, is lost."""
        del self._attendees[attendee.peer]
        if not self._attendees:
            self._quality = None  # it was for the sake of those
        frame = attendee.unsent
        offered = any(other.unsent is frame for other in self)  # then it may still be sent
        if frame is not None and not offered and not self._journal.has_sent(frame):
            self._journal.dropped(DropReason.NO_RECEIVER, frame.index)
        self.changed.set()

    # -- what goes to all of them -----------------------------------------------------------------

    def offer(self, frame: SealedFrame) -> bool:
        """Send `frame` to those who can take it now; whether that is anybody."""
        others = [attendee for attendee in self if not attendee.offer(frame)]
        if len(others) == len(self):
            return False
        for attendee in others:
            attendee.passed_over(frame)
        return True

    def tell_quality(self, notice: control.QualityNotice) -> None:
        """Tell all that quality changed, and why; and those who come later."""
        self._quality = notice
        for attendee in self:
            attendee.tell_quality(notice)

    def tell_notice(self, notice: control.Notice) -> bool:
        """Tell all, and those who come later while it lasts; whether it ends one that lasted."""
        ends = self._board.take(notice)
        for attendee in self:
            attendee.tell_notice(notice)
        return ends

    @property
    def lasting(self) -> tuple[control.Notice, ...]:
        """The notices in force."""
        return tuple(self._board)

    def tell_figures(self, target_bps: int | None) -> None:
        """Tell each what it was sent and what its path carries; the log keeps the latter."""
        for attendee in self:
            attendee.tell_tally(self._drops())
            report = attendee.tell_path(target_bps)
            if report is not None:
                self._journal.path_measured(report, attendee.number)

    async def dismiss(self, reason: control.ByeReason, detail: str = "") -> None:
        """Say goodbye to all, each after the frame that is on its way to it."""
        self._dismissed = True
        goodbyes = [
            attendee.say_goodbye(reason, detail[: control.MAX_DETAIL_CHARS], self._drops())
            for attendee in self
        ]
        await asyncio.gather(*goodbyes, return_exceptions=True)

    def _drops(self) -> dict[str, int]:
        return {reason.value: count for reason, count in self._journal.drops.items()}
