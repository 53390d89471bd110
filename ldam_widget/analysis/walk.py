"""`Walk`: chains that walk on a map of real images."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..diagnostics import walking
from ..embedding.embedding import Embedding
from ..network.units import Neuron
from ..sampling.comparison import Comparison
from ..sampling.sampler import Sampler
from .coverage import Coverage, Tracks, coverage

if TYPE_CHECKING:
    from ..core.figures import PaperFigure

Floats = npt.NDArray[np.float32]


class Walker(NamedTuple):
    """One chain on the map."""

    model: str  # of a comparison; "" for a single sampler
    neuron: str  # its key, such as "3" or "5@3,4"
    name: str  # the neuron's label, such as "3 three"
    chain: int  # from 0


class Walk:
    """Where the samples of chains lie on a map of real images, and where they have been.

        e = ldam.embed(images, model=model, layer="fc2")
        s = ldam.Sampler(model, neurons=range(10), ...)
        walk = ldam.Walk(e, s, labels)
        for _ in range(200):
            s.step(10)
            walk.update()
        walk.coverage()

    At each `update` the current samples go through the network that made the map, and are placed where the map has
    images with such features (`Embedding.place`), each starting from its last position, so that trails are smooth.
    Samples need not be like any real image: only those that are `solid` are as close to real images as these are to
    each other, and only they count for coverage.

    Every array is replaced, never changed, by `update`, and may be kept. W chains; their order is that of `walkers`.

    Attributes:
        walkers: whose positions these are, models outermost, chains innermost; () before the first `update`.
        positions: (W, 2) on the map.
        solid: (W,) bool.
        distance, spread: (W,), see `Placed`.
        nearest: (W,) index of the nearest real image.
        classes: names of the real images' classes.
        radius: what "near" means, in units of the map.

    Args:
        e: the map.
        chains: a `Sampler`, a `Comparison`, or a widget (`LDAM`, `Compare`), which may be playing.
        labels: (n,) of the real images, integers or text; None: one class of all.
        features: images (n, *image), in the sampler's pixel range -> features (n, d) of the kind the map was made from;
            None: as `ldam.embed` computed them.
        radius: None: the distance at which a real image typically has 15 others around it on the map.
        trail: updates remembered in `trails`, ≥ 2.

    Raises:
        TypeError, ValueError: an argument of the wrong type or out of range, another number of labels than points, a
            map without features, or one that does not know how they were computed.
    """

    def __init__(
        self,
        e: Embedding,
        chains: Any,
        labels: Any = None,
        *,
        features: Callable[[Tensor], Any] | None = None,
        radius: float | None = None,
        trail: int = 200,
    ) -> None:
        if not isinstance(e, Embedding):
            raise TypeError(f"e must be a map, as ldam.embed makes it; got {type(e).__name__}")
        if features is None and e.features_of is None:
            raise ValueError(
                "this map does not know how its features were computed (it was loaded, or made from features or "
                "positions): give features=, a function from images to them"
            )
        if features is not None and not callable(features):
            raise TypeError(f"features must be a function from images to features; got {type(features).__name__}")
        if isinstance(trail, bool) or not isinstance(trail, int) or trail < 2:
            raise ValueError(f"trail must be an integer ≥ 2; got {trail!r}")
        if radius is not None and not (isinstance(radius, (int, float)) and 0 < radius < float("inf")):
            raise ValueError(f"radius must be a number above 0, in units of the map; got {radius!r}")
        self._map, self._chains, self._length = e, chains, trail
        self._features = features
        self._followed()
        self.radius = float(walking.usual_gap(e.points) or 1.0 if radius is None else radius)
        self.classes, self._class = _classes(labels, len(e))
        self._seen: dict[str, tuple[str, int]] = {}  # layer and steps of each model
        self._visited: dict[tuple[str, str], npt.NDArray[np.bool_]] = {}
        self._pending: dict[tuple[str, str], list[Floats]] = {}  # solid positions that are not in `_visited` yet
        self._tracks = Tracks.none()
        self.walkers: tuple[Walker, ...] = ()
        self.positions: Floats = np.empty((0, 2), np.float32)
        self.distance: Floats = np.empty(0, np.float32)
        self.spread: Floats = np.empty(0, np.float32)
        self.solid: npt.NDArray[np.bool_] = np.empty(0, bool)
        self.nearest: npt.NDArray[np.int64] = np.empty(0, np.int64)

    @property
    def trails(self) -> Floats:
        """(updates, W, 2), the last ones; NaN where a chain did not exist yet, or before it was restarted."""
        return self._tracks.positions

    def _followed(self) -> list[tuple[str, Sampler]]:
        """All models with their samplers, at present."""
        runner = getattr(self._chains, "runner", self._chains)  # of a widget, which may have been closed
        if isinstance(runner, Sampler):
            return [("", runner)]
        if isinstance(runner, Comparison):
            return list(zip(runner.names, runner.samplers, strict=True))
        raise TypeError(
            "chains must be a Sampler, a Comparison or a widget that samples (LDAM, Compare); got "
            f"{type(self._chains).__name__}"
        )

    # ---- moving ----------------------------------------------------------------------------------------------------

    @torch.inference_mode(False)
    def update(self, *, restarted: bool = False) -> None:
        """Place the current samples.

        Neurons that were not there before start where their neighbours are; so do restarted chains. Chains that have
        diverged have no position: NaN, hollow, at an infinite distance, `nearest` −1. What was visited is forgotten
        when a model's layer changes.

        Args:
            restarted: all chains were restarted since the last update. That they have taken fewer steps than at the
                last update says so, too.

        Raises:
            ValueError: samples or features that do not fit the map.
            RuntimeError: the widget is closed.
        """
        walkers: list[Walker] = []
        images: list[Tensor] = []
        fresh: set[str] = set()  # models whose chains were restarted
        seen: dict[str, tuple[str, int]] = {}
        for model, sampler in self._followed():
            frame = sampler.frame()
            layer, steps = self._seen.get(model, (sampler.layer, 0))
            if restarted or frame.steps < steps or sampler.layer != layer:
                fresh.add(model)
            seen[model] = sampler.layer, frame.steps
            walkers += _walkers(model, frame.neurons, frame.images.shape[1])
            images.append(self._in_range(frame.images.flatten(0, 1), sampler.pixel_range))
        before = {walker: i for i, walker in enumerate(self.walkers) if walker.model not in fresh}
        column = np.array([before.get(walker, -1) for walker in walkers])
        start = np.full((len(walkers), 2), np.nan, np.float32)
        start[column >= 0] = self.positions[column[column >= 0]]
        features = self._features_of(images)
        sound = features.isfinite().all(1)
        placed = self._map.place(torch.where(sound.unsqueeze(1), features, 0), start=start)
        known = sound.cpu().numpy()
        # nothing fails from here on, so that an update that failed can be repeated
        for model, (layer, _) in self._seen.items():
            if model in seen and seen[model][0] != layer:
                self._forget(model)
        self._seen = seen
        self.walkers = tuple(walkers)
        self.positions, self.solid = np.where(known[:, None], placed.positions, np.float32("nan")), placed.solid & known
        self.distance, self.spread = (np.where(known, part, np.inf) for part in (placed.distance, placed.spread))
        self.nearest = np.where(known, placed.neighbours[:, 0], -1)
        self._tracks = self._tracks.of(column).then(self.positions, self.solid, self.nearest, self._length)
        for walker, position, solid in zip(walkers, self.positions, self.solid, strict=True):
            if solid:
                self._pending.setdefault(walker[:2], []).append(position)

    def clear(self) -> None:
        """Forget trails and coverage, such as those of a burn-in; positions stay."""
        self._tracks = self._tracks.forgotten()
        self._visited, self._pending = {}, {}

    def _forget(self, model: str) -> None:
        """What the neurons of a layer visited, before those of another get their names."""
        for known in (self._visited, self._pending):
            for key in [key for key in known if key[0] == model]:
                del known[key]

    def _features_of(self, images: list[Tensor]) -> Tensor:
        """(W, d)."""
        compute = self._features or self._map.features_of
        assert compute is not None, "checked by the constructor"
        found = compute(torch.cat([some.cpu() for some in images]))
        given: Tensor = found.detach() if isinstance(found, Tensor) else torch.as_tensor(np.asarray(found))
        if given.ndim < 2 or len(given) != sum(map(len, images)):
            raise ValueError(
                f"features must give one row for each of {sum(map(len, images))} images; got shape {tuple(given.shape)}"
            )
        return given.flatten(1)

    def _in_range(self, images: Tensor, own: tuple[float, float] | None) -> Tensor:
        """From the sampler's pixel range to that of the map's images, if these are known and differ."""
        wanted = None if self._features is not None else self._map.pixel_range
        if own is None or wanted is None or own == wanted:
            return images
        scale = (wanted[1] - wanted[0]) / (own[1] - own[0])
        return (images - own[0]) * scale + wanted[0]

    # ---- what it comes to ------------------------------------------------------------------------------------------

    def visited(self, model: str, neuron: str) -> npt.NDArray[np.bool_]:
        """Which real images (n,) a chain of this neuron has been near to, while solid, since the start or `clear`."""
        key = (model, neuron)
        if pending := self._pending.pop(key, []):
            near = walking.visited(self._map.points, np.stack(pending), self.radius)
            self._visited[key] = near | self._visited.get(key, np.zeros(len(near), bool))
        return self._visited.get(key, np.zeros(len(self._map), bool))

    def coverage(self) -> Coverage:
        """How much of the real images the chains of each neuron reach, where they gather, and whether they stay there.

        What they reach is counted since the start or `clear`, the rest over `trails`. One row for each neuron, unless
        all its chains have diverged.
        """
        tracks = self._tracks
        if not len(tracks.positions):
            return Coverage()
        found = Coverage()
        for model, neuron, name in dict.fromkeys((w.model, w.neuron, w.name) for w in self.walkers):
            own = [i for i, walker in enumerate(self.walkers) if walker[:2] == (model, neuron)]
            if not np.isfinite(tracks.positions[:, own]).any():
                continue
            found.append(
                coverage(
                    model, name, tracks.of(own), self._map.points, self._class, self.classes,
                    self.visited(model, neuron), self.radius,
                )
            )  # fmt: skip
        return found

    def figure(self, *, title: str = "") -> PaperFigure:
        """The map with the trails of all chains; full discs where they are solid, rings elsewhere."""
        from ..embedding.figures import walk

        names = np.array(self.classes)[self._class] if len(self.classes) > 1 else None
        return walk(self._map.points, names, self.trails, self.solid, title)


def _walkers(model: str, neurons: tuple[Neuron, ...], chains: int) -> list[Walker]:
    return [Walker(model, neuron.key, neuron.label, chain) for neuron in neurons for chain in range(chains)]


def _classes(labels: Any, count: int) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """Names of the classes, and which one every real image is of."""
    if labels is None:
        return ("",), np.zeros(count, np.int64)
    values = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if values.shape != (count,):
        raise ValueError(f"labels must be one for each of the {count} real images; got shape {values.shape}")
    try:
        names, kind = np.unique(values, return_inverse=True)
    except TypeError as error:  # some are None, or of several types
        raise TypeError(f"labels must be all integers or all text; got {error}") from None
    return tuple(map(str, names)), kind
