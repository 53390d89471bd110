"""Outputs of several places in one forward pass, against hooks of torch's own and formulas by hand."""

from __future__ import annotations

import copy
import gc
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.network.addresses import Address
from ldam_widget.network.capture import Capture, NotRunError

from .conftest import TINY_SHAPE, TinyCnn, with_fixed_weights

Named = dict[str, Tensor]


def images(count: int, *shape: int) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(4))


class Everything(nn.Module):
    """(N, 1, 8, 8) -> (N, 3): what hooks trip over."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.block = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(inplace=True))
        self.same = nn.Conv2d(4, 4, 1)
        self.other_name = self.same
        self.lstm = nn.LSTM(8, 5, batch_first=True)
        self.drop = nn.Dropout(0.5)
        self.unused = nn.Linear(2, 2)
        self.fc = nn.Linear(40, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv(x), inplace=True)
        x = self.same(self.block(x))
        x = torch.tanh(self.other_name(x)).mean(1)
        tokens, _ = self.lstm(x)
        logits: Tensor = self.fc(self.drop(tokens).flatten(1))
        return logits.mul_(2)


def tensors_in(output: Any, name: str) -> Named:
    if isinstance(output, tuple):
        return {key: t for i, part in enumerate(output) for key, t in tensors_in(part, f"{name}[{i}]").items()}
    return {} if output is None else {name: output.clone()}


def by_hooks(model: nn.Module, x: Tensor) -> Named:
    """Every module's every output as it returned it: of a copy of the model, by plain hooks that copy."""
    model = copy.deepcopy(model).eval()
    found: Named = {}
    calls: dict[str, int] = {}

    def hook_of(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            calls[name] = calls.get(name, 0) + 1
            call = f"#{calls[name]}" if calls[name] > 1 else ""
            found.update(tensors_in(output, name + call))

        return hook

    for name, module in model.named_modules():
        module.register_forward_hook(hook_of(name or "(output)"))
    with torch.no_grad():
        model(x)
    return found


@pytest.fixture
def model() -> nn.Module:
    return with_fixed_weights(Everything)


# ---- activations -----------------------------------------------------------------------------------------------------


def test_every_layer_in_one_pass_as_it_returned_it(model: nn.Module) -> None:
    x = images(3, 1, 8, 8)
    found = ldam.activations(model, x)
    assert list(found) == [row.name for row in ldam.layers(model, (1, 8, 8))]
    expected = by_hooks(model, x)
    assert set(found) == set(expected)
    assert {"same#2", "lstm[0]", "lstm[1][0]"} < set(found)
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name]), name
        assert not tensor.requires_grad
    assert float(found["conv"].min()) < 0  # though a rectifier wrote into it
    assert float(found["block.0"].min()) < 0


def test_some_layers_by_any_of_their_names(model: nn.Module) -> None:
    x = images(2, 1, 8, 8)
    expected = by_hooks(model, x)
    asked = {"other_name#2": "same#2", "module.conv": "conv"} | {name: name for name in ("fc", "lstm[1][0]", "block.0")}
    found = ldam.activations(model, x, list(asked))
    assert list(found) == list(asked)
    for name, listed in asked.items():
        assert torch.equal(found[name], expected[listed]), name
    assert torch.equal(ldam.activations(model, x, "fc")["fc"], expected["fc"])
    with torch.no_grad():  # with gradients, some processors take another path
        assert torch.equal(ldam.activations(model, x, [""])[""], model(x))


def test_of_a_model_that_is_one_layer(linear: nn.Module) -> None:
    x = images(5, 6)
    assert {name: tensor.shape for name, tensor in ldam.activations(linear, x).items()} == {"(output)": (5, 4)}


@pytest.mark.parametrize("layers", [None, ["layers.0.linear1", "layers.1"]])
def test_of_a_transformer_whose_fast_path_runs_no_modules(layers: Any) -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = with_fixed_weights(lambda: nn.TransformerEncoder(layer, 2, enable_nested_tensor=False))
    x = images(3, 5, 8)
    expected = by_hooks(model, x)
    found = ldam.activations(model, x, layers)
    assert "layers.0.linear1" in found
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name])


def test_the_model_runs_once_and_no_further_than_it_has_to(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[str] = []

    def counted(name: str, own: Callable[..., Any]) -> Callable[..., Any]:
        return lambda self, *args: (passes.append(name), own(self, *args))[1]

    for kind in (Everything, nn.LSTM):
        monkeypatch.setattr(kind, "forward", counted(kind.__name__, kind.forward))
    ldam.activations(model, images(2, 1, 8, 8))
    assert passes == ["Everything", "LSTM"]
    ldam.activations(model, images(2, 1, 8, 8), ["same#2", "conv"])
    assert passes == ["Everything", "LSTM", "Everything"]


ASKED = {
    "unknown": ("blok", "unknown layer 'blok'. Did you mean 'block'"),
    "not run": ("unused", "layer 'unused' is not run"),
    "third call": ("same#3", "'same#3' is call 3 of 'same', which the forward pass runs 2 times"),
    "several tensors": ("lstm", r"'lstm' returns a tuple of 2, not one tensor; choose layer='lstm\[0\]'"),
    "no such part": ("lstm[2]", r"'lstm' returns a tuple of 2, without \[2\]; choose layer='lstm\[0\]'"),
    "part of a tensor": ("fc[0]", r"'fc' returns one tensor of shape \(2, 3\); \[0\] cannot"),
}


@pytest.mark.parametrize(("layer", "message"), ASKED.values(), ids=ASKED.keys())
def test_messages_name_the_layer_and_what_works(model: nn.Module, layer: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ldam.activations(model, images(2, 1, 8, 8), ["conv", layer])


def test_other_arguments_that_do_not_fit(model: nn.Module) -> None:
    with pytest.raises(ValueError, match="at least one layer"):
        ldam.activations(model, images(2, 1, 8, 8), [])
    with pytest.raises(TypeError, match=r"x must be a tensor \(images, \*image\); got list"):
        ldam.activations(model, [0.0])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"must be an instance of torch.nn.Module"):
        ldam.activations(torch.relu, images(2, 6))  # type: ignore[arg-type]


def test_results_share_memory_with_nothing() -> None:
    class Token(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Parameter(torch.ones(1, 4))

        def forward(self, x: Tensor) -> Tensor:
            return self.token.expand(len(x), -1)

    model = nn.Sequential(nn.Identity(), nn.Hardtanh(-0.1, 0.1, inplace=True), Token())
    x = images(2, 4)
    before = x.clone()
    for layers in (None, ["2"], ["0"], ["0", "1"]):
        for tensor in ldam.activations(model, x, layers).values():
            tensor.zero_()
    assert torch.equal(model[2].token, torch.ones(1, 4))
    assert torch.equal(x, before)


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_in_any_mode_and_precision(mode: Callable[[], Any]) -> None:
    model = with_fixed_weights(TinyCnn).double()
    with mode():
        x = images(2, *TINY_SHAPE)
        found = ldam.activations(model, x, ["conv2", "fc"])
    assert not found["fc"].is_inference()
    expected = by_hooks(model, x.double())
    assert found["fc"].dtype == torch.float64
    assert torch.equal(found["conv2"], expected["conv2"])


def test_random_numbers_that_the_model_draws_are_not_missed() -> None:
    model = nn.Sequential(nn.Linear(6, 4), Doing(lambda x: x + torch.rand_like(x)))
    before = torch.get_rng_state()
    ldam.activations(model, images(2, 6))
    assert torch.equal(torch.get_rng_state(), before)


# ---- several places, with gradients and reductions ------------------------------------------------------------------


class Doing(nn.Module):
    def __init__(self, do: Callable[[Any], Any]) -> None:
        super().__init__()
        self.do = do

    def forward(self, x: Any) -> Any:
        return self.do(x)


def hooks_of(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def test_the_gradient_of_an_objective_over_several_places(model: Any) -> None:
    """Of what the convolution returned, and not of what the rectifier after it made of it."""
    x = images(2, 1, 8, 8).requires_grad_(True)
    capture = Capture(model, ["fc", "conv", "same#2"], [lambda t: t[:, 1], None, lambda t: t[:, 2].mean((1, 2))])
    logit, maps, mean = capture(lambda: model(x))
    (grad,) = torch.autograd.grad((logit + 0.5 * maps[:, 3, 4, 4] - mean).sum(), x)

    by_hand = x.detach().requires_grad_(True)
    conv = model.conv(by_hand)
    last = model.same(model.same(F.relu(model.block[0](F.relu(conv)))))
    logits = model.fc(model.lstm(torch.tanh(last).mean(1))[0].flatten(1))
    total = logits[:, 1] + 0.5 * conv[:, 3, 4, 4] - last[:, 2].mean((1, 2))
    (expected,) = torch.autograd.grad(total.sum(), by_hand)
    torch.testing.assert_close(maps, conv)
    torch.testing.assert_close(grad, expected)
    assert hooks_of(model) == 0


def test_reduced_outputs_keep_nothing_whole() -> None:
    model = nn.Sequential(*(Doing(torch.sin) for _ in range(6)))
    alive: list[weakref.ref[Tensor]] = []
    at_once: list[int] = []

    def channel(output: Tensor) -> Tensor:
        alive.append(weakref.ref(output))
        at_once.append(sum(ref() is not None for ref in alive))
        return output[:, 0]

    def most(output: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        channel(output)
        return output.amax((2, 3)), {"all": output}

    x = images(2, 3, 8, 8)
    reduce = [most, *[channel] * 5]
    with torch.no_grad():
        kept = Capture(model, [str(i) for i in range(6)], reduce)(lambda: model(x))
    assert max(at_once) <= 2  # the layer's own, and its input
    assert torch.equal(kept[0][0], x.sin().amax((2, 3)))
    assert torch.equal(kept[0][1]["all"], x.sin())
    for i in range(1, 6):
        assert kept[i].untyped_storage().nbytes() == kept[i].nbytes
    assert not any(ref() is not None for ref in alive)


def test_a_place_may_come_twice_and_functions_are_counted(linear: nn.Module) -> None:
    x = images(3, 6)
    first, rest, whole = Capture(linear, [""] * 3, [lambda t: t[:, 0], lambda t: t[:, 1:], None])(lambda: linear(x))
    assert torch.equal(torch.cat([first[:, None], rest], 1), whole)
    shared = nn.ModuleDict({"one": linear, "two": linear})
    both = Capture(shared, [Address("one"), Address("two", 2)])(lambda: shared["one"](shared["two"](x)[:, [0] * 6]))
    assert torch.equal(both[1], linear(both[0][:, [0] * 6]))
    with pytest.raises(ValueError, match="2 functions for 1 places"):
        Capture(linear, [""], [None, None])


def test_an_error_of_the_network_leaves_no_hook() -> None:
    model = nn.Sequential(nn.Linear(6, 4), Doing(lambda x: x.nowhere), nn.Linear(4, 2))
    capture = Capture(model, ["0", "2"])
    with pytest.raises(AttributeError, match="nowhere"):
        capture(lambda: model(images(2, 6)))
    assert hooks_of(model) == 0
    with pytest.raises(NotRunError, match="layer '2' is not run"):
        capture(lambda: model[0](images(2, 6)))
    assert hooks_of(model) == 0


class CatchesAll(nn.Module):
    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, x: Tensor) -> Tensor:
        try:
            return self.inside(x)
        except Exception:
            return x


def test_an_error_of_a_reduction_is_raised_as_it_is_and_holds_nothing() -> None:
    model = CatchesAll(nn.Linear(6, 4))
    seen: list[weakref.ref[Tensor]] = []

    def fail(output: Tensor) -> Tensor:
        seen.append(weakref.ref(output))
        raise MemoryError("out of memory")

    gc.collect()
    gc.disable()
    try:
        with pytest.raises(MemoryError, match="out of memory") as caught:
            Capture(model, ["inside"], fail)(lambda: model(images(2, 6)))
        assert caught.value.__cause__ is None
        assert hooks_of(model) == 0
        del caught
        assert seen[0]() is None
    finally:
        gc.enable()


def test_a_pass_within_a_pass_ends_its_own_alone(model: nn.Module) -> None:
    """As a discriminator's, which reads its network before the end."""

    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network, self.fc = model, nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            (logits,) = Capture(self.network, ["fc"])(lambda: self.network(x))
            return self.fc(logits)

    reads, x = with_fixed_weights(Reads), images(2, 1, 8, 8)
    expected = by_hooks(model, x)
    for layers in (["network.conv"], ["network.fc"], ["network.conv", "fc"], None):
        found = ldam.activations(reads, x, layers)
        for name in layers or ["network.conv", "network.fc"]:
            if name != "fc":
                assert torch.equal(found[name], expected[name.removeprefix("network.")]), name
        if layers is None or "fc" in layers:
            torch.testing.assert_close(found["fc"], reads.fc(expected["fc"]))


MEETING: list[threading.Barrier] = []


def test_two_threads_on_one_network_do_not_capture_each_others_calls() -> None:
    model = nn.Sequential(nn.Linear(6, 4), Doing(lambda x: (MEETING[0].wait(), x)[1]), nn.Linear(4, 3), nn.Tanh())
    MEETING[:] = [threading.Barrier(2, timeout=30)]
    capture = Capture(model, ["0", "2"])
    x = images(2, 5, 6)
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(lambda one: capture(lambda: model(one)), x))
    for one, (first, second) in zip(x, found, strict=True):
        torch.testing.assert_close(first, model[0](one))
        torch.testing.assert_close(second, model[2](model[0](one)))
    assert hooks_of(model) == 0


def test_a_network_that_runs_a_part_in_a_thread_of_its_own(linear: nn.Module) -> None:
    def elsewhere(x: Tensor) -> Tensor:
        with ThreadPoolExecutor(1) as threads:
            return threads.submit(linear, x).result()

    x = images(2, 6)
    (found,) = Capture(linear, [""])(lambda: elsewhere(x))
    assert torch.equal(found, linear(x))
