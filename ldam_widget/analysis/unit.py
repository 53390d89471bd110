"""All that real images, an optimiser and the network's own connections say of one unit, piece by piece."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from ..core.notes import QuietNotes
from ..data.images import Images
from ..data.real_images import RealImages
from ..data.subset import EvenSubset
from ..kernels import RegularisedAscent
from ..network.contributions import Connections, connections
from ..network.receptive_field import Box
from ..network.trace import Preprocess
from ..network.traced import Traced
from ..network.view import device_of, hash_of, private_view
from ..sampling.sampler import Sampler
from ..surveys import Survey, Surveying, TopImage
from ..surveys.histogram import Histogram
from ..surveys.layout import Network

ASCENT_STEPS = 200
SAMPLED_STEPS = 200  # of another checkpoint, after its warm-up
_PROGRESS = 0.03  # of the strongest real image's activation, gained by a step of the optimiser
_DEFAULT_PROGRESS = 0.5
_PIECE = 5  # steps
_FIRST_LOOK = 1024  # images
_LOOKED_AT = 2**23  # numbers in the images of a small survey, between these counts of images:
_LEAST, _MOST = 1024, 4096
_REMEMBERED = 64  # units


class Progress(NamedTuple):
    """Real images are being looked at."""

    done: int
    total: int


class Seen(NamedTuple):
    """What real images say. `pictures` is None where the survey was loaded without them."""

    survey: Survey
    histogram: Histogram  # of the unit; later batches change the survey
    of: int  # images there are in all
    top: list[TopImage]
    names: list[str]  # of the top images: a number or a file's name, and the class if it is known
    pictures: Tensor | None  # (n, *image)
    crops: Tensor | None  # (n, *crop)
    boxes: tuple[Box, ...]
    measure: Callable[[Tensor], Tensor]  # the unit's values for pictures, (n, *image) -> (n,), as in the survey
    final: bool


class Reaction(NamedTuple):
    """What of the crops the unit reacts to: their deconvolution, (n, *crop)."""

    deconvolution: Tensor


class Optimised(NamedTuple):
    """What an optimiser finds."""

    picture: Tensor  # (*image,)
    activation: float


class Sampled(NamedTuple):
    """Samples of another checkpoint, made beside the panel."""

    sample: Tensor  # (*image,)
    average: Tensor
    activation: float


class Remark(NamedTuple):
    """What could not be had, and why."""

    about: str
    text: str


T = TypeVar("T")
News = Progress | Seen | Reaction | Connections | Optimised | Sampled | Remark
Finding = Generator[News | None, None, T]


@dataclass(frozen=True)
class Asked:
    """How a network is run, and what is to be found out beside what real images say.

    Attributes:
        arguments: for `Sampler`, without layer, neurons, kernel, prior and dataset: input_shape, preprocess, ….
        law: the same for samples of another checkpoint, of which none are made if it is None.
        without_images: what is said where neither images nor a survey are given.
    """

    arguments: dict[str, Any]
    law: dict[str, Any] | None = None
    without_images: str = "there are no real images: give dataset= or survey="

    @property
    def shape(self) -> tuple[int, ...]:
        shape: tuple[int, ...] = self.arguments["input_shape"]
        return shape

    @property
    def preprocess(self) -> Preprocess | None:
        return self.arguments.get("preprocess")


class UnitFinder:
    """Finds out about units of one network in small pieces of work, and remembers what it found.

    Args:
        view: a private view of the network; a copy of it is looked at.
        images: real images, or None.
        survey: of this network; layers that it lacks are surveyed in part, on `images`.
        asked: see `Asked`.
    """

    @torch.inference_mode(False)
    def __init__(
        self, view: nn.Module, images: Images | RealImages | None, survey: Survey | None, asked: Asked
    ) -> None:
        self.weights = hash_of(view)
        self._view = private_view(view, None, QuietNotes(), shared=False)
        # A pass has hooks in the modules it runs, and the loop's thread measures while this one copies `_view`.
        self._measured = private_view(self._view, None, QuietNotes())
        self._given, self._asked = survey, asked
        fits = survey is not None and survey.card["model"] == self.weights
        self._survey = survey if fits else None
        self._images = images
        self._surveys: dict[str, Surveying] = {}
        self._networks: dict[str, Network] = {}
        self._traced: Traced | None = None
        self._known: OrderedDict[tuple[str, int, str], list[News]] = OrderedDict()

    def about(self, layer: str, unit: int, key: str) -> Iterator[News | None]:
        """Everything about a unit, the quickest first; None ends a piece of work that found nothing yet.

        Args:
            layer, unit: a name as in `ldam.layers`, and a number.
            key: the neuron that is sampled for it.
        """
        asked = layer, unit, key
        if asked in self._known:
            self._known.move_to_end(asked)
            yield from self._known[asked]
            return
        found: list[News] = []
        for news in self._find(layer, unit, key):
            if news is not None and not (isinstance(news, Progress) or (isinstance(news, Seen) and not news.final)):
                found.append(news)
            yield news
        self._known[asked] = found
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    def survey_of(self, layer: str) -> Survey | None:
        """The survey that has a layer, as far as it has got; None: none has."""
        if self._survey is not None and layer in self._survey.layers:
            return self._survey
        return self._surveys[layer].result() if layer in self._surveys else None

    def _find(self, layer: str, unit: int, key: str) -> Finding[None]:
        seen = yield from self._tried("real images", lambda: self._look(layer, unit))
        top = None if seen is None else seen.pictures
        yield from self._tried("connections", lambda: self._connect(layer, unit, top))
        yield from self._tried("deconvolution", lambda: self._react(layer, unit, seen))
        strongest = seen.top[0].value if seen is not None and seen.top else math.nan
        yield from self._tried("optimised", lambda: self._climb(layer, key, strongest))
        if self._asked.law is not None:
            yield from self._tried("samples", lambda: self._sample(layer, key))

    def _tried(self, about: str, work: Callable[[], Finding[Any]]) -> Finding[Any]:
        """An error in one thing leaves the others alone."""
        try:
            result = yield from work()
        except Exception as error:  # of the user's model, preprocess or data set, too
            yield Remark(about, str(error) or type(error).__name__)
            return None
        return result

    # ---- real images -----------------------------------------------------------------------------------------------

    def _look(self, layer: str, unit: int) -> Finding[Seen | None]:
        if self._survey is not None and layer in self._survey.layers:
            seen = self._seen(self._survey, layer, unit, self._survey.card["images"], final=True)
            yield seen
            return seen
        if self._images is None:
            yield Remark("real images", self._no_images(layer))
            return None
        small = self._surveys.get(layer)
        if small is None:
            most = min(_MOST, max(_LEAST, _LOOKED_AT // math.prod(self._asked.shape)))
            subset = EvenSubset(self._images, most)
            small = Surveying(self._view, subset, layer, self._asked.shape, self._asked.preprocess)
            self._surveys[layer] = small
            yield Progress(0, small.total)
        shown = False
        while small.done < small.total:
            small.work()
            yield Progress(small.done, small.total)
            if not shown and _FIRST_LOOK <= small.done < small.total and (so_far := small.result()):
                shown = True
                yield self._seen(so_far, layer, unit, len(self._images), final=False)
        whole = small.result()
        assert whole is not None
        seen = self._seen(whole, layer, unit, len(self._images), final=True)
        yield seen
        return seen

    def _no_images(self, layer: str) -> str:
        if self._survey is not None:
            return f"layer {layer} is not in the survey; give dataset= as well, or survey this layer"
        if self._given is not None:
            return "the survey is of other weights than these; survey the network again"
        return self._asked.without_images

    def _seen(self, survey: Survey, layer: str, unit: int, of: int, *, final: bool) -> Seen:
        top, source, measure = survey.top(layer, unit), survey.source, self._measure(layer, unit)
        known = partial(Seen, survey, survey.histogram(layer, unit), of, top)
        if source is None or not top:
            return known([str(each.image) for each in top], None, None, (), measure, final)
        chosen = torch.tensor([each.image for each in top])
        pictures, labels = source.images.take(chosen), source.images.labels(chosen).tolist()
        classes = source.images.class_names or self._asked.arguments.get("class_names") or ()
        names = [
            source.images.name(i) + (f", {classes[label]}" if 0 <= label < len(classes) else "")
            for i, label in zip(chosen.tolist(), labels, strict=True)
        ]
        try:
            crops = survey.crops(layer, unit)
        except ValueError:  # no height and width, or a network that refuses NaN
            return known(names, pictures, None, (), measure, final)
        return known(names, pictures, crops.images, crops.boxes, measure, final)

    def _measure(self, layer: str, unit: int) -> Callable[[Tensor], Tensor]:
        if layer not in self._networks:
            self._networks[layer] = Network(
                self._measured, self._asked.shape, self._asked.preprocess, [layer], QuietNotes()
            )
        network = self._networks[layer]
        return lambda pictures: network.values(pictures)[:, unit]

    def _react(self, layer: str, unit: int, seen: Seen | None) -> Finding[None]:
        if seen is not None and seen.crops is not None:
            yield Reaction(seen.survey.crops(layer, unit, "deconv").images)

    # ---- without images --------------------------------------------------------------------------------------------

    def _connect(self, layer: str, unit: int, top: Tensor | None) -> Finding[None]:
        if self._traced is None:
            self._traced = Traced.of(self._view, self._asked.shape, self._asked.preprocess, None, QuietNotes())
        yield None
        if top is not None:
            names = self._asked.arguments.get("class_names") or ()
            yield connections(
                self._traced, layer, unit, top.to(device_of(self._view)), class_names=tuple(map(str, names))
            )

    def _climb(self, layer: str, key: str, strongest: float) -> Finding[None]:
        if self._asked.arguments.get("pixel_range") is None:
            raise ValueError("the optimiser needs pixels in a range: give pixel_range=")
        progress = _PROGRESS * strongest if strongest > 0 else _DEFAULT_PROGRESS
        progress = min(max(progress, 1e-3), 1e3)
        kernel = RegularisedAscent.preset("C", learning_rate=1e9, progress=progress, blur_for=227)
        sampler = Sampler(
            self._view, layer=layer, neurons=[key], kernel=kernel, prior=None, transforms=None, execution="plain",
            **self._asked.arguments,
        )  # fmt: skip
        yield None
        yield from _stepped(sampler, ASCENT_STEPS)
        yield Optimised(sampler.images[0, 0].cpu(), float(sampler.activation[0, 0]))

    def _sample(self, layer: str, key: str) -> Finding[None]:
        assert self._asked.law is not None
        sampler = Sampler(
            self._view, layer=layer, neurons=[key], execution="plain", **self._asked.arguments | self._asked.law
        )
        yield None
        while sampler.warming_up:
            sampler.step(_PIECE)
            yield None
        yield from _stepped(sampler, SAMPLED_STEPS)
        average = sampler.average_images.mean(1)[0]
        yield Sampled(sampler.images[0, 0].cpu(), average.cpu(), float(sampler.activation.mean()))


def _stepped(sampler: Sampler, steps: int) -> Generator[None, None, None]:
    for _ in range(steps // _PIECE):
        sampler.step(_PIECE)
        yield None
