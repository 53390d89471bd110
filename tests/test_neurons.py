"""Every form of a neuron, on every kind of module, against autograd through the full network."""

from __future__ import annotations

import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm
from torch.utils.checkpoint import checkpoint

import ldam_widget as ldam
from ldam_widget.core.notes import Notes
from ldam_widget.network.view import private_view
from ldam_widget.objectives.neuron import Neurons

from .conftest import TINY_SHAPE, TinyCnn, with_fixed_weights

Read = Callable[[Tensor], Tensor]  # output of the layer (batch, units, …) -> (batch,)


def read_out(model: nn.Module, layer: str | None, neurons: Any, shape: tuple[int, ...], **options: Any) -> Neurons:
    options = {"chains": 1, **options}
    return Neurons(private_view(model, None, Notes()), layer, neurons, input_shape=shape, **options)


def by_autograd(model: nn.Module, layer: str, read: Read, x: Tensor, preprocess: Any = None) -> tuple[Tensor, Tensor]:
    """Value and gradient with the user's own model, run to its end, and none of the package's code."""
    outputs: list[Tensor] = []
    handle = model.get_submodule(layer.removeprefix("(output)")).register_forward_hook(
        lambda *call: outputs.append(call[2])
    )
    x = x.clone().requires_grad_(True)
    model((preprocess(x) if preprocess else x).to(next(model.parameters()).dtype))
    handle.remove()
    value = read(outputs[0])
    (grad,) = torch.autograd.grad(value.float().sum(), x)
    return value.detach().float(), grad


def some_images(count: int, shape: tuple[int, ...]) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(4))


def require_equal(
    model: nn.Module, layer: str | None, neuron: Any, read: Read, shape: tuple[int, ...] = TINY_SHAPE, **options: Any
) -> None:
    tolerance = options.pop("tolerance", {"rtol": 1e-5, "atol": 1e-6})
    reference = options.pop("reference", model)
    neurons = read_out(model, layer, [neuron], shape, chains=4, **options)
    x = some_images(4, shape)
    expected = by_autograd(reference, neurons.layer, read, x, options.get("preprocess"))
    assert float(expected[1].abs().max()) > 0
    torch.testing.assert_close(neurons.evaluate(x), expected, **tolerance)


# ---- the forms -------------------------------------------------------------------------------------------------------

UNITS = torch.tensor([1.0, -2.0, 0.0, 2.0])  # a direction over the 4 channels of conv2, of norm 3
MAP = torch.arange(96.0).reshape(4, 4, 6).cos()  # a direction over its whole output

FORMS: dict[str, tuple[str | None, Any, Read, dict[str, Any]]] = {
    "unit of the last layer": (None, 3, lambda o: o[:, 3], {}),
    "numpy integer": ("fc", np.int64(3), lambda o: o[:, 3], {}),
    "tensor of one integer": ("fc", torch.tensor(3), lambda o: o[:, 3], {}),
    "string": ("fc", "3", lambda o: o[:, 3], {}),
    "layer:unit": (None, "fc:3", lambda o: o[:, 3], {}),
    "class name": ("fc", "cat", lambda o: o[:, 3], {"class_names": ("a", "b", "c", "cat", "d")}),
    "channel is its centre": ("conv2", 2, lambda o: o[:, 2, 2, 3], {}),
    "channel and place": ("conv2", (1, 0, 5), lambda o: o[:, 1, 0, 5], {}),
    "channel@place": ("conv2", "1@3,4", lambda o: o[:, 1, 3, 4], {}),
    "layer:channel@place": (None, "conv2:1@3,4", lambda o: o[:, 1, 3, 4], {}),
    "at mean": ("conv2", 2, lambda o: o[:, 2].mean((1, 2)), {"at": "mean"}),
    "channel@mean": ("conv2", "2@mean", lambda o: o[:, 2].mean((1, 2)), {}),
    "channel@center": ("conv2", "2@center", lambda o: o[:, 2, 2, 3], {"at": "mean"}),
    "at mean of a plain unit": ("fc", 3, lambda o: o[:, 3], {"at": "mean"}),
    "direction over units": ("fc", UNITS.new_tensor([0, 3, 0, 0, 4]), lambda o: 0.6 * o[:, 1] + 0.8 * o[:, 4], {}),
    "direction over channels": ("conv2", UNITS, lambda o: (o[:, :, 2, 3] * UNITS / 3).sum(1), {}),
    "direction over the whole map": ("conv2", MAP, lambda o: (o * MAP / MAP.norm()).sum((1, 2, 3)), {}),
    "layer that is no leaf": ("layer1", 2, lambda o: o[:, 2, 3, 4], {}),
    "layer inside a block": ("layer1.0", 2, lambda o: o[:, 2, 3, 4], {}),
    "preprocess": ("fc", 3, lambda o: o[:, 3], {"preprocess": lambda x: (x - 0.3) / 0.25}),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_form(tiny_cnn: nn.Module, form: tuple[str | None, Any, Read, dict[str, Any]]) -> None:
    layer, neuron, read, options = form
    require_equal(tiny_cnn, layer, neuron, read, **options)


def test_neurons_of_different_forms_side_by_side(tiny_cnn: nn.Module) -> None:
    """The batch counts neurons × chains, neuron first."""
    neurons = read_out(tiny_cnn, "conv2", [0, "1@mean", (2, 0, 1), UNITS], TINY_SHAPE, chains=2)
    reads: list[Read] = [
        lambda o: o[:, 0, 2, 3],
        lambda o: o[:, 1].mean((1, 2)),
        lambda o: o[:, 2, 0, 1],
        lambda o: (o[:, :, 2, 3] * UNITS / 3).sum(1),
    ]
    x = some_images(8, TINY_SHAPE)
    values, grads = neurons.evaluate(x)
    for i, read in enumerate(reads):
        rows = slice(2 * i, 2 * i + 2)
        expected = by_autograd(tiny_cnn, "conv2", read, x[rows])
        torch.testing.assert_close((values[rows], grads[rows]), expected, rtol=1e-5, atol=1e-6)


def test_keys_and_labels(tiny_cnn: nn.Module) -> None:
    neurons = read_out(tiny_cnn, "conv2", [0, "1@mean", (2, 0, 1), UNITS], TINY_SHAPE).neurons
    assert [n.key for n in neurons] == ["0", "1@mean", "2@0,1", "direction 4"]
    assert [n.unit for n in neurons] == [0, 1, 2, None]
    named = read_out(tiny_cnn, "fc", None, TINY_SHAPE, class_names=("a", "b", "c", "cat", "d")).neurons
    assert [n.label for n in named] == ["0 a", "1 b", "2 c", "3 cat", "4 d"]


def test_every_key_names_its_neuron_again(tiny_cnn: nn.Module) -> None:
    """The picker and JSON hold keys; a key must bring the same neuron back."""
    neurons = read_out(tiny_cnn, "conv2", [0, "1@mean", (2, 0, 1)], TINY_SHAPE)
    for neuron in neurons.neurons:
        again = neurons.unit(neuron.key)
        assert again.key == neuron.key
        assert str(again.readout) == str(neuron.readout)


def test_class_names_belong_to_the_outputs_only(tiny_cnn: nn.Module) -> None:
    names = ("a", "b", "c", "cat", "d")
    assert read_out(tiny_cnn, "conv2", [0], TINY_SHAPE, class_names=names).neurons[0].label == "0"


def test_table_of_layers(tiny_cnn: nn.Module) -> None:
    table = ldam.layers(tiny_cnn, TINY_SHAPE)
    assert [tuple(row) for row in table] == [
        ("layer1.0", "Conv2d", (3, 6, 8), 3, True),
        ("layer1.1", "Tanh", (3, 6, 8), 3, True),
        ("layer1", "Sequential", (3, 6, 8), 3, False),
        ("conv2", "Conv2d", (4, 4, 6), 4, True),
        ("fc", "Linear", (5,), 5, True),
    ]
    lines = repr(table).splitlines()
    assert lines[0].split() == ["name", "type", "output", "shape", "units"]
    assert lines[-1].split() == ["fc", "Linear", "5", "5"]
    assert len({len(line) for line in lines}) == 1


# ---- kinds of modules ------------------------------------------------------------------------------------------------


class Shared(nn.Module):
    """One module that runs twice: its neuron is that of the first run."""

    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Linear(6, 6)
        self.fc = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.tanh(self.same(torch.tanh(self.same(x)))))


def pruned() -> nn.Module:
    model = TinyCnn()
    prune.l1_unstructured(model.conv2, "weight", amount=0.5)
    prune.random_unstructured(model.fc, "weight", amount=0.5)
    model(some_images(1, TINY_SHAPE))  # leaves a weight that is no leaf of autograd, which deepcopy refuses
    return model


def normed(norm: Callable[..., Any]) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        model = TinyCnn()
        norm(model.conv2)
        norm(model.fc)
        model(some_images(1, TINY_SHAPE))
        return model

    return build


def hooked() -> nn.Module:
    """Hooks of the user's that change what the network computes."""
    model = TinyCnn()
    model.conv2.register_forward_pre_hook(lambda _module, inputs: (inputs[0] * 2,))
    model.conv2.register_forward_hook(lambda _module, _inputs, output: output.sin())
    return model


KINDS: dict[str, Callable[[], nn.Module]] = {
    "pruned": pruned,
    "weight_norm": normed(parametrizations.weight_norm),
    "spectral_norm": normed(parametrizations.spectral_norm),
    "orthogonal": normed(parametrizations.orthogonal),
    "weight_norm, old style": normed(weight_norm),
    "spectral_norm, old style": normed(spectral_norm),
    "hooks of the user's": hooked,
    "float64": lambda: TinyCnn().double(),
    "frozen": lambda: TinyCnn().requires_grad_(False),
    "channels last": lambda: TinyCnn().to(memory_format=torch.channels_last),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning", "ignore:.*spectral_norm.*:FutureWarning")
@pytest.mark.parametrize("build", KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize(("layer", "read"), [("conv2", lambda o: o[:, 1, 2, 3]), ("fc", lambda o: o[:, 1])])
def test_kind_of_module(build: Callable[[], nn.Module], layer: str, read: Read) -> None:
    require_equal(with_fixed_weights(build), layer, 1, read)


@pytest.mark.slow
@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda m: torch.compile(m, backend="eager")])
def test_wrapper_is_taken_off(tiny_cnn: nn.Module, wrap: Callable[[nn.Module], nn.Module]) -> None:
    """The layers keep the names that the user knows, without "module." or "_orig_mod."."""
    require_equal(wrap(tiny_cnn), "conv2", 1, lambda o: o[:, 1, 2, 3], reference=tiny_cnn)


def test_wrapper_around_a_wrapper(tiny_cnn: nn.Module) -> None:
    twice = torch.compile(nn.DataParallel(tiny_cnn), backend="eager")
    require_equal(twice, "fc", 1, lambda o: o[:, 1], reference=tiny_cnn)


def test_module_compiled_in_place(tiny_cnn: nn.Module) -> None:
    plain = with_fixed_weights(TinyCnn)
    tiny_cnn.compile(backend="eager")
    require_equal(tiny_cnn, "fc", 1, lambda o: o[:, 1], reference=plain)


def test_bfloat16_model_is_sampled_in_float32_pixels() -> None:
    model = with_fixed_weights(TinyCnn).to(torch.bfloat16)
    for neuron, read in ((1, lambda o: o[:, 1, 2, 3]), ("1@mean", lambda o: o[:, 1].float().mean((1, 2)))):
        require_equal(model, "conv2", neuron, read, tolerance={"rtol": 2**-6, "atol": 2**-8})
    value, grad = read_out(model, "conv2", [1], TINY_SHAPE).evaluate(some_images(1, TINY_SHAPE))
    assert value.dtype == grad.dtype == torch.float32


def test_shared_module_is_read_at_its_first_run() -> None:
    require_equal(with_fixed_weights(Shared), "same", 2, lambda o: o[:, 2], shape=(6,))


def test_one_dimensional_input_and_a_model_that_is_one_leaf() -> None:
    model = with_fixed_weights(lambda: nn.Linear(6, 4))
    require_equal(model, None, 2, lambda o: o[:, 2], shape=(6,))
    require_equal(model, "", 2, lambda o: o[:, 2], shape=(6,))


def test_sequence_model_over_one_dimensional_maps() -> None:
    model = with_fixed_weights(lambda: nn.Sequential(nn.Conv1d(2, 3, 3), nn.ELU(), nn.Conv1d(3, 2, 3)))
    require_equal(model, "0", 1, lambda o: o[:, 1, 4], shape=(2, 10))
    require_equal(model, "0", (1, 7), lambda o: o[:, 1, 7], shape=(2, 10))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_caller_without_gradients(tiny_cnn: nn.Module, mode: Any) -> None:
    x = some_images(1, TINY_SHAPE)
    expected = by_autograd(tiny_cnn, "fc", lambda o: o[:, 1], x)
    with mode():
        neurons = read_out(tiny_cnn, "fc", [1], TINY_SHAPE)
        torch.testing.assert_close(neurons.evaluate(x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_sampler_built_and_stepped_without_gradients(tiny_cnn: nn.Module, mode: Any) -> None:
    """And it can be stepped on outside: none of its tensors belongs to the caller's inference mode."""
    kernel = ldam.kernels.Algorithm1()
    settings: dict[str, Any] = {"input_shape": TINY_SHAPE, "neurons": [1, 2], "seed": 3, "kernel": kernel}
    plain = ldam.Sampler(tiny_cnn, **settings)
    plain.step(6)
    with mode():
        s = ldam.Sampler(tiny_cnn, **settings)
        s.step(3)
        s.select(neurons=[0, 1])
        s.select(neurons=[1, 2])
        s.step(1)
        s.restart()
        s.step(3)
    s.step(3)
    torch.testing.assert_close(s.images, ldam.Sampler(tiny_cnn, **settings).step(6).images, rtol=0, atol=0)
    assert torch.equal(s.images, plain.images)


# ---- the forward pass stops at the layer -----------------------------------------------------------------------------

REACHED: list[str] = []


class Acts(nn.Module):
    """Records in a global, which a private view does not copy, when it runs, and then calls `do`."""

    def __init__(self, name: str, do: Callable[[Tensor], Any] = lambda x: x) -> None:
        super().__init__()
        self.name, self.do = name, do

    def forward(self, x: Tensor) -> Any:
        REACHED.append(self.name)
        return self.do(x)


MEETING: list[Callable[[], Any]] = []  # each is done once


def meet(x: Tensor) -> Tensor:
    if MEETING:
        MEETING.pop()()
    return x


def fail(_: Tensor) -> Tensor:
    raise RuntimeError("this module must not be reached")


def test_what_follows_the_layer_is_never_run_while_sampling() -> None:
    model = nn.Sequential(Acts("before"), nn.Linear(6, 4), Acts("after"), nn.Linear(4, 3))
    s = ldam.Sampler(model, layer="1", input_shape=(6,), kernel=ldam.kernels.Algorithm1())
    s.step(1)
    REACHED.clear()
    s.step(10)
    assert REACHED == ["before"] * 10


def test_a_later_module_that_raises_does_no_harm() -> None:
    """The list of layers ends where the forward pass does, which the user is told."""
    model = nn.Sequential(nn.Linear(6, 4), Acts("bomb", fail), nn.Linear(4, 3))
    with pytest.warns(ldam.LDAMWarning, match="listed up to '0' only.*must not be reached"):
        s = ldam.Sampler(model, layer="0", input_shape=(6,))
    assert [row.name for row in s.layers] == ["0"]
    s.step(4)
    with pytest.raises(ValueError, match="this module must not be reached"):
        ldam.Sampler(model, layer="2", input_shape=(6,))


class CatchesAll(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        try:
            return self.fc(x)
        except Exception:
            return x[:, :4] * 0


def test_a_model_that_catches_exceptions_does_not_catch_ours() -> None:
    require_equal(with_fixed_weights(CatchesAll), "fc", 2, lambda o: o[:, 2], shape=(6,))


@pytest.mark.parametrize(
    "after", [nn.ReLU(inplace=True), Acts("relu_", torch.relu_), nn.Sequential(nn.Hardtanh(-0.1, 0.1, inplace=True))]
)
def test_a_last_layer_is_read_before_what_follows_it_in_place(after: nn.Module) -> None:
    """What the model returns is then the same tensor, with other numbers in it."""
    model = with_fixed_weights(lambda: nn.Sequential(nn.Linear(6, 4), after))
    plain = nn.Sequential(model[0])
    for neuron in range(4):
        require_equal(model, "0", neuron, lambda o, n=neuron: o[:, n], shape=(6,), reference=plain)


def test_a_layer_inside_a_network_that_is_itself_stopped_early() -> None:
    """A discriminator reads its copy of the classifier before the end of it."""
    classifier = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3))
    network = ldam.build_discriminator(classifier, (6,))
    require_equal(network, "body.network.0", 2, lambda o: o[:, 2], shape=(6,))


def test_neurons_that_another_thread_reads_in_the_middle_of_a_pass() -> None:
    model = with_fixed_weights(lambda: nn.Sequential(nn.Linear(6, 4), Acts("meet", meet), nn.Linear(4, 3), nn.Tanh()))
    neurons = read_out(model, "2", range(3), (6,))
    x, found = some_images(10, (6,)).view(2, 5, 6), []
    with ThreadPoolExecutor(1) as threads:
        MEETING.append(lambda: found.append(threads.submit(neurons.activations, x[1]).result()))
        found.append(neurons.activations(x[0]))
    torch.testing.assert_close(found, [model(one).atanh().detach() for one in x.flip(0)])


class Checkpointed(TinyCnn):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.reentrant = reentrant

    def forward(self, x: Tensor) -> Tensor:
        hidden = checkpoint(self.layer1, x, use_reentrant=self.reentrant)
        return self.fc(F.softplus(self.conv2(hidden)).flatten(1))


@pytest.mark.parametrize(("layer", "read"), [("fc", lambda o: o[:, 2]), ("layer1.0", lambda o: o[:, 2, 3, 4])])
def test_activation_checkpointing(layer: str, read: Read) -> None:
    """Also where the forward pass is stopped within the part that will be run again."""
    require_equal(with_fixed_weights(lambda: Checkpointed(reentrant=False)), layer, 2, read)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_reentrant_checkpointing_is_refused_with_torchs_own_message() -> None:
    with pytest.raises(ValueError, match=r"'fc' has no gradient.*use_reentrant=False.*Choose another layer"):
        read_out(Checkpointed(reentrant=True), "fc", [2], TINY_SHAPE)


# ---- layers that cannot be sampled -----------------------------------------------------------------------------------


class Unused(TinyCnn):
    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(5, 5)


def under_no_grad(x: Tensor) -> Tensor:
    with torch.no_grad():
        return x * 2


REFUSED: dict[str, tuple[Callable[[], nn.Module], str, str, str]] = {
    "never run": (Unused, "spare", "'spare' is not run by the model's forward pass", "choose one of layers(model)"),
    "no_grad inside": (
        lambda: with_head(under_no_grad),
        "head",
        "no gradient reaches the input from layer 'head'",
        "Choose another layer, or fix the path",
    ),
    "detach inside": (
        lambda: with_head(Tensor.detach),
        "head",
        "no gradient reaches the input from layer 'head'",
        "Choose another layer, or fix the path",
    ),
    "path cut before": (
        lambda: with_head(Tensor.detach),
        "last",
        "no gradient reaches the input from layer 'last'",
        "Choose another layer, or fix the path",
    ),
    "integers": (
        lambda: with_head(lambda x: x.argmax(1, keepdim=True)),
        "head",
        "gives integers.*int64",
        "choose a layer before it",
    ),
    "tuple": (
        lambda: with_head(lambda x: (x, x)),
        "head",
        "'head' returns a tuple of 2, not one tensor",
        "choose layer='head[0]' or layer='head[1]'",
    ),
    "list": (
        lambda: with_head(lambda x: [x]),
        "head",
        "'head' returns a list of 1, not one tensor",
        "choose layer='head[0]'",
    ),
    "dict": (
        lambda: with_head(lambda x: {"a": x, "b": x}),
        "head",
        "'head' returns a dict with keys .*'a', 'b'",
        "choose layer='head[a]' or layer='head[b]'",
    ),
    "no batch axis": (
        lambda: with_head(lambda x: x.sum()),
        "head",
        r"'head' gives \(\) for a batch of one image",
        "an output (batch, units, …)",
    ),
    "something else": (
        lambda: with_head(lambda x: "text"),
        "head",
        "'head' gives str for a batch of one image",
        "an output (batch, units, …)",
    ),
}


def with_head(do: Callable[[Tensor], Any]) -> nn.Module:
    class Headed(TinyCnn):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.last = Acts("head", do), nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Any:
            out = self.head(super().forward(x))
            return self.last(out.float()) if isinstance(out, Tensor) and out.shape[1:] == (5,) else out

    return Headed()


@pytest.mark.parametrize(("build", "layer", "message", "advice"), REFUSED.values(), ids=REFUSED.keys())
def test_layer_that_cannot_be_sampled(build: Callable[[], nn.Module], layer: str, message: str, advice: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        read_out(build(), layer, [0], TINY_SHAPE)
    assert advice in str(raised.value)  # what would work


def test_a_head_of_tuples_does_not_hide_the_layers_before_it() -> None:
    model = with_fixed_weights(lambda: with_head(lambda x: (x, x)))
    require_equal(model, "fc", 2, lambda o: o[:, 2])
    require_equal(model, None, 2, lambda o: o[:, 2])  # the last layer with neurons


# ---- softmax ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("softmax", [nn.Softmax(1), nn.LogSoftmax(1)])
@pytest.mark.parametrize("layer", [None, "3"])
def test_softmax_at_the_end_is_left_out_and_reported(softmax: nn.Module, layer: str | None) -> None:
    model = with_fixed_weights(lambda: nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3), softmax))
    with pytest.warns(ldam.LDAMWarning, match=r"ends in a softmax \('3'\).*before it, '2'"):
        s = ldam.Sampler(model, layer=layer, input_shape=(6,))
    assert s.layer == "2"
    assert "softmax" in s.notes[0]
    require_equal(model, "2", 1, lambda o: o[:, 1], shape=(6,))


def test_dropout_and_identity_at_the_end_are_not_the_last_layer() -> None:
    model = with_fixed_weights(lambda: nn.Sequential(nn.Linear(6, 4), nn.Dropout(), nn.Identity()))
    assert read_out(model, None, [0], (6,)).layer == "0"


def held() -> int:
    """Bytes of all tensors that there are."""
    gc.collect()
    tensors = [thing for thing in gc.get_objects() if isinstance(thing, Tensor)]
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


@pytest.mark.slow
@pytest.mark.parametrize("neurons", [range(8), [f"{i}@mean" for i in range(8)]], ids=["units", "means"])
def test_reading_a_few_numbers_of_a_large_layer_takes_little_memory(neurons: Any) -> None:
    """32 chains, whose outputs have 65,536 numbers each: 8 MB, of which nothing is kept; noise that waits takes 2."""
    model = with_fixed_weights(lambda: nn.Conv2d(1, 64, 3, padding=1))
    before = held()
    s = ldam.Sampler(model, input_shape=(1, 32, 32), neurons=neurons, chains=4, execution="plain")
    s.step(2)
    assert held() - before < 2**22
    del s


def test_neurons_that_read_different_numbers_of_places(tiny_cnn: nn.Module) -> None:
    """One place, the places of a channel, and all units of one place: for some chains as for all of them."""
    neurons = read_out(tiny_cnn, "conv2", [(3, 1, 2), "1@mean", UNITS], TINY_SHAPE, chains=2)
    x = some_images(6, TINY_SHAPE)
    values, grads = neurons.evaluate(x)
    output = neurons.activations(x)
    torch.testing.assert_close(values, torch.stack([output[i, i // 2] for i in range(6)]))
    neurons.at_once = 4
    torch.testing.assert_close(neurons.evaluate(x), (values, grads))


def test_numbers_that_are_not_read_do_not_count() -> None:
    """Infinite ones among them."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    neurons = read_out(model, "1", [0, 2], (1, 2, 2))
    with torch.no_grad():
        model[1].bias[1] = torch.inf  # type: ignore[union-attr,index,operator]
    assert bool(neurons.activations(torch.ones(5, 1, 2, 2)).isfinite().all())
