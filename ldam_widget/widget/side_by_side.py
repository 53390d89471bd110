"""`Compare`: two to six models in one widget, with one set of controls and the same noise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

from ..analysis.ranking import Ranking, by_difference
from ..checkpoints import load_checkpoint
from ..core.parameters import Parameter
from ..core.target import Kernel
from ..diagnostics.agreement import Agreement
from ..parametrizations import Natural
from ..pictures import figures, images
from ..sampling.comparison import Comparison
from ..sampling.priors import suited
from ..sampling.sampler import Sampler
from . import wire
from .player import Player

ROWS = ("samples", "averages", "both")


class Compare(Player):
    """Several models side by side: a row a model, a column a neuron; the differences are those of the weights.

    All models have the same start images and the same noise. Sliders move all of them, unless one is freed, by its
    lock on the panel or by `free`.

    Args:
        models: name -> model, two to six; differences are taken from the first.
        layer, neurons, preprocess, class_names: as of `Comparison`; a dict by name where architectures differ.
        play, title, kernel, scale, temperature, prior: as of `LDAM`; a prior is measured once, for all.
        show: rows on show, "samples", "averages" or "both"; None is both for two models, else samples.
        **settings: as of `Sampler`, for all models.

    Raises:
        ValueError, TypeError: as `Sampler`, with the model named.
    """

    def __init__(
        self,
        models: Mapping[str, nn.Module],
        *,
        play: bool = True,
        title: str | None = None,
        kernel: Kernel | None = None,
        scale: Literal["none", "frozen"] | None = None,
        temperature: float | None = None,
        input_shape: Sequence[int],
        pixel_range: tuple[float, float] | None = None,
        show: Literal["samples", "averages", "both"] | None = None,
        prior: Natural | Literal["auto", "natural", "pixels"] | None = "auto",
        dataset: Any = None,
        **settings: Any,
    ) -> None:
        settings |= suited(input_shape, pixel_range, prior, dataset, kernel, scale, temperature)
        comparison = Comparison(models, **settings)
        self._show = _rows("both" if len(comparison.names) == 2 else "samples") if show is None else _rows(show)
        self._ranking: Ranking | None = None
        super().__init__(comparison, play, " and ".join(comparison.names) if title is None else str(title), scale)

    def __repr__(self) -> str:
        if self._running is None:
            return "Compare(closed)"
        return f"Compare({', '.join(self.comparison.names)}; layer {self.sampler.layer}, {len(self.neurons)} neurons)"

    # ---- what is compared ------------------------------------------------------------------------------------------

    @property
    def comparison(self) -> Comparison:
        """The samplers of all models, in step. While the widget plays, its thread owns them: read only."""
        runner = self._runner
        assert isinstance(runner, Comparison)
        return runner

    @property
    def samplers(self) -> dict[str, Sampler]:
        """Model -> its sampler."""
        comparison = self.comparison
        return dict(zip(comparison.names, comparison.samplers, strict=True))

    @property
    def layer(self) -> str | dict[str, str]:
        """The layer on show; a dict by model where they differ. Set it to choose another."""
        layers = self.comparison.layers
        return self.sampler.layer if len(set(layers.values())) == 1 else layers

    @layer.setter
    def layer(self, layer: str | Mapping[str, str]) -> None:
        self._loop.call(lambda: self._select(layer, None))

    @property
    def difference(self) -> Tensor:
        """Mean absolute difference of the averages over pixels, a number a neuron; see `Comparison.difference`."""
        return self._loop.call(lambda: self.comparison.difference)

    def agreement(self) -> list[Agreement]:
        """Activations, their gap, correlation and difference of the averages, of the neurons on show."""
        return self._loop.call(self.comparison.agreement)

    def most_changed(self, steps: int = 100) -> list[Agreement]:
        """All neurons of the layer, the most changed first; samples each for `steps` steps. Blocks until done."""
        return self._loop.call(lambda: Ranking(self.comparison, steps)).run()

    # ---- one value for all, or one each ----------------------------------------------------------------------------

    @property
    def freed(self) -> frozenset[str]:
        """Parameters of which every model has a value of its own."""
        return self.comparison.freed

    def free(self, name: str) -> None:
        """Give every model a slider of its own for a parameter. Raises ValueError if that cannot be."""
        self._loop.call(lambda: self._lock(name, False))

    def lock(self, name: str) -> None:
        """One slider for all models again, at the value of the first. Raises ValueError if that cannot be."""
        self._loop.call(lambda: self._lock(name, True))

    def set_for(self, model: str, **params: Any) -> None:
        """Change live parameters of one model alone, which frees them. Raises as `Comparison.set_for`."""

        def change() -> None:
            self.comparison.set_for(model, **params)
            self._other_sliders()

        self._loop.call(change)

    def _lock(self, name: str, locked: bool) -> None:
        (self.comparison.lock if locked else self.comparison.free)(name)
        self._other_sliders()

    def _other_sliders(self) -> None:
        """On the loop: parameters were freed, locked or set past their traits."""
        self._declare()
        self._send_setup()
        self._show_still()

    def _show_still(self) -> None:
        """On the loop: a contrast may have changed, which is seen at once also while paused."""
        if not self._loop.playing:
            self._loop.send_now()

    def _own_parameters(self) -> Iterable[Parameter]:
        """A freed parameter can still be set for all at once, though it has no slider."""
        comparison = self.comparison
        return (p for p in comparison.lead.parameters if p.name in comparison.freed)

    @property
    def params(self) -> dict[str, float]:
        """Every live parameter by name; of a freed one, those of the models: "step_size@0", "step_size@1", …."""
        freed = self.comparison.freed
        return {name: value for name, value in super().params.items() if name not in freed}

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        running = self.__dict__.get("_running")
        if running is not None and name in running.freed:
            self._declare()  # it moved what has other names
            self._send_state()
            self._loop.submit(self._show_still)

    def _of_runner(self, name: str) -> bool:
        return super()._of_runner(name) or name in self.comparison.freed

    def _present(self, name: str | None) -> float | None:
        if self._running is not None and name in self.comparison.freed:
            return self.sampler.params[str(name)]
        return super()._present(name)

    def _on_panel(self) -> Iterable[Parameter]:
        freed = self.comparison.freed
        return (p for p in self._parameters if p.name not in freed)

    # ---- the most changed neurons ----------------------------------------------------------------------------------

    def rank_layer(self) -> None:
        """Find the most changed neurons of the whole layer, between the pictures; the panel lists them. Returns at
        once; `ranking` has what is known."""
        self._loop.call(self._start_ranking)

    def stop_ranking(self) -> None:
        """Leave it at the neurons that were done."""
        self._loop.call(self._stop_ranking)

    @property
    def ranking(self) -> list[Agreement]:
        """The neurons that `rank_layer` has done so far, the most changed first."""
        return [] if self._ranking is None else by_difference(self._ranking.done)

    @property
    def is_ranking(self) -> bool:
        """Is the layer being ranked?"""
        return self._ranking is not None and self._loop.chore is not None

    def _start_ranking(self) -> None:
        self._ranking = Ranking(self.comparison)
        self._loop.chore = self._rank
        self._send_changes()
        self._send_state()

    def _rank(self) -> None:
        """One unit."""
        ranking = self._ranking
        if ranking is None:
            return
        try:
            done = ranking.work()
            if self._loop.closed:
                return  # in the middle of a long unit: nobody is there to be told
            if done:
                if ranking.finished:
                    self._stop_ranking()
                else:
                    self._send_changes()
        except Exception as error:
            if self._loop.closed:
                return
            self._stop_ranking()
            self._report(error)

    def _stop_ranking(self) -> None:
        self._loop.chore = None
        self._send_changes()
        self._send_state()

    def _send_changes(self) -> None:
        ranking = self._ranking
        if ranking is not None:
            self._post(wire.changes(ranking, running=self._loop.chore is not None))

    # ---- the page --------------------------------------------------------------------------------------------------

    @property
    def show(self) -> str:
        """Rows on show: "samples", "averages" or "both"."""
        return self._show

    @show.setter
    def show(self, rows: str) -> None:
        self._loop.call(lambda: self._show_rows(_rows(rows)))

    def _show_rows(self, rows: str) -> None:
        self._show = rows
        self._gen += 1  # other panes: what the page has of the old ones goes
        self._average_due = 0.0
        self._send_setup()
        self._loop.send_now()

    def _hear(self, message: wire.Lock | wire.Show | wire.Scrub) -> None:
        if isinstance(message, wire.Lock):
            self._lock(message.name, message.locked)
        elif isinstance(message, wire.Show):
            self._show_rows(_rows(message.what))

    def _own_deeds(self) -> dict[str, Callable[[], object]]:
        return {"scan": self._start_ranking, "stop_scan": self._stop_ranking}

    def _setup_extras(self) -> dict[str, Any]:
        comparison = self.comparison
        layers = comparison.layers
        differ = len(set(layers.values())) > 1
        return {
            "models": [{"name": name, "note": layers[name] if differ else ""} for name in comparison.names],
            "notes": self._notes(),
        }

    def _notes(self) -> list[str]:
        """Remarks on all models, with the names of those that they are on unless that is all of them."""
        told: dict[str, list[str]] = {}
        for name, sampler in self.samplers.items():
            for note in sampler.notes:
                told.setdefault(note, []).append(name)
        everyone = len(self.comparison.names)
        return [note if len(names) == everyone else f"{', '.join(names)}: {note}" for note, names in told.items()]

    def _extras(self) -> dict[str, Any]:
        return {
            "locks": self.comparison.locks,
            "show": self._show,
            "scanning": self.is_ranking,
            "discriminator": None,
        }

    def _gauges(self) -> dict[str, Any]:
        return super()._gauges() | {"agreement": wire.agreement(self.comparison.agreement())}

    def _encode(self, *, with_average: bool, **more: Any) -> wire.Message:
        return wire.comparison_frame(
            self.comparison,
            show=self._show,
            with_average=with_average or self._show == "averages",
            **more,
        )

    def _send_diagnosis(self, level: str, text: str, neurons: list[str]) -> None:
        super()._send_diagnosis(level, f"{self.comparison.names[0]}: {text}", neurons)  # chains of one model are judged

    def _greet(self) -> None:
        super()._greet()
        self._send_changes()

    def close(self) -> None:
        """Stop the thread, let go of the models and their device, and remove the widget from the page."""
        super().close()
        self._ranking = None

    # ---- pictures --------------------------------------------------------------------------------------------------

    def _page(self, tile: int = 84) -> Image.Image:
        comparison = self.comparison
        sampler = comparison.lead
        axes = len(sampler.input_shape)
        tiles = images.panes_alike([s.frame() for s in comparison.samplers], axes, sampler.pixel_range)
        levels, end = images.signed_levels(images.as_pictures(comparison.difference_images, axes))
        colour = tiles[0].sample.shape[-1] == 3
        rows, names = [], []
        for name, tile_of in zip(comparison.names, tiles, strict=True):
            if self._show != "averages":
                rows.append(tile_of.sample)
                names.append(f"{name}\nnow")
        for name, tile_of in zip(comparison.names, tiles, strict=True):
            if self._show != "samples":
                rows.append(tile_of.average)
                names.append(f"{name}\naverage")
        everything = np.concatenate(rows)
        everything = np.concatenate([
            everything if colour else everything.repeat(3, -1), images.signed_colours(levels)
        ])  # fmt: skip
        names += [f"{name}\nminus {comparison.names[0]}\n(±{end:g})" for name in comparison.names[1:]]
        activations = comparison.activation.mean(2)
        heads = [
            f"{neuron.label}\n" + "\n".join(f"{value:.4g}" for value in activations[:, n].tolist())
            for n, neuron in enumerate(comparison.neurons)
        ]
        return images.grid(everything, heads, names, tile)

    def figure(self) -> Figure:
        """A matplotlib figure of averages and their signed difference, with numbers and parameters, for a paper."""
        return self._loop.call(lambda: figures.comparison(self.comparison, title=self._title))


def compare(models: Mapping[str, nn.Module], **arguments: Any) -> Compare:
    """Two to six models side by side: ``ldam.compare({"epoch 1": a, "epoch 10": b}, input_shape=(1, 28, 28))``.

    Arguments and errors as of `Compare`.
    """
    return Compare(models, **arguments)


def compare_checkpoints(
    model_or_factory: nn.Module | Callable[[], nn.Module], *paths: str | Path, **arguments: Any
) -> Compare:
    """Checkpoints of one architecture side by side: ``ldam.compare_checkpoints(Net, "a.pt", "b.pt", input_shape=…)``.

    Args:
        model_or_factory: what `load_checkpoint` takes.
        paths: two to six files; models are called by the shortest ends of the paths that tell them apart.
        arguments: as of `Compare`.

    Raises:
        as `load_checkpoint` and `Compare`.
    """
    if len(paths) < 2:
        raise ValueError(f"compare_checkpoints needs at least two files; got {len(paths)}")
    names = _short_names([Path(path) for path in paths])
    return Compare(
        {name: load_checkpoint(model_or_factory, path) for name, path in zip(names, paths, strict=True)}, **arguments
    )


def _short_names(paths: list[Path]) -> list[str]:
    """File names without their ending; with as many folders as it takes to tell them apart."""
    for parts in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.with_suffix("").parts[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    names = [str(path) for path in paths]
    if len(set(names)) < len(names):
        raise ValueError(f"the same file was given twice: {', '.join(names)}")
    return names


def _rows(rows: Any) -> str:
    if rows not in ROWS:
        raise ValueError(f"show must be one of {', '.join(map(repr, ROWS))}; got {rows!r}")
    return str(rows)
