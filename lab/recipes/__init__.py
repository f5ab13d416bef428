"""How each family's weights come about.  To add one: write its `Recipe`, and name it here."""

from __future__ import annotations

from lab.choices import refuse_unknown
from lab.recipes import bp, cnn, gan, resnet
from lab.recipes.recipe import Recipe

__all__ = ["RECIPES", "Recipe", "find_recipe"]

RECIPES: dict[str, Recipe] = {
    recipe.family: recipe for recipe in (bp.RECIPE, cnn.RECIPE, resnet.RECIPE, gan.RECIPE)
}


def find_recipe(family: str) -> Recipe:
    """Return the recipe for `family`, or raise `BadInput`."""
    refuse_unknown("training recipe for family", [family], RECIPES)
    return RECIPES[family]
