"""How each family's weights come about.  To add one: write its `Recipe`, and name it here."""

from __future__ import annotations

from lab.recipes import bp, cnn, gan, resnet
from lab.recipes.recipe import Recipe
from shared.errors import BadInput

__all__ = ["RECIPES", "Recipe", "find_recipe"]

RECIPES: dict[str, Recipe] = {
    recipe.family: recipe for recipe in (bp.RECIPE, cnn.RECIPE, resnet.RECIPE, gan.RECIPE)
}


def find_recipe(family: str) -> Recipe:
    """Return the recipe for `family`, or raise `BadInput`."""
    try:
        return RECIPES[family]
    except KeyError:
        raise BadInput(
            f"there is no training recipe for family {family!r}",
            hint=f"known: {', '.join(RECIPES)}",
        ) from None
