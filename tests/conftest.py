"""What holds for the whole suite: no property fails because the machine was busy, and a test that
waits for nothing but time waits for none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

import pytest
from hypothesis import settings

from shared.jumpingloop import JumpingLoop

# Hypothesis fails an example that takes longer than 200 ms, which on a loaded machine any may.
settings.register_profile("veilscope", deadline=None)
settings.load_profile("veilscope")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Tests marked `jumping_clock` take no wall time where they wait for nothing but time."""
    if item.get_closest_marker("jumping_clock") is not None:
        return {"jumping": JumpingLoop}
    return {"asyncio": asyncio.new_event_loop}


def _monotonic() -> float:
    loop = JumpingLoop.latest
    return _real() if loop is None else loop.time()


def _monotonic_ns() -> int:
    loop = JumpingLoop.latest
    return _real_ns() if loop is None else loop.time_ns()


# On a loop whose clock jumps the whole program's clock does, in every thread.  Put in place before
# anything of the product is imported, as its default arguments keep the function that they find.
_real, _real_ns = time.monotonic, time.monotonic_ns
time.monotonic, time.monotonic_ns = _monotonic, _monotonic_ns
