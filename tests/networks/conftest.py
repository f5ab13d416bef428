"""How trials between hosts become tests: which are played, side by side, and what is skipped.

The trials of a module are played side by side, since most of their time they wait; a test gets the
outcome of its own.  Long ones, and those that repeat a kind, are marked `long` (`make networks`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.networks.hosts import Network, missing
from tests.networks.sessions import Outcome
from tests.networks.trials import TRIALS, play

SIDE_BY_SIDE = 5  # more would take processor time from each other where it is measured


@pytest.fixture(scope="session")
def hosts() -> None:
    """Skips where machine or user can't have hosts of its own, and says why."""
    if why := missing():
        pytest.skip(f"no hosts of its own here: {why}")
    try:
        with Network() as network:
            network.lose(0.0)  # the kernel may lack what the router's losses need
            network.router.iptables("-t nat -L")
    except Exception as error:
        pytest.skip(f"no hosts of its own here: {error}")


@pytest.fixture(scope="module")
def played(
    hosts: None, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Future[Outcome]]]:
    """The outcomes of this module's trials, to be waited for."""
    names = dict.fromkeys(
        item.callspec.params["outcome"]
        for item in request.session.items
        if item.path == request.path and "outcome" in getattr(item, "fixturenames", ())
    )
    folders: dict[str, Path] = {
        name: tmp_path_factory.mktemp(name) for name in names if not missing(*TRIALS[name].needs)
    }
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        yield {name: pool.submit(play, name, folder) for name, folder in folders.items()}
        pool.shutdown(cancel_futures=True)


@pytest.fixture
def outcome(played: Mapping[str, Future[Outcome]], request: pytest.FixtureRequest) -> Outcome:
    """What came of the trial that the test is parametrized with."""
    if why := missing(*TRIALS[request.param].needs):
        pytest.skip(why)
    came = played[request.param].result()
    sys.stdout.write(f"{came}\n")  # shown where the test fails
    return came
