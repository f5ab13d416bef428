"""Three hosts on one machine: a sender's, a receiver's, and the router between them.

    sender 10.77.1.1 ── 10.77.1.254 router 10.77.2.254 ── 10.77.2.1 receiver
           fd77:1::1 ── fd77:1::254        fd77:2::254 ── fd77:2::1

Each is a network namespace of its own, so nothing here touches the machine's own network.  All of
it is removed at the end, and what a killed run left behind by the next run.
"""

from __future__ import annotations

import itertools
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

from lab.netlab import namespace
from lab.netlab.namespace import Namespace

__all__ = ["Host", "Layout", "Network", "missing"]

Direction = Literal["to sender", "to receiver"]

ROUTER_V4 = "10.77.1.254"
ROUTER_V6 = "fd77:1::254"
LAN = "lan"  # the interface of either host
TOWARDS: dict[Direction, str] = {"to sender": "sender0", "to receiver": "receiver0"}

_numbers = itertools.count(1)


def missing(*programs: str) -> str:
    """What keeps this machine from having such hosts, with these programs; empty if nothing."""
    try:
        namespace.check_machine()
    except Exception as error:
        return str(error)
    absent = [name for name in ("iptables", *programs) if shutil.which(name) is None]
    return f"not installed: {', '.join(absent)}" if absent else ""


@dataclass(frozen=True)
class Host:
    """One host; commands are run inside it."""

    name: str
    inside: Namespace = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "inside", Namespace(self.name, ()))

    def ip(self, *commands: str) -> None:
        """Run several commands of `ip`, such as `link set lan up`, in order."""
        self._checked(["ip", "-n", self.name, "-batch", "-"], "\n".join(commands))

    def run(self, command: str, *, check: bool = True) -> str:
        """Run one command, without a shell; returns what it prints."""
        return self._checked(self.inside.command(command.split()), check=check)

    def set(self, setting: str, value: int) -> None:
        """Set what `sysctl` would, by its path under `/proc/sys/net`."""
        inside = self.inside.command(["sh", "-c", f"echo {value} > /proc/sys/net/{setting}"])
        self._checked(inside)

    def iptables(self, rules: str) -> None:
        self.run(f"iptables -w {rules}")

    def _checked(self, command: list[str], stdin: str = "", *, check: bool = True) -> str:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} failed: {stdin}\n{done.stderr}")
        return done.stdout

    @contextmanager
    def serving(self, command: str, output: Path, *, ready: str) -> Iterator[None]:
        """Run a server that is no part of ours inside, from when it has said `ready` on."""
        with output.open("wb") as written:
            process = self.inside.popen(
                command.split(),
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=subprocess.STDOUT,
                cwd=output.parent,
            )
        try:
            limit_at = time.monotonic() + 30
            while ready not in output.read_text(errors="replace"):
                if process.poll() is not None or time.monotonic() > limit_at:
                    raise RuntimeError(f"{command} does not start: {output.read_text()[-2000:]}")
                time.sleep(0.02)
            yield
        finally:
            process.kill()
            process.wait()


@dataclass(frozen=True)
class Layout:
    """What the three hosts are like.

    `direct`: whether the router forwards between the two others at all; `mtu` is that of every
    interface, `far_mtu` (if given) that of the cable to the receiver, of which the sender does not
    know; `icmp`: whether the router tells of packets that are too large, else the receiver does not
    know either.
    """

    ipv4: bool = True
    ipv6: bool = False
    direct: bool = True
    mtu: int = 1500
    far_mtu: int | None = None
    icmp: bool = True


class Network:
    """The three hosts, as a context."""

    def __init__(self, layout: Layout | None = None) -> None:
        self.layout = layout or Layout()
        stem = f"{namespace.unique_name(next(_numbers))}-host"
        self.sender, self.router, self.receiver = (
            Host(f"{stem}-{role}") for role in ("sender", "router", "receiver")
        )

    def __enter__(self) -> Self:
        namespace.check_machine()
        namespace.remove_leftovers()
        try:
            self._set_up()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def _set_up(self) -> None:
        for host in (self.sender, self.router, self.receiver):
            namespace.make(host.inside)
            if self.layout.ipv6:
                for scope in ("all", "default", "lo"):
                    host.set(f"ipv6/conf/{scope}/disable_ipv6", 0)
        for number, (host, ours) in enumerate(
            ((self.sender, TOWARDS["to sender"]), (self.receiver, TOWARDS["to receiver"])), 1
        ):
            self._join(host, ours, number)
        if self.layout.far_mtu is not None:
            self.router.ip(f"link set {TOWARDS['to receiver']} mtu {self.layout.far_mtu}")
            if self.layout.icmp:
                self.receiver.ip(f"link set {LAN} mtu {self.layout.far_mtu}")
        if self.layout.mtu != 1500 or self.layout.far_mtu is not None:
            self._send_packets_one_by_one()
        self.router.set("ipv4/ip_forward", 1)
        if self.layout.ipv6:
            self.router.set("ipv6/conf/all/forwarding", 1)
        if not self.layout.direct:
            self.router.iptables("-P FORWARD DROP")
        if not self.layout.icmp:
            self.router.iptables("-A OUTPUT -p icmp --icmp-type destination-unreachable -j DROP")

    def _join(self, host: Host, ours: str, number: int) -> None:
        """Lay a cable between `host` and the interface `ours` of the router."""
        mtu = f"mtu {self.layout.mtu}"
        namespace.ip(
            *f"link add {LAN} {mtu} netns {host.name} type veth "
            f"peer name {ours} {mtu} netns {self.router.name}".split()
        )
        here, there = list[str](), list[str]()
        if self.layout.ipv4:
            here.append(f"addr add 10.77.{number}.1/24 dev {LAN}")
            there.append(f"addr add 10.77.{number}.254/24 dev {ours}")
        if self.layout.ipv6:
            here.append(f"addr add fd77:{number}::1/64 dev {LAN} nodad")
            there.append(f"addr add fd77:{number}::254/64 dev {ours} nodad")
        host.ip(*here, f"link set {LAN} up")
        self.router.ip(*there, f"link set {ours} up")
        if self.layout.ipv4:
            host.ip(f"route add default via 10.77.{number}.254")
        if self.layout.ipv6:
            host.ip(f"route add ::/0 via fd77:{number}::254")

    def _send_packets_one_by_one(self) -> None:
        """A cable between namespaces hands on bundles of packets, longer than its MTU, else."""
        for host, interfaces in (
            (self.sender, (LAN,)),
            (self.receiver, (LAN,)),
            (self.router, tuple(TOWARDS.values())),
        ):
            for interface in interfaces:
                host.run(
                    f"ethtool -K {interface} tso off gso off gro off tx-udp-segmentation off",
                    check=False,  # some kernels lack the last
                )

    def _remove(self) -> None:
        for host in (self.sender, self.router, self.receiver):
            with suppress(Exception):
                namespace.remove(host.name)

    # -- what happens to it ------------------------------------------------------------------------

    @contextmanager
    def silent(self) -> Iterator[None]:
        """The router loses everything between the two ends, and says nothing."""
        self.router.iptables("-I FORWARD -j DROP")
        yield
        self.router.iptables("-D FORWARD -j DROP")

    @contextmanager
    def unplugged(self) -> Iterator[None]:
        """The cable of the sender is pulled out at the router, and put back."""
        self.router.ip(f"link set {TOWARDS['to sender']} down")
        yield
        self.router.ip(f"link set {TOWARDS['to sender']} up")

    def lose(self, share: float, *, only: Direction | None = None) -> None:
        """Lose this share of the UDP packets from now on, each on its own."""
        out = "" if only is None else f"-o {TOWARDS[only]}"
        self.router.iptables(
            f"-A FORWARD {out} -p udp -m statistic --mode random --probability {share} -j DROP"
        )

    def translate(self, ports: str) -> None:
        """Be a NAT that shows the receiver the sender behind these UDP ports of the router.

        Nobody behind it is reached who has not sent first.  Called again, it forgets which port was
        whose, as a router does that is switched on anew.
        """
        inwards = f"FORWARD -i {TOWARDS['to receiver']} -p udp -m conntrack --ctstate NEW -j DROP"
        self.router.run(f"iptables -w -D {inwards}", check=False)  # fails the first time
        self.router.iptables(f"-A {inwards}")
        self.router.iptables("-t nat -F POSTROUTING")
        self.router.iptables(
            f"-t nat -A POSTROUTING -o {TOWARDS['to receiver']} -p udp "
            f"-j MASQUERADE --to-ports {ports}"
        )
        self.router.run("conntrack -D -p udp", check=False)  # fails where there is nothing yet

    def second_cable(self) -> None:
        """A second interface of the sender, `wlan`, on a network of its own to the router."""
        namespace.ip(
            *f"link add wlan netns {self.sender.name} type veth "
            f"peer name wlan0 netns {self.router.name}".split()
        )
        self.router.ip("addr add 10.77.3.254/24 dev wlan0", "link set wlan0 up")
        self.sender.ip(
            "addr add 10.77.3.1/24 dev wlan",
            "link set wlan up",
            "route add default via 10.77.3.254 metric 200",
        )

    def container_bridges(self) -> None:
        """Interfaces as container engines make them, the same addresses at both ends."""
        for host in (self.sender, self.receiver):
            for number in range(17, 23):
                name = f"docker{number}"
                host.ip(
                    f"link add {name} type veth peer name {name}p",
                    f"addr add 172.{number}.0.1/16 dev {name}",
                    f"link set {name} up",
                    f"link set {name}p up",
                )

    def direct_cable(self) -> str:
        """Take both ends off the router and join them, with link-local addresses only.

        Returns the sender's, which is `…%lan` at either end.
        """
        for host in (self.sender, self.receiver):
            host.ip(f"link del {LAN}")
        namespace.ip(
            *f"link add {LAN} netns {self.sender.name} type veth "
            f"peer name {LAN} netns {self.receiver.name}".split()
        )
        for host in (self.sender, self.receiver):
            host.ip(f"link set {LAN} up")
        limit_at = time.monotonic() + 15
        while time.monotonic() < limit_at:
            shown = [
                host.run(f"ip -6 -o addr show dev {LAN} scope link")
                for host in (self.sender, self.receiver)
            ]
            # A tentative address, which duplicate address detection still holds, can't be used.
            if all("fe80" in text and "tentative" not in text for text in shown):
                return f"{shown[0].split()[3].partition('/')[0]}%{LAN}"
            time.sleep(0.05)
        raise RuntimeError("the cable got no link-local addresses")
