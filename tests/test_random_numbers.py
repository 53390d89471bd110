"""The user's random numbers: what is drawn in another thread comes from generators of our own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldam_widget import Recipe, Trainer, build_discriminator
from ldam_widget.core.random_numbers import drawing_from

from .conftest import with_fixed_weights

X = torch.linspace(-1, 1, 60).view(3, 4, 5)


def attention() -> Tensor:
    layer = nn.MultiheadAttention(8, 2, dropout=0.5, batch_first=True)
    y: Tensor = layer(torch.ones(2, 5, 8), torch.ones(2, 5, 8), torch.ones(2, 5, 8), need_weights=False)[0]
    return y


def recurrent() -> Tensor:
    y: Tensor = nn.LSTM(5, 6, 2, dropout=0.5)(X)[0]
    return y


DRAWN: dict[str, Callable[[], Any]] = {
    "rand": lambda: torch.rand(3, 4),
    "randn": lambda: torch.randn(3, dtype=torch.float64),
    "randint": lambda: torch.randint(10, (20,)),
    "randint from": lambda: torch.randint(-5, 10, (20,)),
    "randperm": lambda: torch.randperm(20),
    "rand_like": lambda: torch.rand_like(X),
    "randn_like": lambda: torch.randn_like(X),
    "randint_like": lambda: torch.randint_like(X, 9),
    "randint_like from": lambda: torch.randint_like(X, -9, 9, dtype=torch.int64),
    "normal": lambda: torch.normal(0.0, 1.0, (5,)),
    "normal of tensors": lambda: torch.normal(X, 1.0),
    "bernoulli": lambda: torch.bernoulli(X.abs()),
    "multinomial": lambda: torch.multinomial(torch.ones(9), 20, replacement=True),
    "in place": lambda: torch.empty(9).exponential_(),
    "linear": lambda: nn.Linear(4, 3).weight.detach(),
    "convolution": lambda: nn.Conv2d(4, 3, 3).weight.detach(),
    "orthogonal": lambda: nn.init.orthogonal_(torch.empty(4, 4)),
    "dropout": lambda: F.dropout(X, 0.5),
    "channels dropped": lambda: F.dropout1d(X, 0.5),
    "alpha dropout": lambda: F.alpha_dropout(X, 0.5, training=True),
    "leaky at random": lambda: F.rrelu(X, training=True),
    "attention": lambda: F.scaled_dot_product_attention(X, X, X, dropout_p=0.5),
    "attention layer": lambda: attention().detach(),
    "recurrent": lambda: recurrent().detach(),
}


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN.keys())
def test_the_numbers_of_a_seed_without_touching_the_global_generator(draw: Callable[[], Any]) -> None:
    torch.manual_seed(7)
    expected, two = draw(), draw()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with drawing_from(torch.Generator().manual_seed(7)):
        first, second = draw(), draw()
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close((first, second), (expected, two))
    assert not torch.equal(expected, two)


def test_in_inference_mode_too() -> None:
    before = torch.get_rng_state()
    with torch.inference_mode(), drawing_from(torch.Generator().manual_seed(7)):
        first = F.dropout(X, 0.5), torch.rand(3), recurrent()
    with torch.inference_mode(), drawing_from(torch.Generator().manual_seed(7)):
        again = F.dropout(X, 0.5), torch.rand(3), recurrent()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert bool((first[0] == 0).any())


def test_a_generator_that_is_named_is_taken() -> None:
    named, ours = torch.Generator().manual_seed(5), torch.Generator().manual_seed(7)
    with drawing_from(ours):
        drawn = torch.rand(4, generator=named)
    assert torch.equal(drawn, torch.rand(4, generator=torch.Generator().manual_seed(5)))
    assert torch.equal(torch.rand(4, generator=ours), torch.rand(4, generator=torch.Generator().manual_seed(7)))


def test_gradients_follow_the_mask() -> None:
    x = X.clone().requires_grad_()
    with drawing_from(torch.Generator().manual_seed(7)):
        y = torch.ops.aten.native_dropout(x, 0.25, True)[0]  # what runs on CUDA
    (grad,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(grad.unique(), torch.tensor([0, 1 / 0.75]))
    torch.testing.assert_close(y, x * grad)


def test_another_thread_draws_as_ever() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    found: list[Tensor] = []
    with drawing_from(torch.Generator().manual_seed(7)):
        thread = threading.Thread(target=lambda: found.append(torch.rand(4)))
        thread.start()
        thread.join()
    assert torch.equal(found[0], expected)


# ---- the user draws while another thread trains ----------------------------------------------------------------------

RECIPE = Recipe(batch=8, steps=2, pool=2, penalty=0.1, denoising=0.1)
MEETING: list[Callable[[], None]] = []


def meet() -> None:
    """Wherever a network or data set calls it, the main thread draws a number."""
    for each in MEETING:
        each()


class Meets(nn.Module):
    """Dropout as a module and as a function."""

    def __init__(self) -> None:
        super().__init__()
        self.drop, self.fc = nn.Dropout(0.2), nn.Linear(64, 64)

    def forward(self, x: Tensor) -> Tensor:
        h = self.drop(self.fc(x))
        meet()
        return F.dropout(h, 0.2, self.training)


class Attends(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(8, 2, dropout=0.2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        h = x.view(-1, 8, 8)
        meet()
        y: Tensor = self.attend(h, h, h, need_weights=False)[0]
        return y.flatten(1)


class MeetsWhenMade(nn.Linear):
    def reset_parameters(self) -> None:
        super().reset_parameters()
        meet()


class MeetsWhenRead:
    """Images that are moved at random, as torchvision's transforms do."""

    def __len__(self) -> int:
        return 20

    def __getitem__(self, i: int) -> Tensor:
        meet()
        return torch.rand(1, 8, 8).roll(int(torch.randint(3, ())), 2)


def network(middle: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Flatten(), middle, nn.Tanh(), nn.Linear(64, 2))


def trained(model: nn.Module, dataset: Any) -> Tensor:
    """Weights after three rounds."""
    trainer = Trainer(model, dataset, pixel_range=(0, 1), recipe=replace(RECIPE, seed=5))
    for _ in range(3):
        trainer.train_round()
    return torch.cat([weight.detach().flatten() for weight in trainer.net.parameters()])


@pytest.fixture(autouse=True)
def nobody_meets() -> Iterator[None]:
    yield
    MEETING.clear()


def drawn_beside(work: Callable[[], Any]) -> tuple[list[float], Any]:
    """What the main thread draws whenever `work`, in another thread, meets it, and what `work` returns."""
    asked: queue.Queue[bool] = queue.Queue()
    answered: queue.Queue[None] = queue.Queue()
    made: list[Any] = []

    def wait_for_main() -> None:
        asked.put(True)
        answered.get(timeout=60)

    def run() -> None:
        try:
            made.append(work())
        finally:
            asked.put(False)

    MEETING.append(wait_for_main)
    thread, numbers = threading.Thread(target=run), []
    thread.start()
    while asked.get(timeout=60):
        numbers.append(float(torch.rand(())))
        answered.put(None)
    thread.join()
    MEETING.clear()
    return numbers, made[0]


IMAGES = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(1))
WORK: dict[str, tuple[Callable[[], nn.Module], Callable[[nn.Module], Tensor]]] = {
    "dropout of the discriminator": (Meets, lambda model: trained(model, IMAGES)),
    "dropout in attention": (Attends, lambda model: trained(model, IMAGES)),
    "its first weights": (
        lambda: MeetsWhenMade(64, 64),
        lambda model: build_discriminator(model, (1, 8, 8)).body(IMAGES).detach(),
    ),
    "images that are read": (nn.Identity, lambda model: trained(model, MeetsWhenRead())),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", WORK.values(), ids=WORK.keys())
def test_what_the_user_draws_meanwhile_is_what_a_seed_gives(case: Any) -> None:
    middle, work = case
    model = with_fixed_weights(lambda: network(middle()))
    torch.manual_seed(11)
    numbers, made = drawn_beside(lambda: work(model))
    torch.manual_seed(11)
    assert numbers
    assert numbers == [float(torch.rand(())) for _ in numbers]
    assert torch.equal(made, work(model))  # nor does what the user draws change ours
