"""The receivers that watch now, taken together: what is offered and told goes to all of them.

One stream serves them all, so whoever makes it asks and tells this one thing: who is there, that
something changed among them, a frame, a notice, the farewell.  What differs from one to the other
is in `attendee`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Self

from sender.attendee import SILENT_AFTER_S, Attendee
from sender.journal import SenderJournal
from sender.pipeline import SealedFrame
from shared import control
from shared.association import Association
from shared.capabilities import OUR_FEATURES
from shared.link import PathEstimate
from shared.noticeboard import NoticeBoard
from shared.telemetry.records import DropReason

__all__ = ["Audience", "Readiness"]


@dataclass(frozen=True, slots=True)
class Readiness:
    """What those who watch are ready for, just now, once frame `index` was encoded under an epoch.

    `takers` could take a frame now: their path is open, and they hold the key.  Of those
    `taking_on` can decode a frame that builds on frame `index`; `new` were never sent any, and
    `lost` can't decode it for another reason.  `following` are all who can decode it, also those
    whose path is busy, which are the `awaited`.  `paths` are those that decide together; one that
    has just come or is out only if all are such: its estimate is a guess that begins low, and would
    take the others' picture down.
    """

    takers: int = 0
    taking_on: int = 0
    new: int = 0
    lost: int = 0
    following: int = 0
    awaited: int = 0
    paths: tuple[PathEstimate, ...] = ()

    @classmethod
    def of(
        cls,
        attendees: Iterable[Attendee],
        index: int | None,
        epoch: int | None,
        *,
        measured: bool = True,
    ) -> Self:
        """That of `attendees`; without the paths where they need not be `measured`."""
        takers = taking_on = new = lost = following = awaited = 0
        proven: list[PathEstimate] = []
        paths: list[PathEstimate] = []
        silent_before_s = time.monotonic() - SILENT_AFTER_S
        for attendee in attendees:
            outbox = attendee.outbox
            follows, takes, is_new = outbox.standing(index, epoch)
            following += follows
            awaited += follows and not outbox.ready
            if takes:
                takers += 1
                taking_on += follows
                new += is_new
                lost += not (follows or is_new)
            path = attendee.link.path if measured else None
            if path is not None:
                paths.append(path)
                if path.proven and attendee.heard_at_s >= silent_before_s:
                    proven.append(path)
        deciding = tuple(proven or paths)
        return cls(takers, taking_on, new, lost, following, awaited, deciding)


class Audience(Collection[Attendee]):
    """The attendees of one session, each by the name that the signaling server gave it.

    `changed` is set whenever one of them comes, goes, or may have become able to take a frame.
    `stills` holds who asked for the still of which frame, for whoever makes them.  `features` are
    what all that watch have in common with this end, and `deserted` is how often the last of them
    has left.
    """

    def __init__(self, journal: SenderJournal) -> None:
        self.changed = asyncio.Event()
        self.stills: asyncio.Queue[tuple[Attendee, int]] = asyncio.Queue()
        self.features = OUR_FEATURES
        self.deserted = 0
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
    def silent(self) -> bool:
        """Whether nothing has been heard of any of them for a while."""
        return all(attendee.silent for attendee in self)

    # -- who is there -----------------------------------------------------------------------------

    def readiness(self, index: int | None, epoch: int | None, *, measured: bool) -> Readiness:
        """What they are ready for now that frame `index` is encoded, under `epoch`.

        To measure a path takes a moment: it is for the one frame that is to be encoded.
        """
        return Readiness.of(self, index, epoch, measured=measured)

    def expect(self, peer: str, association: Association) -> Attendee:
        """The attendee for one that has just paired; it is not among the others yet."""
        return Attendee(
            peer,
            association,
            journal=self._journal,
            changed=self.changed,
            stills=self.stills,
            number=next(self._numbers),
        )

    def add(self, attendee: Attendee) -> None:
        """From now on it is offered and told what all are, and first what is told already."""
        self._attendees[attendee.peer] = attendee
        self._agree()
        if self._quality is not None:
            attendee.tell_quality(self._quality)
        for notice in self._board:
            attendee.tell_notice(notice)

    def remove(self, attendee: Attendee) -> None:
        """It has gone; a frame that only it was offered, and never sent, is lost."""
        del self._attendees[attendee.peer]
        self._agree()
        if not self._attendees:
            self.deserted += 1
            self._quality = None  # it was for the sake of those
        frame = attendee.outbox.unsent
        offered = any(other.outbox.unsent is frame for other in self)  # then it may still be sent
        if frame is not None and not offered and not self._journal.has_sent(frame):
            self._journal.dropped(DropReason.NO_RECEIVER, frame.index)
        self.changed.set()

    # -- what goes to all of them -----------------------------------------------------------------

    def offer(self, frame: SealedFrame) -> bool:
        """Send `frame` to those who can take it now; whether that is anybody."""
        others = [attendee.outbox for attendee in self if not attendee.outbox.offer(frame)]
        if len(others) == len(self):
            return False
        for outbox in others:
            outbox.passed_over(frame)
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
            attendee.tell_tally()
            report = attendee.tell_path(target_bps)
            if report is not None:
                self._journal.path_measured(report, attendee.number)

    async def dismiss(self, reason: control.ByeReason, detail: str = "") -> None:
        """Say goodbye to all, each after the frame that is on its way to it."""
        self._dismissed = True
        goodbyes = [
            attendee.say_goodbye(reason, detail[: control.MAX_DETAIL_CHARS]) for attendee in self
        ]
        await asyncio.gather(*goodbyes, return_exceptions=True)

    def _agree(self) -> None:
        self.features = OUR_FEATURES.intersection(*(attendee.features for attendee in self))
