"""Algorithm 2: train a discriminator against the sampler, headless or a little at a time."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm.auto import tqdm

from ..core.notes import Notes
from ..core.target import Setting
from ..data import RealImages
from ..network.trace import check_shape
from ..network.view import choose_device, private_view
from ..objectives import Discriminator
from ..objectives.discriminator_file import read, save_discriminator
from ..objectives.discriminator_net import DiscriminatorNet, build_discriminator
from ..objectives.neuron import Neurons, Preprocess
from ..sampling import checks
from ..sampling.sampler import Sampler
from .recipe import Recipe
from .replay import Replay, Turn

_STANDARDIZED_BY = 1000  # real images that tell D the mean and standard deviation of pixels
_JUDGED_BY = 100  # rounds that a verdict looks back over
_SAME = 0.02  # spread of logits below which D says the same of everything
_WINS = 0.995  # accuracy from which the sampler has no chance


class TrainingError(RuntimeError):
    """The discriminator cannot be used: it collapsed, or its loss is no number."""


class Round(NamedTuple):
    """What one update saw; D is what its sigmoid says."""

    real: float  # mean D of the real half
    generated: float  # mean D of the sampled half
    accuracy: float  # share of both halves that D tells right, 0…1
    gap: float  # mean logit, real minus sampled
    spread: float  # standard deviation of all logits


def mean_of(rounds: Sequence[Round]) -> Round:
    """Mean of each number over at least one round."""
    return Round(*(sum(column) / len(rounds) for column in zip(*rounds, strict=True)))


class Trainer:
    """Algorithm 2, in units small enough to run between two pictures.

    Args:
        model: the classifier the chains climb on; comes back untouched.
        dataset: real images, see `RealImages`.
        net: the network to train, with one output (of `build_discriminator`); None builds one like the classifier.
        layer, neurons: what chains are sampled for; None: all units of the last layer.
        input_shape: None: as the images have it.
        pixel_range, preprocess, device: as of `Sampler`.
        recipe: all settings.

    Raises:
        TypeError, ValueError: data that do not fit, fewer images than half a batch; see `RealImages` and `Sampler`.
    """

    @torch.inference_mode(False)  # weights made in the caller's inference mode could never be trained
    def __init__(
        self,
        model: nn.Module,
        dataset: Any,
        *,
        net: DiscriminatorNet | None = None,
        layer: str | None = None,
        neurons: Sequence[Any] | None = None,
        input_shape: Sequence[int] | None = None,
        pixel_range: tuple[float, float] | None = None,
        preprocess: Preprocess | None = None,
        recipe: Recipe = Recipe(),  # noqa: B008  (frozen)
        device: torch.device | str | None = None,
    ) -> None:
        if not isinstance(recipe, Recipe):
            raise TypeError(f"recipe must be a Recipe(…); got {recipe!r}")
        wanted = None if input_shape is None else check_shape(input_shape)
        self._range = checks.pixel_range(pixel_range)
        self._real = RealImages(dataset, wanted, self._range)
        half = recipe.batch // 2
        if len(self._real) < half:
            raise ValueError(
                f"dataset holds {len(self._real)} images, fewer than the {half} real ones of a batch of "
                f"{recipe.batch}; give more, or Recipe(batch={max(2, 2 * len(self._real))})"
            )
        shape = self._real.input_shape
        self.recipe, self.notes = recipe, Notes()
        chosen = choose_device(model, device)
        view = private_view(model, chosen, self.notes)
        self._device = next((p.device for p in view.parameters()), torch.device("cpu"))
        self._choose = torch.Generator().manual_seed(recipe.seed)
        self._noise = torch.Generator(self._device).manual_seed(recipe.seed + 1)

        fresh = net is None
        self._raw = build_discriminator(model, shape, seed=recipe.seed) if net is None else net
        if not isinstance(self._raw, DiscriminatorNet):
            raise TypeError(f"net must be made by build_discriminator; got {type(net).__name__}")
        if self._raw.input_shape != shape:
            raise ValueError(f"net was built for images of {self._raw.input_shape}; here they are {shape}")
        self._raw = self._raw.to(self._device).float()
        if fresh or self._raw.pixel_range is None or self._raw.pixel_range != self._range:
            count = min(len(self._real), _STANDARDIZED_BY)
            self._raw.standardize(self._real.draw(count, self._choose, self._device))
        self._raw.pixel_range = self._range
        self._raw.requires_grad_(True)
        self._mean = self._averaged()
        self._optimizer = torch.optim.Adam(self._raw.parameters(), recipe.learning_rate, betas=recipe.betas)

        setting = Setting(model, shape, self._range, self._device, self.notes)
        term = Discriminator(self._raw, 1.0).bound(setting)
        units = self._units(view, layer, shape, preprocess) if neurons is None else list(neurons)
        self._replay = Replay(
            view, term, recipe, layer=layer, units=units, input_shape=shape, pixel_range=self._range,
            preprocess=preprocess, choose=self._choose, noise=self._noise,
        )  # fmt: skip
        self._term = term
        self._turn: Turn | None = None
        self._left = 0
        self._begun: dict[str, Tensor] = {}  # pool and random numbers at the beginning of the round under way
        self.rounds: list[Round] = []
        self._before = 0  # rounds of a training that this one goes on from, of which nothing else is known

    # ---- running ---------------------------------------------------------------------------------------------------

    @classmethod
    def for_sampler(
        cls, sampler: Sampler, dataset: Any, recipe: Recipe, net: DiscriminatorNet | None = None
    ) -> Trainer:
        """Against the sampler's own network, layer and images."""
        return cls(
            sampler.view, dataset, net=net, layer=sampler.layer, input_shape=sampler.input_shape,
            device=sampler.device, pixel_range=sampler.pixel_range, preprocess=sampler.preprocess, recipe=recipe,
        )  # fmt: skip

    @property
    def net(self) -> DiscriminatorNet:
        """What is used: the running mean of the weights, in eval mode. The same object all the time."""
        return self._mean.module if self.recipe.average else self._raw  # type: ignore[return-value]

    @property
    def round(self) -> int:
        """Rounds done, those of a former training included."""
        return self._before + len(self.rounds)

    @torch.inference_mode(False)
    def work(self) -> bool:
        """One step of the sampler, or one update of D; True if that ended a round.

        If something else goes wrong (an interruption, an image that cannot be read), the round begins anew next time.

        Raises:
            TrainingError: the loss is not finite. D is as it was before.
        """
        if self._turn is None:
            self._begun = self._pool_and_random()
        try:
            return self._work()
        except TrainingError:
            raise
        except BaseException:
            self._put_back(self._begun)
            raise

    def _work(self) -> bool:
        if self._turn is None:
            self._turn, self._left = self._replay.turn(), self.recipe.steps
        if self._left:
            self._turn.step()
            self._left -= 1
            if self.recipe.until is not None and self._left:
                with torch.no_grad():
                    if float(self._term.score(self._turn.group.x).mean()) > self.recipe.until:
                        self._left = 0
            return False
        seen = self._update(self._turn.group.x)
        self._turn = None
        self.rounds.append(seen)
        return True

    def train_round(self) -> Round:
        """A whole round."""
        while not self.work():
            pass
        return self.rounds[-1]

    def samples(self) -> Tensor:
        """The pool as it stands, (chains, *input_shape)."""
        return torch.cat([group.x for group in self._replay.groups])

    def trouble(self) -> str:
        """Why this D must not be called trained; empty if there is no reason."""
        last = self.rounds[-_JUDGED_BY:]
        if not last:
            return "it has not been trained for a single round"
        mean = mean_of(last)
        if mean.spread < _SAME:
            return f"it says the same of every image (logits within ± {mean.spread:.2g})"
        if mean.accuracy > _WINS:
            return (
                f"it tells {mean.accuracy:.1%} of all images right (D {mean.real:.2g} on real ones, "
                f"{mean.generated:.2g} on samples): the sampler never gets near the real images"
            )
        if mean.accuracy < 0.5 and mean.gap < 0:
            return f"it takes samples for more real than real images (gap of logits {mean.gap:.2g})"
        return ""

    # ---- keeping ---------------------------------------------------------------------------------------------------

    def card(self) -> dict[str, Any]:
        """How the discriminator was trained, JSON-safe."""
        last = self.rounds[-_JUDGED_BY:]
        means = mean_of(last)._asdict() if last else {}
        return {
            "rounds": self.round,
            "recipe": self.recipe.as_dict(),
            "real_images": len(self._real),
            "input_shape": list(self._real.input_shape),
            "last_rounds": {name: round(value, 4) for name, value in means.items()},
            "trouble": self.trouble(),
            "torch": str(torch.__version__),
        }

    def save(self, path: str | os.PathLike[str], *, resumable: bool = True) -> None:
        """Write the discriminator, and with `resumable` all that is needed to go on as if it had never stopped."""
        more: dict[str, Tensor] = {}
        if resumable:
            more = {f"raw.{name}": value for name, value in self._raw.state_dict().items()}
            more["averaged"] = self._mean.n_averaged
            for i, state in self._optimizer.state_dict()["state"].items():  # weights without a gradient have none
                more |= {f"adam.{i}.{name}": torch.as_tensor(value) for name, value in state.items()}
            more |= self._pool_and_random() if self._turn is None else self._begun
            more["rounds"] = torch.tensor(self.rounds[-_JUDGED_BY:], dtype=torch.float64).view(-1, len(Round._fields))
        save_discriminator(self.net, path, self.card(), more)

    def resume(self, path: str | os.PathLike[str]) -> None:
        """Go on from a file that `save` wrote with ``resumable=True``; the same rounds follow as without a stop.

        Raises:
            FileNotFoundError, ValueError: no such file; another recipe, network or data; not resumable.
        """
        stored = read(path)
        kept = stored.more
        if "random.choose" not in kept:
            raise ValueError(f"{path} holds a finished discriminator, not a training to go on with")
        theirs, ours = dict(stored.card.get("recipe", {})), self.recipe.as_dict()
        if theirs != ours:
            different = ", ".join(f"{k} {theirs.get(k)!r} there, {v!r} here" for k, v in ours.items()
                                  if theirs.get(k) != v)  # fmt: skip
            different = different or ", ".join(sorted(theirs.keys() - ours.keys())) + " unknown here"
            raise ValueError(f"{path} was trained by another recipe: {different}")
        if stored.pixel_range != self._range:
            raise ValueError(f"{path} was trained in pixel_range={stored.pixel_range}; here it is {self._range}")
        count = stored.card.get("real_images")
        if count != len(self._real):
            raise ValueError(f"{path} was trained on another dataset, of {count} images; here are {len(self._real)}")
        try:
            self.net.load_state_dict(stored.weights)
            raw = {k.removeprefix("raw."): v for k, v in kept.items() if k.startswith("raw.")}
            self._raw.load_state_dict(raw)
            self._mean.n_averaged.copy_(kept["averaged"])
            self._load_adam(kept)
            self._put_back(kept)
            self.rounds = [Round(*row) for row in kept["rounds"].tolist()]
            self._before = int(stored.card["rounds"]) - len(self.rounds)
        except (KeyError, IndexError, RuntimeError, ValueError) as error:
            raise ValueError(f"{path} does not fit this training: {error}") from error

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _pool_and_random(self) -> dict[str, Tensor]:
        now = self._replay.tensors()
        return now | {"random.choose": self._choose.get_state(), "random.noise": self._noise.get_state()}

    def _put_back(self, kept: dict[str, Tensor]) -> None:
        self._turn = None
        self._replay.load(kept)
        self._choose.set_state(kept["random.choose"])
        self._noise.set_state(kept["random.noise"])

    def _load_adam(self, kept: dict[str, Tensor]) -> None:
        state = self._optimizer.state_dict()
        state["state"] = {}
        for name, value in kept.items():
            if name.startswith("adam."):
                _, index, field = name.split(".", 2)
                state["state"].setdefault(int(index), {})[field] = value
        self._optimizer.load_state_dict(state)

    def _averaged(self) -> AveragedModel:
        decay = self.recipe.average

        def average(means: Any, now: Any, count: Tensor | int) -> None:
            # shorter at first: the mean should not remember for long that it began with random weights
            shorter = min(decay, (1 + float(count)) / (10 + float(count)))
            get_ema_multi_avg_fn(shorter)(means, now, count)  # type: ignore[no-untyped-call]

        mean = AveragedModel(self._raw, multi_avg_fn=average, use_buffers=True)
        mean.requires_grad_(False).eval()
        return mean

    def _units(self, view: nn.Module, layer: str | None, shape: tuple[int, ...], preprocess: Preprocess | None) -> Any:
        probe = Neurons(view, layer, [0], chains=1, input_shape=shape, preprocess=preprocess, notes=self.notes)
        return range(probe.units)

    def _update(self, sampled: Tensor) -> Round:
        n = len(sampled)
        real = self._disturbed(self._real.draw(n, self._choose, self._device))
        fake = self._disturbed(sampled)
        buffers = [(buffer, buffer.clone()) for buffer in self._raw.buffers()]
        try:
            seen = self._forward_and_backward(real, fake)
        except BaseException:
            for buffer, before in buffers:  # the statistics of batch norm have moved already
                buffer.copy_(before)
            self._optimizer.zero_grad()
            raise
        finally:
            self._raw.eval()
        self._optimizer.step()
        if self.recipe.average:
            self._mean.update_parameters(self._raw)
        return seen

    def _forward_and_backward(self, real: Tensor, fake: Tensor) -> Round:
        recipe, n = self.recipe, len(real)
        self._raw.train()
        with torch.enable_grad(), self._own_random_numbers():
            # one pass for both halves: batch norm must not tell them apart by their own statistics
            both = torch.cat([real, fake]).requires_grad_(recipe.penalty > 0)
            logits = self._raw(both).flatten()
            loss = F.binary_cross_entropy_with_logits(
                logits, torch.cat([torch.full((n,), recipe.label), torch.zeros(n)]).to(logits)
            )
            if recipe.penalty:
                (steep,) = torch.autograd.grad(logits[:n].sum(), both, create_graph=True)
                width = 1.0 if self._range is None else self._range[1] - self._range[0]
                loss = loss + recipe.penalty / 2 * (width * steep[:n]).flatten(1).square().sum(1).mean()
            if recipe.denoising:
                loss = loss + recipe.denoising * self._misdirection(real)
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            size = torch.nn.utils.clip_grad_norm_(self._raw.parameters(), math.inf)  # clips nothing
            of_real, of_fake = logits[:n], logits[n:]
            right = ((of_real > 0).sum() + (of_fake < 0).sum()) / (2 * n)
            *numbers, length = torch.stack([
                of_real.sigmoid().mean(), of_fake.sigmoid().mean(), right, of_real.mean() - of_fake.mean(),
                logits.std(), size,
            ]).tolist()  # fmt: skip
        seen = Round(*numbers)
        if not all(math.isfinite(value) for value in (*seen, length)):
            raise TrainingError(
                f"the discriminator's outputs became {seen}, with a gradient of length {length:.3g}, in round "
                f"{self.round + 1}: lower the learning_rate of the recipe, or look for images with extreme values"
            )
        return seen

    @contextmanager
    def _own_random_numbers(self) -> Iterator[None]:
        """Dropout draws from the global generators: they are the user's, and a resumed training must draw the same."""
        seed = (self.recipe.seed + 2_654_435_761 * (self.round + 1)) % 2**63
        on_cuda = self._device.type == "cuda"
        with torch.random.fork_rng(devices=[self._device] if on_cuda else []):
            torch.default_generator.manual_seed(seed)
            if on_cuda:
                with torch.cuda.device(self._device):
                    torch.cuda.manual_seed(seed)
            yield

    def _misdirection(self, real: Tensor) -> Tensor:
        """Mean of 1 − cos(∇ logit(x), real − x) over places x on straight ways from real images to x0."""
        share = torch.rand(len(real), generator=self._noise, device=self._device, dtype=torch.float32)
        share = share**1.5  # more of them near the images
        start = self._replay.first_images(len(real))
        x = torch.lerp(real, start, share.view(-1, *(1,) * (real.ndim - 1))).requires_grad_(True)
        self._raw.eval()  # as it is used: every image by itself, and batch norm does not count these half-noises
        (slope,) = torch.autograd.grad(self._raw(x).sum(), x, create_graph=True)
        way = real - x.detach()
        return 1 - F.cosine_similarity(slope.flatten(1), way.flatten(1)).mean()

    def _disturbed(self, images: Tensor) -> Tensor:
        """Noise and shifts, the same in law for both halves: D must not tell them apart by either."""
        recipe, low_high = self.recipe, self._range
        if recipe.shift and images.ndim == 4:
            by = recipe.shift
            down, right = torch.randint(0, 2 * by + 1, (2,), generator=self._choose).tolist()
            height, width = images.shape[2:]
            padded = F.pad(images, (by, by, by, by), mode="replicate")
            images = padded[:, :, down : down + height, right : right + width]
        if recipe.image_noise:
            noise = torch.randn(images.shape, generator=self._noise, device=self._device, dtype=torch.float32)
            strength = torch.rand(len(images), generator=self._noise, device=self._device, dtype=torch.float32)
            span = 1.0 if low_high is None else low_high[1] - low_high[0]
            images = images + noise * (recipe.image_noise * span * strength).view(-1, *(1,) * (images.ndim - 1))
            if low_high is not None:
                images = images.clamp(*low_high)
        return images


def train_discriminator(
    model: nn.Module,
    dataset: Any,
    *,
    rounds: int = 2000,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    save_every: float = 60.0,
    progress: bool = True,
    recipe: Recipe = Recipe(),  # noqa: B008  (frozen)
    **settings: Any,
) -> DiscriminatorNet:
    """Train a discriminator against the sampler (paper, Algorithm 2; see `Recipe` for what was added to it).

    Args:
        model: the classifier.
        dataset: real images: a map-style `torch.utils.data.Dataset`, tensor or array; see `RealImages`.
        rounds: of Algorithm 2, in all.
        out: a file (safetensors) to write the discriminator to, with its settings; None writes nothing. While it is
            trained, ``<out>.training`` beside it keeps all that is needed to go on.
        resume: go on from ``<out>.training``, if it is there.
        save_every: seconds between two of those.
        progress: show a progress bar.
        recipe: all settings of the training.
        settings: `net`, `layer`, `neurons`, `input_shape`, `pixel_range`, `preprocess` and `device`, as of `Trainer`.

    Returns:
        The discriminator, in eval mode: ``Discriminator(net, 0.5)``.

    Raises:
        TrainingError: it collapsed, or its loss is no number; `out` is not written then.
        TypeError, ValueError: bad data or settings.
    """
    if not isinstance(rounds, int) or isinstance(rounds, bool) or rounds < 1:
        raise ValueError(f"rounds must be an integer ≥ 1; got {rounds!r}")
    if resume and out is None:
        raise ValueError("resume=True needs out=, the file that the training was to write")
    path = None if out is None else Path(out)
    kept = None if path is None else path.with_name(path.name + ".training")
    if path is not None:  # known now rather than after an hour
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir() or not os.access(path.parent, os.W_OK):
            raise ValueError(f"out={str(path)!r} cannot be written: give the name of a file in a folder that is yours")
    trainer = Trainer(model, dataset, recipe=recipe, **settings)
    if kept is not None and resume and kept.exists():
        trainer.resume(kept)
    due = time.monotonic() + save_every
    try:
        with tqdm(total=rounds, initial=trainer.round, unit="round", disable=not progress) as bar:
            while trainer.round < rounds:
                seen = trainer.train_round()
                bar.update()
                bar.set_postfix(real=f"{seen.real:.2f}", generated=f"{seen.generated:.2f}", refresh=False)
                if kept is not None and time.monotonic() >= due:
                    trainer.save(kept)
                    due = time.monotonic() + save_every
    finally:  # an interrupted training goes on from here
        if kept is not None:
            trainer.save(kept)
    trouble = trainer.trouble()
    if trouble:
        where = "" if kept is None else f" The training as it stands is in {kept}."
        raise TrainingError(f"the discriminator collapsed and is not called trained: {trouble}.{where}")
    if path is not None:
        trainer.save(path, resumable=False)
    net = trainer.net
    return net.eval()
