"""Puts together what is known of each frame, piece by piece, until its log line is whole.

A frame's own figures come with it, when it was shown is known a little later, and how long the
sender took to seal and to send it comes in a batch later still.  Pure: events in, `FrameLine`s
out, in the order in which the frames were sealed.  It refuses to guess: a figure that never came
stays null.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from receiver.pipeline import Key, Receipt
from shared.clock import ClockEstimate
from shared.control import TimingRow
from shared.telemetry.metrics import FrameFigures
from shared.telemetry.records import FrameLine, ShownStages

__all__ = ["Ledger"]

MOST_US = 2**32 - 1  # 71 minutes: the most that the wire has room for
MAX_PENDING = 120  # frames; four seconds at 30 fps: timings come twice a second, or no more


@dataclass(slots=True)
class _Entry:
    arrival: Receipt
    timing: TimingRow | None = None
    shown: FrameFigures | None = None  # None until then
    shown_at_ns: int = 0


@dataclass(slots=True)
class Ledger:
    """The frames whose line is not whole yet.  `began_at_ns` is the zero of the log's `at_s`."""

    began_at_ns: int
    _entries: dict[int, _Entry] = field(default_factory=dict)  # by the source's frame index
    _index: dict[Key, int] = field(default_factory=dict)
    _early: dict[Key, TimingRow] = field(default_factory=dict)
    _whole: int = 0  # entries whose line could be made

    def arrived(self, arrival: Receipt) -> None:
        """Open the entry of a frame that is about to be shown."""
        index = arrival.metadata.index
        self._entries[index] = _Entry(arrival, timing=self._early.pop(arrival.key, None))
        self._index[arrival.key] = index

    def shown(self, index: int, at_ns: int, clock: ClockEstimate | None) -> FrameFigures | None:
        """Frame `index` was shown at `at_ns`: its figures as far as they are known now.

        Without `clock` how old it was is not.  None if the frame is not known or was shown before.
        """
        entry = self._entries.get(index)
        if entry is None or entry.shown is not None:
            return None
        metadata = entry.arrival.metadata
        latency_ms = bound_ms = None
        if clock is not None:
            captured_at_ns, bound_ns = clock.to_local(metadata.captured_at_ns)
            latency_ms, bound_ms = (at_ns - captured_at_ns) / 1e6, bound_ns / 1e6
        entry.shown_at_ns = at_ns
        entry.shown = FrameFigures(
            at_s=(at_ns - self.began_at_ns) / 1e9,
            frame=metadata.index,
            epoch=entry.arrival.key[0],
            codec=metadata.codec,
            width=metadata.width,
            height=metadata.height,
            bytes=entry.arrival.sealed_bytes,
            latency_ms=latency_ms,
            latency_bound_ms=bound_ms,
            psnr_db=metadata.psnr_db,
            repeated=metadata.repeated,
        )
        self._whole += entry.timing is not None
        return entry.shown

    def forget(self, index: int) -> bool:
        """Frame `index` will never be shown: no line; False if it is not known or was shown."""
        entry = self._entries.get(index)
        if entry is None or entry.shown is not None:
            return False
        self._drop(index)
        return True

    def timed(self, rows: Iterable[TimingRow]) -> None:
        """Take the sender's late figures; those of frames still on their way are kept."""
        for row in rows:
            key = (row.epoch, row.counter)
            index = self._index.get(key)
            if index is not None:
                entry = self._entries[index]
                self._whole += entry.timing is None and entry.shown is not None
                entry.timing = row
            else:
                self._early[key] = row
                while len(self._early) > MAX_PENDING:
                    del self._early[next(iter(self._early))]

    def take(self, *, everything: bool = False) -> list[FrameLine]:
        """The lines that are whole; with `everything` also those that never will be."""
        everything = everything or len(self._entries) > MAX_PENDING
        if not (self._whole or everything):
            return []
        lines = []
        for index, entry in sorted(self._entries.items()):
            if entry.shown is not None and (entry.timing is not None or everything):
                lines.append(_line(entry, entry.shown))
                self._drop(index)
        self._whole = 0
        return lines

    def _drop(self, index: int) -> None:
        del self._index[self._entries.pop(index).arrival.key]


def _line(entry: _Entry, figures: FrameFigures) -> FrameLine:
    arrival, metadata, timing = entry.arrival, entry.arrival.metadata, entry.timing
    stages_us, shown_at_ns = metadata.stages_us, entry.shown_at_ns
    network_ms: float | None = None
    # Where the source has stood still for longer than the wire has room for, nothing is known.
    if figures.latency_ms is not None and stages_us["capture"] < MOST_US:
        at_sender_us = sum(stages_us.values())
        if timing is not None:
            at_sender_us += timing.keystream_us + timing.seal_us + timing.send_us
        here_ms = (shown_at_ns - arrival.received_at_ns) / 1e6
        network_ms = figures.latency_ms - at_sender_us / 1e3 - here_ms
    stages = ShownStages(
        capture=stages_us["capture"] / 1e3,
        mask=stages_us["mask"] / 1e3,
        encode=stages_us["encode"] / 1e3,
        keystream=None if timing is None else timing.keystream_us / 1e3,
        seal=None if timing is None else timing.seal_us / 1e3,
        send=None if timing is None else timing.send_us / 1e3,
        network=network_ms,
        open=(arrival.opened_at_ns - arrival.received_at_ns) / 1e6,
        hold=(arrival.released_at_ns - arrival.opened_at_ns) / 1e6,
        decode=(arrival.decoded_at_ns - arrival.released_at_ns) / 1e6,
        show=(shown_at_ns - arrival.decoded_at_ns) / 1e6,
    )
    return FrameLine(
        at_s=figures.at_s,
        frame=figures.frame,
        epoch=figures.epoch,
        codec=figures.codec,
        width=figures.width,
        height=figures.height,
        channels=metadata.channels,
        bytes=figures.bytes,
        latency_ms=figures.latency_ms,
        latency_bound_ms=figures.latency_bound_ms,
        psnr_db=figures.psnr_db,
        lossless=figures.lossless,
        stages_ms=stages,
        repeated=figures.repeated,
    )
