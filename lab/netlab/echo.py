"""A UDP echo for measuring a path from inside: a program of its own, at both ends.

`serve` sends back what it gets; `probe` sends numbered packets at fixed times and prints one JSON
line of what came back.  `flood` sends as fast as the path's rate is to be exceeded; `count` tells
how much of it arrives.  Plain blocking sockets, so that they cost little themselves.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import struct
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass

__all__ = ["PORT", "Arrivals", "Probe", "main"]

PORT = 47_000
_STAMP = struct.Struct(">Qq")  # number, time of sending in ns
_PATIENCE_S = 1.0  # how long after the last probe echoes may still come
_HEADERS = 28  # bytes of IPv4 and UDP, which the path counts too


@dataclass(frozen=True, slots=True)
class Probe:
    """What came back of the probes."""

    sent: int
    returned: int
    duplicates: int
    reordered: int  # arrived after one that was sent later
    rtt_ms: list[float]  # of each that returned, in order of arrival
    answered: list[int]  # their numbers


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What arrived of a flood: bytes of IP packets."""

    packets: int
    nbytes: int
    seconds: float  # from the first to the last


def main() -> None:
    """Act as the arguments say; print the result as one JSON line."""
    parser = argparse.ArgumentParser(prog="lab.netlab.echo")
    parser.add_argument("role", choices=["serve", "probe", "flood", "count"])
    parser.add_argument("address", help="to listen on, or to send to")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--size", type=int, default=200, help="of the IP packet, bytes")
    parser.add_argument("--interval-ms", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--patience", type=float, default=1.0, help="end after such a gap, s")
    parser.add_argument("--mbit", type=float, default=10.0, help="of a flood, Mbit/s")
    options = parser.parse_args()
    where = (options.address, PORT)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            udp.setsockopt(socket.SOL_SOCKET, option, 4 << 20)
        if options.role == "serve":
            udp.bind(where)
            _ready()
            _serve(udp)
        elif options.role == "count":
            udp.bind(where)
            _ready()
            _report(asdict(_count(udp, options.patience)))
        elif options.role == "probe":
            udp.connect(where)
            probe = _probe(udp, options.count, options.size, options.interval_ms)
            _report(asdict(probe))
        else:
            udp.connect(where)
            _ready()
            _report({"packets": _flood(udp, options.size, options.mbit, options.seconds)})


def _ready() -> None:
    _report({"ready": True})


def _report(result: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()


def _serve(udp: socket.socket) -> None:
    buffer = bytearray(2048)
    while True:
        size, peer = udp.recvfrom_into(buffer)
        udp.sendto(memoryview(buffer)[:size], peer)


def _probe(udp: socket.socket, count: int, size: int, interval_ms: float) -> Probe:
    padding = bytes(max(size - _HEADERS - _STAMP.size, 0))
    interval_ns = round(interval_ms * 1e6)
    start_ns = time.monotonic_ns()
    sent, seen, duplicates, reordered, latest = 0, set[int](), 0, 0, -1
    rtt_ms: list[float] = []
    answered: list[int] = []
    ends_ns = start_ns + count * interval_ns + round(_PATIENCE_S * 1e9)
    while (now_ns := time.monotonic_ns()) < ends_ns and len(seen) < count:
        next_ns = start_ns + sent * interval_ns if sent < count else ends_ns
        if now_ns >= next_ns:
            udp.send(_STAMP.pack(sent, time.monotonic_ns()) + padding)
            sent += 1
            continue
        if not select.select([udp], (), (), (next_ns - now_ns) / 1e9)[0]:
            continue
        data = udp.recv(2048)
        number, sent_ns = _STAMP.unpack_from(data)
        rtt = (time.monotonic_ns() - sent_ns) / 1e6
        if number in seen:
            duplicates += 1
            continue
        seen.add(number)
        reordered += number < latest
        latest = max(latest, number)
        rtt_ms.append(rtt)
        answered.append(number)
    return Probe(sent, len(seen), duplicates, reordered, rtt_ms, answered)


def _flood(udp: socket.socket, size: int, mbit: float, seconds: float) -> int:
    payload = bytes(max(size - _HEADERS, 1))
    interval_s = size * 8 / (mbit * 1e6)
    sent, start = 0, time.monotonic()
    while (passed := time.monotonic() - start) < seconds:
        while sent * interval_s < passed:
            with suppress(ConnectionRefusedError):  # of an earlier one; nobody counts any more
                udp.send(payload)
            sent += 1
        time.sleep(0.0005)
    return sent


def _count(udp: socket.socket, patience_s: float) -> Arrivals:
    udp.settimeout(30)
    packets, nbytes, first, last = 0, 0, 0.0, 0.0
    buffer = bytearray(2048)
    try:
        while True:
            size = udp.recv_into(buffer)
            last = time.monotonic()
            if not packets:
                first = last
                udp.settimeout(patience_s)
            packets += 1
            nbytes += size + _HEADERS
    except TimeoutError:
        return Arrivals(packets, nbytes, last - first)


if __name__ == "__main__":
    main()
