"""Keeps the curves of a training run: every check as JSON, and the losses drawn as SVG."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lab.train import Check, TrainedWeights

__all__ = ["as_json", "draw", "write_curves"]

_SIZE = (7.0, 4.0)  # inches


def write_curves(weights: TrainedWeights, folder: Path) -> tuple[Path, Path]:
    """Write FAMILY.curves.json and FAMILY.curves.svg into `folder`; raises `OSError`.

    The same run gives the same two files.
    """
    saved, drawn = (folder / f"{weights.family}.curves.{kind}" for kind in ("json", "svg"))
    saved.write_text(json.dumps(as_json(weights), indent=1) + "\n", encoding="utf-8")
    with mpl.rc_context({"svg.hashsalt": weights.family}):
        draw(weights).savefig(drawn, metadata={"Date": None})
    return saved, drawn


def as_json(weights: TrainedWeights) -> dict[str, Any]:
    """Return every check of the run, losses by number of layers in a row, for `json.dumps`."""
    return {
        "family": weights.family,
        "seed": weights.seed,
        "gpu": weights.gpu,
        "best_step": weights.best.step,
        "stopped_early": weights.stopped_early,
        "checks": [asdict(check) for check in weights.checks],
    }


def draw(weights: TrainedWeights) -> Figure:
    """Return the losses by step, and over them the discriminator's where there was one."""
    told = [check for check in weights.checks if check.discriminator]
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots(2 if told else 1, sharex=True, squeeze=False)[:, 0]
    axes[0].set_title(f"{weights.family}, seed {weights.seed}")
    if told:
        _curves(
            axes[0], told, [check.discriminator for check in told], "discriminator's loss, nats"
        )
    held_out = [check.validation for check in weights.checks]
    _curves(axes[-1], weights.checks, held_out, "held-out loss")
    axes[-1].axvline(weights.best.step, color="grey", linestyle=":", label="weights taken")
    axes[-1].set_xlabel("step")
    for one in axes:
        one.legend()
    return figure


def _curves(
    axes: Axes, checks: Sequence[Check], losses: Sequence[Mapping[int, float]], name: str
) -> None:
    axes.set_ylabel(name)
    axes.grid(alpha=0.3)
    for depth in sorted({depth for each in losses for depth in each}):
        steps = [c.step for c, each in zip(checks, losses, strict=True) if depth in each]
        values = [each[depth] for each in losses if depth in each]
        axes.plot(steps, values, marker=".", label=f"{depth} layer{'s' * (depth > 1)}")
