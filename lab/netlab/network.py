"""The impaired network as a context: two namespaces, and the process that joins them."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from lab.netlab import namespace, pump
from lab.netlab.line import LineCounters, Sample
from lab.netlab.namespace import Namespace, ip
from lab.netlab.profiles import Profile, load_profile
from lab.netlab.tun import MTU, open_tun
from shared.errors import VeilscopeError

__all__ = ["ImpairedNetwork", "LinkCounters", "LinkSeries"]

_numbers = itertools.count(1)

# Packets that a device holds until the pump reads them, where the default of 500 would be a second
# queue with losses of its own: 5,000 full packets are 60 ms at 1 Gbit/s.
_DEVICE_QUEUE = 5_000
_END_S = 15.0  # for the link to end the programs and itself, on a busy machine


@dataclass(frozen=True, slots=True)
class LinkCounters:
    """Totals of both directions since `begin`, and what the link itself cost and did wrong."""

    forward: LineCounters  # left to right
    backward: LineCounters
    device_dropped: int  # lost between a program and the model: more than the link could carry
    cpu_s: float  # of processor, by the link's process
    real_time: bool  # whether it runs at real-time priority


@dataclass(frozen=True, slots=True)
class LinkSeries:
    """Samples each 100 ms since `begin`."""

    forward: tuple[Sample, ...]
    backward: tuple[Sample, ...]


class ImpairedNetwork:
    """Two namespaces joined by a path that behaves as `profile` says.

    `profile`: a `Profile`, a name, or the path of a TOML file; `seed` decides every random choice;
    `pairs`: how many addresses each end has.  `left` and `right` are the ends; media goes from
    left to right, which is the profile's forward direction.

    Until `begin` the path holds the figures of second 0; `begin` starts the schedule, and counting.

    Raises `DeviceUnavailable` where machine or user don't allow it.
    """

    def __init__(self, profile: Profile | str, *, seed: int = 1, pairs: int = 1) -> None:
        self.profile = profile if isinstance(profile, Profile) else load_profile(profile)
        self.seed = seed
        number = next(_numbers)
        stem = namespace.unique_name(number)
        self._device = f"vs{os.getpid()}n{number}"  # with a letter, at most 15 characters
        hosts = range(1, pairs + 1)
        self.left = Namespace(f"{stem}-left", tuple(f"10.77.1.{host}" for host in hosts))
        self.right = Namespace(f"{stem}-right", tuple(f"10.77.2.{host}" for host in hosts))
        self._pump: subprocess.Popen[str] | None = None
        self._asking = threading.Lock()
        self._real_time = False
        self._dropped_before = 0

    def __enter__(self) -> Self:
        namespace.check_machine()
        namespace.remove_leftovers()
        try:
            self._set_up()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin(self) -> int:
        """Start the schedule and count from zero; may be called again.  Returns the moment, in
        ns of `time.monotonic_ns`, which is the same clock in every process of the machine."""
        self._dropped_before = self._device_dropped()
        return int(self._ask("begin")["began_ns"])

    def counters(self) -> LinkCounters:
        """Totals since `begin`."""
        answer = self._ask("counters")
        return LinkCounters(
            forward=LineCounters(**answer["forward"]),
            backward=LineCounters(**answer["backward"]),
            device_dropped=self._device_dropped() - self._dropped_before + answer["unwritten"],
            cpu_s=answer["cpu_s"],
            real_time=self._real_time,
        )

    def series(self) -> LinkSeries:
        """Samples each 100 ms since `begin`."""
        answer = self._ask("series")
        forward, backward = (
            tuple(Sample(**sample) for sample in answer[name]) for name in ("forward", "backward")
        )
        return LinkSeries(forward, backward)

    def close(self) -> None:
        """End every program inside, the link, and both namespaces."""
        if self._pump is not None:
            with suppress(BrokenPipeError), self._pump:  # which waits for its end
                try:
                    self._pump.communicate(timeout=_END_S)  # its input ends: it clears up
                except subprocess.TimeoutExpired:
                    self._pump.kill()
            self._pump = None
        for end in (self.left, self.right):  # where it could not
            namespace.remove(end.name)

    def _set_up(self) -> None:
        devices = []
        try:
            for end in (self.left, self.right):
                namespace.make(end)
                devices.append(self._attach(end))
            self._pump = self._start(devices)
        finally:
            for device in devices:
                os.close(device)
        self._real_time = self._read()["real_time"]

    def _attach(self, end: Namespace) -> int:
        """A TUN device inside `end`, up, with its addresses."""
        name = f"{self._device}{'lr'[end is self.right]}"
        descriptor = open_tun(name)
        try:
            ip("link", "set", name, "netns", end.name)
            for address in end.addresses:
                ip("address", "add", f"{address}/16", "dev", name, namespace=end.name)
            ip("link", "set", name, "mtu", str(MTU), "txqueuelen", str(_DEVICE_QUEUE), "up",
               namespace=end.name)  # fmt: skip
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _start(self, devices: list[int]) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", pump.__name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=devices,
            start_new_session=True,  # Ctrl-C is for the runner, which then ends this
        )
        settings = {
            "devices": devices,
            "namespaces": [self.left.name, self.right.name],
            "seed": self.seed,
            "forward": self.profile.forward.as_json(),
            "backward": self.profile.backward.as_json(),
        }
        assert process.stdin is not None  # noqa: S101 -- made with a pipe
        process.stdin.write(json.dumps(settings) + "\n")
        process.stdin.flush()
        return process

    def _ask(self, command: str) -> dict[str, Any]:
        pump = self._pump
        if pump is None or pump.stdin is None:
            raise VeilscopeError("the impaired network is not set up")
        with self._asking:
            try:
                pump.stdin.write(command + "\n")
                pump.stdin.flush()
            except BrokenPipeError:
                raise VeilscopeError("the impaired network's link has ended") from None
            return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._pump is not None  # noqa: S101 -- started
        assert self._pump.stdout is not None  # noqa: S101 -- made with a pipe
        line = self._pump.stdout.readline()
        if not line:
            raise VeilscopeError("the impaired network's link has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _device_dropped(self) -> int:
        return sum(_dropped(end) for end in (self.left, self.right))


def _dropped(end: Namespace) -> int:
    """Packets that the device of an end dropped, on the way out of its namespace or in."""
    links = json.loads(ip("-j", "-s", "link", "show", namespace=end.name))
    return sum(
        link["stats64"][way]["dropped"]
        for link in links
        if "LOOPBACK" not in link["flags"]
        for way in ("tx", "rx")
    )
