"""The laboratory's results as a table for people and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from lab.randomness.battery import BATTERY
from lab.randomness.dieharder import DieharderVerdict
from lab.randomness.laboratory import RandomnessResult
from lab.randomness.verdict import PartVerdict

__all__ = ["as_json", "dieharder_json", "dieharder_table", "results_table"]


def _cell(parts: Sequence[PartVerdict]) -> str:
    """The worst proportion and uniformity of a test's parts, with how many miss a bound."""
    applied = [part for part in parts if part.sequences]
    if not applied:
        return "not applicable"
    worst = min(applied, key=lambda part: part.proportion - part.least_proportion)
    text = f"{worst.proportion:.3f}"
    uniform = [part.uniformity for part in applied if part.uniformity is not None]
    if uniform:
        text += f"  {min(uniform):.1e}" if min(uniform) < 0.001 else f"  {min(uniform):.3f}"
    missed = sum(not (part.proportion_holds and part.uniformity_holds) for part in applied)
    return f"{text}  ✗{missed}" if missed else text


def results_table(results: Sequence[RandomnessResult]) -> Table:
    """Return one column a generator; each cell the worst of the test's parts."""
    table = Table(title="least proportion of sequences passed, least uniformity of p-values")
    table.add_column("SP 800-22", min_width=27)
    table.add_column("parts")
    for result in results:
        table.add_column(result.candidate.title, min_width=11)
    for test in BATTERY:
        cells = [
            _cell([part for part in result.verdict.parts if part.test == test.name])
            for result in results
        ]
        table.add_row(f"{test.section} {test.name}", str(len(test.parts)), *cells)
    table.add_section()
    table.add_row(
        "linear complexity, 50,000-bit blocks*", "1", *(f"{r.long_complexity:.2g}" for r in results)
    )
    table.add_row("parts that miss a bound", "188", *(str(len(r.verdict.missed)) for r in results))
    table.add_row("chance of as bad a part", "", *(f"{r.verdict.chance:.1g}" for r in results))
    table.add_row("", "", *("FAILED" if r.failed else "passed" for r in results))
    table.caption = "✗ as many parts miss a bound of the standard; * not in the standard"
    return table


def dieharder_table(title: str, version: str, verdicts: Sequence[DieharderVerdict]) -> Table:
    """Return dieharder's own verdicts, in its own order, with their counts."""
    table = Table(title=f"dieharder {version}: {title}")
    for column in ("test", "ntuple", "samples", "p-values", "p", "verdict"):
        table.add_column(column, justify="left" if column in ("test", "verdict") else "right")
    for v in verdicts:
        numbers = (f"{v.ntuple}", f"{v.t_samples:,}", f"{v.p_samples:,}", f"{v.p_value:.8f}")
        table.add_row(v.test, *numbers, v.assessment)
    counts = Counter(v.assessment for v in verdicts)
    table.caption = ", ".join(f"{counts[word]} {word}" for word in ("PASSED", "WEAK", "FAILED"))
    return table


def dieharder_json(
    title: str, version: str, verdicts: Sequence[DieharderVerdict]
) -> dict[str, Any]:
    """Return all that dieharder said, for `json.dump`."""
    return {"title": title, "version": version, "verdicts": [asdict(v) for v in verdicts]}


def as_json(results: Sequence[RandomnessResult], *, bits: int) -> dict[str, Any]:
    """Return everything but the single p-values, for `json.dump`."""
    return {
        "bits": bits,
        "generators": [
            {
                "title": result.candidate.title,
                "expected_good": result.candidate.expected_good,
                "digest": result.digest and result.digest.hex(),
                "sequences": len(result.p_values),
                "failed": result.failed,
                "chance": result.verdict.chance,
                "long_linear_complexity": result.long_complexity,
                "parts": [
                    {
                        "test": part.test,
                        "part": part.part,
                        "sequences": part.sequences,
                        "proportion": part.proportion,
                        "least_proportion": part.least_proportion,
                        "uniformity": part.uniformity,
                        "chance": part.chance,
                    }
                    for part in result.verdict.parts
                ],
            }
            for result in results
        ],
    }
