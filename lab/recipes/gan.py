"""Family `gan`: 128 lanes to more, back to 128, and layers that finish, against a discriminator.

The discriminator sees neighbouring blocks of the generator's, and as many bytes of NumPy's Philox.
It leads: its gradient may be as large as the avalanche's, of which the other families let the
adversaries have a third.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from lab.recipes.recipe import Objective, Recipe, draw_weights
from lab.surrogate import SurrogateLayer
from shared.keystream.families.family import LANES
from shared.keystream.families.gan import layer_names

__all__ = ["RECIPE", "recipe"]

_WIDE, _FINISHING = 256, 1
_DESIGN = (
    "A generator that widens from 128 lanes to 256, narrows to 128, and finishes with one "
    "layer of 128. It is trained against a discriminator that sees the bits of neighbouring "
    "blocks and their differences, or as many of NumPy's Philox generator. After two layers a "
    "key's bit is still seen, after three it is not."
)


def recipe(wide: int, finishing: int, design: str = "") -> Recipe:
    """Return the recipe: to `wide` lanes, back, and `finishing` layers more."""
    names = layer_names(finishing)

    def initial(rng: np.random.Generator) -> dict[str, NDArray[np.signedinteger]]:
        tensors: dict[str, NDArray[np.signedinteger]] = {}
        for name in names:
            lanes_out = wide if name == "widen" else LANES
            lanes_in = wide if name == "narrow" else LANES
            tensors[f"{name}.weight"] = draw_weights(rng, (lanes_out, lanes_in))
            tensors[f"{name}.bias"] = np.zeros(lanes_out, dtype=np.int32)
        return tensors

    def lower(tensors: Mapping[str, torch.Tensor]) -> tuple[SurrogateLayer, ...]:
        return tuple(
            SurrogateLayer(
                tensors[f"{name}.weight"],
                tensors[f"{name}.bias"],
                add_from=0 if name == names[-1] else None,
            )
            for name in names
        )

    return Recipe(
        family="gan",
        initial=initial,
        lower=lower,
        trained=lambda name: name.endswith(".weight"),
        objective=Objective(
            balance=0.0, predictor=0.0, distinguisher=0.0, discriminator=1.0, adversarial_share=1.0
        ),
        design=design,
    )


RECIPE = recipe(_WIDE, _FINISHING, _DESIGN)
