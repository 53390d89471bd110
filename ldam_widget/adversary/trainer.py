"""Algorithm 2: train a discriminator against the sampler, in small units."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..core.notes import Notes
from ..core.target import BindContext
from ..data import RealImages
from ..execution import Execution, check_execution
from ..network.first_pass import first_pass
from ..network.surroundings import without_ambient_modes
from ..network.trace import Preprocess, check_shape
from ..network.view import choose_device, private_view
from ..objectives import Discriminator
from ..objectives.discriminator import Form
from ..objectives.discriminator_file import read, save_discriminator
from ..objectives.discriminator_net import DiscriminatorNet, Quiet, build_discriminator
from ..objectives.neuron import Neurons
from ..sampling import checks
from ..sampling.sampler import Sampler
from .doubts import doubt_about, how_many
from .losses import Losses
from .recipe import Recipe
from .replay import Replay, Turn
from .rounds import JUDGED_BY, Round, TrainingError, mean_of, trouble

_STANDARDIZED_BY = 1000  # real images used to compute the mean and standard deviation of pixels for D


class Trainer:
    """Algorithm 2, in units small enough to run between two pictures.

    Args:
        model: the classifier that chains are sampled for; left unchanged.
        dataset: real images, see `RealImages`.
        net: the network to train, with one output (from `build_discriminator`); None builds one like the classifier.
        reads: the term that `net` was used in; its own `preprocess` or `pixel_range`, if any, are kept.
        layer, neurons: the neurons to sample for; None: all units of the last layer.
        input_shape: None: that of the images.
        pixel_range, preprocess, device: as for `Sampler`.
        execution: how the classifier is run, as for `Sampler`: "auto" is the fastest way found by a short trial. It may
            vary from run to run, and results with it by rounding; "plain" repeats a training bit for bit.
        recipe: all settings.

    Attributes:
        device: where chains and discriminator are.
        notes: for the user, for instance that the classifier may not have been trained on such images (`doubts.py`).

    Raises:
        TypeError, ValueError: data that do not fit, fewer images than half a batch; see `RealImages` and `Sampler`.
    """

    @torch.inference_mode(False)  # weights created in the caller's inference mode could never be trained
    @without_ambient_modes()
    def __init__(
        self,
        model: nn.Module,
        dataset: Any,
        *,
        net: DiscriminatorNet | None = None,
        reads: Discriminator | None = None,
        layer: str | None = None,
        neurons: Sequence[Any] | None = None,
        input_shape: Sequence[int] | None = None,
        pixel_range: tuple[float, float] | None = None,
        preprocess: Preprocess | None = None,
        recipe: Recipe = Recipe(),  # noqa: B008  (frozen)
        device: torch.device | str | None = None,
        execution: str = "auto",
    ) -> None:
        if not isinstance(recipe, Recipe):
            raise TypeError(f"recipe must be a Recipe(…); got {recipe!r}")
        check_execution(execution)
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
        first_pass(view, model, shape, preprocess, self.notes)
        self.device = next((p.device for p in view.parameters()), torch.device("cpu"))
        self._choose = torch.Generator().manual_seed(recipe.seed)
        self._noise = torch.Generator(self.device).manual_seed(recipe.seed + 1)

        self._raw = build_discriminator(model, shape, seed=recipe.seed) if net is None else net
        if not isinstance(self._raw, DiscriminatorNet):
            raise TypeError(f"net must be made by build_discriminator; got {type(net).__name__}")
        reads = None if net is None else reads
        self._raw = self._raw.to(self.device).float().requires_grad_(True)
        self._preprocess, self._asked_range = (None, None) if reads is None else (reads.preprocess, reads.pixel_range)
        if self._raw.input_shape != shape and self._preprocess is None:
            raise ValueError(f"net was built for images of {self._raw.input_shape}; here they are {shape}")
        # keep the range it was trained on where it cannot be learned again from these images
        known = self._raw.pixel_range
        self._raw.pixel_range = self._asked_range or (known if self._preprocess is not None else None) or self._range
        self._term = self._reading(self._raw, 1.0).bound(BindContext(model, shape, self._range, self.device, Quiet()))
        if self._asked_range is None and (net is None or known is None or known != self._raw.pixel_range):
            some = self._real.draw(min(len(self._real), _STANDARDIZED_BY), self._choose, self.device)
            self._raw.standardize(self._term.given(some))
        self._mean = self._averaged()
        self._optimizer = torch.optim.Adam(self._raw.parameters(), recipe.learning_rate, betas=recipe.betas)

        some = self._real.spread(how_many(shape)).to(self.device)
        if doubt := doubt_about(view, some, preprocess, self._range):
            self.notes.tell(doubt)
        self._execution = Execution(view, model, execution)
        units = self._units(view, layer, shape, preprocess) if neurons is None else list(neurons)
        self._replay = Replay(
            view, self._term, recipe, layer=layer, units=units, input_shape=shape, pixel_range=self._range,
            preprocess=preprocess, notes=self.notes, choose=self._choose, noise=self._noise,
            execution=self._execution,
        )  # fmt: skip
        self._losses = Losses(
            self._raw, self._term.given, recipe, self._range, self._replay.first_images, self._choose, self._noise
        )
        self._turn: Turn | None = None
        self._left = 0
        self._begun: dict[str, Tensor] = {}  # pool and random state at the start of the round in progress
        self.rounds: list[Round] = []
        self._before = 0  # rounds of the training being resumed, of which nothing else is known

    # ---- running ---------------------------------------------------------------------------------------------------

    @classmethod
    def for_sampler(
        cls, sampler: Sampler, dataset: Any, recipe: Recipe, net: DiscriminatorNet | None = None
    ) -> Trainer:
        """A trainer for the sampler's own network, layer and images."""
        return cls(
            sampler.view, dataset, net=net, reads=sampler.discriminator, layer=sampler.layer,
            input_shape=sampler.input_shape, device=sampler.device, pixel_range=sampler.pixel_range,
            preprocess=sampler.preprocess, recipe=recipe,
        )  # fmt: skip

    @property
    def net(self) -> DiscriminatorNet:
        """The network in use: the running mean of the weights, in eval mode. Always the same object."""
        return self._mean.module if self.recipe.average else self._raw  # type: ignore[return-value]

    def discriminator(self, weight: float, form: Form = "log") -> Discriminator:
        """The term to sample with: `net`, with images preprocessed as in training."""
        return self._reading(self.net, weight, form)

    @property
    def execution(self) -> str:
        """How the classifier is run, and how much of the plain time that takes; "plain" before the first round."""
        return str(self._execution)

    @property
    def round(self) -> int:
        """Rounds done, including those of a resumed training."""
        return self._before + len(self.rounds)

    @torch.inference_mode(False)
    def work(self) -> bool:
        """One step of the sampler, or one update of D; True if that ended a round.

        After any other error (an interruption, an unreadable image), the round starts again at the next call.

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
        """Train for a whole round."""
        while not self.work():
            pass
        return self.rounds[-1]

    def samples(self) -> Tensor:
        """The current pool, (chains, *input_shape)."""
        return torch.cat([group.x for group in self._replay.groups])

    def trouble(self) -> str:
        """Why this D must not be considered trained; empty if there is no reason."""
        return trouble(self.rounds)

    # ---- saving ----------------------------------------------------------------------------------------------------

    def card(self) -> dict[str, Any]:
        """How the discriminator was trained, JSON-safe."""
        last = self.rounds[-JUDGED_BY:]
        means = mean_of(last)._asdict() if last else {}
        return {
            "rounds": self.round,
            "recipe": self.recipe.as_dict(),
            "execution": str(self._execution.decision.plan),
            "real_images": len(self._real),
            "input_shape": list(self._real.input_shape),
            "last_rounds": {name: round(value, 4) for name, value in means.items()},
            "trouble": self.trouble(),
            "torch": str(torch.__version__),
        }

    def save(self, path: str | os.PathLike[str], *, resumable: bool = True) -> None:
        """Save the discriminator, and with `resumable` everything needed to continue as if it had never stopped."""
        more: dict[str, Tensor] = {}
        if resumable:
            more = {f"raw.{name}": value for name, value in self._raw.state_dict().items()}
            more["averaged"] = self._mean.n_averaged
            for i, state in self._optimizer.state_dict()["state"].items():  # weights without a gradient have none
                more |= {f"adam.{i}.{name}": torch.as_tensor(value) for name, value in state.items()}
            more |= self._pool_and_random() if self._turn is None else self._begun
            more["rounds"] = torch.tensor(self.rounds[-JUDGED_BY:], dtype=torch.float64).view(-1, len(Round._fields))
        save_discriminator(self.net, path, self.card(), more)

    def resume(self, path: str | os.PathLike[str]) -> None:
        """Resume from a file that `save` wrote with ``resumable=True``; the rounds are as without an interruption.

        Raises:
            FileNotFoundError, ValueError: no such file; another recipe, network or data; not resumable.
        """
        stored = read(path)
        kept = stored.more
        if "random.choose" not in kept:
            raise ValueError(f"{path} holds a finished discriminator, not a training that can be resumed")
        theirs, ours = dict(stored.card.get("recipe", {})), self.recipe.as_dict()
        if theirs != ours:
            different = ", ".join(f"{k} {theirs.get(k)!r} there, {v!r} here" for k, v in ours.items()
                                  if theirs.get(k) != v)  # fmt: skip
            different = different or ", ".join(sorted(theirs.keys() - ours.keys())) + " unknown here"
            raise ValueError(f"{path} was trained with another recipe: {different}")
        ours_range = self._raw.pixel_range
        if stored.pixel_range != ours_range:
            raise ValueError(f"{path} was trained with pixel_range={stored.pixel_range}; here it is {ours_range}")
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

    # ---- internals -------------------------------------------------------------------------------------------------

    def _reading(self, net: DiscriminatorNet, weight: float, form: Form = "log") -> Discriminator:
        return Discriminator(net, weight, form=form, preprocess=self._preprocess, pixel_range=self._asked_range)

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
            # shorter at first, so that the mean soon forgets the random initial weights
            shorter = min(decay, (1 + float(count)) / (10 + float(count)))
            get_ema_multi_avg_fn(shorter)(means, now, count)  # type: ignore[no-untyped-call]

        mean = AveragedModel(self._raw, multi_avg_fn=average, use_buffers=True)
        mean.requires_grad_(False).eval()
        return mean

    def _units(self, view: nn.Module, layer: str | None, shape: tuple[int, ...], preprocess: Preprocess | None) -> Any:
        probe = Neurons(view, layer, [0], chains=1, input_shape=shape, preprocess=preprocess, notes=self.notes)
        return range(probe.units)

    def _update(self, sampled: Tensor) -> Round:
        real = self._losses.disturbed(self._real.draw(len(sampled), self._choose, self.device))
        fake = self._losses.disturbed(sampled)
        buffers = [(buffer, buffer.clone()) for buffer in self._raw.buffers()]
        try:
            seen = self._learn(real, fake)
        except BaseException:
            for buffer, before in buffers:  # the statistics of batch norm have already changed
                buffer.copy_(before)
            self._optimizer.zero_grad()
            raise
        finally:
            self._raw.eval()
        self._optimizer.step()
        if self.recipe.average:
            self._mean.update_parameters(self._raw)
        return seen

    def _learn(self, real: Tensor, fake: Tensor) -> Round:
        """Gradients of all weights, and statistics of the update."""
        # a resumed training must draw the same dropout
        own = torch.Generator().manual_seed((self.recipe.seed + 2_654_435_761 * (self.round + 1)) % 2**63)
        with torch.enable_grad():
            loss, logits = self._losses.of(real, fake, own)
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            size = torch.nn.utils.clip_grad_norm_(self._raw.parameters(), math.inf)  # clips nothing
            of_real, of_fake = logits.chunk(2)
            right = ((of_real > 0).sum() + (of_fake < 0).sum()) / len(logits)
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
