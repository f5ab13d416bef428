"""Shows how well each distinguisher does: a table for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from lab.distinguishers.laboratory import Finding, Subject

__all__ = ["advantages_table", "as_json"]


def advantages_table(findings: Sequence[Finding]) -> Table:
    """Return a row a finding, subject by subject; what is told from chance stands out."""
    table = Table(
        *("", "distinguisher", "advantage", "difference"),
        title="On keys never seen: 0 is chance, 1 is certainty; ± one standard error",
        box=box.SIMPLE,
        pad_edge=False,
    )
    for subject, group in groupby(findings, key=lambda finding: finding.subject):
        table.add_section()
        heading = _heading(subject)
        for finding in group:
            found = finding.advantage
            style = "bold red" if found.wins else ""
            table.add_row(heading, finding.distinguisher, Text(str(found), style), found.detail)
            heading = ""
    return table


def _heading(subject: Subject) -> str:
    if subject.depth is None:
        return subject.title
    return f"{subject.title}, {subject.depth} layer{'s' * (subject.depth > 1)}"


def as_json(findings: Sequence[Finding], *, seed: int, digest: bytes) -> dict[str, Any]:
    """Return everything that was found, for `json.dumps`."""
    return {
        "seed": seed,
        "digest": digest.hex(),
        "findings": [
            {
                "subject": finding.subject.title,
                "layers": finding.subject.depth,
                "distinguisher": finding.distinguisher,
                "advantage": finding.advantage.mean,
                "standard_error": finding.advantage.standard_error,
                "wins": finding.advantage.wins,
                "detail": finding.advantage.detail,
            }
            for finding in findings
        ],
    }
