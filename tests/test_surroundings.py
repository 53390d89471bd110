"""What a forward pass does beside its result, to random generators and weights; and what it finds around it."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.core import precision
from ldam_widget.network.view import allow_backward

from .conftest import with_fixed_weights

SHAPE = (1, 6, 6)

pytestmark = pytest.mark.filterwarnings("ignore::ldam_widget.LDAMWarning")


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(36, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.flatten(1))


def sampler(model: nn.Module, **settings: Any) -> ldam.Sampler:
    given: dict[str, Any] = {"input_shape": SHAPE, "neurons": [0, 3], "chains": 2, "device": "cpu", "warm_up": 2}
    return ldam.Sampler(model, **given | settings)


def alone(model: nn.Module, s: ldam.Sampler) -> Tensor:
    """The activations of the sampler's images by the user's model, one at a time; (neuron, chain)."""
    with torch.no_grad():
        pairs = zip((0, 3), s.images, strict=True)
        return torch.stack([torch.stack([model(x[None])[0, n] for x in own]) for n, own in pairs])


# ---- the user's random numbers ---------------------------------------------------------------------------------------


class Moves(Base):
    def __init__(self, draw: Callable[[], Any]) -> None:
        super().__init__()
        self.draw = draw

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.flatten(1) + self.draw())


def seeded() -> Tensor:
    torch.manual_seed(3)
    return torch.randn(36)


def seeded_by_the_generator() -> Tensor:
    return torch.randn(36, generator=torch.default_generator.manual_seed(3))


def forked() -> Tensor:
    with torch.random.fork_rng(devices=[]):
        return seeded()


def numpys() -> float:
    return float(np.random.rand())  # noqa: NPY002


def numpys_seeded() -> float:
    np.random.seed(3)  # noqa: NPY002
    return numpys()


def pythons_choice() -> int:
    return random.choice([0, 1, 2, 3])


# what it draws, whether the same image always gives the same activation, whose numbers it moves
MOVED: dict[str, tuple[Callable[[], Any], bool, str]] = {
    "seeds torch": (seeded, True, "torch"),
    "seeds torch's generator": (seeded_by_the_generator, True, "torch"),
    "seeds torch and puts it back": (forked, True, "torch"),
    "draws from numpy": (numpys, False, "numpy"),
    "seeds numpy": (numpys_seeded, True, "numpy"),
    "draws from Python": (pythons_choice, False, "Python"),
    "draws from Python, uniformly": (random.random, False, "Python"),
}


@contextmanager
def nothing_drawn() -> Iterator[None]:
    def states() -> list[Any]:
        return [torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()]  # noqa: NPY002

    before = states()
    yield
    assert states() == before


@pytest.mark.parametrize(("draw", "repeats", "whose"), MOVED.values(), ids=MOVED.keys())
def test_random_numbers_of_a_forward_pass_are_its_own(draw: Callable[[], Any], repeats: bool, whose: str) -> None:
    model = with_fixed_weights(lambda: Moves(draw))
    with nothing_drawn():
        s = sampler(model)
        s.step(3)
        ldam.layers(model, SHAPE)
    assert any(f"random numbers of {whose}:" in note for note in s.notes)
    assert any("draws random numbers" in note for note in s.notes) != repeats
    if repeats:
        torch.testing.assert_close(s.activation, alone(model, s), atol=1e-5, rtol=1e-4)


def test_what_another_thread_draws_is_not_blamed_on_the_pass() -> None:
    """numpy's state moves during the passes, and beside them."""
    stop = threading.Event()

    def draw() -> None:
        while not stop.is_set():
            numpys()
            stop.wait(1e-4)

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        found = [sampler(with_fixed_weights(Base)).notes for _ in range(5)]
    finally:
        stop.set()
        thread.join()
    assert not any("random numbers of numpy" in note for notes in found for note in notes)


# ---- writes that begin later -----------------------------------------------------------------------------------------


class LateCounter(Base):
    """Begins to count its calls in a buffer after a warm-up of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = [0]
        self.register_buffer("count", torch.zeros(()))

    def __deepcopy__(self, memo: dict[int, Any]) -> LateCounter:
        memo[id(self.calls)] = self.calls  # outside of what is restored
        new = self.__class__.__new__(self.__class__)
        memo[id(self)] = new
        nn.Module.__init__(new)
        new.calls = self.calls
        new.register_buffer("count", memo[id(self.count)])
        new.fc = nn.Linear(36, 5)
        new.fc._parameters = {name: memo[id(weight)] for name, weight in self.fc._parameters.items()}
        return new

    def forward(self, x: Tensor) -> Tensor:
        self.calls[0] += 1
        if self.calls[0] > 40:
            self.write()
        return super().forward(x)

    def write(self) -> None:
        self.count += 1


class LateNorm(LateCounter):
    """Enforces a norm of its weights in place, later on."""

    def write(self) -> None:
        with torch.no_grad():
            self.fc.weight.mul_(0.9)


@pytest.mark.parametrize("kind", [LateCounter, LateNorm])
@pytest.mark.parametrize("execution", ["plain", "auto"])
def test_writes_that_begin_later_are_undone(kind: type[LateCounter], execution: str) -> None:
    model = with_fixed_weights(kind)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    s = sampler(model, execution=execution)
    for _ in range(60):
        s.step(2)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert sum("at a later step, which was undone" in note for note in s.notes) == 1
    assert model.calls[0] > 100


def test_what_the_user_writes_is_no_late_write() -> None:
    model = with_fixed_weights(Base)
    s = sampler(model)
    s.step(2)
    with torch.no_grad():
        model.fc.weight.mul_(0.5)
        model.fc.bias.data.add_(1)
    weights = model.fc.weight.detach().clone()
    s.step(2)
    assert torch.equal(model.fc.weight, weights)
    assert not any("later step" in note for note in s.notes)
    torch.testing.assert_close(s.activation, alone(model, s), atol=1e-5, rtol=1e-4)


# ---- models that learn from what they see ----------------------------------------------------------------------------


class Tent(nn.Module):
    """Adapts a network to every batch, by the entropy of its answers; Wang et al., ICLR 2021."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36), nn.Linear(36, 5))
        self.optimizer = torch.optim.SGD(self.net.parameters(), 0.1)

    @torch.enable_grad()
    def forward(self, x: Tensor) -> Tensor:
        out = self.net(x)
        (-(out.softmax(1) * out.log_softmax(1)).sum(1).mean()).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return self.net(x)


class ByEngine(Tent):
    """The same by `torch.autograd.backward`, with an error handler of its own."""

    @torch.enable_grad()
    def forward(self, x: Tensor) -> Tensor:
        out = self.net(x)
        try:
            torch.autograd.backward([out.square().mean()])
        except Exception:
            return out
        self.optimizer.step()
        return self.net(x)


@pytest.mark.parametrize("kind", [Tent, ByEngine])
def test_models_that_adapt_are_refused(kind: type[Tent]) -> None:
    model = with_fixed_weights(kind)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"calls backward\(\) itself.*Give the network that it adapts"):
        sampler(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    sampler(model.net).step(2)


# ---- devices ---------------------------------------------------------------------------------------------------------


class MakesTensors(Base):
    """Its own tensors are made on the default device."""

    def forward(self, x: Tensor) -> Tensor:
        assert torch.zeros(1).device.type == torch.get_default_device().type
        self.seen = torch.get_default_device().type
        return super().forward(x)


@pytest.mark.parametrize("kernel", [ldam.kernels.BAOAB(), ldam.kernels.GHMC(), ldam.kernels.Algorithm1()])
def test_a_default_device_is_for_the_model_alone(kernel: Any) -> None:
    """ "meta" stands for "cuda": whatever of ours were made there would have no numbers."""
    models = [with_fixed_weights(Base), with_fixed_weights(MakesTensors)]
    plain = [sampler(model, kernel=kernel) for model in models]
    for s in plain:
        s.step(4)
    torch.set_default_device("meta")
    try:
        found = [sampler(model, kernel=kernel) for model in models]
        for s in found:
            s.step(4)
        assert len(ldam.layers(models[0], SHAPE)) == 1
        assert torch.get_default_device().type == "meta"
    finally:
        torch.set_default_device(None)
    for one, other in zip(plain, found, strict=True):
        torch.testing.assert_close(one.images, other.images)


@pytest.mark.parametrize(
    "settings",
    [
        {"kernel": ldam.kernels.BAOAB()},
        {"kernel": ldam.kernels.GHMC(), "pixel_range": (0, 1)},
        {"kernel": ldam.kernels.MALA()},
        {"kernel": ldam.kernels.Algorithm1()},
        {"kernel": ldam.kernels.BAOAB(), "ladder": (1.0, 2.0), "average": ldam.Window(3)},
    ],
    ids=["BAOAB", "GHMC", "MALA", "Algorithm 1", "ladder"],
)
def test_devices_without_double_precision(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Apple's GPUs, where float64 raises; here, whatever asks for it outside of numpy."""
    expected = sampler(with_fixed_weights(Base), **settings)
    expected.step(20)
    monkeypatch.setattr(precision, "has_double", lambda device: False)

    def no_double(self: Tensor) -> Tensor:
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64")

    monkeypatch.setattr(Tensor, "double", no_double)
    s = sampler(with_fixed_weights(Base), **settings)
    s.step(20)
    assert s.images.isfinite().all()
    if settings["kernel"].name in ("BAOAB", "Algorithm 1") and "ladder" not in settings:  # no uniform numbers
        torch.testing.assert_close(s.images, expected.images, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("make", [lambda: nn.LSTM(4, 4, 2, dropout=0.5), lambda: nn.GRU(4, 4)])
def test_cudnns_recurrent_layers_are_differentiable(make: Callable[[], nn.RNNBase]) -> None:
    """cuDNN has no backward pass in eval mode; in training mode without dropout the layer computes the same."""
    layer = with_fixed_weights(lambda: nn.Sequential(make()))
    x = torch.randn(3, 2, 4)
    expected = layer(x)[0]
    allow_backward(layer, torch.device("cpu"))
    assert not layer[0].training
    allow_backward(layer, torch.device("cuda"))
    assert layer[0].training
    assert not layer.training
    torch.testing.assert_close(layer(x)[0], expected, atol=0, rtol=0)
