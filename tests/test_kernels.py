"""What all kernels share: the same seed is the same chain, however it is stepped and whatever other chains run.

`law/` has their laws; this file needs no statistics.
"""

from __future__ import annotations

import asyncio
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget import kernels
from ldam_widget.core.noise import ChainNoise
from ldam_widget.core.target import NEURON, Target
from ldam_widget.kernels import BAOAB, GHMC, MALA, ULA, Algorithm1, LeimkuhlerMatthews, RegularisedAscent
from ldam_widget.objectives import L2
from ldam_widget.parametrizations import Pixels

from .conftest import TINY_SHAPE, TinyCnn, with_fixed_weights
from .law.harness import direction, gaussian

PLAIN: dict[str, tuple[Any, dict[str, Any]]] = {
    "Algorithm1": (Algorithm1(0.1, 0.05, 0.6), {}),
    "BAOAB": (BAOAB(0.3), {}),
    "GHMC": (GHMC(0.3), {}),
    "GHMC, own step": (GHMC(), {}),
    "MALA": (MALA(0.05), {}),
    "MALA, own step": (MALA(), {}),
    "Leimkuhler-Matthews": (LeimkuhlerMatthews(0.05), {}),
    "ULA": (ULA(0.05), {}),
    "RegularisedAscent": (RegularisedAscent(start_noise=50.0), {"pixel_range": (-10.0, 15.0), "temperature": None}),
}
WITH_MORE: dict[str, tuple[Any, dict[str, Any]]] = {
    "Algorithm1, scales": (Algorithm1(0.1, 0.05, 0.6, normalize="none"), {"scale": "frozen"}),
    "BAOAB, scales": (BAOAB(0.3), {"scale": "frozen"}),
    "MALA, own step, scales": (MALA(), {"scale": "frozen"}),
    "GHMC, own step, scales, box": (GHMC(), {"scale": "frozen", "pixel_range": (-1.0, 1.5)}),
    "BAOAB, ladder": (BAOAB(0.3), {"ladder": ldam.Ladder((1, 2, 4), every=3)}),
    "MALA, own step, ladder": (MALA(), {"ladder": ldam.Ladder((1, 2, 4), every=3)}),
    "GHMC, own step, ladder, scales": (GHMC(), {"ladder": ldam.Ladder((1, 2), every=1), "scale": "frozen"}),
    "ULA, ladder, box": (ULA(0.05), {"ladder": ldam.Ladder((1, 2), every=5), "pixel_range": (-1.0, 1.5)}),
}
SETTINGS = PLAIN | WITH_MORE
STEPS = 110  # more than the longest frame, and past the warm-up of 45, which no frame length divides


def sampler(name: str, model: nn.Module | None = None, **arguments: Any) -> ldam.Sampler:
    kernel, more = SETTINGS[name]
    defaults: dict[str, Any] = {
        "neurons": [0, 3], "input_shape": TINY_SHAPE, "chains": 2, "regularizers": [L2(0.5)], "temperature": 0.3,
        "scale": "none",
        "seed": 5, "warm_up": 45, "kernel": kernel,
    }  # fmt: skip
    return ldam.Sampler(with_fixed_weights(TinyCnn) if model is None else model, **{**defaults, **more, **arguments})


def everything(s: ldam.Sampler) -> list[Tensor]:
    """All that the future of the chains depends on, hot rungs included."""
    kept = [part for part in s.state.memory if isinstance(part, Tensor)]
    return [s.state.x, *kept, *s.target.scales.values(), s.images, s.activation]


def run(name: str, how: str, steps_per_frame: int) -> list[Tensor]:
    s = sampler(name, steps_per_frame=steps_per_frame)
    if how == "at once":
        s.step(STEPS)
    elif how == "by ones":
        for _ in range(STEPS):
            s.step()
    elif how == "unevenly":
        for n in (1, 7, 37, 2, 63):
            s.step(n)
    elif how == "frames":
        for _ in s.frames(STEPS):
            pass
    elif how == "restarted":
        s.step(13)
        s.restart()
        s.step(STEPS)
    else:

        async def consume() -> None:
            async for _ in s.stream(STEPS):
                pass

        asyncio.run(consume())
    assert s.steps == STEPS
    return everything(s)


def same(found: list[Tensor], expected: list[Tensor]) -> bool:
    return len(found) == len(expected) and all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("name", SETTINGS)
def test_same_seed_same_bits_however_they_are_stepped(name: str) -> None:
    expected = run(name, "at once", 1)
    for how, steps_per_frame in [
        ("by ones", 3), ("unevenly", 101), ("frames", 1), ("frames", 3), ("frames", 101), ("stream", 1), ("stream", 3),
        ("stream", 101), ("restarted", 3),
    ]:  # fmt: skip
        assert same(run(name, how, steps_per_frame), expected), (how, steps_per_frame)


@pytest.mark.parametrize("name", SETTINGS)
def test_another_seed_is_another_chain(name: str) -> None:
    one, other = sampler(name), sampler(name, seed=6)
    one.step(10)
    other.step(10)
    assert not (one.images == other.images).any(-1).any()


class Waves(nn.Module):
    """Σ w sin x and Σ w cos x: no matrix product, so that a row's bits do not depend on how many rows there are."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(direction(1, 24))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([(x.sin() * self.weight).sum(1), (x.cos() * self.weight).sum(1)], 1)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_chain_does_not_depend_on_how_many_there_are(name: str) -> None:
    """Chains 0 to 3 of 4 and of 64, of both neurons, after a warm-up, bit for bit."""
    few, many = (
        sampler(name, Waves(), neurons=[0, 1], input_shape=(24,), chains=chains, layer="") for chains in (4, 64)
    )
    for s in (few, many):
        s.step(90)
    assert few.scales == many.scales
    assert torch.equal(few.images, many.images[:, :4])
    assert torch.equal(few.activation, many.activation[:, :4])


@pytest.mark.parametrize("name", PLAIN)
def test_on_a_network_it_does_not_depend_on_it_either_but_for_rounding(name: str) -> None:
    """Convolutions and matrix products of another batch size may add up in another order: 1e-7 a step, which forty
    steps of a smooth network amplify a hundredfold at most. A chain that saw others' numbers would be off by 1."""
    few, many = sampler(name, chains=1), sampler(name, chains=16)
    for s in (few, many):
        s.step(40)
    torch.testing.assert_close(few.images, many.images[:, :1], rtol=1e-3, atol=1e-3)


# ---- declarations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", kernels.__all__)
def test_a_kernel_declares_what_it_has(name: str) -> None:
    """Its sliders are its fields (and the temperature, if it samples), in range by default, with words; and it is
    frozen."""
    kind = getattr(kernels, name)
    kernel = kind()
    assert is_dataclass(kernel)
    with pytest.raises(FrozenInstanceError):
        kernel.step_size = 1.0
    own = {field.name for field in fields(kernel)}
    live = [parameter.name for parameter in kernel.parameters]
    assert ("temperature" in live) == (kind is not RegularisedAscent)
    assert len(set(live)) == len(live)
    assert set(live) - {"temperature"} <= own
    for parameter in kernel.parameters:
        assert parameter.help
        assert parameter.check(parameter.default) == parameter.default
        if parameter.name in own:
            assert getattr(kernel, parameter.name) in (None, parameter.default)
    assert kind.__doc__
    assert "Cost:" in kind.__doc__
    assert isinstance(kernel.calibrated, bool)
    assert isinstance(kernel.needs_energy, bool)
    target = gaussian(direction(0, 3), 0.5, bounds=(0.0, 1.0))
    assert kernel.note(target)
    assert (kernel.temperature(target) == 0.5) == kernel.calibrated


@pytest.mark.parametrize("kind", [BAOAB, GHMC, MALA, ULA, LeimkuhlerMatthews], ids=lambda kind: kind.name)
@pytest.mark.parametrize("value", [0.0, -1.0, 1e9, float("nan"), float("inf")])
def test_parameters_out_of_range_are_refused(kind: Any, value: float) -> None:
    with pytest.raises(ValueError, match="step_size"):
        kind(step_size=value)
    with pytest.raises(TypeError, match="step_size"):
        kind(step_size="fast")
    if any(field.name == "friction" for field in fields(kind)):
        with pytest.raises(ValueError, match="friction"):
            kind(friction=value)


@pytest.mark.parametrize("kernel", [BAOAB(0.3), GHMC(0.3), MALA(0.05), ULA(0.05), LeimkuhlerMatthews(0.05)], ids=str)
def test_a_step_changes_nothing_in_place(kernel: Any) -> None:
    """A state may be read from another thread, in single and in double precision, with one temperature or many."""
    for dtype in (torch.float32, torch.float64):
        for temperature in (0.5, torch.full((3,), 0.5, dtype=torch.float64)):
            target = gaussian(direction(0, 4).to(dtype), temperature, bounds=(-2.0, 2.0))
            noise = ChainNoise(0, 1, 3, (4,), torch.device("cpu"))
            state = kernel.init(noise.start().to(dtype).clamp(-2, 2), target)
            for _ in range(5):
                parts = [state.x, *state.evaluation.grads.values(), *state.evaluation.values.values(), *state.memory]
                copies = [part.clone() for part in parts]
                new, _ = kernel.step(state, target, noise)
                assert all(torch.equal(part, copy) for part, copy in zip(parts, copies, strict=True))
                assert new.x.dtype == dtype
                assert new.step == state.step + 1
                state = new


@pytest.mark.parametrize("kernel", [BAOAB(0.3), GHMC(0.3), MALA(0.05), ULA(0.05), LeimkuhlerMatthews(0.05)], ids=str)
def test_one_gradient_a_step(kernel: Any) -> None:
    """As each docstring says: the last gradient is kept, the neuron is evaluated once a step and once at the start."""

    class Counting:
        calls = 0

        def evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
            self.calls += 1
            return x.sum(1), torch.ones_like(x)

    term = Counting()
    target = Target(
        {NEURON: term, "l2": L2()}, {NEURON: 1.0, "l2": 0.5}, 1.0, Pixels(None), energy_needed=kernel.needs_energy
    )
    noise = ChainNoise(0, 1, 3, (4,), torch.device("cpu"))
    state = kernel.init(noise.start(), target)
    for _ in range(10):
        state, info = kernel.step(state, target, noise)
        assert (info.acceptance is not None) == kernel.needs_energy
    assert term.calls == 11
    target = replace(target, temperature=3.0, weights={NEURON: 1.0, "l2": 0.1})
    kernel.step(state, target, noise)  # neither a slider of T nor of λ asks for a new one
    assert term.calls == 12


@pytest.mark.parametrize("kernel", [BAOAB(0.3), GHMC(0.3), MALA(0.05), ULA(0.05), LeimkuhlerMatthews(0.05)], ids=str)
def test_at_zero_temperature_it_climbs_to_the_top(kernel: Any) -> None:
    """T = 0 is activation maximisation: w/Λ exactly, whatever the noise. In double precision: Metropolis kernels that
    refuse every loss of energy stop where it is below the rounding of the energy, in single precision .1 away."""
    weight = direction(0, 4).double()
    target, noise = gaussian(weight, 0.0), ChainNoise(0, 1, 3, (4,), torch.device("cpu"))
    state = kernel.init(noise.start().double(), target)
    for _ in range(1000):
        state, _ = kernel.step(state, target, noise)
    torch.testing.assert_close(state.x, (weight / 0.5).expand(3, 4), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kernel", [MALA(0.05), GHMC(0.3)], ids=lambda kernel: kernel.name)
def test_a_proposal_that_is_not_a_number_is_refused(kernel: Any) -> None:
    """Beyond x = 1 the neuron is NaN, or infinite: no chain goes there, and none is spoiled by having looked."""
    for value in (float("nan"), float("-inf")):

        class Edge:
            beyond = value

            def evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
                outside = x.max(1).values > 1
                grad = torch.where(outside[:, None], torch.full_like(x, self.beyond), torch.ones_like(x))
                return torch.where(outside, torch.full_like(x[:, 0], self.beyond), x.sum(1)), grad

        target = Target({NEURON: Edge(), "l2": L2()}, {NEURON: 1.0, "l2": 0.5}, 1.0, Pixels(None))
        noise = ChainNoise(0, 1, 50, (2,), torch.device("cpu"))
        state = kernel.init(torch.zeros(50, 2), target)
        refused = 0
        for _ in range(200):
            state, info = kernel.step(state, target, noise)
            refused += int((info.acceptance == 0).sum())
            assert bool(state.x.isfinite().all())
            assert all(bool(part.isfinite().all()) for part in state.memory)
        assert refused > 50
        assert float(state.x.max()) <= 1
        assert float(state.x.std()) > 0.3
