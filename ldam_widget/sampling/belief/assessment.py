"""`Assessment`: finds out how far the pictures of a sampler can be believed, in units small enough for a live panel."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from ...core.notes import QuietNotes
from ...data import RealImages
from ...diagnostics.belief import Belief, NeuronBelief, departure, doubts, overall
from ...diagnostics.results import Verdict
from ...network.surroundings import without_ambient_modes
from ...network.trace import Preprocess
from ...network.units import Neuron
from .. import checks
from ..faults import SamplingError
from ..run import Run, in_turn
from .randomised import shuffled
from .second_opinion import Match, SecondOpinion
from .side_chains import SideChains
from .silent import Silence, carried

T = TypeVar("T")

MOST_IMAGES = 1000  # real images that are looked at
EACH = 3  # chains per start
STEPS = 150  # of these chains, after their warm-up
_BATCH_PIXELS = 2**18  # numbers in a batch of images
Units = Generator[None, None, T]  # every yield ends a unit
_END = object()
NO_IMAGES = "rank, silent units and starts in real images: they need dataset= or belief(images)"
NO_JUDGE = "whether another network recognises the pictures: it needs belief(judge=…)"


class _Images(NamedTuple):
    """What real images say."""

    activation: Tensor  # (images, N)
    silent: list[dict[str, float]]  # by layer
    matches: list[Match] | None
    strongest: list[Tensor]  # for every neuron, the images with the highest activation, (EACH, *image)


class Assessment:
    """Looks at a sampler's pictures, and runs other chains beside them; the sampler is not changed.

    It reports, for each neuron: where the mean activation of the samples ranks among real images; the share of the
    averages that a judge recognises (by the class, or by the judge's unit that correlates best with a hidden neuron on
    real images); the share of the activation, as gradient times activation, that comes from units which fewer than 1 %
    of the real images use, for the layer where it is largest; where chains end that start in noise, in grey and in the
    strongest real images; and how the pictures differ from those of the network with shuffled weights (Adebayo et al.
    2018, arXiv:1810.03292). Doubts are raised by the thresholds of `diagnostics.belief`.

    False alarms: none on 21 neurons of honest networks with the natural prior, and on 36 in pixels, from most of which
    the thresholds were chosen; below 14 % and 8 % with 95 % confidence if they were new. What escapes it, and the
    figures behind this: benchmarks/RESULTS.md, "What to believe".

    Everything refers to the sampler as it was when the assessment began: let it burn in first. The network is only run
    in the turns of `work`, so the sampler may go on meanwhile.

    Cost: per neuron, three chains for each of three starts and three for shuffled weights, over as many steps as the
    warm-up and `steps`, run as written; and up to 1,000 real images once.

    Args:
        sampler: whose pictures are looked at.
        images, judge, judge_preprocess, steps, seed: as for `Sampler.belief`.

    Raises:
        ValueError, TypeError: as `Sampler.belief`.
    """

    @torch.inference_mode(False)
    @without_ambient_modes()
    def __init__(
        self,
        sampler: Run,
        images: Any = None,
        *,
        judge: nn.Module | None = None,
        judge_preprocess: Preprocess | None = None,
        steps: int = STEPS,
        seed: int = 0,
    ) -> None:
        self._steps, self._seed = checks.count("steps", steps), checks.seed(seed)
        if self._steps < 2:
            raise ValueError(f"steps must be at least 2, of which the second half is averaged; got {steps}")
        if images is None:
            self._real = sampler.dataset
        else:
            self._real = RealImages.checked(images, sampler.input_shape, sampler.pixel_range)
        if judge_preprocess is not None and judge is None:
            raise ValueError("judge_preprocess is given without a judge")
        self._judge = None if judge is None else SecondOpinion(judge, judge_preprocess, sampler.input_shape)
        self._run, (self._chains, monitor) = sampler, sampler._now
        self._samples = self._chains.fold(self._chains.picture)
        self._averages = self._samples if monitor.mean is None else self._chains.fold(monitor.mean)
        settings = self._chains.settings
        self._plain = replace(settings.fixed, ladder=None, notes=QuietNotes())
        self._asked = self._chains.neurons.recalled([n.key for n in self._chains.neurons.neurons]) or []
        self.done: list[NeuronBelief] = []
        self._units = self._all()
        self._over = False

    @property
    def total(self) -> int:
        """Number of neurons."""
        return len(self._asked)

    @property
    def finished(self) -> bool:
        return self._over

    @torch.inference_mode(False)
    def work(self) -> bool:
        """Do one unit, about a step of the chains. Returns whether another neuron is done. Raises SamplingError."""
        before = len(self.done)
        self._over = not _do_one(self._run, self._units)
        return len(self.done) > before

    def run(self) -> Belief:
        """Do everything. Raises as `work`."""
        while not self.finished:
            self.work()
        return self.result

    @property
    def result(self) -> Belief:
        """What has been found so far."""
        missing = tuple(words for words, given in ((NO_IMAGES, self._real), (NO_JUDGE, self._judge)) if given is None)
        return Belief(
            neurons=list(self.done),
            images=0 if self._real is None else min(MOST_IMAGES, len(self._real)),
            steps=self._steps,
            verdict=overall(self.done, missing) if self.finished else Verdict("wait", self.progress),
            missing=missing,
        )

    @property
    def progress(self) -> str:
        """How far it has got, in words."""
        return f"checking: {len(self.done)} of {self.total} neurons"

    # ---- inside; every yield ends a unit ---------------------------------------------------------------------------

    def _all(self) -> Units[None]:
        images = None
        if self._real is not None:
            images = yield from self._look_at(self._real)
        unlearned = shuffled(self._plain, self._seed)
        yield
        for index, neuron in enumerate(self._chains.neurons.neurons):
            self.done.append((yield from self._one(index, neuron, images, unlearned)))

    def _look_at(self, real: RealImages) -> Units[_Images]:
        view, layer = self._plain.view, self._chains.neurons.layer
        carriers = []
        single = replace(self._plain, chains=1)
        for asked, x in zip(self._asked, self._samples, strict=True):
            carriers.append(carried(single.aim(layer, [asked]).at(self._interpolation), view, x))
            yield
        silence, neurons = Silence(view, carriers), self._plain.aim(layer, self._asked).at(self._interpolation)
        found = []
        pictures = real.spread(MOST_IMAGES)
        together = max(1, _BATCH_PIXELS // math.prod(pictures.shape[1:]))
        for some in torch.split(pictures, together):
            found.append(silence.activations(neurons, some).double().cpu())
            if self._judge is not None:
                self._judge.look_at(some)
            yield
        activation = torch.cat(found)
        silent = [silence.shares(index) for index in range(self.total)]
        matches = None
        if self._judge is not None:
            units = self._chains.neurons.units
            own = self._chains.neurons.neurons
            matches = [
                self._judge.match(column, n.unit if n.key == str(n.unit) else None, units)
                for column, n in zip(activation.T, own, strict=True)
            ]
        order = activation.argsort(0, descending=True)
        most = [pictures[column[torch.arange(EACH) % len(pictures)]] for column in order.T]
        return _Images(activation, silent, matches, most)

    def _one(self, index: int, neuron: Neuron, images: _Images | None, unlearned: nn.Module) -> Units[NeuronBelief]:
        activation = float(self._chains.activation[index].mean())
        starts: dict[str, str | Tensor] = {"noise": "noise", "grey": "grey"}
        if images is not None:
            starts["data"] = images.strongest[index]
        chains = yield from self._side_chains(index, list(starts.values()))
        ended = dict(zip(starts, chains.activation.mean(1).tolist(), strict=True))
        from_noise = chains.averages[0].cpu()
        missing = [] if self._real is not None else [NO_IMAGES]
        unlike, prefers = math.nan, math.nan
        try:
            other = yield from self._side_chains(index, ["noise"], unlearned)
            unlike = departure(from_noise, other.averages[0].cpu())
            neurons = self._plain.aim(self._chains.neurons.layer, [self._asked[index]]).at(self._interpolation)
            own, theirs = (neurons.activations(each.averages[0]).double().cpu() for each in (chains, other))
            prefers = float(own.mean() - theirs.mean())
        except SamplingError as error:
            missing.append(f"the network with shuffled weights cannot be sampled: {error}")
        rank = overshoot = silent = gap = moved = math.nan
        silent_in, match = "", None
        if images is not None:
            real = images.activation[:, index]
            rank = 100 * float((real < activation).double().mean())
            strongest = float(real.max())
            overshoot = activation / strongest if strongest > 0 else math.nan
            silent_in, silent = max(images.silent[index].items(), key=lambda each: each[1], default=("", math.nan))
            if not silent_in:
                missing.append("which units carry the activation: no layer with weights reads anything but the picture")
            spread = max(float(real.std(correction=0)), 1e-12)
            gap, prefers = abs(ended["noise"] - ended["data"]) / spread, prefers / spread
            moved = departure(from_noise, chains.averages[2].cpu())
            match = None if images.matches is None else images.matches[index]
        recognised = recognised_samples = None
        if self._judge is None:
            missing.append(NO_JUDGE)
        elif match is not None:
            recognised = self._judge.recognised(torch.cat([self._averages[index].cpu(), from_noise]), match)
            shown = torch.cat([self._samples[index].cpu(), chains.pictures[0].cpu()])
            recognised_samples = self._judge.recognised(shown, match)
        found = NeuronBelief(
            label=neuron.label, activation=activation, percentile=rank, overshoot=overshoot,
            recognised=recognised, recognised_samples=recognised_samples,
            recognised_as="" if match is None else match.words,
            silent=silent, silent_in=silent_in, starts=ended, gap=gap, departure=moved, shuffled=unlike,
            preference=math.nan if images is None else prefers,
            doubts=(), missing=tuple(missing),
        )  # fmt: skip
        return replace(found, doubts=doubts(found, natural=self._chains.settings.prior is not None))

    def _side_chains(self, index: int, starts: list[str | Tensor], view: nn.Module | None = None) -> Units[SideChains]:
        settled = self._chains.warm_up is None
        chains = SideChains(
            self._chains.settings, self._chains.neurons.layer, self._asked[index], index, starts=starts, each=EACH,
            steps=self._steps, seed=self._seed + (1 if view is None else 2), view=view, settled=settled,
        )  # fmt: skip
        yield
        while not chains.work():
            yield
        return chains

    @property
    def _interpolation(self) -> float:
        return self._chains.settings.interpolation


@in_turn
def _do_one(run: Run, units: Units[None]) -> bool:
    """Do the next unit while nothing else runs the network; returns whether there was one."""
    with run._execution.threads():
        return next(units, _END) is not _END
