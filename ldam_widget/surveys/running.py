"""One pass over real images."""

from __future__ import annotations

import math
import os
import time
import weakref
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from ..core.notes import Notes, QuietNotes
from ..core.random_numbers import outside
from ..data.images import Images, images_of
from ..data.pictures import Fit
from ..network.capture import Capture
from ..network.first_pass import first_pass
from ..network.trace import Preprocess, check_shape
from ..network.view import choose_device, private_view
from . import folder
from .largest import Largest
from .layout import Network, Surveyed
from .results import Source, Survey
from .settings import card_of, difference, integer, joined
from .tally import MOST_CORRELATED, MOST_IMAGES, Tally

LOOKED_AT = 1024  # images from which bins and units of measurement follow
_SAVING = 20  # of so many parts of the time at most one is spent on saving
_MOST_CLASSES = 100_000


@torch.inference_mode(False)
def survey(
    model: nn.Module,
    images: Any,
    layers: str | Iterable[str] = "all",
    k: int = 9,
    out: str | os.PathLike[str] | None = None,
    *,
    input_shape: Sequence[int] | None = None,
    preprocess: Preprocess | None = None,
    pixel_range: tuple[float, float] | None = None,
    labels: Any = None,
    fit: Fit = "crop",
    batch: int | None = None,
    part: tuple[int, int] = (0, 1),
    correlation: bool = True,
    device: torch.device | str | None = None,
    save_every: float = 60.0,
    progress: bool = True,
) -> Survey:
    """What every unit of a network does on real images: one pass, one number per unit and image.

    That number is the unit's activation; for a channel, the largest one on its map. Of it are kept: the k images where
    it is largest and the place on the map, a histogram, how often it is exactly 0, the mean, the mean for each class,
    and the correlations between the units of a layer. Maps are never kept.

    With `out`, everything is saved every minute, at the end, and when you interrupt: the same call goes on where it
    stopped, and ends with the same bytes. Parts of the images can be surveyed by several processes or machines, each
    with its own `part` and `out`, and joined by `Survey.merge`, again with the same bytes if the machines are alike.

    Args:
        model: any `nn.Module`; left unchanged, and run in eval mode.
        images: a folder of pictures, an array, a tensor, or a map-style Dataset without random transforms.
        layers: "all", or names as in `ldam.layers`.
        k: images kept of each unit. An entry takes 12 bytes.
        out: a folder for the survey; None keeps it in memory.
        input_shape: of one image; None: that of the images, which a folder does not have.
        preprocess: x in pixel range -> model input, as for `Sampler`.
        pixel_range: (lo, hi) of black and white; None: bytes become 0 to 1, and other numbers are taken as they are.
        labels: class numbers or names, one per image; None: from sub-folders, or items (image, label), if there are.
        fit: how pictures of a folder are brought into shape, "crop" or "stretch".
        batch: images in a forward pass; None: by their size. The same in all parts, since results of a network are
            rounded differently in batches of another size.
        part: (i, n), the i-th of n parts, from 0. The first 1,024 images are seen in every part, as the bins of the
            histograms follow from them.
        correlation: of layers with up to 4,096 units. Takes 8 bytes for each pair.
        device: where to run; None: CUDA if available.
        save_every: seconds between saves.
        progress: show a progress bar.

    Returns:
        The survey; see `Survey`.

    Raises:
        ValueError: a bad argument, images that do not fit the model, or a folder with something else in it, such as a
            survey of another model.
        TypeError: `model` is not a module, or `images` are none.
    """
    notes = Notes()
    k, (number, parts) = _count("k", k), _part(part)
    batch = None if batch is None else _count("batch", batch)
    on = choose_device(model, device)
    shape = None if input_shape is None else check_shape(input_shape)
    given = images_of(images, shape, pixel_range, labels=labels, fit=fit, notes=notes)
    shape = given.input_shape
    if len(given) > MOST_IMAGES:
        raise ValueError(f"images holds {len(given):,} images; a survey takes up to {MOST_IMAGES:,}")
    view = private_view(model, on, notes)
    first_pass(view, model, shape, preprocess, notes)
    with torch.no_grad():
        network = Network(view, shape, preprocess, layers, notes)
        running = _Running(network, given, card_of(network, given, k, batch, correlation), batch is not None)
        if out is not None and folder.exists(Path(out)):
            running.resume(Path(out))
        running.run(number, parts, None if out is None else Path(out), save_every, progress)
    running.tell(notes)
    return Survey(running.card, running.tallies, Source(network, given))


class Surveying:
    """A survey of one layer, in memory, that is done a batch at a time: whoever runs it can do other things in between.

    Args:
        view: a private view of the model.
        images: all of them are surveyed.
        layer: a name as in `ldam.layers`.
        input_shape, preprocess: as for `survey`.

    Raises:
        ValueError: an unknown layer, or one without units.
    """

    @torch.inference_mode(False)
    @torch.no_grad()
    def __init__(
        self,
        view: nn.Module,
        images: Images,
        layer: str,
        input_shape: tuple[int, ...],
        preprocess: Preprocess | None,
        k: int = 9,
    ) -> None:
        self.network, self._images = Network(view, input_shape, preprocess, [layer], QuietNotes()), images
        card = card_of(self.network, images, k, None, True)
        self._running = _Running(self.network, images, card, False)
        self.total = len(images)
        self._size: int = card["batch"]
        self._batches = math.ceil(self.total / self._size)
        self._next = 0

    @property
    def done(self) -> int:
        """Images surveyed so far."""
        return min(self.total, self._next * self._size)

    @torch.inference_mode(False)
    @torch.no_grad()
    def work(self) -> None:
        """Survey another batch."""
        early = min(self._batches, math.ceil(LOOKED_AT / self._size))
        self._running._step(self._next, early, (0, self.total))
        self._next += 1

    def result(self) -> Survey | None:
        """The survey so far; None within the first 1,024 images. Later batches show in it, too."""
        if self.done < min(LOOKED_AT, self.total):
            return None
        self._running._save(None)
        return Survey(self._running.card, self._running.tallies, Source(self.network, self._images))


class _Seen(NamedTuple):
    """An output that has been looked at; blocks return that of their last layer, and skip connections their input."""

    output: weakref.ref[Tensor]
    version: int
    layer: Surveyed
    last: Tensor
    result: tuple[Tensor, Tensor]

    def holds(self, output: Tensor, layer: Surveyed) -> bool:
        same_axes = (self.layer.batch_axis, self.layer.unit_axis) == (layer.batch_axis, layer.unit_axis)
        return self.output() is output and self.version == output._version and same_axes


class _Running:
    def __init__(self, network: Network, images: Images, card: dict[str, Any], batch_given: bool) -> None:
        self.network, self.images, self.card, self._batch_given = network, images, card, batch_given
        correlated = {each.name: card["correlation"] and each.units <= MOST_CORRELATED for each in network.layers}
        self.tallies = {each.name: Tally(each.units, card["k"], correlated[each.name]) for each in network.layers}
        self._largest = Largest.of_all([tally.largest for tally in self.tallies.values()])
        self._seen: dict[int, _Seen] = {}  # in this pass
        self._between = True  # the tallies agree with each other

    def resume(self, out: Path) -> None:
        """Go on with what is in a folder. Raises ValueError if that is something else."""
        card = folder.load_card(out)
        if not self._batch_given:
            self.card["batch"] = card["batch"]
        different = difference(card, self.card)
        if different is not None:
            raise ValueError(f"out={str(out)!r} holds a survey of {different}; name another folder, or delete it")
        self.tallies = folder.load_tallies(out, card)
        self._largest = Largest.of_all([tally.largest for tally in self.tallies.values()])
        self.card = {key: value for key, value in card.items() if key not in ("state", "files")}
        folder.clean(out, card["state"])

    def run(self, number: int, parts: int, out: Path | None, save_every: float, progress: bool) -> None:
        size: int = self.card["batch"]
        total = len(self.images)
        batches = math.ceil(total / size)
        early = min(batches, math.ceil(LOOKED_AT / size))
        first, end = number * batches // parts, (number + 1) * batches // parts
        left = self._left(early, first, end, out)

        def images(each: int) -> int:
            return min(size, total - each * size)

        own = min(first * size, total), min(end * size, total)
        seen = sum(map(images, [*range(early), *range(max(first, early), end)]))
        due = time.monotonic() + save_every
        try:
            with tqdm(total=seen, initial=seen - sum(map(images, left)), unit="image", disable=not progress) as bar:
                for each in left:
                    self._step(each, early, own)
                    bar.update(images(each))
                    if out is not None and time.monotonic() >= due:
                        began = time.monotonic()
                        self._save(out)
                        now = time.monotonic()
                        due = now + max(save_every, _SAVING * (now - began))
        finally:  # also when interrupted, unless in the middle of adding up: then the folder has an earlier state
            if self._between:
                self._save(out)

    def _left(self, early: int, first: int, end: int, out: Path | None) -> list[int]:
        """The batches still to run: the first images, then the own ones."""
        size, done = self.card["batch"], self.card["done"]
        start = first * size
        if done and (len(done) > 1 or done[0][0] != start or math.ceil(done[0][1] / size) > end):
            held = ", ".join(f"{a} to {b - 1}" for a, b in done)
            raise ValueError(f"out={str(out)!r} holds images {held}, which do not begin this part; name another folder")
        looked = math.ceil(self.card["looked_at"] / size)
        reached = math.ceil(done[0][1] / size) if done else first
        if reached < min(looked, end):  # seen for the bins only
            raise ValueError(f"out={str(out)!r} holds a smaller part of the images; name another folder for this one")
        return [*range(looked, early), *range(max(early, reached), end)]

    def _step(self, each: int, early: int, own: tuple[int, int]) -> None:
        size = self.card["batch"]
        first, end = each * size, min((each + 1) * size, len(self.images))
        chosen = torch.arange(first, end)
        x = self.images.take(chosen)
        labels = self.images.labels(chosen)
        if len(labels) and int(labels.max()) >= _MOST_CLASSES:
            raise ValueError(f"labels must be class numbers below {_MOST_CLASSES:,}; got {int(labels.max())}")
        usable = x.isfinite().flatten(1).all(1)
        mine = own[0] <= first < own[1]
        x, kept, labels = x[usable].contiguous(), chosen[usable], labels[usable]
        found = self._look(x, each, mine) if len(kept) else []
        entering = None
        if found and mine:
            values, places = (torch.cat(parts, 1) for parts in zip(*found, strict=True))
            entering = self._largest.entering(values, kept, places)
        self._between = False
        self._largest.enter(entering)
        if each < early or mine:
            for tally, (values, _) in zip(self.tallies.values(), found, strict=False):
                tally.add(values, kept, labels)
        if each < early:
            self.card["looked_at"] = end
        if each == early - 1:
            for tally in self.tallies.values():
                tally.settle(*own)
        if mine:
            self.card["done"] = joined([*self.card["done"], [first, end]])
            for i in chosen[~usable].tolist():
                self.card["skipped"][str(i)] = self.images.skipped.get(i, "it holds NaN or infinite pixels")
        self._between = True

    def _look(self, x: Tensor, seed: int, mine: bool) -> list[tuple[Tensor, Tensor]]:
        """For each layer the values, and the places of those that may enter."""
        self._seen.clear()
        places = [layer.address for layer in self.network.layers]
        reduce = [partial(self._reduce, layer, mine) for layer in self.network.layers]
        found: list[Any] = Capture(self.network.view, places, reduce)(lambda: self.network.forward(x, seed))
        return found

    def _reduce(self, layer: Surveyed, mine: bool, output: Tensor) -> tuple[Tensor, Tensor]:
        largest = self.tallies[layer.name].largest
        with outside():
            known = self._seen.get(id(output))
            if known is not None and known.holds(output, layer) and torch.equal(known.last, largest.last):
                return known.result
            maps = layer.maps(output)
            values = layer.values(maps)
            result = values, largest.find(values, maps) if mine else values
        self._seen[id(output)] = _Seen(weakref.ref(output), output._version, layer, largest.last, result)
        return result

    def _save(self, out: Path | None) -> None:
        self._between = False
        for tally in self.tallies.values():
            tally.flush()
        self._between = True
        if out is not None:
            folder.save(out, self.card, self.tallies)

    def tell(self, notes: Notes) -> None:
        """Values that are not finite, and images that are neither."""
        bad = {name: int(tally.counts[:, 1].sum()) for name, tally in self.tallies.items()}
        bad = {name: count for name, count in bad.items() if count}
        if bad:
            shown = ", ".join([f"{count:,} of {name}" for name, count in bad.items()][:5])
            more = ", …" if len(bad) > 5 else ""
            notes.tell(f"{sum(bad.values()):,} activations are NaN or infinite and left out: {shown}{more}")
        skipped = [i for i in self.card["skipped"] if int(i) not in self.images.skipped]
        if skipped:
            notes.tell(
                f"{len(skipped):,} images hold NaN or infinite pixels and are left out, the first is {skipped[0]}"
            )


def _count(name: str, value: Any) -> int:
    number = integer(value)
    if number is None or number < 1:
        raise ValueError(f"{name} must be an integer ≥ 1; got {value!r}")
    return number


def _part(part: Any) -> tuple[int, int]:
    try:
        number, parts = map(integer, part)
    except (TypeError, ValueError):
        number = parts = None
    if number is None or parts is None or not 0 <= number < parts:
        raise ValueError(f"part must be (i, n), the i-th of n parts counted from 0, such as (0, 4); got {part!r}")
    return number, parts
