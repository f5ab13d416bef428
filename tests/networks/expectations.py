"""What the tests of several kinds of trouble expect alike, and the marks they share."""

from __future__ import annotations

import pytest

__all__ = ["STALE_MS", "after", "long", "of"]

# A picture is to be back 1 s after the path is; the rest is for a machine under load, on which
# other trials run.
BACK_WITHIN_S = 1.0
LOAD_S = 1.0

# --max-latency is 200 ms; the rest is for such a machine too.
STALE_MS = 1_000.0


def long(*values: object) -> object:
    """Parameters of a trial for `make networks` only."""
    return pytest.param(*values, marks=[pytest.mark.long, pytest.mark.timeout(600)])


def of(*names: object) -> pytest.MarkDecorator:
    """The test is of the outcome of each of these trials."""
    return pytest.mark.parametrize("outcome", names, indirect=True)


def after(duration_s: float) -> float:
    """The longest gap in the picture that something may leave which lasted so long."""
    return duration_s + BACK_WITHIN_S + LOAD_S
