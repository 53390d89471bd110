"""A model, and everything global, comes back as it was: after sampling, after an error, after an interruption."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ldam_widget as ldam

from .conftest import UNSCALED, with_fixed_weights

MEANWHILE: list[Callable[[], None]] = []  # run within the forward pass of `Meanwhile`, wherever it was copied to


class Meanwhile(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        for do in MEANWHILE:
            do()
        return x


class Touchy(nn.Module):
    """Everything that a careless sampler would change."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)
        self.norm = nn.BatchNorm2d(3)
        self.drop = nn.Dropout(0.5)
        self.meanwhile = Meanwhile()
        self.fc = nn.Linear(3 * 36, 4)
        self.register_buffer("seen", torch.zeros(2))
        self.conv.bias.requires_grad_(False)  # a user's choice
        self.fc.register_forward_hook(lambda *_: None)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.meanwhile(self.drop(self.norm(self.conv(x)).tanh())).flatten(1))


@pytest.fixture
def model() -> Iterator[nn.Module]:
    model = with_fixed_weights(Touchy)
    model(torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    model.train()
    model.conv.eval()  # modes differ between submodules
    yield model
    MEANWHILE.clear()


def look(model: nn.Module) -> dict[str, Any]:
    """All there is to see of a model: tensors bit by bit, their storage, flags, hooks, attributes."""
    seen: dict[str, Any] = {}
    for name, module in model.named_modules():
        hooks = {key: list(value) for key, value in vars(module).items() if key.endswith("hooks")}
        own = sorted(vars(module))
        seen[f"module {name}"] = (id(module), module.training, type(module), hooks, own)
    tensors = [*model.named_parameters(), *model.named_buffers()]
    for name, tensor in tensors:
        bits = tensor.detach().clone().numpy().tobytes()
        seen[f"tensor {name}"] = (id(tensor), tensor.data_ptr(), tensor.requires_grad, tensor.grad is None, bits)
    return seen


def look_around() -> dict[str, Any]:
    """What is global in torch, numpy and Python, and would be noticed elsewhere."""
    return {
        "default dtype": torch.get_default_dtype(),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "mkldnn": torch.backends.mkldnn.enabled,
        "cudnn": (torch.backends.cudnn.enabled, torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        "grad mode": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "function modes": torch.overrides._get_current_function_mode_stack(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "torch RNG": torch.get_rng_state().numpy().tobytes(),
        "numpy RNG": str(np.random.get_state()),  # noqa: NPY002  (the user may)
        "python RNG": random.getstate(),
        "printing": str(torch.get_printoptions()) if hasattr(torch, "get_printoptions") else "",
    }


def sampler(model: nn.Module, **options: Any) -> ldam.Sampler:
    # plain: a recording would not run `Meanwhile`
    plain = {"kernel": ldam.kernels.Algorithm1(), "execution": "plain"}
    defaults = {"input_shape": (1, 8, 8), "neurons": range(3), "chains": 2, **plain}
    return ldam.Sampler(model, **{**defaults, **UNSCALED, **options})


def sample(model: nn.Module) -> None:
    s = sampler(model)
    s.step(5)
    s.set(l2=0.3)
    s.select("conv", [1, "0@mean"])
    s.step(5)
    s.restart(1)


def sample_with_a_leak(model: nn.Module) -> None:
    sampler(model, leaky=0.1).step(5)


def list_layers(model: nn.Module) -> None:
    ldam.layers(model, (1, 8, 8))


def follow_wires(model: nn.Module) -> None:
    assert ldam.neurons_of(model, 1, 3, input_shape=(1, 8, 8)).layer == "norm"


def look_at_activations(model: nn.Module) -> None:
    x = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert len(ldam.activations(model, x)) == 5
    assert ldam.activations(model, x, ["fc", "conv"])["fc"].shape == (2, 4)
    with pytest.raises(ValueError, match="unknown layer"):
        ldam.activations(model, x, ["nonsense"])
    with pytest.raises(RuntimeError):
        ldam.activations(model, x[:, :, :4])


def survey_images(model: nn.Module) -> None:
    x = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    survey = ldam.survey(model, x, device="cpu", progress=False)
    survey.crops("conv", 0)
    survey.crops("fc", 0, "deconv")
    with pytest.raises(ValueError, match="unknown layer"):
        ldam.survey(model, x, ["nonsense"], progress=False)


def refuse(model: nn.Module) -> None:
    with pytest.raises(ValueError, match="does not fit the model"):
        sampler(model, input_shape=(1, 9, 9))
    with pytest.raises(ValueError, match="unknown layer"):
        sampler(model, layer="nonsense")


def diverge(model: nn.Module) -> None:
    s = sampler(model, kernel=ldam.kernels.Algorithm1(1e3, normalize="none"), regularizers=[ldam.L2(100)])
    with pytest.raises(ldam.SamplingError):
        s.step(200)


def raising(error: BaseException) -> Callable[[nn.Module], None]:
    def run(model: nn.Module) -> None:
        s = sampler(model)
        s.step(3)
        MEANWHILE.append(lambda: (_ for _ in ()).throw(error))
        with pytest.raises(type(error)):
            s.step(3)
        with pytest.raises((type(error), ValueError)):
            sampler(model)
        with pytest.raises((type(error), ValueError)):
            ldam.layers(model, (1, 8, 8))

    return run


RUNS: dict[str, Callable[[nn.Module], None]] = {
    "sampling": sample,
    "sampling with a leak": sample_with_a_leak,
    "layers": list_layers,
    "wiring": follow_wires,
    "activations": look_at_activations,
    "survey": survey_images,
    "refused arguments": refuse,
    "divergence": diverge,
    "an error of the model's": raising(ArithmeticError("of the model's")),
    "KeyboardInterrupt": raising(KeyboardInterrupt()),
}


@pytest.mark.filterwarnings("ignore::ldam_widget.LDAMWarning")
@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS.keys())
def test_all_is_as_it_was_after(model: nn.Module, run: Callable[[nn.Module], None]) -> None:
    torch.get_num_threads()
    before, around = look(model), look_around()
    run(model)
    assert look_around() == around
    assert look(model) == before


@pytest.mark.filterwarnings("ignore::ldam_widget.LDAMWarning")
def test_the_comparison_sees_a_touch(model: nn.Module) -> None:
    """The control: each of these would be noticed."""

    def touch_buffer() -> None:
        model.norm.running_mean.add_(1e-6)

    def touch_grad() -> None:
        model.fc(torch.ones(1, 108)).sum().backward()

    touches: list[Callable[[], Any]] = [
        model.drop.eval,
        touch_buffer,
        touch_grad,
        lambda: model.conv.bias.requires_grad_(True),
        lambda: model.conv.register_forward_hook(lambda *_: None),
        lambda: setattr(model.conv, "weight", nn.Parameter(model.conv.weight.clone())),
        lambda: setattr(model, "ldam", 1),
    ]
    for touch in touches:
        before = look(model)
        touch()
        assert look(model) != before, touch
    around = look_around()
    torch.rand(1)
    assert look_around() != around


def test_training_mode_is_reported_once_and_sampled_in_eval_mode(model: nn.Module) -> None:
    with pytest.warns(ldam.LDAMWarning, match=r"training mode \(norm and 1 more\).*eval mode") as caught:
        s = sampler(model)
    assert len(caught) == 1
    assert s.notes == [str(caught[0].message)]
    other = sampler(with_fixed_weights(lambda: model).eval())
    assert other.notes == []
    assert torch.equal(s.step(20).images, other.step(20).images)  # no dropout, no statistics of the batch


def test_training_mode_that_makes_no_difference_is_not_reported(recwarn: pytest.WarningsRecorder) -> None:
    s = ldam.Sampler(nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)).train(), input_shape=(6,))
    assert s.notes == []
    assert not [w for w in recwarn if isinstance(w.message, ldam.LDAMWarning)]


def test_weights_are_shared_and_not_copied(linear: nn.Module) -> None:
    s = ldam.Sampler(linear, input_shape=(6,))
    own = {p.data_ptr() for p in linear.parameters()}
    shared = {p.data_ptr() for p in s.view.parameters()}
    assert shared == own


def test_changed_buffers_are_seen_at_once() -> None:
    """Running statistics move while the user's model trains."""
    model = with_fixed_weights(lambda: nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4)))
    s = ldam.Sampler(model, input_shape=(6,), kernel=ldam.kernels.Algorithm1())
    s.step(2)
    model[1].running_mean.add_(5)
    frame = s.step(2)
    activation = model(frame.images[:, 0]).detach().diagonal()
    torch.testing.assert_close(frame.activation[:, 0], activation)


def in_place(model: nn.Module) -> None:
    with torch.no_grad():
        model.weight.mul_(-2)


def by_loading(model: nn.Module) -> None:
    model.load_state_dict({"weight": -2 * model.weight.detach()})


def by_optimiser(model: nn.Module) -> None:
    model.weight.grad = 3 * model.weight.detach()
    torch.optim.SGD(model.parameters(), lr=1.0).step()  # w − 3w


@pytest.mark.parametrize("change", [in_place, by_loading, by_optimiser])
def test_changed_weights_are_seen_at_once(linear: nn.Module, change: Callable[[nn.Module], None]) -> None:
    s = ldam.Sampler(linear, input_shape=(6,), neurons=range(4), kernel=ldam.kernels.Algorithm1())
    s.step(2)
    change(linear)
    frame = s.step(2)
    activation = linear(frame.images[:, 0]).detach().diagonal()
    torch.testing.assert_close(frame.activation[:, 0], activation)


@pytest.mark.filterwarnings("ignore::ldam_widget.LDAMWarning")
def test_an_optimiser_step_between_our_forward_and_backward_pass_does_no_harm(model: nn.Module) -> None:
    """As when the model trains in another thread: autograd must not count the user's in-place changes as ours."""
    s = sampler(model)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = s.activation
    MEANWHILE.append(optimiser.step)
    MEANWHILE.append(lambda: model.norm.running_mean.add_(0.1))
    s.step(3)
    assert bool(s.activation.isfinite().all())
    assert not torch.equal(s.activation, before)


@pytest.mark.filterwarnings("ignore::ldam_widget.LDAMWarning")
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_an_interruption_costs_nothing(model: nn.Module, steps: int) -> None:
    """The steps that were not finished are taken again with the same noise: the run is as if nothing had happened."""
    straight, broken = sampler(model, steps_per_frame=5), sampler(model, steps_per_frame=5)
    straight.step(60)
    broken.step(30)  # the numbers of 16 steps are drawn together: five steps from here need another block
    images, average = broken.images.clone(), broken.average_images.clone()
    count = [0]

    def interrupt() -> None:
        count[0] += 1
        if count[0] == steps:
            raise KeyboardInterrupt

    MEANWHILE.append(interrupt)
    with pytest.raises(KeyboardInterrupt):
        broken.step(30)
    MEANWHILE.clear()
    assert broken.steps == 30
    assert torch.equal(broken.images, images)
    assert torch.equal(broken.average_images, average)
    broken.step(30)
    assert torch.equal(broken.images, straight.images)
    assert torch.equal(broken.average_images, straight.average_images)
