"""What became of the frames that were not shown, told by this end, the link and the sender.

Pure: counts in, counts out.  It refuses to count a frame twice, to count what is no frame of the
sender's, and to count as lost what a person chose not to see.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from shared.errors import (
    AuthenticationFailed,
    DecodeFailed,
    FrameRejected,
    KeystreamDisagreed,
    Replayed,
    UnknownEpoch,
)
from shared.telemetry.records import DropReason

__all__ = ["DropTally", "drop_reason"]

UNKNOWN_REASON = DropReason.NOT_RECEIVED  # for what another version may tell

# Not frames of the sender's: somebody forged them or sent them again.
NOT_THE_SENDERS = frozenset({DropReason.AUTH_FAILURE, DropReason.REPLAYED})
# And this is no loss: the person looked at another picture meanwhile.
NO_LOSS = NOT_THE_SENDERS | {DropReason.FROZEN}


def drop_reason(error: FrameRejected) -> DropReason:
    """The reason under which a rejected frame is counted."""
    for kind, reason in (
        (AuthenticationFailed, DropReason.AUTH_FAILURE),
        (Replayed, DropReason.REPLAYED),
        (KeystreamDisagreed, DropReason.KEYSTREAM_MISMATCH),
        (UnknownEpoch, DropReason.UNKNOWN_EPOCH),
        (DecodeFailed, DropReason.DECODE_FAILED),
    ):
        if isinstance(error, kind):
            return reason
    return DropReason.MALFORMED


class DropTally:
    """The frames of one session that were not shown (at the sender: not sent), by reason."""

    def __init__(self) -> None:
        self._here: Counter[DropReason] = Counter()
        self._at_link: Counter[DropReason] = Counter()
        self._at_sender: Counter[DropReason] = Counter()
        self._sent = 0
        self._shown = 0
        self._dropped_by_index = 0
        self._indices: tuple[int, int] | None = None  # the least and the greatest

    def shown(self, index: int) -> None:
        """Frame `index` was shown (at the sender: sent)."""
        self._shown += 1
        self._see(index)

    def dropped(self, reason: DropReason, index: int | None = None) -> None:
        """One was not; `index` is the frame's index where it is known for certain."""
        self._here[reason] += 1
        if index is not None and reason not in NOT_THE_SENDERS:
            self._dropped_by_index += 1
            self._see(index)

    def sender_tells(self, sent: int, dropped: Mapping[str, int]) -> None:
        """At a receiver: how many frames the sender sent here so far, and dropped, by reason.

        Reasons that are not known here count as not received.
        """
        known = {reason.value: reason for reason in DropReason}
        self._sent = sent
        self._at_sender = Counter({known.get(r, UNKNOWN_REASON): n for r, n in dropped.items()})

    def link_tells(self, reason: DropReason, count: int) -> None:
        """At a receiver: frames so far that came whole and were dropped before they were opened."""
        self._at_link = Counter({reason: count})

    def count(self, reason: DropReason) -> int:
        """How many were dropped at this end for `reason`."""
        return self._here[reason]

    def refused_and_lost(self) -> dict[DropReason, int]:
        """Everything told so far, forgeries and replays too; not what a person froze out."""
        return {reason: n for reason, n in self._all().items() if reason != DropReason.FROZEN}

    def lost(self) -> dict[DropReason, int]:
        """Frames of the sender's that were told of as lost."""
        return {reason: n for reason, n in self._all().items() if reason not in NO_LOSS}

    def not_received(self) -> int:
        """Frames that left the sender and never came, by its tally or by the gaps in the indices.

        The tally may be a second old where the sender was killed; gaps don't show what was lost
        before the first frame and after the last.
        """
        came = self._shown + sum(
            n for reason, n in (self._here + self._at_link).items() if reason not in NOT_THE_SENDERS
        )
        in_gaps = 0
        if self._indices is not None:
            low, high = self._indices
            told = self._at_sender.total() + self._at_link.total()
            in_gaps = high - low + 1 - self._shown - self._dropped_by_index - told
        return max(0, self._sent - came, in_gaps)

    def _all(self) -> Counter[DropReason]:
        return self._here + self._at_sender + self._at_link

    def _see(self, index: int) -> None:
        low, high = self._indices or (index, index)
        self._indices = (min(low, index), max(high, index))
