"""What a network makes of finished pictures."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ..core.notes import Notes, QuietNotes
from ..execution.threads import cpu_threads
from ..network.capture import Capture
from ..network.first_pass import first_pass
from ..network.inputs import call_with
from ..network.surroundings import without_ambient_modes
from ..network.trace import for_batches, trace
from ..network.units import centre
from ..network.view import choose_device, device_of, hash_of, private_view
from ..surveys.layout import Network, Surveyed
from .recipe import UnitRecipe

Judge = Callable[[Tensor], Tensor]  # pictures in pixel range, (n, *input_shape) -> (n, classes)


class Activations(NamedTuple):
    """Of the units for pictures, float32."""

    value: npt.NDArray[np.float32]  # as sampled: of the centre of a channel's map, or its mean
    largest: npt.NDArray[np.float32]  # on the map


class Measured:
    """A view of the model, its layers, and their values for pictures.

    Args:
        model: any `nn.Module`.
        recipe: `input_shape`, `preprocess`, `batch`, `at`.
        layers: as for `survey`.
        judge: a module or function that recognises classes; None: the model.
        device: where to run; None: CUDA if available.
        notes: receives what the user should know.

    Attributes:
        view: of the model.
        preprocess: for batches.
        layers: by name.

    Raises:
        ValueError, TypeError: as `Sampler` and `survey`.
    """

    @torch.inference_mode(False)
    def __init__(
        self,
        model: nn.Module,
        recipe: UnitRecipe,
        layers: str | list[str],
        judge: nn.Module | Judge | None,
        device: str | None,
        notes: Notes,
    ) -> None:
        self._recipe = recipe
        self.view = private_view(model, choose_device(model, device), notes)
        call_with(self.view, None)
        self.preprocess = for_batches(recipe.preprocess, recipe.input_shape, device_of(self.view))
        first_pass(self.view, model, recipe.input_shape, self.preprocess, notes)
        with torch.no_grad():
            self._network = Network(self.view, recipe.input_shape, self.preprocess, layers, notes)
        self.layers: dict[str, Surveyed] = {layer.name: layer for layer in self._network.layers}
        self._at_once = 1 if self._network.one_by_one else recipe.batch
        self._judge: Judge | None = None
        self.judged_by: str | None = None
        if isinstance(judge, nn.Module):
            view = private_view(judge, device_of(self.view), notes)
            self.judged_by, self._judge = hash_of(view), view
        elif judge is not None:
            if not callable(judge):
                raise TypeError(f"judge must be a module or a function of pictures that returns scores; got {judge!r}")
            self.judged_by, self._judge = getattr(judge, "__qualname__", type(judge).__name__), judge
        own = trace(self.view, recipe.input_shape, self.preprocess, None, QuietNotes()).own.address
        self._own = None if own is None else Capture(self.view, [own])

    def hash(self) -> str:
        """Of the model's weights."""
        return hash_of(self.view)

    @without_ambient_modes()
    @torch.no_grad()
    def answers(self) -> list[float]:
        """The mean output of each layer, and of a judge, without sign, for random images: shows what the weights and
        names do not. Raises TypeError if the judge returns no scores."""
        own = torch.Generator().manual_seed(1)
        x = torch.rand(1, *self._recipe.input_shape, generator=own, device="cpu", dtype=torch.float32)
        layers = self._network.layers
        capture = Capture(self.view, [each.address for each in layers], lambda output: float(output.abs().mean()))
        with cpu_threads(self._recipe.threads):
            found: list[float] = capture(lambda: self._network.forward(x))
            if self._judge is not None:
                found.append(float(self._scores(x).float().abs().mean()))
        return [value if np.isfinite(value) else 0.0 for value in found]

    @torch.inference_mode(False)
    @torch.no_grad()
    def classes(self) -> set[int]:
        """How many scores the model and the judge return; empty if neither returns any."""
        x = torch.full((1, *self._recipe.input_shape), 0.5, device=device_of(self.view))
        found = [] if self._own is None else [self._own(lambda: self._network.forward(x))[0]]
        found += [] if self._judge is None else [self._judge(x)]
        return {scores.shape[1] for scores in found if isinstance(scores, Tensor) and scores.ndim == 2}

    @torch.inference_mode(False)
    @torch.no_grad()
    def activations(self, layer: str, units: list[int], x: Tensor) -> Activations:
        """Of pictures (n, *input_shape): (n, units) each."""
        of = self.layers[layer]

        def reduce(output: Tensor) -> tuple[Tensor, Tensor]:
            maps = of.maps(output)[:, units].float()
            if maps.ndim == 2:
                return maps.cpu(), maps.cpu()
            flat, place = maps.flatten(2), int(np.ravel_multi_index(centre(of.map), of.map))
            middle = flat[:, :, place] if self._recipe.at == "center" else flat.mean(2)
            return middle.cpu(), flat.amax(2).cpu()

        capture = Capture(self.view, [of.address], reduce)
        parts = [capture(partial(self._network.forward, part))[0] for part in torch.split(x, self._at_once)]
        value, largest = (torch.cat(each).numpy() for each in zip(*parts, strict=True))
        return Activations(value, largest)

    @torch.inference_mode(False)
    @torch.no_grad()
    def recognised(self, x: Tensor) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """The class of pictures (n, *input_shape), and its probability; −1 and NaN if the network has no classes."""
        unknown = np.full(len(x), -1, np.int32), np.full(len(x), np.nan, np.float32)
        parts = [self._scores(part) for part in torch.split(x, self._at_once)]
        if any(part is None or part.ndim != 2 or part.shape[1] < 2 for part in parts):
            return unknown
        scores = torch.cat([part for part in parts if part is not None]).float().cpu()
        if len(scores) != len(x) or not bool(scores.isfinite().all()):
            return unknown
        if not _are_probabilities(scores):
            scores = scores.softmax(1)
        confidence, chosen = scores.max(1)
        return chosen.numpy().astype(np.int32), confidence.numpy()

    def _scores(self, x: Tensor) -> Any:
        x = x.to(device_of(self.view))
        if self._judge is not None:
            scores = self._judge(x)
            if not isinstance(scores, Tensor):
                raise TypeError(f"judge must return a tensor of scores (n, classes); got {type(scores).__name__}")
            return scores
        return None if self._own is None else self._own(lambda: self._network.forward(x))[0]


def _are_probabilities(scores: Tensor) -> bool:
    return bool((scores >= 0).all()) and bool(((scores.sum(1) - 1).abs() < 1e-4).all())
