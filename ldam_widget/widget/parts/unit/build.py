"""Makes the page of units for a widget."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from torch import nn

from ....analysis.unit import Asked, UnitFinder
from ....core.notes import QuietNotes
from ....data.images import Images, images_of
from ....data.real_images import RealImages
from ....network.inputs import call_with
from ....network.trace import Preprocess
from ....network.view import hash_of, private_view
from ....sampling.follower import Follower
from ....sampling.sampler import Sampler
from ....surveys import Survey
from ....surveys.settings import answers
from ..display import DisplayChoice
from ..part import Host
from ..picker import Picker
from .telling import Card, Pictured, Teller
from .view import UnitView

_LAW = ("kernel", "temperature", "scale", "warm_up", "transforms", "seed", "leaky", "average", "chains")
_CLOSE = 1e-2  # relative difference of answers on one machine and another


class Beside(NamedTuple):
    """Another checkpoint, whose unit is shown beside that of the panel."""

    model: nn.Module
    survey: Survey | None


def checked_survey(
    survey: Any, view: nn.Module, input_shape: tuple[int, ...], preprocess: Preprocess | None, name: str = "survey"
) -> Survey | None:
    """A survey of this network, or None.

    Raises:
        TypeError: it is no survey.
        ValueError: it is of another network, of other weights, or of images of another shape or scale.
    """
    if survey is None:
        return None
    if not isinstance(survey, Survey):
        raise TypeError(f"{name} must be what ldam.survey(…) or ldam.Survey.load(…) returns; got {survey!r:.80}")
    shape = tuple(survey.card["input_shape"])
    if shape != input_shape:
        raise ValueError(f"{name} is of images of shape {shape}, and input_shape is {input_shape}")
    if survey.card["model"] != hash_of(view):
        raise ValueError(f"{name} is of another network or of other weights; make one of this network")
    found = answers(view, shape, preprocess, survey.layers)
    pairs = zip(found, survey.card["answers"], strict=True)
    if not all(math.isclose(a, b, rel_tol=_CLOSE, abs_tol=1e-6) for a, b in pairs):
        raise ValueError(f"{name} was made with another preprocess=; give both the same")
    return survey


def unit_view(
    host: Host,
    picker: Picker,
    display: DisplayChoice,
    sampler: Sampler,
    dataset: Any,
    survey: Survey | None,
    settings: Mapping[str, Any],
    beside: Beside | None = None,
    *,
    always: bool = False,
) -> UnitView:
    """The part of a widget.

    Args:
        host, picker, display: of the widget.
        sampler: its own.
        dataset, survey, settings: as given to the widget.
        beside: another checkpoint.
        always: a page is always open.

    Raises:
        TypeError, ValueError: as `checked_survey` and `private_view`, for the other checkpoint.
    """
    images = _images(dataset, sampler)
    if images is None and survey is not None and survey.source is not None:
        images = survey.source.images
    arguments = {
        "input_shape": sampler.input_shape,
        "preprocess": sampler.preprocess,
        "pixel_range": sampler.pixel_range,
        "device": sampler.device,
        "class_names": sampler.class_names,
        "at": settings.get("at", "center"),
    }
    still = private_view(sampler.view, None, QuietNotes())  # with its weights; no pass puts hooks into it
    cards = [Card("", partial(UnitFinder, still, images, survey, Asked(arguments)), still)]
    if beside is not None:
        view = private_view(beside.model, sampler.device, QuietNotes(), shared=False)
        call_with(view, settings.get("inputs"))
        theirs = checked_survey(beside.survey, view, sampler.input_shape, sampler.preprocess, "other_survey")
        law = {name: settings[name] for name in _LAW if name in settings} | {"prior": sampler.prior}
        cards[0].name = "this network"
        cards.append(Card("other", partial(UnitFinder, view, images, theirs, Asked(arguments, law)), view))
    pictured = Pictured(sampler.input_shape, sampler.pixel_range)
    named = {"weights": partial(_weights_of, sampler)} if isinstance(sampler, Follower) else {}
    teller = Teller(host, lambda: host.loop.playing, pictured, lambda: display.now, cards, **named)
    return UnitView(host, picker.select, teller, always=always)


def _weights_of(follower: Follower) -> str:
    return f"its weights at iteration {follower.iteration:,}"


def _images(dataset: Any, sampler: Sampler) -> Images | RealImages | None:
    """The user's images, with their labels if they have some."""
    if dataset is None or isinstance(dataset, RealImages):
        return dataset
    return images_of(dataset, sampler.input_shape, sampler.pixel_range)
