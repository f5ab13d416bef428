"""One frame's way through the house: the modules that it enters, and the changes between them.

A real session over loopback, each end in a process of its own: the phantom as source, 640x480 at 10
frames a second, H.264, a WebRTC link, a log at each end.  Once it is steady, every call and return
of our own modules (`sender`, `receiver`, `shared`) is noted by `sys.setprofile`, for some tens of
frames.  A room is a module.  A call, or a coroutine resumed, into another room than the one that
the thread is in is one change of room; coming back is not counted, since who calls is always come
back to.

What counts as one frame's work:

- At the sender all that is done from the turn of the event loop in which playback lets the picture
  go to the moment when the last packet of it was handed over.  Turns that begin with a datagram
  from the network are left out: they are acknowledgements of frames before, or answers to pings.
- At the receiver all from the turn in which the packet comes that makes the frame whole (those
  before it go the same way, as far as the link's reassembly) to the moment when it is shown.
- What the rest of that last turn does (figures, log lines, accounts) is told apart.

On the threads that handle the frame, that is; those that work ahead of it or after it are not
looked at: the source's and the keystream's, and the one that writes the log.  Whatever else the
event loop does in that time counts (timers, control messages, other rooms on a busy machine), so
what most frames have in common is told: the rooms that half of them enter, and the median number of
changes.  It refuses to measure time: being watched takes several times as long as the work.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from types import CodeType, FrameType
from typing import Annotated, Any

import typer
from rich.table import Table

from receiver.journal import ReceiverJournal
from receiver.session import ReceiverSession
from receiver.settings import ReceiverSettings
from sender.journal import SenderJournal
from sender.pipeline import SealedFrame
from sender.playback.play import play
from sender.session import SenderSession
from sender.settings import SenderSettings
from sender.sources import open_source
from shared.codecs import CODECS
from shared.errors import BadInput
from shared.telemetry.log import JsonLinesLog
from shared.telemetry.records import FrameLine, Line
from shared.terminal import stdout
from signaling.config import ServerConfig
from signaling.server import SignalingServer

__all__ = ["RoomStep", "Way", "main", "usual", "ways"]

LOOPBACK = ("127.0.0.1",)
FPS = 10.0  # watched, a frame takes long: at 30 the next would come while it is under way
STEADY_AFTER = 40  # frames: the rate has found its place
OURS = ("sender", "receiver", "shared")
FROM_NETWORK = "shared.link.webrtc"  # a turn that begins there begins with a datagram
# Threads that work ahead of a frame or after it.
_TURN = asyncio.Handle._run.__code__
APART = ("veilscope-capture", "keystream", "log")


@dataclass(frozen=True, slots=True)
class Way:
    """One frame's work: the rooms in the order in which they were first entered.

    `rooms` holds how often each is entered.  `further` are those that are entered only afterwards,
    for its figures and its log line, which takes `changes_after` changes of room.
    """

    rooms: Mapping[str, int]
    changes: int
    further: tuple[str, ...]
    changes_after: int


@dataclass(frozen=True, slots=True)
class RoomStep:
    """A thread goes into `room`, from none of ours where `begins`; None: it leaves all of ours."""

    at_ns: int
    thread: int
    room: str | None
    begins: bool
    called: bool


@dataclass(slots=True)
class _Watch:
    """Notes each change of room on the threads that handle frames, while it is `on`."""

    root: str
    on: bool = False
    steps: list[RoomStep] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)  # each frame's, in ns
    _rooms: dict[CodeType, str | None] = field(default_factory=dict)
    _in: dict[int, str | None] = field(default_factory=dict)

    def handled(self, began_ns: int, ended_ns: int) -> None:
        """A frame's way through this end began and ended then."""
        self.spans.append((began_ns, ended_ns))

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        if not self.on or event not in ("call", "return"):
            return
        here: FrameType | None = frame if event == "call" else frame.f_back
        room = None
        while here is not None and (room := self._room(here.f_code)) is None:
            # Below the event loop's own frames is what started it, and no part of the turn.
            here = None if here.f_code is _TURN else here.f_back
        thread = threading.get_ident()
        before = self._in.get(thread)
        if room != before:
            self._in[thread] = room
            if threading.current_thread().name in APART:
                return
            called = event == "call"
            self.steps.append(RoomStep(time.monotonic_ns(), thread, room, before is None, called))

    def _room(self, code: CodeType) -> str | None:
        try:
            return self._rooms[code]
        except KeyError:
            room = self._rooms[code] = _module(code.co_filename, self.root)
            return room


def _module(filename: str, root: str) -> str | None:
    """The dotted name of one of our modules, None for any other file."""
    if not filename.startswith(root):
        return None
    name = filename[len(root) + 1 :].removesuffix(".py").replace("/", ".")
    return name.removesuffix(".__init__") if name.split(".")[0] in OURS else None


@dataclass(frozen=True, slots=True)
class _Turn:
    """What a thread did of ours without leaving our rooms."""

    began_ns: int
    ended_ns: int
    rooms: tuple[tuple[int, str], ...]  # and when each was entered, in ns


def ways(
    steps: Iterable[RoomStep], spans: Iterable[tuple[int, int]], *, left_out: str = "-"
) -> list[Way]:
    """The work of each frame: of all turns that fall into its span.

    Those that begin in a room whose name begins with `left_out` are not of the frame.
    """
    turns = [turn for turn in _turns(steps) if not turn.rooms[0][1].startswith(left_out)]
    found = []
    for began_ns, ended_ns in spans:
        if not turns or began_ns < turns[0].ended_ns or ended_ns > turns[-1].began_ns:
            continue  # the watch was not on for all of it
        own = [turn for turn in turns if turn.ended_ns >= began_ns and turn.began_ns <= ended_ns]
        entered = [step for turn in own for step in turn.rooms]
        way = [room for at_ns, room in entered if at_ns <= ended_ns]
        after = [room for at_ns, room in entered if at_ns > ended_ns]
        further = tuple(dict.fromkeys(room for room in after if room not in way))
        found.append(Way(Counter(way), len(way), further, len(after)))
    return found


def _turns(steps: Iterable[RoomStep]) -> list[_Turn]:
    turns = []
    going_on: dict[int, tuple[int, list[tuple[int, str]]]] = {}
    for step in steps:
        if step.begins:
            going_on[step.thread] = step.at_ns, []
        if step.thread not in going_on:
            continue  # it was under way when the watch began
        began_ns, rooms = going_on[step.thread]
        if step.room is not None and step.called:
            rooms.append((step.at_ns, step.room))
        elif step.room is None and rooms:
            turns.append(_Turn(began_ns, step.at_ns, tuple(rooms)))
    return sorted(turns, key=lambda turn: turn.began_ns)


def usual(found: list[Way]) -> Way:
    """What most frames have in common: rooms that half of them enter, and the median of changes."""
    half = len(found) / 2
    counts = Counter(room for way in found for room in way.rooms)
    after = Counter(room for way in found for room in way.further)
    order = dict.fromkeys(room for way in found for room in (*way.rooms, *way.further))
    return Way(
        {
            room: round(median(way.rooms.get(room, 0) for way in found))
            for room in order
            if counts[room] > half
        },
        round(median(way.changes for way in found)),
        tuple(room for room in order if after[room] > half >= counts[room]),
        round(median(way.changes_after for way in found)),
    )


def _watch() -> _Watch:
    watch = _Watch(str(Path(__file__).resolve().parents[2]))
    threading.setprofile(watch)
    sys.setprofile(watch)
    return watch


class _SenderJournal(SenderJournal):
    """Tells the watch which frame was sent."""

    def __init__(self, log: JsonLinesLog, watch: _Watch, count: int) -> None:
        super().__init__(log)
        self._watch = watch
        self._count = count

    def frame_sent(self, frame: SealedFrame, sent_at_ns: int) -> None:
        super().frame_sent(frame, sent_at_ns)
        self._watch.handled(frame.captured_at_ns, sent_at_ns)
        self._watch.on = STEADY_AFTER <= self.frames < STEADY_AFTER + self._count


class _ReceiverJournal(ReceiverJournal):
    """Tells the watch which frame was shown."""

    def __init__(self, log: JsonLinesLog, watch: _Watch) -> None:
        super().__init__(log)
        self._watch = watch

    def write(self, line: Line) -> None:
        super().write(line)
        if isinstance(line, FrameLine):
            stages = line.stages_ms
            here_ms = sum(
                ms or 0.0 for ms in (stages.open, stages.hold, stages.decode, stages.show)
            )
            shown_at_ns = self.began_at_ns + round(line.at_s * 1e9)
            self._watch.handled(shown_at_ns - round(here_ms * 1e6), shown_at_ns)


def _receive(pipe: Connection, url: str, count: int) -> None:
    """The receiver's process: tells what its frames have in common."""
    pipe.send(usual(asyncio.run(_received(pipe.recv(), url, count))))


async def _received(code: str, url: str, count: int) -> list[Way]:
    watch = _watch()
    with tempfile.TemporaryDirectory() as folder:
        journal = _ReceiverJournal(JsonLinesLog(Path(folder) / "receiver.jsonl"), watch)
        settings = ReceiverSettings(signaling=url, device="cpu", host_addresses=LOOPBACK)
        async with ReceiverSession(code, settings, journal=journal) as session:
            shown = 0
            async for _ in session:
                shown += 1
                watch.on = STEADY_AFTER <= shown < STEADY_AFTER + count
                if shown == 2 * STEADY_AFTER + count:  # so long the sender is steady, too
                    break
    return ways(watch.steps, watch.spans)


async def _sent(pipe: Connection, url: str, codec: str, count: int) -> list[Way]:
    watch = _watch()
    source = open_source("phantom:ultrasound", size=(640, 480), fps=FPS)
    with tempfile.TemporaryDirectory() as folder:
        journal = _SenderJournal(JsonLinesLog(Path(folder) / "sender.jsonl"), watch, count)
        settings = SenderSettings(
            signaling=url, device="cpu", codec=codec, fps=FPS, host_addresses=LOOPBACK
        )
        session = SenderSession(play(source), settings, journal=journal)
        async with session:
            pipe.send(str(session.code))
            await session.finished()
    return ways(watch.steps, watch.spans, left_out=FROM_NETWORK)


async def _trace(codec: str, count: int) -> tuple[Way, Way]:
    """The usual ways at the sender and at the receiver."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    async with SignalingServer(ServerConfig(port=0)) as server:
        receiving = context.Process(target=_receive, args=(there, server.url, count), daemon=True)
        receiving.start()
        try:
            sent = usual(await _sent(here, server.url, codec, count))
            return sent, await asyncio.to_thread(here.recv)
        finally:
            receiving.join(5.0)
            receiving.kill()


def _table(title: str, way: Way) -> Table:
    table = Table(
        title=f"{title}: {len(way.rooms)} rooms, {way.changes} changes",
        caption=f"then for its figures {way.changes_after} changes",
        title_justify="left",
        caption_justify="left",
        show_header=False,
    )
    for number, (room, times) in enumerate(way.rooms.items(), start=1):
        table.add_row(str(number), room, str(times))
    for room in way.further:
        table.add_row("+", room, "")
    return table


def main(
    codec: Annotated[str, typer.Option(help=f"One of: {', '.join(CODECS)}.")] = "h264",
    frames: Annotated[int, typer.Option(min=10, max=1000, help="Frames to look at.")] = 40,
) -> None:
    """Trace one frame: the modules that it enters at each end, and the changes between them."""
    if codec not in CODECS:
        raise BadInput(f"there is no codec {codec!r}", hint=f"choose from {', '.join(CODECS)}")
    sent, shown = asyncio.run(_trace(codec, frames))
    stdout.print(_table("source to network", sent))
    stdout.print(_table("network to shown", shown))
