"""A receiver that measures: what its receiver API hands over, by the strip in each picture.

A program for benchmarks on one machine, where both ends have one clock.  It shows nothing; it
writes when each picture was handed over, what the session itself said of its latency, and a sample
of the pictures.  Its sender must draw the strip (`--strip`).
"""

from __future__ import annotations

import argparse
import asyncio
import time
from functools import partial
from pathlib import Path

import numpy as np

from lab.bench.rivals.ends import Watch, top_of
from receiver.journal import ReceiverJournal
from receiver.session import ReceiverSession
from receiver.settings import ReceiverSettings
from shared.crypto.pairing import PairingCode
from shared.telemetry.log import JsonLinesLog
from shared.terminal import run_async, warn

__all__ = ["main"]


async def _watch(options: argparse.Namespace, watch: Watch) -> None:
    settings = ReceiverSettings(
        signaling=options.signaling, proxy=options.proxy, host_addresses=(options.address,)
    )
    journal = ReceiverJournal(JsonLinesLog(options.log, on_failure=warn))
    try:
        code = PairingCode.parse(await _code(options.code_file))
        async with ReceiverSession(code, settings, journal=journal) as session:
            async for shown in session:
                image, at_ns = shown.frame.image, time.monotonic_ns()
                # What the session says of this very moment, not of when it let go of the picture.
                told_ms = (at_ns - shown.frame.captured_at_ns) / 1e6
                watch.see(
                    at_ns,
                    top_of(image),
                    partial(np.asarray, image),
                    told_ms=None if shown.latency_ms is None else told_ms,
                    bound_ms=shown.latency_bound_ms,
                )
    finally:
        await asyncio.to_thread(journal.close)


async def _code(path: Path) -> str:
    while True:
        try:
            return await asyncio.to_thread(path.read_text)
        except FileNotFoundError:
            await asyncio.sleep(0.05)


def main() -> None:
    """Watch until the sender ends, and write down what is seen."""
    parser = argparse.ArgumentParser(prog="watching")
    parser.add_argument("--signaling", required=True)
    parser.add_argument("--proxy", required=True)
    parser.add_argument("--code-file", type=Path, required=True)
    parser.add_argument("--address", required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--sample-every", type=int, required=True)
    parser.add_argument("--record", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, required=True)
    options = parser.parse_args()
    with Watch(options.record, options.pictures, sample_every=options.sample_every) as watch:
        run_async(lambda: _watch(options, watch))


if __name__ == "__main__":
    main()
