"""Half an hour of the real programs with a camera that has every trouble, and a verdict.

    .venv/bin/python -m tests.integration.longrun --minutes 30 --keep FOLDER

Starts a signaling server, a receiver with a log, a recording and a report, and a sender whose
source is `troubledcamera`.  Ends with one line a check and exit status 0 if all hold.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import mkdtemp

import av

from shared.telemetry.reader import SessionLog, read_log
from shared.telemetry.records import DropReason, EventLine, FrameLine
from shared.terminal import stderr, stdout
from tests.integration.programs import Outcome, Program, both, program, signaling
from tests.integration.troubledcamera import STORY

STORY_S = sum(act.seconds for act in STORY)
TOLD = ("source still", "source lost", "picture changed", "picture skipped")
APART_S = 2.0  # between the two logs' times of one event, for a machine under load


async def run(minutes: float, folder: Path) -> int:
    """Run for `minutes`; files go to `folder`.  Returns the exit status."""
    code, sent_log, seen_log = folder / "code", folder / "sender.jsonl", folder / "receiver.jsonl"
    recording = folder / "session.mp4"
    async with signaling() as url:
        async with (
            program(
                "tests.integration.troubledcamera", *both(url), "--code-file", code,
                "--log", sent_log,
            ) as sender,
            program(
                "receiver", *both(url), "--code-file", code, "--display", "none",
                "--log", seen_log, "--record", recording, "--report", folder / "report.html",
            ) as receiver,
        ):  # fmt: skip
            await receiver.says("receiver: live")
            alive = await _watch(sender, receiver, minutes)
            if sender.process.returncode is None:
                sender.process.send_signal(signal.SIGINT)
            outcomes = await asyncio.gather(sender.ended(), receiver.ended())
    return judge(minutes, folder, [("the session lived", alive), *_endings(*outcomes)])


def judge(minutes: float, folder: Path, checks: Sequence[tuple[str, bool]] = ()) -> int:
    """Judge what a run of `minutes` has left in `folder`, and what was seen of it before."""
    logs = (read_log(folder / f"{end}.jsonl") for end in ("sender", "receiver"))
    plays = _plays(folder / "session.mp4")
    checks = [*checks, *_told(*logs, minutes * 60), ("the recording plays, file by file", plays)]
    for words, holds in checks:
        _say(f"{'ok  ' if holds else 'FAIL'}  {words}")
    good = all(holds for _, holds in checks)
    _say(f"{'PASSED' if good else 'FAILED'}: {minutes:g} minutes; files in {folder}")
    return 0 if good else 1


async def _watch(sender: Program, receiver: Program, minutes: float) -> bool:
    """Whether both programs run for so long."""
    ends = [asyncio.create_task(each.process.wait()) for each in (sender, receiver)]
    done, running = await asyncio.wait(
        ends, timeout=minutes * 60, return_when=asyncio.FIRST_COMPLETED
    )
    for task in running:
        task.cancel()
    return not done


def _endings(sent: Outcome, seen: Outcome) -> list[tuple[str, bool]]:
    for outcome in (sent, seen):
        if outcome.errors:
            stderr.print(outcome.errors, soft_wrap=True, markup=False)
    return [
        (f"the sender ended well (status {sent.status})", sent.status == 130 and not sent.errors),
        (f"the receiver ended well (status {seen.status})", seen.status == 0 and not seen.errors),
    ]


def _told(sent: SessionLog, seen: SessionLog, ran_s: float) -> list[tuple[str, bool]]:
    here, there = _story(sent), _story(seen)
    missing = len(here) - len(there)  # told as the session ended, or before the receiver joined
    agree = 0 <= missing <= 1 and _words(here)[: len(there)] == _words(there)
    late = [other.at_s - one.at_s for one, other in zip(here, there, strict=False)]
    zeros_s = median(late) if late else 0.0  # the receiver's log begins when it has paired
    apart_s = max((abs(each - zeros_s) for each in late), default=0.0)
    counts = Counter(event.event for event in here)
    rounds = counts["source lost"] - 1  # in full: it comes late in each, and the last may be cut
    slowest_s = 1.5 * STORY_S  # of a round, on a machine under load
    enough = {
        "source still": 4 * rounds,
        "source still ended": 4 * rounds,
        "source lost": rounds,
        "source lost ended": rounds,
        "picture changed": 5 * rounds,
        "picture skipped": 3 * rounds,
    }
    repeated = [line for line in seen.frames if isinstance(line, FrameLine) and line.repeated]
    ages_s = [(line.latency_ms or 0.0) / 1e3 for line in repeated]
    damaged = [log.summary.frames_dropped.get(DropReason.SOURCE_DAMAGED, 0) for log in (sent, seen)]
    shapes = {(line.width, line.height, line.channels) for line in seen.frames}
    _say(f"{rounds} rounds of the story; events {dict(counts)}; shapes {sorted(shapes)}")
    _say(f"frames {seen.summary.model_dump(exclude={'type'})}")
    return [
        (f"both logs tell the same story, {len(here)} events", agree),
        (f"at the same times, up to {apart_s:.2f} s apart", apart_s < APART_S),
        (
            f"every trouble of {rounds} rounds is told",
            all(counts[k] >= n for k, n in enough.items()) and rounds >= ran_s // slowest_s - 1,
        ),
        (
            f"{len(repeated)} repeated pictures, {min(ages_s, default=0):.1f} to "
            f"{max(ages_s, default=0):.1f} s old",
            bool(repeated) and min(ages_s) > 0.9 and max(ages_s) > 10,
        ),
        (f"{damaged[0]} damaged pictures counted at both ends", 0 < damaged[1] <= damaged[0]),
        ("pictures of every size came, in grey and colour", len(shapes) >= 4),
        ("both logs are whole", not (sent.summary_computed or seen.summary_computed)),
    ]


def _story(log: SessionLog) -> list[EventLine]:
    return [event for event in log.events if event.event.startswith(TOLD)]


def _words(events: list[EventLine]) -> list[tuple[str, str]]:
    return [(event.event, event.detail) for event in events]


def _say(line: str) -> None:
    stdout.print(line, soft_wrap=True, markup=False)


def _plays(recording: Path) -> bool:
    files = sorted(recording.parent.glob(f"{recording.stem}*{recording.suffix}"))
    pictures = 0
    for path in files:
        with av.open(str(path)) as container:
            pictures += sum(1 for _ in container.demux(video=0))
    _say(f"{len(files)} files of the recording, {pictures} pictures")
    return bool(files) and pictures > 100


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, prog="longrun")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--keep", type=Path, default=None, help="a folder for logs and recording")
    parser.add_argument("--judge", type=Path, default=None, help="judge such a folder once more")
    options = parser.parse_args()
    if options.judge is not None:
        sys.exit(judge(options.minutes, options.judge))
    folder = options.keep or Path(mkdtemp(prefix="veilscope-longrun-"))
    folder.mkdir(parents=True, exist_ok=True)
    sys.exit(asyncio.run(run(options.minutes, folder)))
