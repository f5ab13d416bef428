"""Several receivers: one leaves, dies or comes again, and the others see nothing of it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from shared.telemetry.reader import SessionLog, read_log
from tests.networks.expectations import after
from tests.networks.hosts import Network
from tests.networks.programs import Program, running
from tests.networks.sessions import DEVICE, LIVE_LIMIT_S, signaling

pytestmark = [
    pytest.mark.usefixtures("hosts"),
    pytest.mark.xdist_group("networks-interruptions"),
    pytest.mark.timeout(240),
]


@dataclass
class Room:
    """A sender with room for two, and whoever joins it."""

    network: Network
    folder: Path
    url: str
    sender: Program
    stack: ExitStack
    used: list[str] = field(default_factory=list)

    def code(self, limit_s: float = 20.0) -> str | None:
        """The next code that the sender offers and that nobody has used; None if none comes."""
        limit_at = time.monotonic() + limit_s
        while time.monotonic() < limit_at:
            offered = self.folder / "code"
            code = offered.read_text().strip() if offered.exists() else ""
            if code and code not in self.used:
                self.used.append(code)
                return code
            time.sleep(0.05)
        return None

    def join(self, name: str, code: str | None) -> Program:
        """Another receiver, once it is live."""
        assert code is not None, f"no code for {name}: {self.sender.output}"
        receiver = self.stack.enter_context(
            running(
                self.network.receiver,
                "receiver",
                *("--display", "none", "--signaling", self.url, "--device", DEVICE),
                *("--code", code, "--log", self.folder / f"{name}.jsonl"),
                output=self.folder / f"{name}.out",
            )
        )
        assert receiver.says("receiver: live", LIVE_LIMIT_S), receiver.output
        return receiver

    def log(self, name: str) -> SessionLog:
        return read_log(self.folder / f"{name}.jsonl")


@contextmanager
def room(folder: Path) -> Iterator[Room]:
    with ExitStack() as stack:
        network = stack.enter_context(Network())
        url = stack.enter_context(signaling(network.router, folder))
        sender = stack.enter_context(
            running(
                network.sender,
                "sender",
                *("--source", "phantom:ultrasound", "--size", "160x120", "--fps", "15"),
                *("--signaling", url, "--device", DEVICE, "--receivers", "2"),
                *("--code-file", folder / "code"),
                output=folder / "sender.out",
            )
        )
        yield Room(network, folder, url, sender, stack)


def undisturbed(log: SessionLog) -> bool:
    times = [frame.at_s for frame in log.frames]
    return max(b - a for a, b in pairwise(times)) < after(0)


def test_the_place_of_a_receiver_that_left_is_free_again_and_the_other_sees_no_gap(
    tmp_path: Path,
) -> None:
    with room(tmp_path) as open_room:
        first = open_room.join("first", open_room.code())
        for name in ("second", "third"):
            guest = open_room.join(name, open_room.code())
            time.sleep(0.5)
            guest.send(signal.SIGINT)
            assert guest.ended(LIVE_LIMIT_S) == 130
        assert open_room.code() is not None
        assert open_room.sender.status is None
        first.send(signal.SIGINT)
        assert first.ended(LIVE_LIMIT_S) == 130
        assert undisturbed(open_room.log("first"))


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_place_of_a_receiver_that_was_killed_is_free_again_once_that_is_certain(
    tmp_path: Path,
) -> None:
    with room(tmp_path) as open_room:
        first = open_room.join("first", open_room.code())
        open_room.join("second", open_room.code()).kill()
        again = open_room.join("third", open_room.code(limit_s=200.0))
        assert first.status is None
        assert again.status is None
        first.send(signal.SIGINT)
        assert first.ended(LIVE_LIMIT_S) == 130
        assert undisturbed(open_room.log("first"))
