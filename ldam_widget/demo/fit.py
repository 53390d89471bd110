"""The training loop of LeNet-5, without files. Tensors in, weights out.

Jiang, Chan, Zhang & Canny 2018 (arXiv:1812.04604) train with RMSProp and momentum, and compare the neurons of a
network after one epoch, at the end, and with its weights averaged over the last iterations (Polyak & Juditsky 1992).
Here all three come from a single run, showing the same neuron at three stages.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm.auto import tqdm

from ldam_widget.core.random_numbers import drawing_from
from ldam_widget.demo.lenet import LeNet5, preprocess

Weights = dict[str, Tensor]
Net = TypeVar("Net", bound=nn.Module)


@dataclass(frozen=True)
class LeNetRecipe:
    """Everything that determines the weights, apart from the data. The learning rate is constant.

    Chosen on the last 5,000 training images, training on the other 55,000 (18 runs: learning rates 1e-4 to 1e-3,
    weight decay 0 to 1e-3, batches of 100 and 250); the test images were not used. From 1e-4 to 5e-4 the accuracy of
    the averaged network hardly changes (99.1 to 99.4 %, one standard error is 0.13); that of the last state does, since
    a constant rate keeps it moving: at 2e-4 three seeds gave 98.9 to 99.2 %, at 1e-3 98.2 to 98.5 %. Averaging every
    step or only the ends of epochs gave the same result (within 0.15); the paper averages every step.
    """

    epochs: int = 10
    seed: int = 0
    batch_size: int = 100
    learning_rate: float = 2e-4
    momentum: float = 0.9  # of the scaled gradient: a constant gradient moves weights by ten times learning_rate
    smoothing: float = 0.99  # of the squared gradient (torch calls it alpha)
    weight_decay: float = 1e-3
    average_epochs: int = 5

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "average_epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")

    @property
    def averaged_from(self) -> int:
        """The first epoch, counted from 0, whose steps enter the average."""
        return max(self.epochs - self.average_epochs, 0)

    @property
    def states(self) -> dict[str, str]:
        """Descriptions of the three saved states."""
        return {
            "epoch1": "the weights after epoch 1",
            "final": f"the weights after epoch {self.epochs}, the last",
            "averaged": "equal mean of the weights after every optimizer step of "
            f"epochs {self.averaged_from + 1} to {self.epochs}",
        }


def fit(
    images: Tensor,
    labels: Tensor,
    recipe: LeNetRecipe,
    *,
    progress: bool = True,
    on_step: Callable[[LeNet5, int], None] | None = None,
) -> dict[str, Weights]:
    """Train on images (N, 28, 28) uint8 and labels (N,) int64; state dicts "epoch1", "final", "averaged".

    `on_step(model, steps_done)` is called after every step and must not change the model. One thread, private random
    numbers: the same arguments give the same bits on one machine, and no global state of torch is changed.
    """
    model = fresh(LeNet5, recipe.seed)
    averaged = AveragedModel(model, device=torch.device("cpu"))  # the average starts with the first update
    optimizer = torch.optim.RMSprop(
        model.parameters(),
        lr=recipe.learning_rate,
        alpha=recipe.smoothing,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
    )
    shuffle = torch.Generator("cpu").manual_seed(recipe.seed)
    steps_done = 0
    epochs = passes(len(images), recipe.epochs, recipe.batch_size, shuffle, progress)
    with one_thread(), torch.enable_grad(), closing(epochs):
        for epoch, batches in epochs:
            for batch in batches:
                loss = F.cross_entropy(model(network_input(images[batch])), labels[batch])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                if epoch >= recipe.averaged_from:
                    averaged.update_parameters(model)
                steps_done += 1
                if on_step is not None:
                    on_step(model, steps_done)
            if epoch == 0:
                first = copy(model)
    return {"epoch1": first, "final": copy(model), "averaged": copy(averaged.module)}


def network_input(images: Tensor) -> Tensor:
    """Bytes (N, 28, 28), as stored in idx files, to standardised float32 (N, 1, 28, 28)."""
    return preprocess(images.unsqueeze(1).to(torch.float32) / 255)


def fresh(build: Callable[[], Net], seed: int) -> Net:
    """`build()` in float32 on the CPU, initialised from `seed`; the global generators are not touched."""
    with drawing_from(torch.Generator("cpu").manual_seed(seed)), torch.device("cpu"):
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)  # another dtype draws other numbers
        try:
            return build()
        finally:
            torch.set_default_dtype(before)


def passes(
    count: int, epochs: int, batch_size: int, source: torch.Generator, progress: bool
) -> Generator[tuple[int, Iterator[Tensor]], None, None]:
    """Every epoch, counted from 0, with its batches of indices into `count` images, in an order drawn from `source`.

    A smaller last batch is included. Close the generator if training may be interrupted: it holds the progress bar.
    """
    steps = epochs * -(-count // batch_size)
    with tqdm(total=steps, unit="step", disable=not progress) as bar:
        for epoch in range(epochs):
            bar.set_description(f"epoch {epoch + 1} of {epochs}")
            order = torch.randperm(count, generator=source, device="cpu")
            yield epoch, _counted(torch.split(order, batch_size), bar)


def _counted(batches: Iterable[Tensor], bar: Any) -> Iterator[Tensor]:
    for batch in batches:
        yield batch
        bar.update()


def copy(model: nn.Module) -> Weights:
    """A copy of the present state dict."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


@contextmanager
def one_thread() -> Iterator[None]:
    """Use one thread: so small a network gains nothing from more, and only a fixed summation order is reproducible."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
