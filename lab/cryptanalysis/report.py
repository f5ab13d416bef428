"""Shows what fell and what stands: a table for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from lab.cryptanalysis.laboratory import AttackOutcome, Study, rows

__all__ = ["as_json", "study_table"]

_WORDS = {True: ("falls", "bold red"), False: ("stands", "green"), None: ("-", "dim")}


def study_table(study: Study) -> Table:
    """Return one network's table: an attack a row, a depth a column."""
    depths = sorted({outcome.depth for outcome in study.outcomes})
    title = f"{study.title} (control)" if study.control else study.title
    table = Table("attack", *(f"{n} layer{'s' * (n > 1)}" for n in depths), title=title)
    for attack in rows([study]):
        table.add_row(attack, *(_cell(study.at(attack, depth)) for depth in depths))
    return table


def _cell(outcome: AttackOutcome | None) -> Text:
    word, style = _WORDS[outcome.falls if outcome else None]
    cell = Text(word, style=style)
    if outcome and outcome.text:
        cell.append(f": {outcome.text}", style="default")
    return cell


def as_json(studies: Sequence[Study], *, seed: int, digest: bytes) -> dict[str, Any]:
    """Return everything that was found, for `json.dumps`."""
    return {
        "seed": seed,
        "digest": digest.hex(),
        "networks": [
            {
                "title": study.title,
                "control": study.control,
                "outcomes": [
                    {
                        "attack": outcome.attack,
                        "depth": outcome.depth,
                        "falls": outcome.falls,
                        "chance": outcome.chance,
                        "text": outcome.text,
                    }
                    for outcome in study.outcomes
                ],
            }
            for study in studies
        ],
    }
