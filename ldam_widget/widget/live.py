"""`LDAM`: the live widget of one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import nn
from typing_extensions import Unpack

from ..adversary.recipe import Recipe
from ..adversary.trainer import Trainer
from ..core.target import Regularizer
from ..diagnostics import Diagnostics
from ..diagnostics.belief import Belief
from ..network.trace import Preprocess
from ..objectives import Discriminator
from ..objectives.discriminator_net import build_discriminator
from ..sampling.arguments import OneModelArguments, SamplerArguments, completed_by
from ..sampling.sampler import Sampler
from .parts.belief import BeliefLine
from .parts.diagnosis import DiagnosisLine
from .parts.display import DisplayChoice
from .parts.law import Law
from .parts.notices import Notices
from .parts.picker import Picker
from .parts.picture import Picture
from .parts.sliders import Sliders
from .parts.top_bar import TopBar
from .parts.trace import ActivationTrace
from .parts.training import Training
from .parts.unit.build import checked_survey, unit_view
from .parts.unit.view import UnitView
from .player import Player

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..surveys import Survey


class LDAMArguments(SamplerArguments, total=False):
    """All keyword arguments of `LDAM`."""

    play: bool
    title: str | None
    survey: Survey | None


class LDAM(Player):
    """A live picture of the images that neurons like, with sliders for all parameters.

    Takes the arguments of `Sampler`, with the same defaults and hence the same samples, and:

    Args:
        model: any `nn.Module`; it is left unchanged.
        play: start sampling when displayed.
        title: heading of figures and name of saved files; the model's class name by default.
        dataset: real images (see `RealImages`): a map-style Dataset, tensor or array. The prior is measured on them,
            tiles show how activations rank among theirs, and a discriminator can be trained on them while you watch:
            if there is no `Discriminator` among the regularisers, a new one of weight 0 is added. The page of a unit
            shows the strongest of them.
        survey: of this network, see `ldam.survey`: its images and figures are shown on the pages of units, and units
            that are dead for them are marked where neurons are chosen.

    Every live parameter is an attribute that follows its slider and moves it: ``w.temperature = 3``. Parameters can be
    observed and linked like any trait. The sampler runs on its own thread while the widget is visible.

    A widget lives as long as a page shows it or you hold it. One without a name is gone once its only view has been
    removed: when its cell is run again, or its notebook tab is closed.

    Raises:
        ValueError, TypeError: as `Sampler`.
        FileNotFoundError: the front end was not built (only in a source tree).
    """

    _sampler_class: type[Sampler] = Sampler
    _picker_class: type[Picker] = Picker

    @completed_by(Sampler.__init__)
    def __init__(
        self,
        model: nn.Module,
        *,
        play: bool = True,
        title: str | None = None,
        input_shape: Sequence[int],
        regularizers: Sequence[Regularizer] = (),
        dataset: Any = None,
        survey: Survey | None = None,
        **settings: Unpack[OneModelArguments],
    ) -> None:
        if dataset is not None:
            regularizers = tuple(regularizers)
            if not any(isinstance(term, Discriminator) for term in regularizers):
                regularizers = (Discriminator(build_discriminator(model, input_shape), 0.0), *regularizers)
        built = self._sampler_class(
            model, input_shape=input_shape, regularizers=regularizers, dataset=dataset, **settings
        )
        survey = checked_survey(survey, built.view, built.input_shape, built.preprocess)
        super().__init__(built, type(model).__name__ if title is None else str(title))
        self._display = DisplayChoice(self)
        self._picture, self._law = Picture(self, self._display), Law(self)
        self._picker = self._picker_class(self, survey)
        self._unit = self._make_unit_view(built, dataset, survey, settings)
        self._training, self._belief = Training(self, dataset), BeliefLine(self)
        self._diagnosis = DiagnosisLine(self)
        self._assemble(
            Sliders(self, lambda: (*self._picture.parameters(), *self._display.parameters()), self._notify),
            self._picture,
            TopBar(self, self._picture.page, bool(play)),
            Notices(self),
            (
                self._picker,
                self._unit,
                self._law,
                self._display,
                ActivationTrace(self),
                self._diagnosis,
                self._belief,
                self._training,
            ),
        )

    def _make_unit_view(
        self, sampler: Sampler, dataset: Any, survey: Survey | None, settings: Mapping[str, Any]
    ) -> UnitView:
        return unit_view(self, self._picker, self._display, sampler, dataset, survey, settings)

    def __repr__(self) -> str:
        if self._running is None:
            return "LDAM(closed)"
        return f"LDAM({self._title}, layer {self.layer}, {len(self.neurons)} neurons)"

    # ---- layer -----------------------------------------------------------------------------------------------------

    @property
    def layer(self) -> str:
        """Dotted name of the displayed layer. Set it to switch; the first ten neurons of the new layer are shown."""
        return self.sampler.layer

    @layer.setter
    def layer(self, layer: str) -> None:
        self._call(lambda: self._picker.select(layer, None))

    def unit_page(self, column: int | None = 0) -> None:
        """Open the page of a column's neuron below the picture, as the button "about this unit" does.

        It shows the strongest real images (of `survey`, or of some of `dataset`), what of them the neuron reacts to,
        how the samples rank among them, what drives it and what it drives, and the picture that an optimiser finds.
        `UnitPage` is a widget for that alone.

        Args:
            column: from 0; None closes the page.

        Raises:
            ValueError: there is no such column, or its neuron is not a single unit.
        """
        self._call(self._unit.close_page if column is None else lambda: self._unit.open(column))

    def diagnostics(self) -> Diagnostics:
        """How far the chains can be trusted; see `Sampler.diagnostics`."""
        return self._call(lambda: self.sampler.diagnostics())

    def belief(
        self,
        images: Any = None,
        *,
        judge: nn.Module | None = None,
        judge_preprocess: Preprocess | None = None,
        steps: int | None = None,
        seed: int | None = None,
    ) -> Belief:
        """How far the pictures can be believed; see `Sampler.belief`. Returns when it is done; an interrupt stops it.

        The widget goes on meanwhile. With a `dataset` it does the same by itself, slowly, once the chains have burned
        in, and its panel has a button for it, which uses the arguments of the last call.

        Raises:
            RuntimeError: a discriminator is being trained, or the check was stopped or overtaken by other neurons.
            ValueError, TypeError, SamplingError: as `Sampler.belief`.
        """
        checked = self._call(
            lambda: self._belief.start(
                images=images, judge=judge, judge_preprocess=judge_preprocess, steps=steps, seed=seed
            )
        )
        try:
            return checked.wait()
        except BaseException:
            if not checked.over.is_set():  # interrupted
                self._call(self._belief.stop)
            raise

    # ---- the discriminator -----------------------------------------------------------------------------------------

    @property
    def discriminator_only(self) -> bool:
        """Whether the neurons are left out, so that the chains follow the discriminator alone. Can be set."""
        return self.sampler.discriminator_only

    @discriminator_only.setter
    def discriminator_only(self, only: bool) -> None:
        self._call(lambda: self._training.leave_neurons_out(only))

    def train_discriminator(self, dataset: Any = None, recipe: Recipe | None = None) -> None:
        """Train the discriminator against the sampler (Algorithm 2) between pictures; returns at once.

        The sampler always uses the newest discriminator. Training starts from a copy of the present one, or from a new
        network like the classifier; it continues while the widget is paused or hidden.

        Args:
            dataset: real images, see `RealImages`; None: those given to the widget.
            recipe: all settings; None: those of the last training, or `Recipe()`.

        Raises:
            RuntimeError: a training is already running.
            ValueError, TypeError: no data, or data that do not fit; see `Trainer`.
        """
        self._call(lambda: self._training.start(dataset, recipe))

    def stop_training(self) -> None:
        """Stop training; the sampler keeps the discriminator as it is.

        Raises:
            TrainingError: the discriminator collapsed and must not be considered trained.
        """
        error = self._call(self._training.stop)
        if error is not None:
            raise error

    @property
    def trainer(self) -> Trainer | None:
        """The current or last training: ``w.trainer.save("d.safetensors")``; None before the first."""
        return self._training.trainer

    @property
    def training(self) -> bool:
        """Whether the discriminator is being trained."""
        return self._training.running

    # ---- pictures --------------------------------------------------------------------------------------------------

    def figure(self) -> Figure:
        """A matplotlib figure with labels and parameters, for a paper."""
        from ..pictures import figures  # matplotlib takes a second to import

        sampler = self.sampler
        return figures.samples(
            sampler.frame(),
            [n.label for n in sampler.neurons],
            pixel_range=sampler.pixel_range,
            title=f"{self._title}, layer {sampler.layer}",
            chains=self._picture.rows,
            display=self._display.now,
        )

    def diagnostics_figure(self) -> Figure:
        """Trace, autocorrelation and ranks of the activation, with temperatures and verdicts, for a paper."""
        from ..pictures import figures

        return self._call(lambda: figures.diagnostics(self.sampler, title=self._title))
