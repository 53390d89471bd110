"""Random numbers of terms: a planted term R(x) = Σ u_k x_k over the first pixels, whose gradient is its numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

import ldam_widget as ldam
from ldam_widget.core.noise import ChainNoise
from ldam_widget.core.parameters import Parameter
from ldam_widget.core.target import NEURON
from ldam_widget.kernels import BAOAB, GHMC, MALA, ULA, Algorithm1

from .conftest import SIGMAS, TINY_SHAPE, TinyCnn, run_seed, with_fixed_weights

COUNT = 5  # numbers a chain and step
NET = with_fixed_weights(TinyCnn)


@dataclass(frozen=True)
class Slant:
    """R(x) = Σ u_k x_k; without random numbers its mean, u_k = ½."""

    weight: float = 0.3
    numbers: Any = COUNT

    name: ClassVar[str] = "slant"
    learned: ClassVar[bool] = False
    parameter: ClassVar[Parameter] = Parameter("slant", 1e-3, 10.0, 0.0, "Weight of a slanted plane.", zero=True)

    def evaluate(self, x: Tensor, numbers: Tensor | None = None) -> tuple[Tensor, Tensor]:
        slope = self.gradient(x, numbers)
        return (slope * x).flatten(1).sum(1), slope

    def gradient(self, x: Tensor, numbers: Tensor | None = None) -> Tensor:
        slope = torch.zeros_like(x)
        slope.flatten(1)[:, : self.numbers] = 0.5 if numbers is None else numbers.to(x.dtype)
        return slope


@dataclass(frozen=True)
class Tilt(Slant):
    """Another of its kind, which always gives its value, too."""

    name: ClassVar[str] = "tilt"
    parameter: ClassVar[Parameter] = Parameter("tilt", 1e-3, 10.0, 0.0, "Weight of another.", zero=True)
    gradient: Any = None

    def evaluate(self, x: Tensor, numbers: Tensor | None = None) -> tuple[Tensor, Tensor]:
        slope = Slant.gradient(self, x, numbers)
        return (slope * x).flatten(1).sum(1), slope


def sampler(
    kernel: Any = None, regularizers: Sequence[Any] = (Slant(),), neurons: Sequence[int] = (0, 2), **more: Any
) -> ldam.Sampler:
    plain = {"chains": 2, "pixel_range": (-1, 1), "prior": None, "scale": "none", "execution": "plain", "seed": 3}
    return ldam.Sampler(
        NET, input_shape=TINY_SHAPE, neurons=neurons, kernel=kernel or BAOAB(0.05), regularizers=regularizers,
        **plain | more,
    )  # fmt: skip


def numbers(s: ldam.Sampler, name: str = "slant") -> Tensor:
    """That the planted term was last given, (neuron, chain, COUNT)."""
    slope = s.state.evaluation.grads[name].flatten(1)[:, :COUNT]
    return slope.unflatten(0, (len(s.neurons), -1))  # type: ignore[no-untyped-call, no-any-return]


def drawn(s: ldam.Sampler, steps: int, name: str = "slant") -> Tensor:
    """(steps, neuron, chain, COUNT)"""
    return torch.stack([(s.step(1), numbers(s, name))[1] for _ in range(steps)])


@pytest.mark.statistical
@pytest.mark.parametrize("kernel", [BAOAB(0.05), ULA(0.01), Algorithm1()], ids=lambda kernel: kernel.name)
def test_numbers_are_uniform_and_differ_from_step_to_step(kernel: Any) -> None:
    """Mean and variance of 20,000 numbers, and the correlations of neighbours: between steps, neurons, chains, and the
    numbers of a chain. Six statements: false alarm 2e-7."""
    u = drawn(sampler(kernel, chains=20, seed=run_seed()), 100)
    assert 0 <= float(u.min()) <= float(u.max()) <= 1  # in float32 the largest may be rounded to 1
    assert len(u.flatten().unique()) > 0.99 * u.numel()
    centred = (u.double() - 0.5) * math.sqrt(12)
    assert abs(float(centred.mean())) < SIGMAS / math.sqrt(u.numel())
    assert abs(float(centred.square().mean()) - 1) < SIGMAS * math.sqrt(0.8 / u.numel())
    for axis in range(u.ndim):
        length = u.shape[axis]
        product = centred.narrow(axis, 0, length - 1) * centred.narrow(axis, 1, length - 1)
        assert abs(float(product.mean())) < SIGMAS / math.sqrt(product.numel()), axis


def test_value_and_gradient_are_those_of_the_numbers() -> None:
    s = sampler(regularizers=[Tilt()])
    assert torch.equal(numbers(s, "tilt"), torch.full((2, 2, COUNT), 0.5)), "without chance where chains begin"
    s.step(7)
    pixels = s.images.flatten(2)[:, :, :COUNT]
    value = s.state.evaluation.values["tilt"].view(2, 2)
    torch.testing.assert_close(value, (numbers(s, "tilt") * pixels).sum(2))


def test_a_chain_has_the_same_numbers_however_it_is_stepped_and_whatever_other_chains_run() -> None:
    expected = drawn(sampler(), 20)
    s = sampler()
    for n in (3, 16, 1):
        s.step(n)
    assert torch.equal(numbers(s), expected[-1])
    s.restart(seed=None)
    assert torch.equal(drawn(s, 20), expected), "a restart repeats them"
    assert torch.equal(drawn(sampler(neurons=[0], chains=1), 20), expected[:, :1, :1])
    assert torch.equal(drawn(sampler(neurons=[0, 2, 4], chains=3), 20)[:, :2, :2], expected)
    assert torch.equal(drawn(sampler(regularizers=[Tilt(), Slant()], transforms=ldam.Jitter(1)), 20), expected)
    assert not (drawn(sampler(seed=4), 20) == expected).any()


def test_chains_that_stay_keep_their_numbers() -> None:
    undisturbed = drawn(sampler(), 30)
    s = sampler()
    s.step(7)
    s.select(neurons=[4, 2])
    later = drawn(s, 23)
    assert torch.equal(later[:, 1], undisturbed[7:, 1])
    assert not torch.isin(later[:, 0], undisturbed).any(), "a new neuron has numbers that no other has had"


def test_two_terms_and_the_neuron_s_changes_have_streams_of_their_own() -> None:
    s = sampler(regularizers=[Slant(), Tilt()], transforms=ldam.Jitter(1))
    slant, tilt = zip(*((s.step(1), numbers(s), numbers(s, "tilt"))[1:] for _ in range(10)), strict=True)
    changes = ChainNoise(3, 2, 2, TINY_SHAPE, torch.device("cpu"))
    moved = torch.stack([changes.of_term(NEURON, 2) for _ in range(10)]).float()
    assert not torch.isin(torch.stack(slant), torch.stack(tilt)).any()
    assert not torch.isin(torch.stack(slant), moved).any()


def test_a_term_whose_weight_was_zero_for_a_while_is_where_it_would_be() -> None:
    expected, s = drawn(sampler(), 12), sampler()
    s.step(2)
    s.set(slant=0)
    s.step(5)
    s.set(slant=0.3)
    assert torch.equal(drawn(s, 5), expected[7:])


@pytest.mark.parametrize("more", [{"kernel": GHMC(0.1)}, {"kernel": MALA(0.01)}, {"ladder": (1, 2)}], ids=str)
def test_where_energies_are_needed_numbers_are_fixed_and_equal_for_all_chains(more: Any) -> None:
    s = sampler(**more)
    u = numbers(s)
    assert torch.equal(u, u[:1, :1].expand_as(u))
    assert len(u[0, 0].unique()) == COUNT
    s.step(1)
    assert torch.equal(numbers(s), u)
    s.select(neurons=[1, 2, 3])
    s.step(9)
    assert torch.equal(numbers(s), u[:1, :1].expand(3, -1, -1)[:, :1].expand_as(numbers(s)))


@pytest.mark.parametrize("kernel", [BAOAB(0.05), GHMC(0.1)], ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("execution", ["recorded", "banded convolutions, recorded"])
def test_a_recorded_network_sees_the_same_numbers(kernel: Any, execution: str) -> None:
    more: dict[str, Any] = {"transforms": ldam.Jitter(1)}
    plain, mine = sampler(kernel, **more), sampler(kernel, execution=execution, **more)
    assert torch.equal(drawn(mine, 15), drawn(plain, 15))
    torch.testing.assert_close(mine.images, plain.images, rtol=1e-4, atol=1e-4)


def test_a_step_that_failed_uses_no_numbers_up() -> None:
    noise = ChainNoise(0, 2, 2, (4,), torch.device("cpu"))
    noise.of_term("slant", 3)
    mark = noise.mark()
    ahead = [noise.of_term(name, 3).clone() for _ in range(20) for name in ("slant", "tilt")]
    noise.rewind(mark)
    again = [noise.of_term(name, 3).clone() for _ in range(20) for name in ("slant", "tilt")]
    assert torch.equal(torch.stack(ahead), torch.stack(again))


@dataclass(frozen=True)
class Still(Slant):
    """Draws nothing, and takes nothing."""

    numbers: Any = 0

    def evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return x.flatten(1).sum(1), torch.ones_like(x)

    gradient: Any = None


@pytest.mark.parametrize("kernel", [BAOAB(0.05), GHMC(0.1)], ids=lambda kernel: kernel.name)
def test_a_term_without_numbers_is_given_none(kernel: Any) -> None:
    s = sampler(kernel, [Still()])
    s.step(3)
    assert torch.equal(numbers(s), torch.ones(2, 2, COUNT))


@pytest.mark.parametrize("wrong", [-1, 2.5, "3", True, None])
def test_numbers_that_cannot_be_are_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"numbers of 'slant' must be .* integer ≥ 0; got"):
        sampler(regularizers=[Slant(numbers=wrong)])
