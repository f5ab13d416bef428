"""A session between two hosts, and what came of it: what was shown, and what people were told."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Protocol

from shared.errors import BadInput
from shared.telemetry.reader import read_log
from shared.telemetry.records import FrameLine
from tests.networks.hosts import ROUTER_V4, Host, Network
from tests.networks.programs import HeldUp, Program, running

__all__ = ["DEVICE", "End", "Outcome", "Session", "session", "signaling", "stream"]

FPS = 15
DEVICE = "onnx"  # it opens in a third of a second, where torch takes two
LIVE_LIMIT_S = 60.0  # bounds on waiting, for a machine under load; nothing is measured by them
END_LIMIT_S = 45.0
SENDER_LIMIT_S = 10.0  # once the receiver has ended


@dataclass(frozen=True, repr=False)
class End:
    """How one of the two programs ended: None for a status if it was still running."""

    status: int | None
    output: str

    def __str__(self) -> str:
        tail = [line for line in self.output.splitlines() if line.strip(" ┌─┬┐│├┤└┴┘")]
        return "\n".join([f"status {self.status}", *(f"   | {line[:190]}" for line in tail[-12:])])


@dataclass(frozen=True, repr=False)
class Outcome:
    """What came of a session.  `live`: whether the receiver ever told that it was."""

    live: bool
    sender: End
    receiver: End
    frames: tuple[FrameLine, ...]

    @property
    def statuses(self) -> tuple[int | None, int | None]:
        """The sender's and the receiver's."""
        return self.sender.status, self.receiver.status

    @property
    def told(self) -> str:
        """Everything that the two people were told."""
        return self.sender.output + self.receiver.output

    @property
    def gaps_s(self) -> list[float]:
        """Times between pictures that followed each other on the screen."""
        return [b.at_s - a.at_s for a, b in pairwise(self.frames)]

    @property
    def longest_gap_s(self) -> float:
        return max(self.gaps_s, default=0.0)

    @property
    def frames_after_the_gap(self) -> int:
        """How many pictures were shown after the longest gap."""
        gaps = self.gaps_s
        return len(gaps) - gaps.index(max(gaps)) if gaps else 0

    @property
    def oldest_ms(self) -> float:
        """The age of the oldest picture that was shown as live."""
        ages = [f.latency_ms for f in self.frames if f.latency_ms is not None and not f.repeated]
        return max(ages, default=0.0)

    def __repr__(self) -> str:
        return f"<{len(self.frames)} frames, statuses {self.statuses}>"

    def __str__(self) -> str:
        ages = [frame.latency_ms for frame in self.frames if frame.latency_ms is not None]
        gaps = [f"{gap:.2f}" for gap in self.gaps_s if gap > 0.3]
        return (
            f"live {self.live}, frames {len(self.frames)}, gaps above 0.3 s [{', '.join(gaps)}], "
            f"{self.frames_after_the_gap} frames after the longest; "
            f"age median {median(ages) if ages else 0:.0f} ms, oldest {self.oldest_ms:.0f} ms\n"
            f"sender {self.sender}\nreceiver {self.receiver}"
        )


@dataclass(frozen=True)
class Session:
    """A sender and a receiver that run."""

    sender: Program
    receiver: Program
    folder: Path

    def live(self, limit_s: float = LIVE_LIMIT_S) -> bool:
        """Wait until the receiver shows pictures."""
        return self.receiver.says("receiver: live", limit_s)

    def outcome(self, limit_s: float = END_LIMIT_S) -> Outcome:
        """Wait for the end of both programs, and see what came of it."""
        receiver = self.receiver.ended(limit_s)
        sender = self.sender.ended(SENDER_LIMIT_S)
        try:
            lines = read_log(self.folder / "receiver.jsonl").frames
        except BadInput:  # there is none: the two never paired
            lines = ()
        return Outcome(
            live="receiver: live" in self.receiver.output,
            sender=End(sender, self.sender.output),
            receiver=End(receiver, self.receiver.output),
            frames=tuple(line for line in lines if isinstance(line, FrameLine)),
        )


@contextmanager
def signaling(
    host: Host,
    folder: Path,
    *options: str | Path,
    listen: str = "0.0.0.0",
    url_host: str = ROUTER_V4,
) -> Iterator[str]:
    """The project's server; yields its URL as others reach it."""
    scheme = "wss" if "--cert" in options else "ws"
    output = folder / "signaling.out"
    with running(host, "signaling", "--host", listen, *options, output=output) as server:
        if not server.says("listening", LIVE_LIMIT_S):
            raise RuntimeError(f"no signaling server: {server.output}")
        yield f"{scheme}://{url_host}:8765"


class TwoHosts(Protocol):
    """Where a session takes place."""

    @property
    def sender(self) -> Host: ...
    @property
    def receiver(self) -> Host: ...


@contextmanager
def session(
    network: TwoHosts,
    folder: Path,
    url: str,
    *,
    seconds: float = 2.0,
    source: str = "phantom:ultrasound",
    size: str | None = "160x120",
    sending: tuple[str | Path, ...] = (),
    receiving: tuple[str | Path, ...] = (),
    sender_environment: Mapping[str, str] | None = None,
    receiver_environment: Mapping[str, str] | None = None,
    sender_held_up: HeldUp | None = None,
    receiver_held_up: HeldUp | None = None,
    receiver_url: str | None = None,
) -> Iterator[Session]:
    """A sender of so many seconds of pictures, and a receiver that pairs with it."""
    folder.mkdir(exist_ok=True)
    code = folder / "code"
    shown = ("--size", size, "--fps", str(FPS), "--frames", str(round(seconds * FPS)))
    with ExitStack() as stack:
        sender = stack.enter_context(
            running(
                network.sender,
                "sender",
                *("--source", source, "--signaling", url, "--code-file", code),
                *(shown if size is not None else ()),
                *("--device", DEVICE, "--log", folder / "sender.jsonl", "--until-left"),
                *sending,
                output=folder / "sender.out",
                environment=sender_environment,
                held_up=sender_held_up,
            )
        )
        receiver = stack.enter_context(
            running(
                network.receiver,
                "receiver",
                *("--display", "none", "--signaling", receiver_url or url, "--code-file", code),
                *("--device", DEVICE, "--log", folder / "receiver.jsonl"),
                *receiving,
                output=folder / "receiver.out",
                environment=receiver_environment,
                held_up=receiver_held_up,
            )
        )
        yield Session(sender, receiver, folder)


@contextmanager
def stream(network: Network, folder: Path, *, seconds: float = 2.0) -> Iterator[Session]:
    """A session in its plainest form, once it is live and has been for a second."""
    with (
        signaling(network.router, folder) as url,
        session(network, folder, url, seconds=seconds) as running_session,
    ):
        if running_session.live():
            time.sleep(1.0)
        yield running_session
