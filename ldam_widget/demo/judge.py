"""A second opinion on MNIST samples: a network that no sampler has seen, of another design than LeNet-5.

If a sample for a neuron fools any network, it fools that neuron's own. To be independent of the sampled network, this
one differs in architecture (convolutions and batch norm only, no max pooling, no hidden dense layers), in optimizer, in
seed, and in its training data: samples carry pixel noise and need not be centred, so half of its training images were
shifted and noisy. `ldam train judge --data DIR` reproduces it.
"""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load
from torch import Tensor, nn

from ldam_widget.demo.fit import Weights, copy, fresh, one_thread, passes
from ldam_widget.demo.lenet import MEAN, STD, preprocess
from ldam_widget.demo.train import (
    Digits,
    TrainingResult,
    command,
    count_hits,
    load_digits,
    provenance,
    staging,
    write_card,
    write_weights,
)

WEIGHTS_FILE, CARD_FILE = "judge.safetensors", "judge.json"


class Judge(nn.Module):
    """(N, 1, 28, 28) pixels in [0, 1] to (N, 10) logits; 61,306 parameters. Standardisation is included.

    Four convolutions with batch norm and ReLU, two of them with stride 2; the mean over the last 5×5 positions gives
    the 64 features, and the logits are linear in them. In eval mode, as returned by `judge()`, images are independent.
    """

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            *_block(1, 16, 5, stride=2, padding=2),  # (N, 16, 14, 14)
            *_block(16, 32, 3, padding=1),  # (N, 32, 14, 14)
            *_block(32, 64, 3, stride=2, padding=1),  # (N, 64, 7, 7)
            *_block(64, 64, 3),  # (N, 64, 5, 5)
        )
        self.classes = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 10) of pixels (N, 1, 28, 28) in [0, 1]; raises as `features` does."""
        logits: Tensor = self.classes(self.features(x))
        return logits

    def features(self, x: Tensor) -> Tensor:
        """The penultimate layer, (N, 64), ≥ 0, for pixels (N, 1, 28, 28) in [0, 1]; differentiable.

        Raises ValueError for another shape, TypeError for integers: bytes 0…255 are not pixels in [0, 1].
        """
        if x.ndim != 4 or x.shape[1:] != (1, 28, 28):
            raise ValueError(f"the judge sees images (N, 1, 28, 28), not {tuple(x.shape)}")
        if not x.is_floating_point():
            raise TypeError(f"the judge sees pixels in [0, 1], not {x.dtype}: divide bytes by 255")
        values: Tensor = self.convolutions(preprocess(x.to(self.classes.weight.dtype)))
        return values.mean((2, 3))


def _block(inputs: int, outputs: int, size: int, *, stride: int = 1, padding: int = 0) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, size, stride, padding, bias=False)  # batch norm has the bias
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]


def judge() -> Judge:
    """The shipped judge: eval mode, float32, on the CPU; `judge.json` beside its weights records how it was made.

    Every call creates a new network and draws no random numbers.
    """
    return _with_weights(load((files("ldam_widget.demo") / "weights" / WEIGHTS_FILE).read_bytes()))


def _with_weights(weights: Weights) -> Judge:
    with torch.device("meta"):  # no initialisation, which would use up random numbers of the user's generator
        model = Judge()
    model.load_state_dict(weights, strict=True, assign=True)
    return model.eval()


# ---- training --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class JudgeRecipe:
    """Everything that determines the weights, apart from the data.

    The rate rises linearly over the first fifth of the steps and falls linearly to 0 at the last one: a few epochs then
    do as well as many at a constant rate. Tried once, on the last 5,000 training images after training on the other
    55,000 (99.3 % right, 99.0 % with the strongest noise; one standard error is 0.13), and not tuned further; the test
    images were not used.
    """

    epochs: int = 4
    seed: int = 1  # LeNet-5 has 0
    batch_size: int = 100
    learning_rate: float = 5e-3  # peak value
    weight_decay: float = 1e-2
    augmented: float = 0.5  # share of the images in every batch
    shift: int = 2  # maximum, in whole pixels, vertically and horizontally
    noise: float = 0.2  # maximum standard deviation, pixels in [0, 1]

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"epochs={self.epochs} must be at least 1")

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of one of `steps` steps, counted from 0."""
        rise = max(1, steps // 5)
        return self.learning_rate * min((step + 1) / rise, (steps - step) / max(1, steps - rise))


def train_judge(
    data: str | os.PathLike[str],
    *,
    epochs: int = JudgeRecipe.epochs,
    seed: int = JudgeRecipe.seed,
    out: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> TrainingResult:
    """Train on all training images in the folder `data` and test on its test images; about three minutes on one core.

    With `out`, writes `judge.safetensors` and `judge.json` there at the end. A run that fails or is interrupted leaves
    existing files unchanged. On one machine the same arguments give the same bits. Random numbers, thread count and
    flags of torch are left unchanged.

    The result has the accuracy on the test images as they are, "clean", and with the strongest noise it was trained
    for, "noisy".

    Raises what `load_mnist` raises for bad data, ValueError for epochs below 1.
    """
    recipe = JudgeRecipe(epochs=epochs, seed=seed)
    digits = load_digits(data)
    with staging(out) as write:
        weights = fit_judge(digits.train_images, digits.train_labels, recipe, progress=progress)
        card = _card(recipe, _count_correct(weights, *digits.test, recipe), digits)
        write_weights(write, card, WEIGHTS_FILE, weights)
        write_card(write, card, CARD_FILE)
    return TrainingResult({"judge": weights}, card["test_accuracy"], card, None if out is None else Path(out))


def fit_judge(images: Tensor, labels: Tensor, recipe: JudgeRecipe, *, progress: bool = True) -> Weights:
    """The state dict after training on images (N, 28, 28) uint8 and labels (N,) int64.

    One thread, private random numbers: the same arguments give the same bits on one machine, and no global state of
    torch is changed.
    """
    model = fresh(Judge, recipe.seed).train()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=recipe.weight_decay)
    source = torch.Generator("cpu").manual_seed(recipe.seed)
    steps, step = recipe.epochs * -(-len(images) // recipe.batch_size), 0
    epochs = passes(len(images), recipe.epochs, recipe.batch_size, source, progress)
    with one_thread(), torch.enable_grad(), closing(epochs):
        for _, batches in epochs:
            for batch in batches:
                for group in optimizer.param_groups:
                    group["lr"] = recipe.rate(step, steps)
                loss = F.cross_entropy(model(augment(_pixels(images[batch]), recipe, source)), labels[batch])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                step += 1
    return copy(model)


def augment(pixels: Tensor, recipe: JudgeRecipe, source: torch.Generator) -> Tensor:
    """Shift some of the images (N, 1, 28, 28), chosen by `source`, and add noise of random strength to them.

    Pixels shifted in are black; noisy pixels are clamped to [0, 1], the bounds of the sampler's pixels. Clean and noisy
    images share a batch, since in use batch norm has the mean statistics of both: with separate batches, the network in
    use would differ from the one that was trained.
    """
    count, width = len(pixels), pixels.shape[-1]
    uniform = torch.rand((2, count, 1, 1, 1), generator=source, dtype=torch.float32, device="cpu")
    offsets = torch.randint(0, 2 * recipe.shift + 1, (2, count, 1), generator=source, dtype=torch.int64, device="cpu")
    normal = torch.randn(pixels.shape, generator=source, dtype=torch.float32, device="cpu")
    rows, columns = offsets + torch.arange(width, dtype=torch.int64, device="cpu")  # each (N, 28)
    each = torch.arange(count, dtype=torch.int64, device="cpu").view(-1, 1, 1)
    shifted = F.pad(pixels, [recipe.shift] * 4)[each, 0, rows.unsqueeze(2), columns.unsqueeze(1)].unsqueeze(1)
    noisy = (shifted + recipe.noise * uniform[1] * normal).clamp(0, 1)
    return torch.where(uniform[0] < recipe.augmented, noisy, pixels)


def _pixels(images: Tensor) -> Tensor:
    """Bytes (N, 28, 28), as stored in idx files, to float32 (N, 1, 28, 28) in [0, 1]."""
    return images.unsqueeze(1).to(torch.float32) / 255


def _count_correct(weights: Weights, images: Tensor, labels: Tensor, recipe: JudgeRecipe) -> dict[str, int]:
    model = _with_weights(weights)
    source = torch.Generator("cpu").manual_seed(recipe.seed)

    def noisy(some: Tensor) -> Tensor:
        pixels = _pixels(some)
        normal = torch.randn(pixels.shape, generator=source, dtype=torch.float32, device="cpu")
        return (pixels + recipe.noise * normal).clamp(0, 1)

    return {
        "clean": count_hits(lambda some: model(_pixels(some)), images, labels),
        "noisy": count_hits(lambda some: model(noisy(some)), images, labels),
    }


def _card(recipe: JudgeRecipe, correct: dict[str, int], digits: Digits) -> dict[str, Any]:
    return {
        "model": "Judge (four convolutions with batch norm and ReLU, mean over positions, linear; logits)",
        "input": f"(N, 1, 28, 28), pixels in [0, 1]; (x - {MEAN}) / {STD} is inside",
        "made_by": command("judge", recipe),
        "test_images": {
            "clean": "as they are",
            "noisy": f"normal noise of standard deviation {recipe.noise} on every pixel, clamped to [0, 1]",
        },
        "test_accuracy": {name: hits / len(digits.test_images) for name, hits in correct.items()},
        "test_correct": correct,
        "test_size": len(digits.test_images),
        "recipe": {
            "optimizer": "torch.optim.AdamW",
            "loss": "cross-entropy",
            "schedule": "learning rate linear from 0 over a fifth of the steps, then linear to 0",
            "augmentation": f"of a share {recipe.augmented} of the images: shifted by up to {recipe.shift} pixels, "
            f"normal noise of a standard deviation up to {recipe.noise}, clamped to [0, 1]",
            **asdict(recipe),
        },
        **provenance(digits),
    }
