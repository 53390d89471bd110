"""Whole steps through recordings: the same chains, whatever is moved; and where they cannot be recorded, all the same.

A recording of operations on the CPU stands in for a CUDA graph: like that, it decides nothing again, and reads every
tensor where it lay.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.core.target import Info, Noise, State
from ldam_widget.execution import Plan
from ldam_widget.execution.operations import Operations
from ldam_widget.execution.whole_steps import WholeSteps
from ldam_widget.kernels import BAOAB, GHMC, MALA, ULA, Algorithm1, LeimkuhlerMatthews
from ldam_widget.pictures.images import on_host
from ldam_widget.sampling.heat import HeatPulse

from .conftest import UNSCALED, with_fixed_weights

THERE = torch.cuda.is_available()  # before a fixture hides it from tests that are not marked
KERNELS: dict[str, Any] = {
    "as printed": Algorithm1(),
    "plain gradients": Algorithm1(0.05, normalize="none"),
    "the program's": Algorithm1(0.05, normalize="rms", mix="convex", burst=3),
    "decaying": Algorithm1(ldam.PolynomialDecay(0.5), normalize="none"),
    "BAOAB": BAOAB(),
    "ULA": ULA(),
    "Leimkuhler-Matthews": LeimkuhlerMatthews(),
    "MALA": MALA(0.01),
    "MALA, own steps": MALA(),
    "GHMC": GHMC(0.1),
    "GHMC, own steps": GHMC(),
}
Made = Callable[[], ldam.Sampler]


def lenet(**given: Any) -> Made:
    demo = ldam.demo.mnist("final")
    plain = {"neurons": range(3), "chains": 2, "regularizers": [ldam.L2(0.1)], "warm_up": 6, "execution": "plain"}
    plain |= {"kernel": Algorithm1(), **UNSCALED}
    return lambda: ldam.Sampler(demo.model, **demo.settings | plain | given)


def recording(sampler: ldam.Sampler, record: Any = Operations) -> ldam.Sampler:
    """The sampler, as it is on a device where a step is one graph."""
    sampler._execution.prepare(sampler._chains.neurons)
    sampler._execution.decision = sampler._execution.decision._replace(plan=Plan(captured=True))
    sampler._whole_steps = WholeSteps(record, sampler._execution.marks)
    return sampler


def count(sampler: ldam.Sampler) -> int:
    """Recordings in use; they are not made anew when numbers change."""
    kinds = sampler._whole_steps._kinds.values()
    return sum(len(kind.recordings._kept) for kind in kinds if kind.recordings is not None)


class Counting(Operations):
    made_so_far = 0

    def __init__(self, program: Any) -> None:
        Counting.made_so_far += 1
        super().__init__(program)


@pytest.fixture(autouse=True)
def none_made() -> None:
    Counting.made_so_far = 0


def assert_alike(mine: ldam.Sampler, plain: ldam.Sampler) -> None:
    assert mine.steps == plain.steps
    torch.testing.assert_close(mine.images, plain.images, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(mine.average_images, plain.average_images, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(mine.activation, plain.activation, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_chains_are_the_same_and_numbers_are_followed(kernel: Any) -> None:
    """Every slider is moved, twice, and nothing is recorded anew for it."""
    made = lenet(kernel=kernel, scale="none")
    plain, mine = made(), recording(made(), Counting)
    for s in (plain, mine):
        s.step(12)  # with a warm-up, if there is one
    before = Counting.made_so_far
    assert before == count(mine) >= 1
    for share in (0.7, 0.5):
        for s in (plain, mine):
            now = {p.name: s.params[p.name] * share for p in s.kernel.parameters if _is_number(s.kernel, p.name)}
            s.set(**now, l2=0.1 * share, heat=1 + share)
            s.step(4)
    assert_alike(mine, plain)
    assert Counting.made_so_far == before
    assert not mine._whole_steps.failed
    if plain.acceptance is not None:
        torch.testing.assert_close(mine.acceptance, plain.acceptance, rtol=1e-3, atol=1e-3)


def _is_number(kernel: Any, name: str) -> bool:
    return name == "temperature" or isinstance(getattr(kernel, name), float)


SEVERAL = [Algorithm1(normalize="none"), BAOAB(), GHMC(0.1)]


@pytest.mark.parametrize("kernel", SEVERAL, ids=lambda kernel: kernel.name)
def test_scales_ladders_and_pulses(kernel: Any) -> None:
    made = lenet(kernel=kernel, scale="frozen", ladder=(1.0, 2.0, 4.0) if kernel.calibrated else None)
    plain, mine = made(), recording(made())
    for s in (plain, mine):
        s.step(20)
        s.heat_pulse(HeatPulse(3.0, 4, 4, 4))
        s.step(10)
    assert_alike(mine, plain)
    assert count(mine)
    assert not mine._whole_steps.failed


@pytest.mark.parametrize("kernel", [*SEVERAL, Algorithm1()], ids=lambda kernel: f"{kernel.name} {vars(kernel)}")
def test_a_discriminator_that_learns(kernel: Any) -> None:
    """Its weights are read where they lie; the neurons are left out for a while."""
    nets = [
        with_fixed_weights(lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 26**2, 1)))
        for _ in "ab"
    ]
    samplers = [lenet(kernel=kernel, scale="none", regularizers=[ldam.Discriminator(net, 0.5)])() for net in nets]
    plain, mine = samplers
    recording(mine)
    for s, net in zip(samplers, nets, strict=True):
        s.step(10)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.mul_(1.5)
        s.discriminator_changed()
        s.step(5)
        s.discriminator_only = True
        s.set(discriminator=0.2)
        s.step(5)
    assert_alike(mine, plain)
    assert count(mine) == 2
    assert not mine._whole_steps.failed


def test_states_are_nobody_else_s() -> None:
    """A picture that is kept stays what it is."""
    mine = recording(lenet(kernel=BAOAB())())
    mine.step(8)
    kept = mine.state
    before = [kept.x.clone(), kept.memory[0].clone()]
    mine.step(5)
    assert torch.equal(kept.x, before[0])
    assert torch.equal(kept.memory[0], before[1])


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
@pytest.mark.parametrize("scale", ["none", "frozen"])
def test_a_restart_repeats_the_run_to_the_last_bit(kernel: Any, scale: Any) -> None:
    if scale == "frozen" and not kernel.calibrated:
        scale = "none"
    s = recording(lenet(kernel=kernel, scale=scale)())
    images = s.step(14).images.clone()
    s.set(l2=0.0)
    s.step(2)
    s.set(l2=0.1)
    s.restart()
    assert torch.equal(s.step(14).images, images)
    assert count(s)


def test_another_discriminator_is_another_term() -> None:
    nets = [
        with_fixed_weights(lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 8), nn.ReLU(), nn.Linear(8, 1)), seed)
        for seed in (0, 1)
    ]
    made = lenet(kernel=BAOAB(), scale="none", regularizers=[ldam.Discriminator(nets[0], 1.0)])
    plain, mine = made(), recording(made())
    for s in (plain, mine):
        s.step(6)
        s.use_discriminator(ldam.Discriminator(nets[1], 1.0))
        s.step(6)
    assert_alike(mine, plain)


def test_a_term_that_comes_in_and_goes() -> None:
    """λ = 0 leaves it out: that is another kind of step, not another number."""
    made = lenet(kernel=BAOAB(), scale="none")
    plain, mine = made(), recording(made())
    for weight in (0.1, 0.0, 0.3, 0.0):
        for s in (plain, mine):
            s.set(l2=weight)
            s.step(5)
        assert_alike(mine, plain)
    for s in (plain, mine):
        s.set(temperature=0.0)
        s.step(5)
    assert_alike(mine, plain)


def test_other_neurons_and_another_kernel() -> None:
    made = lenet(kernel=BAOAB(), scale="none")
    plain, mine = made(), recording(made())
    for s in (plain, mine):
        s.step(6)
        s.select(None, [1, 4])
        s.step(6)
        s.use_kernel(ULA())
        s.step(6)
        s.restart(3)
        s.step(6)
    assert_alike(mine, plain)


# ---- what cannot be recorded -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Deciding(ULA):
    """Looks at numbers."""

    def step(self, state: State, target: Any, noise: Noise) -> tuple[State, Info]:
        after, info = super().step(state, target, noise)
        return (after._replace(x=after.x * 0.5), info) if float(after.x.max()) > 2 else (after, info)


@dataclass(frozen=True)
class Formatting(ULA):
    """Can do nothing with tensors."""

    def step(self, state: State, target: Any, noise: Noise) -> tuple[State, Info]:
        if not isinstance(self.step_size, float):
            raise TypeError("a number, please")
        return super().step(state, target, noise)


@dataclass(frozen=True)
class Otherwise(ULA):
    """Does something else with tensors."""

    def step(self, state: State, target: Any, noise: Noise) -> tuple[State, Info]:
        after, info = super().step(state, target, noise)
        return (after if isinstance(self.step_size, float) else after._replace(x=after.x + 1)), info


@dataclass(frozen=True)
class Moody(ULA):
    """Asks for more noise at every third step."""

    def step(self, state: State, target: Any, noise: Noise) -> tuple[State, Info]:
        if state.step % 3 == 0:
            noise.normal()
        return super().step(state, target, noise)


@dataclass(frozen=True, slots=True)
class Slotted:
    """Has no dictionary, and a list in its memory."""

    step_size: float = 0.05
    name: ClassVar[str] = "Slotted"
    calibrated: ClassVar[bool] = False
    needs_energy: ClassVar[bool] = False
    parameters: ClassVar[Any] = ULA.parameters

    def init(self, x: Tensor, target: Any) -> State:
        return ULA(self.step_size).init(x, target)._replace(memory=([1.0],))

    def step(self, state: State, target: Any, noise: Noise) -> tuple[State, Info]:
        after, info = ULA(self.step_size).step(state, target, noise)
        return after._replace(memory=([1.0],)), info

    def temperature(self, target: Any, step: int = 0) -> Any:
        return None

    def note(self, target: Any, step: int = 0) -> str:
        return "none"


@dataclass(frozen=True)
class Hasty(ULA):
    """Counts two steps for one."""

    def step(self, state: State, target: Any, noise: Noise) -> tuple[State, Info]:
        after, info = super().step(state, target, noise)
        return after._replace(step=state.step + 2), info


@dataclass(frozen=True)
class Counted(ULA):
    """Keeps a number of its own."""

    def step(self, state: State, target: Any, noise: Noise) -> tuple[State, Info]:
        after, info = super().step(state, target, noise)
        made = state.memory[0] + 1 if state.memory else 1
        return after._replace(x=after.x * (1 - 0.01 * (made % 2)), memory=(made,)), info


@pytest.mark.parametrize("kind", [Deciding, Formatting, Otherwise, Moody, Counted, Slotted, Hasty])
def test_what_cannot_be_recorded_is_run_as_it_is(kind: Any) -> None:
    made = lenet(kernel=kind(0.05), scale="none")
    plain, mine = made(), recording(made())
    for s in (plain, mine):
        s.step(12)
    assert torch.equal(mine.images, plain.images)
    assert mine._whole_steps.failed
    assert "failed here" in mine.execution_report


@dataclass(frozen=True, eq=False)
class Masked(ULA):
    """Has a tensor of its own."""

    mask: Any = None

    def step(self, state: State, target: Any, noise: Noise) -> tuple[State, Info]:
        after, info = super().step(state, target, noise)
        return after._replace(x=torch.lerp(state.x, after.x, self.mask)), info


def test_a_kernel_with_another_tensor_is_another() -> None:
    masks = [(torch.arange(28.0) < 9).float().expand(1, 28, 28), (torch.arange(28.0) > 20).float().expand(1, 28, 28)]
    made = lenet(kernel=Masked(0.05, masks[0]), scale="none")
    plain, mine = made(), recording(made())
    for s in (plain, mine):
        s.step(6)
        s.use_kernel(Masked(0.05, masks[1]))
        s.step(6)
    assert_alike(mine, plain)
    assert count(mine) == 2


def test_a_run_that_went_wrong_is_recorded_once_it_goes_right() -> None:
    s = recording(lenet(kernel=ULA(0.05), scale="none", pixel_range=None)())
    s.set(step_size=1000.0, l2=50.0)
    with pytest.raises(ldam.SamplingError):
        s.step(60)
    s.set(step_size=0.01, l2=0.1)
    s.restart()
    s.step(6)
    assert not s._whole_steps.failed
    assert count(s) == 1


def test_another_kernel_has_another_chance() -> None:
    mine = recording(lenet(kernel=Deciding(0.05), scale="none")())
    mine.step(4)
    assert mine._whole_steps.failed
    mine.use_kernel(ULA(0.05))
    mine.step(4)
    assert not mine._whole_steps.failed
    assert count(mine) == 1


def test_what_the_model_raises_is_its_own() -> None:
    """And a step that was not taken uses up no noise."""

    class Fault(nn.Module):
        broken: ClassVar[bool] = False

        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(16, 3)

        def forward(self, x: Tensor) -> Any:
            if Fault.broken:
                raise RuntimeError("the cat sat on the keyboard")
            return self.head(x.flatten(1))

    def made() -> ldam.Sampler:
        return ldam.Sampler(
            with_fixed_weights(Fault),
            input_shape=(1, 4, 4),
            kernel=BAOAB(),
            execution="plain",
            steps_per_frame=1,
            **UNSCALED,
        )

    plain, mine = made(), recording(made())
    for s in (plain, mine):
        s.step(6)
    (kind,) = mine._whole_steps._kinds.values()
    assert kind.recordings is not None
    kind.recordings._check_at = dict.fromkeys(kind.recordings._kept, 0.0)  # it is called again, to compare
    Fault.broken = True
    with pytest.raises(RuntimeError, match="keyboard"):
        mine.step()
    Fault.broken = False
    for s in (plain, mine):
        s.step(6)
    assert_alike(mine, plain)


def test_weights_are_followed() -> None:
    """In place: at once."""
    demo = ldam.demo.mnist("epoch1")
    model = demo.model
    settings = demo.settings | {"kernel": BAOAB(), "execution": "plain", **UNSCALED}
    mine = recording(ldam.Sampler(model, neurons=range(3), **settings))
    mine.step(6)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    mine.step(1)
    shown = mine.images.flatten(0, 1)
    expected = model(demo.settings["preprocess"](shown) if "preprocess" in demo.settings else shown)
    torch.testing.assert_close(mine.activation[:, 0], expected.diagonal().detach()[:3], rtol=1e-4, atol=1e-3)


def test_memory_that_runs_out_ends_the_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    made = lenet(kernel=BAOAB(), scale="none")
    plain, mine = made(), recording(made())
    for s in (plain, mine):
        s.step(6)
    (kind,) = mine._whole_steps._kinds.values()
    assert kind.recordings is not None
    (kept,) = kind.recordings._kept.values()

    def full() -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    kept.tape.replay = full  # type: ignore[method-assign]
    tape = weakref.ref(kept.tape)
    del kept, kind
    as_it_is = BAOAB.step

    def tight(*args: Any) -> Any:
        """Fits only when nothing is held."""
        if tape() is not None:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB")
        return as_it_is(*args)

    plain.step(6)
    monkeypatch.setattr(BAOAB, "step", tight)
    mine.step(6)
    monkeypatch.setattr(BAOAB, "step", as_it_is)
    assert_alike(mine, plain)
    assert count(mine) == 0


# ---- on a CUDA device ------------------------------------------------------------------------------------------------


@pytest.mark.skipif(THERE, reason="the real thing is there")
def test_a_graph_is_not_offered_without_a_device() -> None:
    s = lenet(execution="CUDA graph")()
    with pytest.raises(ValueError, match="does not fit"):
        s.step()


def on_device(**given: Any) -> tuple[ldam.Sampler, ldam.Sampler]:
    return lenet(device="cuda", **given)(), lenet(device="cuda", **given | {"execution": "CUDA graph"})()


def cuda(test: Any) -> Any:
    return pytest.mark.cuda(pytest.mark.skipif(not THERE, reason="needs a CUDA device")(test))


@cuda
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_chains_on_the_device_are_the_same(kernel: Any) -> None:
    plain, mine = on_device(kernel=kernel, scale="none")
    for share in (1.0, 0.7, 0.5):
        for s in (plain, mine):
            now = {p.name: s.params[p.name] * share for p in s.kernel.parameters if _is_number(s.kernel, p.name)}
            s.set(**now, l2=0.1 * share)
            s.step(8)
        torch.testing.assert_close(mine.images, plain.images, rtol=1e-3, atol=1e-3)
    assert mine.execution == "CUDA graph"
    assert not mine._whole_steps.failed
    assert count(mine) == 1


@cuda
def test_the_host_waits_for_no_step() -> None:
    _, mine = on_device(kernel=BAOAB(), scale="none")
    mine.step(6)
    state = mine.state
    (kind,) = mine._whole_steps._kinds.values()
    assert kind.recordings is not None
    kind.recordings._check_at = dict.fromkeys(kind.recordings._kept, math.inf)  # a comparison waits
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(20):
            state, _ = mine._whole_steps.step(mine.kernel, state, mine.target, mine._chains.noise)
    finally:
        torch.cuda.set_sync_debug_mode(before)
    assert count(mine) == 1


@cuda
def test_changed_weights_are_seen_on_the_device() -> None:
    demo = ldam.demo.mnist("epoch1")
    model = demo.model.cuda()
    settings = demo.settings | {"kernel": Algorithm1(), "temperature": 0.0}
    s = ldam.Sampler(model, execution="CUDA graph", device="cuda", **settings)
    s.step(6)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.3)
    s.step(1)
    expected = model(demo.settings["preprocess"](s.images.flatten(0, 1))).diagonal()
    torch.testing.assert_close(s.activation[:, 0], expected.detach(), rtol=1e-3, atol=1e-3)


@cuda
def test_what_cannot_be_captured_is_run_as_it_is_on_the_device() -> None:
    plain, mine = on_device(kernel=Deciding(0.05), scale="none")
    for s in (plain, mine):
        s.step(12)
    torch.testing.assert_close(mine.images, plain.images, rtol=1e-3, atol=1e-3)
    assert mine._whole_steps.failed
    mine.use_kernel(ULA(0.05))
    mine.step(6)
    assert count(mine) == 1


@cuda
def test_pictures_come_through_pinned_memory() -> None:
    on_gpu = torch.rand(3, 4, device="cuda")
    (copied,) = on_host(on_gpu)
    assert copied.is_pinned()
    torch.testing.assert_close(copied, on_gpu.cpu())
