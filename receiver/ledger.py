"""Puts together what is known of each frame, piece by piece, until its log line is whole.

A frame's own figures come with it, when it was shown is known a little later, and how long the
sender took to seal and to send it comes in a batch later still.  Pure: events in, `FrameLine`s
out, in the order in which the frames were sealed.  It refuses to guess: a figure that never came
stays null.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from shared.clock import ClockEstimate
from shared.control import TimingRow
from shared.telemetry.records import FrameLine, ShownStages
from shared.wire import FrameMetadata

__all__ = ["Arrival", "Key", "Ledger"]

MOST_US = 2**32 - 1  # 71 minutes: the most that the wire has room for
MAX_PENDING = 120  # frames; four seconds at 30 fps: timings come twice a second, or no more

Key = tuple[int, int]
"""(epoch, counter): names one sealed frame."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A frame that was received, opened and decoded; times are this machine's monotonic ns."""

    key: Key
    metadata: FrameMetadata
    sealed_bytes: int
    received_at_ns: int
    opened_at_ns: int
    released_at_ns: int
    decoded_at_ns: int


@dataclass(slots=True)
class _Entry:
    arrival: Arrival
    shown_at_ns: int | None = None
    clock: ClockEstimate | None = None
    timing: TimingRow | None = None


@dataclass(slots=True)
class Ledger:
    """The frames whose line is not whole yet.  `began_at_ns` is the zero of the log's `at_s`."""

    began_at_ns: int
    _entries: dict[int, _Entry] = field(default_factory=dict)  # by the source's frame index
    _index: dict[Key, int] = field(default_factory=dict)
    _early: dict[Key, TimingRow] = field(default_factory=dict)

    def arrived(self, arrival: Arrival) -> None:
        """Open the entry of a frame that is about to be shown."""
        index = arrival.metadata.index
        self._entries[index] = _Entry(arrival, timing=self._early.pop(arrival.key, None))
        self._index[arrival.key] = index

    def shown(self, index: int, at_ns: int, clock: ClockEstimate) -> FrameLine | None:
        """Frame `index` was shown at `at_ns`: its line as far as it is known now.

        None if the frame is not known or was shown before.
        """
        entry = self._entries.get(index)
        if entry is None or entry.shown_at_ns is not None:
            return None
        entry.shown_at_ns = at_ns
        entry.clock = clock
        return self._line(entry, at_ns, clock)

    def forget(self, index: int) -> bool:
        """Frame `index` will never be shown: no line; False if it is not known or was shown."""
        entry = self._entries.get(index)
        if entry is None or entry.shown_at_ns is not None:
            return False
        self._drop(index)
        return True

    def timed(self, rows: Iterable[TimingRow]) -> None:
        """Take the sender's late figures; those of frames still on their way are kept."""
        for row in rows:
            key = (row.epoch, row.counter)
            index = self._index.get(key)
            if index is not None:
                self._entries[index].timing = row
            else:
                self._early[key] = row
                while len(self._early) > MAX_PENDING:
                    del self._early[next(iter(self._early))]

    def take(self, *, everything: bool = False) -> list[FrameLine]:
        """The lines that are whole; with `everything` also those that never will be."""
        everything = everything or len(self._entries) > MAX_PENDING
        lines = []
        for index, entry in sorted(self._entries.items()):
            if entry.shown_at_ns is None or entry.clock is None:
                continue
            if entry.timing is not None or everything:
                lines.append(self._line(entry, entry.shown_at_ns, entry.clock))
                self._drop(index)
        return lines

    def _drop(self, index: int) -> None:
        del self._index[self._entries.pop(index).arrival.key]

    def _line(self, entry: _Entry, shown_at_ns: int, clock: ClockEstimate) -> FrameLine:
        arrival, metadata, timing = entry.arrival, entry.arrival.metadata, entry.timing
        captured_at_ns, bound_ns = clock.to_local(metadata.captured_at_ns)
        at_sender_us = sum(metadata.stages_us.values())
        if timing is not None:
            at_sender_us += timing.keystream_us + timing.seal_us + timing.send_us
        clamped = metadata.stages_us["capture"] >= MOST_US  # the source has stood still for so long
        left_at_ns = captured_at_ns + at_sender_us * 1000
        stages = ShownStages(
            capture=metadata.stages_us["capture"] / 1e3,
            mask=metadata.stages_us["mask"] / 1e3,
            encode=metadata.stages_us["encode"] / 1e3,
            keystream=None if timing is None else timing.keystream_us / 1e3,
            seal=None if timing is None else timing.seal_us / 1e3,
            send=None if timing is None else timing.send_us / 1e3,
            network=None if clamped else (arrival.received_at_ns - left_at_ns) / 1e6,
            open=(arrival.opened_at_ns - arrival.received_at_ns) / 1e6,
            hold=(arrival.released_at_ns - arrival.opened_at_ns) / 1e6,
            decode=(arrival.decoded_at_ns - arrival.released_at_ns) / 1e6,
            show=(shown_at_ns - arrival.decoded_at_ns) / 1e6,
        )
        return FrameLine(
            at_s=(shown_at_ns - self.began_at_ns) / 1e9,
            frame=metadata.index,
            epoch=arrival.key[0],
            codec=metadata.codec,
            width=metadata.width,
            height=metadata.height,
            channels=metadata.channels,
            bytes=arrival.sealed_bytes,
            latency_ms=(shown_at_ns - captured_at_ns) / 1e6,
            latency_bound_ms=bound_ns / 1e6,
            psnr_db=metadata.psnr_db,
            lossless=metadata.psnr_db is None,
            stages_ms=stages,
            repeated=metadata.repeated,
        )
