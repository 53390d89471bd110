"""The law of an expression over two layers: on a linear network with L2 it is a Gaussian around its filter."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.core.target import Kernel
from ldam_widget.kernels import BAOAB, MALA

from ..conftest import UNSCALED, run_seed, with_fixed_weights
from .harness import Departure

pytestmark = pytest.mark.statistical
NET = with_fixed_weights(lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 3)))
L2, TEMPERATURE, CHAINS = 0.5, 0.7, 400


def filter_of(t: float) -> Tensor:
    """∇f of (1 − t)·(2 conv_2(3, 3) − logit 1) + t·logit 0, by autograd."""
    x = torch.zeros(1, 1, 8, 8, requires_grad=True)
    conv, logits = NET[0](x)[0], NET(x)[0]
    (grad,) = torch.autograd.grad((1 - t) * (2 * conv[2, 3, 3] - logits[1]) + t * logits[0], x)
    return grad.flatten()


@pytest.mark.parametrize("kernel", [BAOAB(1.0, 1.0), MALA(0.4)], ids=str)
@pytest.mark.parametrize("execution", ["plain", "recorded"])
def test_the_law_and_how_it_moves_with_the_slider(kernel: Kernel, execution: str) -> None:
    """At t = 0, and after the slider has moved while the chains run. False alarm: 1.6e-7 per case."""
    s = ldam.Sampler(
        NET, neurons=["2*0:2@3,3 - 1 -> 0"], input_shape=(1, 8, 8), kernel=kernel, regularizers=[ldam.L2(L2)],
        chains=CHAINS, seed=run_seed(), execution=execution, **{**UNSCALED, "temperature": TEMPERATURE},
    )  # fmt: skip
    for t in (0.0, 0.8):
        s.set(interpolation=t)
        s.step(120 if kernel.name == "BAOAB" else 250)
        Departure.of(s.images.flatten(2)[0], filter_of(t) / L2, TEMPERATURE / L2).require_small()


def test_minus_a_neuron_is_around_minus_its_filter() -> None:
    """Two columns: false alarm 1.6e-7."""
    s = ldam.Sampler(
        NET, neurons=["2", "-2"], input_shape=(1, 8, 8), kernel=BAOAB(1.0, 1.0), regularizers=[ldam.L2(L2)],
        chains=CHAINS, seed=run_seed(), **{**UNSCALED, "temperature": TEMPERATURE},
    )  # fmt: skip
    x = torch.zeros(1, 1, 8, 8, requires_grad=True)
    (grad,) = torch.autograd.grad(NET(x)[0, 2], x)
    s.step(120)
    for column, sign in enumerate((1, -1)):
        mean = sign * grad.flatten() / L2
        Departure.of(s.images.flatten(2)[column], mean, TEMPERATURE / L2).require_small()
