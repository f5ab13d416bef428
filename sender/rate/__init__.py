"""Rate control: what the encoder aims at, how many frames a second, how large a picture.

Pure: `budget` is what may be used of the paths and when to raise again, `demand` what the pictures
take, `plan` holds the values that go in and out and what gives way first, for the path or for the
machine; `controller` joins them and says what is told.
"""

from __future__ import annotations

from sender.rate.controller import RateController
from sender.rate.plan import DEFAULT_LATENCY_MS, Plan, Preference, StreamFacts, Wishes

__all__ = ["DEFAULT_LATENCY_MS", "Plan", "Preference", "RateController", "StreamFacts", "Wishes"]
