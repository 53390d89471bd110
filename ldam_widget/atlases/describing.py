"""The card of an atlas that has not begun: what will be in it."""

from __future__ import annotations

from typing import Any

import PIL
import torch
from torch import nn

from .._version import __version__
from ..network.receptive_field import receptive_field
from ..pictures.images import as_pictures
from ..surveys import Survey
from ..surveys.settings import answers
from .layout import FORMAT, LayerOfAtlas, Sheets, folders_of
from .measuring import Measured
from .recipe import UnitRecipe, hash_of_card, same_answers
from .sheets import fitting


def described(
    model: nn.Module, measured: Measured, recipe: UnitRecipe, survey: Survey | None, class_names: tuple[str, ...]
) -> dict[str, Any]:
    """What atlas.json will say; its layers as `LayerOfAtlas`.

    Raises:
        ValueError: the survey is of another model or preprocessing, or of images of another shape.
    """
    weights, answered = measured.hash(), measured.answers()
    _require_same(survey, weights, recipe, measured)
    of_survey = None
    if survey is not None:
        of_survey = f"{survey.card['data']}; {survey.images} surveyed; {survey.card['k']} kept"
    card = recipe.card(weights, of_survey, measured.judged_by)
    names = list(measured.layers)
    folders = folders_of(names)
    layers = [
        LayerOfAtlas(
            name, folders[name], layer.units, layer.map, _sheets(model, name, recipe, survey)
        )
        for name, layer in measured.layers.items()
    ]  # fmt: skip
    return {
        "format": FORMAT,
        "recipe": card,
        "recipe_hash": hash_of_card(card, answered),
        "model": {"name": type(model).__name__, "weights": weights},
        "answers": answered,
        "input_shape": list(recipe.input_shape),
        "class_names": list(class_names),
        "survey": None if survey is None else {"images": survey.images, "k": survey.card["k"]},
        "versions": {"ldam_widget": __version__, "torch": torch.__version__, "pillow": PIL.__version__},
        "layers": layers,
    }


def _sheets(model: nn.Module, layer: str, recipe: UnitRecipe, survey: Survey | None) -> dict[str, Sheets]:
    """The kinds of pictures of a layer."""
    shape = recipe.input_shape
    height, width = as_pictures(torch.zeros(1, *shape), len(shape)).shape[1:3]
    counts = {"samples": recipe.chains, "average": 1}
    tile = fitting(height, width, recipe.tile, recipe.chains)
    found = {kind: Sheets(kind, tile, count) for kind, count in counts.items()}
    crops = survey is not None and survey.has_images and len(shape) == 3 and layer in survey.layers
    if survey is not None and crops:
        try:
            field = receptive_field(model, layer, shape, recipe.preprocess)
        except ValueError:  # it depends on no pixel, or refuses NaN
            field = (height, width)
        k = int(survey.card["k"])
        for kind in ("top", "deconv"):
            found[kind] = Sheets(kind, fitting(*field, recipe.tile, k), k)
    return found


def _require_same(survey: Survey | None, weights: str, recipe: UnitRecipe, measured: Measured) -> None:
    if survey is None:
        return
    if survey.card["model"] != weights:
        raise ValueError("survey= is of another model, or of other weights; survey this one")
    if tuple(survey.card["input_shape"]) != recipe.input_shape:
        raise ValueError(
            f"survey= is of images of shape {tuple(survey.card['input_shape'])}, and input_shape={recipe.input_shape}"
        )
    found = answers(measured.view, recipe.input_shape, measured.preprocess, survey.layers)
    if not same_answers(survey.card["answers"], found):
        raise ValueError("survey= is of a model that answers differently: other code, or another preprocess=")
