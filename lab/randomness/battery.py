"""All fifteen tests of SP 800-22 rev 1a on one sequence, as one row of named p-values.

Parameters are those of the standard's Appendix B, whose results the tests of this package meet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lab.randomness.complexity import linear_complexity
from lab.randomness.excursions import STATES, VARIANT_STATES, excursions, excursions_variant
from lab.randomness.frequency import block_frequency, cumulative_sums, frequency
from lab.randomness.patterns import approximate_entropy, serial
from lab.randomness.rank import matrix_rank
from lab.randomness.runs import longest_run, runs
from lab.randomness.spectral import spectral
from lab.randomness.templates import aperiodic_templates, non_overlapping, overlapping
from lab.randomness.universal import universal

__all__ = ["BATTERY", "LABELS", "MIN_BITS", "StandardTest", "p_values"]

MIN_BITS = 1_000_000  # 2.8.7, 2.10.7, 2.14.7 and 2.15.7 ask for as many


@dataclass(frozen=True, slots=True)
class StandardTest:
    """One of the fifteen: `run` gives a p-value for each of `parts` (NaN: not applicable)."""

    section: str
    name: str
    parts: tuple[str, ...]
    run: Callable[[NDArray[np.uint8]], float | tuple[float, ...] | NDArray[np.float64]]


BATTERY = (
    StandardTest("2.1", "frequency", ("",), frequency),
    StandardTest("2.2", "frequency within a block", ("",), block_frequency),
    StandardTest("2.3", "runs", ("",), runs),
    StandardTest("2.4", "longest run of ones", ("",), longest_run),
    StandardTest("2.5", "binary matrix rank", ("",), matrix_rank),
    StandardTest("2.6", "discrete Fourier transform", ("",), spectral),
    StandardTest(
        "2.7",
        "non-overlapping templates",
        tuple(f"{template:09b}" for template in aperiodic_templates()),
        non_overlapping,
    ),
    StandardTest("2.8", "overlapping template", ("",), overlapping),
    StandardTest("2.9", "Maurer's universal", ("",), universal),
    StandardTest("2.10", "linear complexity", ("",), linear_complexity),
    StandardTest("2.11", "serial", ("first difference", "second difference"), serial),
    StandardTest("2.12", "approximate entropy", ("",), approximate_entropy),
    StandardTest("2.13", "cumulative sums", ("forward", "backward"), cumulative_sums),
    StandardTest("2.14", "random excursions", tuple(f"{x:+d}" for x in STATES), excursions),
    StandardTest(
        "2.15",
        "random excursions variant",
        tuple(f"{x:+d}" for x in VARIANT_STATES),
        excursions_variant,
    ),
)

LABELS = tuple((test.name, part) for test in BATTERY for part in test.parts)
"""What each of the 188 p-values belongs to: a test and one of its parts."""


def p_values(bits: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the p-values of a sequence in the order of `LABELS`; NaN where not applicable.

    `ValueError` below `MIN_BITS`: several of the tests are not valid for fewer.
    """
    if bits.size < MIN_BITS:
        raise ValueError(f"the tests take at least {MIN_BITS:,} bits a sequence")
    return np.concatenate([np.atleast_1d(np.asarray(test.run(bits))) for test in BATTERY])
