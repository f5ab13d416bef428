"""A TCP flow that takes all it can get, to see who yields: `python -m lab.netlab.bulk`.

`receive` takes one connection and prints one JSON line: its goodput, each 100 ms; `send` fills the
connection for a time.  The kernel's TCP, with its congestion control (cubic unless asked).
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import time
from dataclasses import asdict, dataclass

__all__ = ["FIRST_PORT", "Goodput", "main"]

FIRST_PORT = 47_100  # of the first flow; others count up
_SAMPLE_S = 0.1
_CHUNK = 64 * 1024
_PATIENCE_S = 120.0  # for the other end to appear, and for the path to come back


@dataclass(frozen=True, slots=True)
class Goodput:
    """What a TCP flow delivered to the program at its far end."""

    began_ns: int  # of `time.monotonic_ns`: when the connection was accepted
    nbytes: int
    seconds: float
    series: list[int]  # bytes in each 100 ms


def main() -> None:
    """Act as the arguments say."""
    parser = argparse.ArgumentParser(prog="lab.netlab.bulk")
    parser.add_argument("role", choices=["receive", "send"])
    parser.add_argument("address", help="to listen on, or to send to")
    parser.add_argument("--port", type=int, default=FIRST_PORT)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--congestion", default="cubic", help="the kernel's name of it")
    options = parser.parse_args()
    where = (options.address, options.port)
    if options.role == "send":
        _send(where, options.seconds, options.congestion)
        return
    with socket.create_server(where) as server:
        server.settimeout(_PATIENCE_S)
        _print({"ready": True})
        connection, _ = server.accept()
        with connection:
            _print(asdict(_receive(connection)))


def _print(result: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()


def _receive(connection: socket.socket) -> Goodput:
    connection.settimeout(_PATIENCE_S)
    began_ns = time.monotonic_ns()
    buffer = bytearray(_CHUNK)
    total, series, ended_ns = 0, list[int](), began_ns
    while size := _next(connection, buffer):
        ended_ns = time.monotonic_ns()
        index = int((ended_ns - began_ns) / 1e9 / _SAMPLE_S)
        series.extend([0] * (index + 1 - len(series)))
        series[index] += size
        total += size
    return Goodput(began_ns, total, (ended_ns - began_ns) / 1e9, series)


def _next(connection: socket.socket, buffer: bytearray) -> int:
    try:
        return connection.recv_into(buffer)
    except ConnectionResetError:  # how the sender ends, see there
        return 0


def _send(where: tuple[str, int], seconds: float, congestion: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode())
        connection.settimeout(_PATIENCE_S)
        connection.connect(where)
        ends = time.monotonic() + seconds
        chunk = bytes(_CHUNK)
        while time.monotonic() < ends:
            connection.send(chunk)
        # What lies in the kernel's buffer is not sent on: the flow ends when it was to end.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")


if __name__ == "__main__":
    main()
