"""What holds for the whole suite: no property fails because the machine was busy, a test that waits
for nothing but time waits for none, workers get whole modules, those that take long first, and
SIGINT ends what a test starts."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Mapping
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from shared.jumpingloop import JumpingLoop

if TYPE_CHECKING:
    from xdist.scheduler import LoadGroupScheduling

# Hypothesis fails an example that takes longer than 200 ms, which on a loaded machine any may.
settings.register_profile("veilscope", deadline=None)
settings.load_profile("veilscope")

# Jobs in the background begin with SIGINT ignored, and programs started by tests would inherit it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Tests marked `jumping_clock` take no wall time where they wait for nothing but time."""
    if item.get_closest_marker("jumping_clock") is not None:
        return {"jumping": JumpingLoop}
    return {"asyncio": asyncio.new_event_loop}


# Modules of these take longest, from the longest on; begun last, one of them would leave the other
# worker without work.
WAITING = "tests/networks/"  # for real time, with little work
LONGEST = (
    "tests/lab/bench/",
    "tests/receiver/sinks/test_window",
    "tests/lab/",
    "tests/integration/",
    "tests/test_",
    "tests/shared/link/",
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Puts for workers what waits beside what works, and what takes long before the rest."""
    if not hasattr(config, "workerinput"):
        return
    modules: dict[str, list[pytest.Item]] = {}
    for item in items:
        modules.setdefault(item.nodeid.partition("::")[0], []).append(item)
    waiting = [module for module in modules if module.startswith(WAITING)]
    working = sorted((module for module in modules if module not in waiting), key=_rank)
    order = chain.from_iterable(zip_longest(waiting, working))
    items[:] = [item for module in order if module is not None for item in modules[module]]


def _rank(module: str) -> int:
    ranks = (rank for rank, prefix in enumerate(LONGEST) if module.startswith(prefix))
    return next(ranks, len(LONGEST))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadGroupScheduling | None:
    """Hands out modules where groups are handed out: what a module's tests share is then made by
    one worker, and one message sends many tests."""
    if config.getoption("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadGroupScheduling

    class ByModule(LoadGroupScheduling):  # type: ignore[misc, unused-ignore]
        def _split_scope(self, nodeid: str) -> str:
            return super()._split_scope(nodeid).partition("::")[0]

    config.option.loadscopereorder = False  # the order is made above
    return ByModule(config, log)


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
