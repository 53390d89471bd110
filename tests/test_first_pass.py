"""The user's model is never changed, whatever its forward pass writes; and then it is still sampled correctly."""

from __future__ import annotations

import copy
import functools
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ldam_widget as ldam

from .conftest import with_fixed_weights

SHAPE = (1, 6, 6)
OUTSIDE: list[Any] = []  # what hooks and closures of the models below refer to
COLLECTED: list[Tensor] = []


def sample(model: nn.Module, steps: int = 4, **options: Any) -> ldam.Sampler:
    s = ldam.Sampler(model, input_shape=SHAPE, neurons=[0, 2], chains=2, device="cpu", **options)
    s.step(steps)
    return s


def state(model: nn.Module) -> dict[str, bytes]:
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return {name: tensor.detach().numpy().tobytes() for name, tensor in tensors}


class Base(nn.Module):
    """(N, 1, 6, 6) -> (N, 4), with something on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.fc = nn.Linear(36, 8), nn.Linear(8, 4)

    def between(self, h: Tensor) -> Tensor:
        return h

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.between(self.stem(x.flatten(1)).tanh()))


# ---- what a pass writes ----------------------------------------------------------------------------------------------


class Counter(Base):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("passes", torch.zeros((), dtype=torch.long))

    def between(self, h: Tensor) -> Tensor:
        self.passes += 1
        return h


class OwnStatistics(Base):
    """Batch norm that goes on learning, whatever mode it is in; of the map, so that one image is enough."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1))
        self.register_buffer("var", torch.ones(1))

    def between(self, h: Tensor) -> Tensor:
        return F.batch_norm(h[:, None], self.mean, self.var, training=True)[:, 0]


class Observed(Base):
    """As quantisation observers do."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("low", torch.tensor(float("inf")))
        self.register_buffer("high", torch.tensor(float("-inf")))

    def between(self, h: Tensor) -> Tensor:
        self.low.copy_(torch.minimum(self.low, h.detach().min()))
        self.high.copy_(torch.maximum(self.high, h.detach().max()))
        return h


class MaxNorm(Base):
    def between(self, h: Tensor) -> Tensor:
        self.fc.weight.data.renorm_(2, 0, 0.05)
        return h


class Queue(Base):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("queue", torch.zeros(5, 8))

    def between(self, h: Tensor) -> Tensor:
        self.queue = torch.cat([h.detach()[:1], self.queue])[:5]
        self.queue[3] += 1
        return h


class PlainTensor(Base):
    """A tensor that is neither a parameter nor a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = {"seen": [torch.zeros(8)]}

    def between(self, h: Tensor) -> Tensor:
        self.kept["seen"][0].add_(h.detach()[0])
        return h


WRITERS: list[type[Base]] = [Counter, OwnStatistics, Observed, MaxNorm, Queue, PlainTensor]


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.filterwarnings("ignore::ldam_widget.LDAMWarning")
def test_nothing_is_written_into_the_users_model(kind: type[Base]) -> None:
    model = with_fixed_weights(kind)
    before, plain = state(model), copy.deepcopy(getattr(model, "kept", None))
    s = sample(model)
    s.select("stem", [1])
    s.step(3)
    ldam.layers(model, SHAPE)
    ldam.activations(model, torch.rand(2, *SHAPE))
    assert state(model) == before
    assert str(getattr(model, "kept", None)) == str(plain)


@pytest.mark.parametrize("kind", [Counter, Observed, MaxNorm])
def test_the_activation_is_that_of_the_users_model(kind: type[Base]) -> None:
    model = with_fixed_weights(kind)
    s = sample(model)
    expected = copy.deepcopy(model).eval()(s.images[1]).detach()
    torch.testing.assert_close(s.activation[1], expected[:, 2], atol=1e-5, rtol=1e-5)


def test_what_the_user_writes_into_a_tensor_that_passes_write_still_counts() -> None:
    model = with_fixed_weights(MaxNorm)
    s = sample(model)
    with torch.no_grad():
        model.fc.weight.zero_()
        model.fc.bias.fill_(0.5)
    s.step(1)
    torch.testing.assert_close(s.activation, torch.full((2, 2), 0.5))


def test_weights_that_no_pass_writes_are_shared() -> None:
    model = with_fixed_weights(Counter)
    s = sample(model)
    places = {id(t): t.data_ptr() for t in model.parameters()}
    assert {t.data_ptr() for t in s.view.parameters()} == set(places.values())


# ---- state between calls ---------------------------------------------------------------------------------------------


class Leaky(Base):
    """A cell that integrates what it is given, as spiking networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.membrane: Tensor | None = None

    def between(self, h: Tensor) -> Tensor:
        past = 0.0 if self.membrane is None or self.membrane.shape != h.shape else self.membrane
        self.membrane = 0.9 * past + h
        return self.membrane


class Holder:
    def __init__(self) -> None:
        self.values: dict[str, Tensor] = {}


class Elsewhere(Base):
    """The same, in a helper."""

    def __init__(self) -> None:
        super().__init__()
        self.holder = [Holder()]

    def between(self, h: Tensor) -> Tensor:
        past = self.holder[0].values.get("h")
        self.holder[0].values["h"] = h if past is None or past.shape != h.shape else h + past.detach()
        return self.holder[0].values["h"]


class Momentum(Base):
    """In a buffer: the output follows an average over calls."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(8))

    def between(self, h: Tensor) -> Tensor:
        self.centre.lerp_(h.detach().mean(0), 0.5)
        return h - self.centre


@pytest.mark.parametrize("kind", [Leaky, Elsewhere])
def test_every_pass_starts_from_the_users_state(kind: type[Base]) -> None:
    model = with_fixed_weights(kind)
    with pytest.warns(ldam.LDAMWarning, match="keeps a state between calls"):
        s = sample(model, 9)
    alone = copy.deepcopy(model).eval()
    torch.testing.assert_close(s.activation[0], alone(s.images[0]).detach()[:, 0], atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings("ignore::ldam_widget.LDAMWarning")
def test_state_in_a_buffer_is_the_users() -> None:
    model = with_fixed_weights(Momentum)
    with torch.no_grad():
        model.centre.fill_(0.3)
    before = state(model)
    s = ldam.Sampler(model, input_shape=SHAPE, neurons=[0], device="cpu").step(5)
    torch.testing.assert_close(s.activation[0], copy.deepcopy(model)(s.images[0]).detach()[:, 0])
    assert state(model) == before


class Diary(Base):
    """It keeps every output in a growing list."""

    def __init__(self) -> None:
        super().__init__()
        self.diary: list[Tensor] = []
        self.last: deque[Tensor] = deque(maxlen=3)

    def between(self, h: Tensor) -> Tensor:
        self.diary.append(h)
        self.last.append(h)
        return h


def test_what_grows_with_every_pass_does_not_grow() -> None:
    model = with_fixed_weights(Diary)
    model(torch.rand(3, *SHAPE))
    s = sample(model, 50)
    assert (len(model.diary), len(model.last)) == (1, 1)
    assert len(s.view.diary) <= 2
    assert s.notes == []


# ---- chance ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("draw", [lambda h: F.dropout(h, 0.5), lambda h: h + torch.randn_like(h)])
def test_randomness_in_the_forward_pass_is_reported(draw: Callable[[Tensor], Tensor]) -> None:
    model = with_fixed_weights(Base)
    model.between = draw
    before = torch.get_rng_state()
    with pytest.warns(ldam.LDAMWarning, match="draws random numbers"):
        s = sample(model, kernel=ldam.kernels.GHMC(0.1))
    assert torch.equal(torch.get_rng_state(), before), "the user's random numbers"
    assert s.kernel_note == "the same image gives different activations from call to call: no known law"
    assert not s.has_law


# ---- closures, and references from outside ---------------------------------------------------------------------------


class Closure(Base):
    """The pass goes through a function that was made in `__init__`, and so holds the original."""

    def __init__(self, make: Callable[[Base], Any]) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(8)
        self.pre = make(self)

    def between(self, h: Tensor) -> Tensor:
        pre = self.pre
        while isinstance(pre, (list, dict)):
            pre = pre[0]
        return pre(h)


MADE: dict[str, Callable[[Any], Any]] = {
    "closure": lambda self: lambda h: self.norm(h),
    "in a list": lambda self: [lambda h: self.norm(h)],
    "in a dict": lambda self: {0: [lambda h: self.norm(h)]},
    "nested": lambda self: (lambda inner: lambda h: inner(h))(lambda h: self.norm(h)),
    "default argument": lambda self: lambda h, norm=self.norm: norm(h),
    "partial": lambda self: functools.partial(_through, self.norm),
    "bound method": lambda self: self.norm.forward,
    "list in the closure": lambda self: (lambda parts: lambda h: parts[0](h))([self.norm]),
}


def _through(norm: nn.Module, h: Tensor) -> Tensor:
    return norm(h)


@pytest.mark.parametrize("make", MADE.values(), ids=MADE.keys())
def test_closures_hold_the_copy(make: Callable[[Any], Any]) -> None:
    model = with_fixed_weights(lambda: Closure(make)).train()
    before, hooked = state(model), []
    model.norm.register_forward_pre_hook(lambda *_: hooked.append(1) if torch.is_tensor(_[1][0]) else None)
    with pytest.warns(ldam.LDAMWarning, match="training mode"):
        s = sample(model)
    assert state(model) == before, "batch norm of the original has seen our images"
    assert s.view.norm.training is False
    expected = model.fc(F.batch_norm(model.stem(s.images[0].flatten(1)).tanh(), model.norm.running_mean,
                                     model.norm.running_var, model.norm.weight, model.norm.bias))  # fmt: skip
    torch.testing.assert_close(s.activation[0], expected[:, 0].detach(), atol=1e-5, rtol=1e-5)


def test_a_module_that_is_found_from_outside_is_refused() -> None:
    model = with_fixed_weights(lambda: Closure(lambda self: lambda h: OUTSIDE[-1].norm(h))).train()
    OUTSIDE.append(model)
    before = state(model)
    with pytest.raises(ValueError, match="runs 'norm' of your own model, not of the private copy"):
        sample(model)
    assert state(model) == before
    OUTSIDE.clear()


# ---- hooks -----------------------------------------------------------------------------------------------------------


def test_hooks_that_collect_are_not_run() -> None:
    model = with_fixed_weights(Base)
    inside: list[Tensor] = []
    model.notes = []  # type: ignore[assignment]
    model.stem.register_forward_hook(lambda *call: COLLECTED.append(call[2]))
    model.fc.register_forward_hook(lambda *call: inside.append(call[2]))
    model.fc.register_forward_hook(lambda *call: model.notes.append(call[2]))  # type: ignore[operator]
    model.fc.register_full_backward_hook(lambda *call: inside.append(call[2]))
    sample(model, 20)
    ldam.layers(model, SHAPE)
    ldam.activations(model, torch.rand(2, *SHAPE))
    assert (len(COLLECTED), len(inside), len(model.notes)) == (0, 0, 0)
    model(torch.rand(2, *SHAPE))
    assert (len(COLLECTED), len(inside), len(model.notes)) == (1, 1, 1), "the user's own calls are as ever"
    COLLECTED.clear()
    sample(model, 2)  # outputs that hang on the model, with a gradient


@pytest.mark.parametrize(
    "hook",
    [lambda *call: 2 * call[2], lambda *call: (call[2].mul_(2), None)[1]],
)
def test_hooks_that_change_the_output_are_run(hook: Any) -> None:
    model = with_fixed_weights(Base)
    plain = copy.deepcopy(model)
    model.stem.register_forward_hook(hook)
    s = sample(model)
    expected = plain.fc((2 * plain.stem(s.images[0].flatten(1))).tanh())
    torch.testing.assert_close(s.activation[0], expected[:, 0].detach(), atol=1e-5, rtol=1e-5)


# ---- what hangs on a model -------------------------------------------------------------------------------------------


def baggage(model: Any) -> None:
    output = model.stem(torch.rand(2, 36))  # not a leaf of the graph
    model.cache = {"h": output, "list": [output, (output,)]}
    model.helper = Holder()
    model.helper.values["h"] = output
    model.lock, model.condition = threading.Lock(), threading.Condition()
    model.generator, model.numbers = torch.Generator(), (i for i in range(3))
    model.file = open(__file__)  # noqa: SIM115
    model.package = torch


def test_attributes_of_any_kind_are_no_obstacle() -> None:
    model = with_fixed_weights(Base)
    baggage(model)
    s = sample(model)
    assert s.view.cache["h"].requires_grad is False
    assert model.cache["h"].requires_grad is True
    torch.testing.assert_close(s.activation[0], model(s.images[0])[:, 0].detach(), atol=1e-5, rtol=1e-5)
    model.file.close()


def test_buffers_may_be_infinite_and_weights_may_not() -> None:
    model = with_fixed_weights(Base)
    model.register_buffer("mask", torch.full((3, 3), float("-inf")).triu(1))
    model.register_buffer("best_loss", torch.tensor(float("inf")))
    sample(model)
    model.norm = nn.BatchNorm1d(3)
    model.norm.running_var[1] = float("nan")
    with pytest.raises(ValueError, match=r"'norm\.running_var' holds 1 NaN"):
        sample(model)


class FullyShardedDataParallel(nn.Module):
    """Of that name."""


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "lazy": (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(4)), "has no shape yet; pass a batch"),
    "quantised": (
        lambda: torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Flatten(), nn.Linear(36, 4)), {nn.Linear}),
        "is quantised .*Give the floating-point model",
    ),
    "sharded": (lambda: nn.Sequential(FullyShardedDataParallel()), "is sharded"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(("make", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_sampled_is_refused_with_the_reason(make: Callable[[], nn.Module], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        sample(make())


# ---- what a closer look found ----------------------------------------------------------------------------------------


class Peak(Base):
    """It writes what is there already, unless an image exceeds it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("peak", torch.tensor(1e-6))
        self.peak.fill_(3.0)

    def between(self, h: Tensor) -> Tensor:
        self.peak.copy_(torch.maximum(self.peak, 10 * h.detach().abs().max()))
        return h


class Clamped(Base):
    def between(self, h: Tensor) -> Tensor:
        self.fc.weight.data.clamp_(-1, 1)
        return h


class Reassigned(Base):
    """As EEGNet's max-norm: new data, even if the norm does not bind."""

    def between(self, h: Tensor) -> Tensor:
        self.fc.weight.data = torch.renorm(self.fc.weight.data, 2, 0, 5.0)
        return h


@pytest.mark.parametrize("kind", [Peak, Clamped, Reassigned])
def test_writes_that_change_nothing_at_first(kind: type[Base]) -> None:
    model = with_fixed_weights(kind)
    s = sample(model, 20)
    before = state(model)
    with torch.no_grad():
        model.fc.weight.mul_(3)
    after = state(model)
    s.step(3)
    assert state(model) == after
    assert after != before
    torch.testing.assert_close(s.activation[0], copy.deepcopy(model)(s.images[0]).detach()[:, 0], atol=1e-4, rtol=1e-4)


class Recorder:
    def __init__(self) -> None:
        self.seen: list[Any] = []


@pytest.mark.parametrize("kind", ["pre-hook", "active hook"])
def test_what_the_users_hooks_collect_is_the_users(kind: str) -> None:
    model, seen, recorder, count = with_fixed_weights(Base), [], Recorder(), 0

    def before(_: nn.Module, inputs: Any) -> None:
        nonlocal count
        count += 1
        seen.append(inputs[0].shape)
        OUTSIDE.append(inputs[0])

    def after(_: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        recorder.seen.append(inputs[0].shape)
        before(_, inputs)
        return 2 * output

    if kind == "pre-hook":
        model.stem.register_forward_pre_hook(before)
    else:
        model.stem.register_forward_hook(after)
    s = sample(model)
    for _ in range(3):
        model(torch.rand(7, *SHAPE))
    s.step(2)
    ldam.layers(model, SHAPE)
    assert len(seen) == len(OUTSIDE) == count == 3
    assert len(recorder.seen) == (0 if kind == "pre-hook" else 3)
    torch.testing.assert_close(s.activation[0], model(s.images[0])[:, 0].detach(), atol=1e-5, rtol=1e-5)
    OUTSIDE.clear()


def test_a_data_set_on_the_model_hides_nothing() -> None:
    model = with_fixed_weights(Leaky)
    wrapped = nn.Sequential(nn.Sequential(nn.Sequential(model)))
    wrapped.dataset = [(f"image{i}.png", i % 10) for i in range(60_000)]  # type: ignore[assignment]
    with pytest.warns(ldam.LDAMWarning, match="keeps a state between calls"):
        s = sample(wrapped)
    torch.testing.assert_close(s.activation[0], copy.deepcopy(model)(s.images[0]).detach()[:, 0], atol=1e-5, rtol=1e-5)


class Counted(Base):
    """A state that is not torch's."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = iter(range(10**9))

    def between(self, h: Tensor) -> Tensor:
        return h * (1 + 0.01 * next(self.calls))


def test_a_state_that_cannot_be_restored_is_reported() -> None:
    with pytest.warns(ldam.LDAMWarning, match="a state that cannot be restored"):
        s = sample(with_fixed_weights(Counted))
    assert not s.has_law


def test_a_denoiser_and_receptive_fields_change_nothing() -> None:
    class Identity(Counter):
        def forward(self, x: Tensor) -> Tensor:
            self.passes += 1
            return x

    net, model = Identity(), with_fixed_weights(Counter)
    before, own = state(net), state(model)
    sample(with_fixed_weights(Base), regularizers=[ldam.Denoiser(net, 0.1, 0.1)], prior=None)
    ldam.receptive_field(model, "stem", SHAPE)
    assert (state(net), state(model)) == (before, own)


def test_a_hook_that_holds_itself() -> None:
    model, left = with_fixed_weights(Base), [2]

    def hook(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return hook(module, inputs, output) if left and left.pop() > 2 else 2 * output

    model.stem.register_forward_hook(hook)
    sample(model)
    assert left == [2]
