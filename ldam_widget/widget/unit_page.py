"""`UnitPage`: a live widget of one unit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn
from typing_extensions import Unpack

from ..core.target import Regularizer
from ..data.images import known_range
from ..network.trace import Preprocess
from ..objectives.algebra import Expression
from ..sampling.arguments import LawArguments, completed_by
from ..sampling.sampler import Sampler
from ..surveys import Survey
from .live import LDAM
from .parts.picker import Picker
from .parts.unit.build import Beside, unit_view
from .parts.unit.view import UnitView


class UnitArguments(LawArguments, total=False):
    """The keyword arguments of `UnitPage` that are those of `LDAM`."""

    preprocess: Preprocess | None
    class_names: Sequence[str] | None
    regularizers: Sequence[Regularizer]
    dataset: Any
    play: bool
    title: str | None


class _OneUnit(Picker):
    """Chooses one unit at a time: the one that is added takes the place of the other."""

    def select(self, layer: Any, neurons: Iterable[Any] | None, names: Mapping[str, str] | None = None) -> None:
        chosen: Any = 0 if neurons is None else list(neurons)[-1]
        sampler = self.host.sampler
        if isinstance(chosen, Expression) or (
            isinstance(chosen, str) and layer in (None, sampler.layer) and sampler.unit(chosen).unit is None
        ):
            raise ValueError(f"this page shows single units of a layer; got {chosen}")
        super().select(layer, [chosen], names)


class UnitPage(LDAM):
    """All about one unit, live: samples and average beside the real images that drive it, and what it is wired to.

    Below the picture: where the samples rank among the activations of real images, with their histogram; the nine
    strongest real images, as far as the unit sees of them, and what of them it reacts to (deconvolution); the picture
    that an optimiser finds (`RegularisedAscent`, preset C); and the units that drive it most and that it drives most,
    on these images. A click on one of these opens its page; so do the keys "[" and "]" for the previous and the next
    unit.

    Takes the arguments of `LDAM` other than neurons, and:

    Args:
        model: any `nn.Module`; it is left unchanged.
        layer: a name as in `ldam.layers`; None: what the model returns.
        unit: its number, or a class name.
        input_shape, preprocess, pixel_range: None: as in the survey.
        survey: of this network, see `ldam.survey`. Without one, or for layers that it lacks, some of the images of
            `dataset`, or else of the survey, are looked at: a few thousand, in the background.
        other: another checkpoint, whose unit of the same number is shown beside this one.
        other_survey: of the other checkpoint.

    Raises:
        ValueError, TypeError: as `LDAM`; a survey of another network.
    """

    _picker_class = _OneUnit

    @completed_by(LDAM.__init__)
    def __init__(
        self,
        model: nn.Module,
        layer: str | None = None,
        unit: int | str = 0,
        *,
        input_shape: Sequence[int] | None = None,
        survey: Survey | None = None,
        other: nn.Module | None = None,
        other_survey: Survey | None = None,
        **settings: Unpack[UnitArguments],
    ) -> None:
        if "neurons" in settings:
            raise TypeError("UnitPage shows one unit; give unit= in place of neurons=")
        if other is None and other_survey is not None:
            raise ValueError("other_survey is given without other, the network that it is of")
        self._beside = None if other is None else Beside(other, other_survey)
        given: dict[str, Any] = {**(settings_of(survey) if isinstance(survey, Survey) else {}), **settings}
        if input_shape is not None:
            given["input_shape"] = input_shape
        elif "input_shape" not in given:
            raise TypeError("input_shape is needed where no survey= is given: the shape of one image, as (3, 224, 224)")
        super().__init__(model, layer=layer, neurons=[unit], survey=survey, **given)

    def _make_unit_view(
        self, sampler: Sampler, dataset: Any, survey: Survey | None, settings: Mapping[str, Any]
    ) -> UnitView:
        return unit_view(
            self, self._picker, self._display, sampler, dataset, survey, settings, self._beside, always=True
        )

    def __repr__(self) -> str:
        if self._running is None:
            return "UnitPage(closed)"
        return f"UnitPage({self._title}, layer {self.layer}, unit {self.unit})"

    @property
    def unit(self) -> int:
        """The unit shown. Can be set, to a number or a class name; the layer stays."""
        unit = self.sampler.neurons[0].unit
        assert unit is not None, "one unit is chosen"
        return unit

    @unit.setter
    def unit(self, unit: int | str) -> None:
        self._call(lambda: self._picker.select(None, [unit]))

    def next(self) -> None:
        """Show the next unit of the layer; after the last one comes the first."""
        self._step(1)

    def previous(self) -> None:
        """Show the unit before; before the first one comes the last."""
        self._step(-1)

    def _step(self, by: int) -> None:
        def step() -> None:
            self._picker.select(None, [(self.unit + by) % self.sampler.units])

        self._call(step)

    def unit_page(self, column: int | None = 0) -> None:
        """The page is always open. ValueError for any other column than 0."""
        if column != 0:
            raise ValueError(f"a UnitPage shows one unit, column 0; got column={column!r}")


def settings_of(survey: Survey) -> dict[str, Any]:
    """How pictures reach the model, as in the survey."""
    found: dict[str, Any] = {"input_shape": survey.card["input_shape"]}
    if survey.source is not None:
        found["preprocess"] = survey.source.network.preprocess
        found["pixel_range"] = known_range(survey.source.images)
    return found
