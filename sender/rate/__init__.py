"""Rate control: what the encoder aims at, how many frames a second, how large a picture.

Pure, and each file one idea: `budget` is what may be used of the paths, `demand` what the pictures
take, `ladder` what gives way, `encoderpace` and `haste` what the machine keeps up with, `jpeg` the
one codec that has no bitrate, `caution` when to raise again, `reasons` what is told, and
`controller` joins them.  `plan` holds the values that go in and out.
"""

from __future__ import annotations

from sender.rate.controller import RateController
from sender.rate.plan import DEFAULT_LATENCY_MS, Plan, Preference, StreamFacts, Wishes

__all__ = ["DEFAULT_LATENCY_MS", "Plan", "Preference", "RateController", "StreamFacts", "Wishes"]
