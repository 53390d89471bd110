"""`LDAM`: the live widget of one model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from matplotlib.figure import Figure
from torch import nn

from ..adversary.recipe import Recipe
from ..adversary.trainer import Trainer
from ..core.parameters import Parameter
from ..core.target import Regularizer
from ..objectives import Discriminator
from ..objectives.discriminator_net import DiscriminatorNet, build_discriminator
from ..pictures import figures
from ..sampling.sampler import Sampler
from . import wire
from .player import Player
from .training import LiveTraining


class LDAM(Player):
    """A live picture of the images that neurons like, with sliders for everything.

    Takes the arguments of `Sampler`, with the same defaults and hence the same samples, and:

    Args:
        model: any `nn.Module`; comes back untouched.
        play: start sampling when displayed.
        title: heading of figures and name of saved files; the model's class name by default.
        dataset: real images (see `RealImages`): a map-style Dataset, tensor or array. The prior is measured on them,
            tiles say how strong activations are among theirs, and a discriminator can be trained on them while it is
            watched: without a `Discriminator` among the regularisers, a fresh one of weight 0 is added.

    Every live parameter is an attribute that follows its slider and moves it: ``w.temperature = 3``. Parameters can be
    observed like any trait. The sampler runs on a thread of its own while the widget is looked at.

    Raises:
        ValueError, TypeError: as `Sampler`.
        FileNotFoundError: the front end was not built (only in a source tree).
    """

    _sampler_class: type[Sampler] = Sampler

    def __init__(
        self,
        model: nn.Module,
        *,
        play: bool = True,
        title: str | None = None,
        input_shape: Sequence[int],
        regularizers: Sequence[Regularizer] = (),
        dataset: Any = None,
        **settings: Any,
    ) -> None:
        self._dataset = dataset
        self._training: LiveTraining | None = None  # under way, or the last one
        if dataset is not None:
            regularizers = tuple(regularizers)
            if not any(isinstance(term, Discriminator) for term in regularizers):
                regularizers = (Discriminator(build_discriminator(model, input_shape), 0.0), *regularizers)
        built = self._sampler_class(
            model, input_shape=input_shape, regularizers=regularizers, dataset=dataset, **settings
        )
        super().__init__(built, play, type(model).__name__ if title is None else str(title))

    def __repr__(self) -> str:
        if self._running is None:
            return "LDAM(closed)"
        return f"LDAM({self._title}, layer {self.layer}, {len(self.neurons)} neurons)"

    # ---- layer -----------------------------------------------------------------------------------------------------

    @property
    def layer(self) -> str:
        """Dotted name of the layer on show. Set it to choose another; its first ten neurons are shown."""
        return self.sampler.layer

    @layer.setter
    def layer(self, layer: str) -> None:
        self._loop.call(lambda: self._select(layer, None))

    def diagnostics(self) -> dict[str, Any]:
        """How far the chains can be believed; see `Sampler.diagnostics`."""
        return self._loop.call(lambda: self.sampler.diagnostics())

    # ---- the discriminator -----------------------------------------------------------------------------------------

    @property
    def discriminator_only(self) -> bool:
        """Are the neurons left out, so that the chains follow the discriminator alone? Set it to change that."""
        return self.sampler.discriminator_only

    @discriminator_only.setter
    def discriminator_only(self, only: bool) -> None:
        self._loop.call(lambda: self._leave_neurons_out(only))

    def train_discriminator(self, dataset: Any = None, recipe: Recipe | None = None) -> None:
        """Train the discriminator against the sampler (Algorithm 2) between the pictures; returns at once.

        The sampler uses the newest one all the time. Training goes on from the present discriminator, of which it
        takes a copy, or begins with one like the classifier; it does not stop while the widget is paused or hidden.

        Args:
            dataset: real images, see `RealImages`; None: those given to the widget.
            recipe: all settings; None: those of the last training, or `Recipe()`.

        Raises:
            RuntimeError: it is being trained.
            ValueError, TypeError: no data, or data that do not fit; see `Trainer`.
        """
        self._loop.call(lambda: self._start_training(dataset, recipe))

    def stop_training(self) -> None:
        """Stop; the sampler keeps the discriminator as it is.

        Raises:
            TrainingError: it collapsed, so that it must not be called trained.
        """
        error = self._loop.call(self._end_training)
        if error is not None:
            raise error

    @property
    def trainer(self) -> Trainer | None:
        """The training under way or the last one: ``w.trainer.save("d.safetensors")``; None before the first."""
        return None if self._training is None else self._training.trainer

    def _start_training(self, dataset: Any = None, recipe: Recipe | None = None) -> None:
        if self.training:
            raise RuntimeError("the discriminator is being trained; stop_training() first")
        data = self._dataset if dataset is None else dataset
        if data is None:
            raise ValueError("there are no real images to learn from: train_discriminator(images) or LDAM(…, dataset=)")
        sampler, last = self.sampler, self._training
        if recipe is None:
            recipe = Recipe() if last is None else last.trainer.recipe
        same = last is not None and last.current(sampler) and dataset is None and last.trainer.recipe == recipe
        if last is not None and same:
            trainer = last.trainer  # as it was left, its pool included
        else:
            net = None if sampler.discriminator is None else sampler.discriminator.net
            trainer = Trainer.for_sampler(
                sampler, data, recipe, copy.deepcopy(net) if isinstance(net, DiscriminatorNet) else None
            )
        self._dataset = data
        self._training = LiveTraining(trainer, sampler, self._on_training_ended)
        self._declare()
        self._loop.chore = self._training
        self._send_setup()

    def _end_training(self) -> Exception | None:
        """On the loop."""
        if not self.training or self._training is None:
            return None
        self._loop.chore = None
        self._send_state()
        return self._training.collapse()

    def _stop_training(self) -> None:
        error = self._end_training()
        if error is not None:
            raise error

    def _on_training_ended(self, error: Exception) -> None:
        self._loop.chore = None
        self._report(error)
        self._send_state()

    def _leave_neurons_out(self, out: bool) -> None:
        self.sampler.discriminator_only = out
        self._average_due = 0.0
        self._send_state()
        if not self._loop.playing:
            self._loop.send_now()

    def _own_deeds(self) -> dict[str, Callable[[], object]]:
        return {
            "train": self._start_training,
            "stop_train": self._stop_training,
            "discriminator_only": lambda: self._leave_neurons_out(True),
            "with_neurons": lambda: self._leave_neurons_out(False),
        }

    @property
    def training(self) -> bool:
        """Is the discriminator being trained?"""
        return self._training is not None and self._loop.chore is self._training

    # ---- what only this widget tells the page ----------------------------------------------------------------------

    def _setup_extras(self) -> dict[str, Any]:
        training = self._training
        return {"training_trace": {"rounds": [], "accuracy": [], "gap": []} if training is None else training.trace()}

    def _extras(self) -> dict[str, Any]:
        return {"discriminator": self._discriminator_state()}

    def _discriminator_state(self) -> dict[str, Any] | None:
        term = self.sampler.discriminator
        if term is None:
            return None
        why = "" if self._dataset is not None else "give the widget real images to learn from: LDAM(…, dataset=images)"
        return {
            "only": self.sampler.discriminator_only,
            "training": self.training,
            "trainable": not why,
            "why": why,
            "form": term.form,
        }

    def _gauges(self) -> dict[str, Any]:
        training = self._training.gauges() if self._training is not None and self.training else None
        return super()._gauges() | {"training": training, "score": wire.score(self.sampler)}

    def _own_parameters(self) -> Iterable[Parameter]:
        chains = self.sampler.chains
        if chains > 1:
            yield Parameter(
                "chains_shown", 1, chains, min(chains, 4), "Chains on show, one a row.", group="picture", integer=True
            )

    def _rows(self) -> int:
        return int(self.chains_shown) if self.sampler.chains > 1 else 1

    # ---- pictures --------------------------------------------------------------------------------------------------

    def figure(self) -> Figure:
        """A matplotlib figure with labels and parameters, for a paper."""
        sampler = self.sampler
        return figures.samples(
            sampler.frame(),
            [n.label for n in sampler.neurons],
            pixel_range=sampler.pixel_range,
            title=f"{self._title}, layer {sampler.layer}",
            chains=self._rows(),
        )

    def diagnostics_figure(self) -> Figure:
        """Trace, autocorrelation and ranks of the activation, with temperatures and verdicts, for a paper."""
        return self._loop.call(lambda: figures.diagnostics(self.sampler, title=self._title))
