"""How much parity goes with a frame: what it costs in bits against what it saves in frames.

Pure.  A block that parity can't restore waits a round trip for a re-request, and all frames that
come meanwhile wait with it, since each builds on the one before: of those that are due while it
waits only the newest is shown.  With k source symbols, r of parity, B blocks in a frame, a frame
every T and D from a loss to its repair (the round trip and `REPAIR_WORK_NS`),

    cost(r) = N * P(more than r of k + r are lost) + PRICE * r / k,     N = B * max(1, floor(D / T))

is what r parity symbols a block cost a viewer, and the least decides.  The chance is that of the
Gilbert channel (Gilbert, "Capacity of a burst-noise channel", 1960), worked out exactly, packet by
packet (Elliott, "Estimates of error rates for codes on burst-noise channels", 1963).  It knows
nothing of time: parity follows its block at once, where a burst may take both.
"""

from __future__ import annotations

import math
from functools import lru_cache

__all__ = ["parity_count", "unrestored"]

# Frames that one gives for twice the bits.  x264 gains some 5 dB from those, so that a decibel is
# worth one frame in a hundred.
PRICE = 0.05

# Round trips up to here leave repair to re-requests: such a repair costs a viewer nothing visible.
SHORT_RTT_NS = 25_000_000
MAX_PARITY_SHARE = 0.5  # of the source: a burst that takes more of a frame is better waited out
REPAIR_WORK_NS = 15_000_000  # from the loss to its report, and two event loops, over the round trip

GRID = 1.2  # figures are rounded to its powers: they are known no better, and seldom change so
LEAST_SHARE = 1e-5
MOST_SHARE = 0.5  # beyond, the path is broken rather than lossy


def parity_count(
    k: int, share: float, run: float, rtt_ns: int, interval_ns: int, blocks: int = 1
) -> int:
    """Parity symbols to send with each of a frame's `blocks` of `k` source symbols.

    At most `MAX_PARITY_SHARE` of them, or one.  `share` of packets is lost, `run` in a row on
    average; the round trip takes `rtt_ns`, and a frame comes every `interval_ns`.
    """
    if rtt_ns <= SHORT_RTT_NS or share < LEAST_SHARE:
        return 0
    stopped = max(1, (rtt_ns + REPAIR_WORK_NS) // max(1, interval_ns))
    return _cheapest(k, _rounded(min(share, MOST_SHARE)), _rounded(max(1.0, run)), blocks * stopped)


def _rounded(figure: float) -> float:
    return float(GRID ** round(math.log(figure, GRID)))


@lru_cache(maxsize=4096)
def _cheapest(k: int, share: float, run: float, frames: int) -> int:
    """`frames` are not shown for each block that is not restored."""
    most = max(1, math.floor(MAX_PARITY_SHARE * k))
    chances = unrestored(k, share, run, most)
    return min(range(most + 1), key=lambda r: frames * chances[r] + PRICE * r / k)


def unrestored(k: int, share: float, run: float, most: int) -> list[float]:
    """P(more than r of k + r packets in a row are lost), for each r from 0 to `most`.

    `share` of packets is lost, `run` in a row on average, but never less than losses that know
    nothing of each other make: 1 / (1 - share).
    """
    again = max(1.0 - 1.0 / run, share)  # a loss after a loss
    first = share * (1.0 - again) / (1.0 - share)  # a loss after none
    # [i]: i were lost so far, and the last packet was not (arrived), or was (lost).
    arrived, lost = [1.0 - share] + [0.0] * most, [0.0, share] + [0.0] * max(0, most - 1)
    chances = []
    for n in range(1, k + most + 1):
        if n >= k:
            r = n - k
            chances.append(max(0.0, 1.0 - math.fsum(arrived[: r + 1]) - math.fsum(lost[: r + 1])))
        both = list(zip(arrived, lost, strict=False))
        arrived = [a * (1.0 - first) + b * (1.0 - again) for a, b in both]
        lost = [0.0, *(a * first + b * again for a, b in both[:-1])]
    return chances
