"""From a decoded frame to the screen: entered, handed over at its moment, counted when it was seen.

What is known of a frame on the way (its ledger entry, its age by this machine's clock) is kept and
worked out here, and every frame ends in exactly one line or one count.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from receiver.handover import Handover
from receiver.journal import ReceiverJournal
from receiver.ledger import Arrival, Ledger
from receiver.pipeline import DecodedFrame
from receiver.sinks import ShownFrame
from shared.control import TimingRow
from shared.frame import Frame
from shared.link.webrtc.peer import PeerLink
from shared.telemetry.records import DropReason

__all__ = ["Showing"]


class Showing:
    """The frames of one session, `playout_delay_ms` after they were captured, or at once for 0."""

    def __init__(self, link: PeerLink, journal: ReceiverJournal, playout_delay_ms: float) -> None:
        self._link = link
        self._journal = journal
        self._delay_ns = round(playout_delay_ms * 1e6)
        self._ledger = Ledger(journal.began_at_ns)
        self.handover: Handover[DecodedFrame] = Handover(
            lambda decoded: self.replaced(decoded.metadata.index)
        )

    def hand_over(self, decoded: DecodedFrame) -> None:
        """Offer `decoded` to whoever shows frames, when it is due."""
        self._ledger.arrived(
            Arrival(
                key=decoded.key,
                metadata=decoded.metadata,
                sealed_bytes=len(decoded.sealed),
                received_at_ns=decoded.received_at_ns,
                opened_at_ns=decoded.opened_at_ns,
                released_at_ns=decoded.released_at_ns,
                decoded_at_ns=decoded.decoded_at_ns,
            )
        )
        if self._delay_ns <= 0:
            self.handover.put(decoded)
            return
        captured_at_ns, _ = self._captured_at_ns(decoded)
        if decoded.metadata.repeated:  # it was due long ago, but after those that wait
            captured_at_ns = time.monotonic_ns()
        # A stamp of the future, or a clock estimate that is off, must not stop the picture.
        due_ns = min(captured_at_ns, time.monotonic_ns()) + self._delay_ns
        self.handover.put_at(decoded, due_ns, decoded.image.nbytes + len(decoded.sealed))

    def present(self, decoded: DecodedFrame, now_ns: int) -> ShownFrame:
        """Return `decoded` as a program sees it, with its age at `now_ns`."""
        metadata = decoded.metadata
        captured_at_ns, bound_ns = self._captured_at_ns(decoded)
        return ShownFrame(
            frame=Frame(metadata.index, captured_at_ns, decoded.image, repeated=metadata.repeated),
            sealed=decoded.sealed,
            latency_ms=None if bound_ns is None else (now_ns - captured_at_ns) / 1e6,
            latency_bound_ms=None if bound_ns is None else bound_ns / 1e6,
            psnr_db=metadata.psnr_db,
            epoch=decoded.key[0],
            codec=metadata.codec,
            fps=self._journal.fps,
        )

    def shown(self, index: int, at_ns: int) -> None:
        """Frame `index` reached the screen at `at_ns` (`time.monotonic_ns`)."""
        clock = self._link.clock.estimate
        line = None if clock is None else self._ledger.shown(index, at_ns, clock)
        if line is not None:
            self._journal.counted(line)
            self.write_lines()

    def replaced(self, index: int, reason: DropReason = DropReason.SUPERSEDED) -> None:
        """Frame `index` was handed over, but never reached the screen, for `reason`."""
        if self._ledger.forget(index):
            self._journal.dropped(reason, index)

    def timed(self, rows: Iterable[TimingRow]) -> None:
        """The sender told how long its stages took for some frames."""
        self._ledger.timed(rows)
        self.write_lines()

    def write_lines(self, *, everything: bool = False) -> None:
        """Write the lines that are complete; with `everything` those that lack the sender's part
        as well."""
        for line in self._ledger.take(everything=everything):
            self._journal.write(line)

    def _captured_at_ns(self, decoded: DecodedFrame) -> tuple[int, int | None]:
        """When it was captured by this machine's clock, and how far that may be off, if known."""
        captured_at_ns = decoded.metadata.captured_at_ns
        clock = self._link.clock.estimate
        return (captured_at_ns, None) if clock is None else clock.to_local(captured_at_ns)
