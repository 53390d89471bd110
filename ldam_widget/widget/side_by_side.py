"""`Compare`: two to six models in one widget, with one set of controls and the same noise."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor, nn
from typing_extensions import Unpack

from ..analysis.ranking import CHAINS, SEEDS, Ranking
from ..checkpoints import load_checkpoint
from ..diagnostics.agreement import AgreementTable
from ..sampling.arguments import ComparisonArguments, completed_by
from ..sampling.comparison import Comparison
from ..sampling.sampler import Sampler
from .parts.compare.locks import ComparedSliders
from .parts.compare.ranking import Changes
from .parts.compare.remarks import ComparedNotices
from .parts.compare.rows import ComparedPicture, checked_rows
from .parts.diagnosis import DiagnosisLine
from .parts.display import DisplayChoice
from .parts.law import Law
from .parts.picker import Picker
from .parts.top_bar import TopBar
from .parts.trace import ActivationTrace
from .player import Player

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class CompareArguments(ComparisonArguments, total=False):
    """All keyword arguments of `Compare`."""

    play: bool
    title: str | None
    show: Literal["samples", "averages", "both"] | None


class Compare(Player):
    """Several models side by side: one row per model, one column per neuron; differences come from the weights alone.

    All models have the same start images and the same noise. Sliders apply to all models unless freed, by the lock on
    the panel or by `free`.

    Args:
        models: name -> model, two to six; differences are taken from the first.
        layer, neurons, preprocess, class_names: as for `Comparison`; a dict by name where architectures differ.
        play, title: as for `LDAM`.
        show: rows to show, "samples", "averages" or "both"; None is both for two models, else samples.
        **settings: as for `Sampler`, for all models, with the same defaults; a prior is measured once for all.

    Raises:
        ValueError, TypeError: as `Sampler`, naming the model.
    """

    _picture: ComparedPicture

    @completed_by(Comparison.__init__)
    def __init__(
        self,
        models: Mapping[str, nn.Module],
        *,
        play: bool = True,
        title: str | None = None,
        show: Literal["samples", "averages", "both"] | None = None,
        **settings: Unpack[ComparisonArguments],
    ) -> None:
        comparison = Comparison(models, **settings)
        rows = ("both" if len(comparison.names) == 2 else "samples") if show is None else show
        checked_rows(rows)
        super().__init__(comparison, " and ".join(comparison.names) if title is None else str(title))
        self._display = DisplayChoice(self)
        self._picture = ComparedPicture(self, comparison, rows, self._display)
        self._picker, self._law, self._changes = Picker(self), Law(self), Changes(self)
        self._diagnosis = DiagnosisLine(self, of=comparison.names[0])
        self._locks = ComparedSliders(self, self._display.parameters, self._notify)
        self._assemble(
            self._locks,
            self._picture,
            TopBar(self, self._picture.page, bool(play)),
            ComparedNotices(self),
            (
                self._picker,
                self._law,
                self._display,
                ActivationTrace(self),
                self._diagnosis,
                self._changes,
            ),
        )

    def __repr__(self) -> str:
        if self._running is None:
            return "Compare(closed)"
        return f"Compare({', '.join(self.comparison.names)}; layer {self.sampler.layer}, {len(self.neurons)} neurons)"

    # ---- models and layers -----------------------------------------------------------------------------------------

    @property
    def comparison(self) -> Comparison:
        """The samplers of all models, in step. While the widget plays, its thread owns them: read only."""
        runner = self.runner
        assert isinstance(runner, Comparison)
        return runner

    @property
    def samplers(self) -> dict[str, Sampler]:
        """Model -> its sampler."""
        comparison = self.comparison
        return dict(zip(comparison.names, comparison.samplers, strict=True))

    @property
    def layer(self) -> str | dict[str, str]:
        """The displayed layer; a dict by model where they differ. Can be set."""
        layers = self.comparison.layers
        return self.sampler.layer if len(set(layers.values())) == 1 else layers

    @layer.setter
    def layer(self, layer: str | Mapping[str, str]) -> None:
        self._call(lambda: self._picker.select(layer, None))

    @property
    def difference(self) -> Tensor:
        """Mean absolute pixel difference of the averages, one per neuron; see `Comparison.difference`."""
        return self._call(lambda: self.comparison.difference)

    def agreement(self) -> AgreementTable:
        """Activations, their gap, and correlation and difference of the averages, for the displayed neurons."""
        return self._call(self.comparison.agreement)

    def most_changed(
        self, steps: int = 100, *, chains: int = CHAINS, seeds: int = SEEDS, progress: bool | None = None
    ) -> AgreementTable:
        """All neurons of the layer, the most changed first, those within the noise of sampling last.

        A neuron is ranked by `change`: how much the coarse structure of its average picture changed, beyond what the
        variation between chains explains, with a standard error, `error`. `within_noise` says that chance alone may
        have given as much (95 %; so expect 5 of 100 unchanged neurons to pass for changed).

        Blocks until done: every neuron is sampled by chains · seeds chains, `steps` steps each, in every model. An
        interrupt stops it; `ranking` then holds the neurons finished so far.

        Args:
            steps: ≥ 1, after the warm-up.
            chains, seeds: chains at once, and runs with other random numbers and a warm-up of their own; at least five
                together. More give a smaller `noise` and an order that repeats better, at a proportional cost.
            progress: show a progress bar; None: in a terminal only.

        Raises:
            ValueError, TypeError: invalid numbers. SamplingError: as `Sampler.step`.
        """
        ranking = self._call(lambda: Ranking(self.comparison, steps, chains=chains, seeds=seeds))
        self._call(lambda: self._changes.keep(ranking))
        return ranking.run(sys.stderr.isatty() if progress is None else progress)

    # ---- one value for all, or one per model -----------------------------------------------------------------------

    @property
    def freed(self) -> frozenset[str]:
        """Parameters with a separate value for every model."""
        return self.comparison.freed

    def free(self, name: str) -> None:
        """Give every model its own slider for a parameter. Raises ValueError if that is impossible."""
        self._call(lambda: self._locks.lock(name, False))

    def lock(self, name: str) -> None:
        """Use one slider for all models again, at the value of the first. Raises ValueError if that is impossible."""
        self._call(lambda: self._locks.lock(name, True))

    def set_for(self, model: str, **params: Any) -> None:
        """Change live parameters of one model, which frees them. Raises as `Comparison.set_for`."""

        def change() -> None:
            self.comparison.set_for(model, **params)
            self._locks.renew()

        self._call(change)

    # ---- the most changed neurons ----------------------------------------------------------------------------------

    def rank_layer(self) -> None:
        """Find the most changed neurons of the whole layer, between pictures; the panel lists them. Returns at once;
        `ranking` holds the results so far."""
        self._call(self._changes.start)

    def stop_ranking(self) -> None:
        """Stop, keeping the neurons finished so far."""
        self._call(self._changes.stop)

    @property
    def ranking(self) -> AgreementTable:
        """The neurons that `rank_layer` has finished so far, the most changed first."""
        return self._changes.done

    @property
    def is_ranking(self) -> bool:
        """Whether the layer is being ranked."""
        return self._changes.running

    # ---- the page --------------------------------------------------------------------------------------------------

    @property
    def show(self) -> str:
        """The rows to show: "samples", "averages" or "both"."""
        return self._picture.show

    @show.setter
    def show(self, rows: str) -> None:
        self._call(lambda: self._picture.show_rows(rows))

    # ---- pictures --------------------------------------------------------------------------------------------------

    def figure(self) -> Figure:
        """A matplotlib figure of averages and their signed difference, with numbers and parameters, for a paper."""
        from ..pictures import figures  # matplotlib takes a second to import

        return self._call(lambda: figures.comparison(self.comparison, title=self._title, display=self._display.now))


@completed_by(Compare.__init__)
def compare(models: Mapping[str, nn.Module], **arguments: Unpack[CompareArguments]) -> Compare:
    """Two to six models side by side: ``ldam.compare({"epoch 1": a, "epoch 10": b}, input_shape=(1, 28, 28))``.

    Arguments and errors as for `Compare`, defaults as for `Sampler`.
    """
    return Compare(models, **arguments)


@completed_by(Compare.__init__)
def compare_checkpoints(
    model_or_factory: nn.Module | Callable[[], nn.Module], *paths: str | Path, **arguments: Unpack[CompareArguments]
) -> Compare:
    """Checkpoints of one architecture side by side: ``ldam.compare_checkpoints(Net, "a.pt", "b.pt", input_shape=…)``.

    Args:
        model_or_factory: as for `load_checkpoint`.
        paths: two to six files; each model is named by the shortest end of its path that is unique.
        arguments: as for `Compare`.

    Raises:
        ValueError: fewer than two files. Others as `load_checkpoint` and `Compare`.
    """
    if len(paths) < 2:
        raise ValueError(f"compare_checkpoints needs at least two files; got {len(paths)}")
    names = _short_names([Path(path) for path in paths])
    return Compare(
        {name: load_checkpoint(model_or_factory, path) for name, path in zip(names, paths, strict=True)}, **arguments
    )


def _short_names(paths: list[Path]) -> list[str]:
    """File names without extension, with as many parent folders as it takes to make them unique."""
    for parts in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.with_suffix("").parts[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    names = [str(path) for path in paths]
    if len(set(names)) < len(names):
        raise ValueError(f"the same file was given twice: {', '.join(names)}")
    return names
