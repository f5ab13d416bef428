"""Family `gan`: 128 lanes to more, back to 128, and layers that finish, against a discriminator.

The discriminator sees neighbouring blocks of the generator's, and as many bytes of NumPy's Philox.
It leads: its gradient may be as large as the avalanche's, of which the other families let the
adversaries have a third.
"""

from __future__ import annotations

from lab.recipes.recipe import DenseLayer, Objective, Recipe, dense_recipe
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
    layers = [
        DenseLayer(
            name,
            lanes_in=wide if name == "narrow" else LANES,
            lanes_out=wide if name == "widen" else LANES,
            add_from=0 if name == names[-1] else None,
        )
        for name in names
    ]
    objective = Objective(
        balance=0.0, predictor=0.0, distinguisher=0.0, discriminator=1.0, adversarial_share=1.0
    )
    return dense_recipe("gan", layers, objective, design)


RECIPE = recipe(_WIDE, _FINISHING, _DESIGN)
