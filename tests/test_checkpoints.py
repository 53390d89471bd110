"""Weights from files: what is found in them, what is refused; and means of several."""

from __future__ import annotations

import copy
import os
import pickle
import re
import warnings
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ldam_widget import demo
from ldam_widget.checkpoints import CheckpointError, average_checkpoints, load_checkpoint
from ldam_widget.core.notes import LDAMWarning
from ldam_widget.demo.lenet import LeNet5

from .conftest import with_fixed_weights


class Net(nn.Module):
    """(N, 3, 6, 6) -> (N, 5), with batch norm, an integer buffer, a boolean one."""

    index: Tensor
    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.fc = nn.Linear(4, 5)
        self.register_buffer("index", torch.tensor([2**24 + 1, 3]))  # the first is no float32
        self.register_buffer("mask", torch.tensor([True, False]))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.features(x).mean((2, 3)))
        return logits


class Tied(nn.Module):
    """(N, 3) -> (N, 3) through one matrix twice."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 3, bias=False)
        self.b = nn.Linear(3, 3, bias=False)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.b(torch.tanh(self.a(x)))
        return out


class Hostile:
    """Would leave a trace if it were unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)


X = torch.linspace(-1, 2, 2 * 3 * 6 * 6).reshape(2, 3, 6, 6)


def net(seed: int = 1) -> Net:
    """Every weight and statistic is a random number of its own, so that none can be left out unseen."""

    def build() -> nn.Module:
        model = Net()
        with torch.no_grad():
            for value in model.state_dict().values():
                if value.is_floating_point():
                    value.uniform_(0.1, 1)
        return model

    model = with_fixed_weights(build, seed)
    assert isinstance(model, Net)
    return model


@pytest.fixture
def trained() -> Net:
    return net(1)


@pytest.fixture
def file(tmp_path: Path) -> Callable[[Any], Path]:
    def write(content: Any) -> Path:
        path = tmp_path / "weights.pt"
        torch.save(content, path)
        return path

    return write


Writer = Callable[[Any], Path]


def prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


def compiled(model: nn.Module) -> nn.Module:
    """Wrapped only; compiled it would be at the first call."""
    wrapper = torch.compile(model)
    assert isinstance(wrapper, nn.Module)
    return wrapper


def check(loaded: nn.Module, reference: nn.Module) -> None:
    """Bit for bit the same function and the same tensors; eval mode."""
    assert not any(module.training for module in loaded.modules())
    own, other = loaded.state_dict(), reference.state_dict()
    assert own.keys() == other.keys()
    assert all(torch.equal(own[name], other[name]) for name in own)
    assert torch.equal(loaded(X), reference(X))


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    """What is not expected to warn does not."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", LDAMWarning)
        yield


# ---- where the weights are -------------------------------------------------------------------------------------------

PLACES = [
    (), ("state_dict",), ("model_state_dict",), ("model_state",), ("model",), ("net",), ("network",), ("module",),
    ("weights",), ("params",), ("generator",), ("ema",), ("ema_state_dict",), ("model_ema",), ("ema_model",),
    ("state_dict_ema",), ("model_state_dict_ema",), ("params_ema",), ("swa_state_dict",), ("swa_model",),
    ("averaged_model",), ("shadow",), ("model", "state_dict"), ("ema", "module"), ("state_dict", "model", "params"),
]  # fmt: skip
PREFIXES = ["", "module.", "_orig_mod.", "model.", "net.", "xyz.", "module._orig_mod.model.", "_orig_mod.module.",
            "model._orig_mod.", "lit.student.backbone."]  # fmt: skip


def nested(where: tuple[str, ...], state: dict[str, Any]) -> dict[str, Any]:
    for key in reversed(where):
        state = {key: state, "epoch": 3, "loss": torch.tensor(0.25)}
    return state


@pytest.mark.parametrize("where", PLACES, ids=".".join)
def test_usual_keys(trained: Net, file: Writer, where: tuple[str, ...]) -> None:
    check(load_checkpoint(Net, file(nested(where, trained.state_dict()))), trained)


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("where", [(), ("state_dict",)], ids=["plain", "nested"])
def test_prefixes(trained: Net, file: Writer, where: tuple[str, ...], prefix: str) -> None:
    check(load_checkpoint(Net, file(nested(where, prefixed(prefix, trained.state_dict())))), trained)


def test_an_optimizer_beside_the_weights_is_no_weight(trained: Net, file: Writer) -> None:
    optimizer = torch.optim.Adam(trained.parameters())
    trained(X).sum().backward()
    optimizer.step()
    content = {"optimizer": optimizer.state_dict(), "model": trained.state_dict(), "args": {"lr": 0.1}}
    check(load_checkpoint(Net, file(content)), trained)


def test_too_deep_is_not_found(trained: Net, file: Writer) -> None:
    with pytest.raises(ValueError, match=r"no dict of tensors.*dict with model"):
        load_checkpoint(Net, file({"model": {"net": {"params": {"weights": trained.state_dict()}}}}))


WRAPS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "module.": nn.DataParallel,
    "_orig_mod.": compiled,
    "module._orig_mod.": lambda model: nn.DataParallel(compiled(model)),
}


@pytest.mark.slow
@pytest.mark.parametrize("prefix", WRAPS)
def test_real_wrappers(trained: Net, file: Writer, prefix: str) -> None:
    state = WRAPS[prefix](trained).state_dict()
    assert all(name.startswith(prefix) for name in state)
    check(load_checkpoint(Net, file(state)), trained)


def test_data_parallel_around_a_part(trained: Net, file: Writer) -> None:
    """As the ImageNet example of PyTorch trains AlexNet and VGG."""
    wrapped = copy.deepcopy(trained)
    wrapped.features = nn.DataParallel(wrapped.features)  # type: ignore[assignment]
    assert "features.module.0.weight" in wrapped.state_dict()
    check(load_checkpoint(Net, file(wrapped.state_dict())), trained)
    check(load_checkpoint(wrapped, file(trained.state_dict())), wrapped)


@pytest.mark.parametrize("wrap", [compiled, nn.DataParallel], ids=["compile", "DataParallel"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model."])
def test_the_model_is_wrapped(trained: Net, file: Writer, wrap: Callable[[nn.Module], nn.Module], prefix: str) -> None:
    path, wrapped = file(prefixed(prefix, trained.state_dict())), wrap(net(2))
    loaded = load_checkpoint(wrapped, path)
    assert type(loaded) is type(wrapped)
    inside = loaded._modules.get("_orig_mod") or loaded._modules["module"]
    assert inside is not None
    check(inside, trained)
    assert not loaded.training
    made = wrap(net(2))
    assert load_checkpoint(lambda: made, path) is made


def test_a_model_with_a_layer_called_module(file: Writer) -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = nn.Linear(2, 2)
            self.weight = nn.Parameter(torch.randn(2, 2))

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.module(x) @ self.weight
            return out

    reference = with_fixed_weights(Both)
    for prefix in ("", "model.", "module."):
        loaded = load_checkpoint(Both, file(prefixed(prefix, reference.state_dict())))
        assert torch.equal(loaded(torch.eye(2)), reference(torch.eye(2)))


# ---- averaged weights ------------------------------------------------------------------------------------------------


def averaged(decay: float | None = None) -> AveragedModel:
    average = AveragedModel(net(1), multi_avg_fn=None if decay is None else get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]
    for seed in (2, 3):
        average.update_parameters(net(seed))
    return average


@pytest.mark.parametrize("where", [(), ("ema",), ("model_ema", "state_dict")], ids=".".join)
def test_real_averaged_model(file: Writer, where: tuple[str, ...]) -> None:
    average = averaged(0.9)
    assert "n_averaged" in average.state_dict()
    reference = average.module.eval()
    check(load_checkpoint(Net, file(nested(where, average.state_dict()))), reference)


def test_averaged_model_in_data_parallel(file: Writer) -> None:
    average = averaged()
    check(load_checkpoint(Net, file(nn.DataParallel(average).state_dict())), average.module.eval())


def test_into_an_averaged_model(file: Writer) -> None:
    average = averaged()
    loaded = load_checkpoint(AveragedModel(net(7)), file(average.state_dict()))
    check(loaded, average.eval())


@pytest.mark.parametrize("flip", [False, True])
def test_raw_and_averaged_under_two_keys(trained: Net, file: Writer, flip: bool) -> None:
    average = averaged()
    items = [("ema", average.state_dict()), ("model", trained.state_dict()), ("epoch", 3)]
    path = file(dict(reversed(items) if flip else items))
    check(load_checkpoint(Net, path), trained)
    check(load_checkpoint(Net, path, prefer="raw"), trained)
    check(load_checkpoint(Net, path, prefer="ema"), average.module.eval())


@pytest.mark.parametrize("name", ["ema_model.", "avg."])  # "avg." is known by its n_averaged alone
def test_raw_and_averaged_side_by_side(trained: Net, file: Writer, name: str) -> None:
    """In one dict, as Lightning saves a module with two models: the other one is listed."""
    average = averaged()
    both = prefixed(name, average.state_dict()) | prefixed("model.", trained.state_dict())
    path = file({"state_dict": both})
    with pytest.raises(CheckpointError, match=re.escape(f"unexpected in the file: {name}")):
        load_checkpoint(Net, path)
    with pytest.warns(LDAMWarning, match="unexpected"):
        check(load_checkpoint(Net, path, strict=False), trained)
    with pytest.warns(LDAMWarning, match=r"unexpected in the file: model\."):
        check(load_checkpoint(Net, path, strict=False, prefer="ema"), average.module.eval())


def test_a_few_raw_weights_do_not_beat_all_averaged_ones(trained: Net, file: Writer) -> None:
    check(load_checkpoint(Net, file({"model": {"fc.bias": torch.zeros(5)}, "ema": trained.state_dict()})), trained)


def test_no_averaged_weights_to_prefer(trained: Net, file: Writer) -> None:
    with pytest.warns(LDAMWarning, match="no averaged weights"):
        check(load_checkpoint(Net, file({"model": trained.state_dict()}), prefer="ema"), trained)
    with pytest.raises(ValueError, match="prefer must be 'raw' or 'ema'; got 'best'"):
        load_checkpoint(Net, "nowhere.pt", prefer="best")  # type: ignore[arg-type]


# ---- what does not match ---------------------------------------------------------------------------------------------


def changed(state: dict[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    """One missing, one too many, one of another shape."""
    state = prefixed(prefix, state)
    del state[prefix + "features.0.bias"]
    return state | {"loss.weight": torch.ones(2), prefix + "fc.weight": torch.ones(7, 4)}


@pytest.mark.parametrize("prefix", ["", "module.", "model._orig_mod."])
def test_all_that_differs_is_listed(trained: Net, file: Writer, prefix: str) -> None:
    path = file({"state_dict": changed(trained.state_dict(), prefix)})
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(Net, path)
    assert caught.value.missing == ["features.0.bias"]
    assert caught.value.unexpected == ["loss.weight"]
    assert caught.value.mismatched == [("fc.weight", (7, 4), (5, 4))]
    text = str(caught.value)
    assert str(path) in text
    assert "'state_dict'" in text
    assert "1 missing in the file: features.0.bias" in text
    assert "fc.weight (7, 4) in the file, (5, 4) in the model" in text
    assert "strict=False" in text


def test_not_strict_loads_the_rest_and_warns(trained: Net, file: Writer) -> None:
    path, before = file(changed(trained.state_dict(), "net.")), net(2)
    with pytest.warns(LDAMWarning, match=r"features\.0\.bias.*loss\.weight.*\(7, 4\)") as seen:
        loaded = load_checkpoint(before, path, strict=False)
    assert len(seen) == 1
    assert seen[0].filename == __file__
    expected = net(1)
    with torch.no_grad():
        expected.features[0].bias.copy_(before.features[0].bias)  # type: ignore[operator, arg-type]
        expected.fc.weight.copy_(before.fc.weight)
    check(loaded, expected)


def test_long_lists_are_cut(trained: Net, file: Writer) -> None:
    extra = {f"extra.{i}": torch.ones(1) for i in range(20)}
    with pytest.raises(CheckpointError, match=r"20 unexpected in the file: extra\.0, .*extra\.7 and 12 more") as caught:
        load_checkpoint(Net, file(trained.state_dict() | extra))
    assert "extra.8" not in str(caught.value)
    assert caught.value.unexpected == list(extra)


@pytest.mark.parametrize("strict", [True, False])
def test_not_a_single_match(file: Writer, strict: bool) -> None:
    with pytest.raises(CheckpointError, match="no weight that fits Net"):
        load_checkpoint(Net, file(LeNet5().state_dict()), strict=strict)
    with pytest.raises(CheckpointError, match=r"no weight that fits.*\(2, 2\) in the file, \(3, 2\) in the model"):
        load_checkpoint(lambda: nn.Linear(2, 3), file(prefixed("module.", nn.Linear(2, 2).state_dict())), strict=strict)


def test_settings_beside_the_weights_are_unexpected(trained: Net, file: Writer) -> None:
    with pytest.raises(CheckpointError, match="1 unexpected in the file: epoch"):
        load_checkpoint(Net, file(trained.state_dict() | {"epoch": 3}))
    with pytest.raises(CheckpointError, match=r"fc\.bias no tensor in the file, \(5,\) in the model"):
        load_checkpoint(Net, file(trained.state_dict() | {"fc.bias": [1.0]}))


def test_old_files_have_no_batch_counter(trained: Net, file: Writer) -> None:
    state = trained.state_dict()
    del state["features.1.num_batches_tracked"]
    check(load_checkpoint(Net, file(state)), trained)


def test_of_equal_readings_the_shortest_prefix_counts(file: Writer) -> None:
    state = {"weight": torch.ones(2, 2), "bias": torch.ones(2)}
    both = prefixed("student.", {k: 2 * v for k, v in state.items()}) | state | prefixed("a.", state)
    with pytest.warns(LDAMWarning, match="unexpected"):
        loaded = load_checkpoint(lambda: nn.Linear(2, 2), file(both), strict=False)
    assert torch.equal(loaded(torch.eye(2)), torch.eye(2) @ torch.ones(2, 2) + 1)


def test_the_reading_with_the_right_shapes_counts(trained: Net, file: Writer) -> None:
    other = {name: torch.ones(9) for name in trained.state_dict()}
    check(load_checkpoint(Net, file({"model": other, "net": trained.state_dict()})), trained)
    path = file(prefixed("a.", other) | prefixed("zz.", trained.state_dict()))
    with pytest.warns(LDAMWarning, match="unexpected"):
        check(load_checkpoint(Net, path, strict=False), trained)


def test_the_wrapped_model_is_named(file: Writer) -> None:
    with pytest.raises(CheckpointError, match=r"fits Net: 10 missing in the file: index, mask, features\.0\.weight"):
        load_checkpoint(nn.DataParallel(net()), file({"a": X}))


def test_state_that_is_no_tensor(file: Writer) -> None:
    class Extra(nn.Linear):
        extra = 0

        def get_extra_state(self) -> int:
            return self.extra

        def set_extra_state(self, state: int) -> None:
            self.extra = state

    saved = Extra(2, 2)
    saved.extra = 5
    loaded = load_checkpoint(lambda: Extra(2, 2), file(prefixed("model.", saved.state_dict())))
    assert loaded.extra == 5


# ---- what the tensors are --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtype_is_the_models(trained: Net, file: Writer, dtype: torch.dtype) -> None:
    reduced = copy.deepcopy(trained).to(dtype)
    check(load_checkpoint(Net, file(reduced.state_dict())), reduced.float())


def test_float64_model(trained: Net, file: Writer) -> None:
    loaded = load_checkpoint(lambda: Net().double(), file(trained.state_dict()))
    assert torch.equal(loaded(X.double()), copy.deepcopy(trained).double()(X.double()))


@pytest.mark.parametrize(("value", "found"), [(torch.nan, "NaN"), (torch.inf, "infinite")])
def test_weights_must_be_finite(trained: Net, file: Writer, value: float, found: str) -> None:
    state = trained.state_dict()
    state["fc.bias"][2] = value
    for strict in (True, False):
        with pytest.raises(ValueError, match=rf"weight 'fc\.bias' holds 1 .*{found}"):
            load_checkpoint(Net, file(state), strict=strict)


def test_weights_must_fit_the_models_dtype(trained: Net, file: Writer) -> None:
    state = trained.state_dict()
    state["fc.bias"][2] = 1e6
    with pytest.raises(ValueError, match=r"fc\.bias.*infinite.*float16"):
        load_checkpoint(lambda: Net().half(), file(state))


def test_weights_that_pytorch_cannot_convert(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(3, 2, dtype=torch.uint8).view(torch.bits8)}, tmp_path / "w.pt")
    with pytest.raises(ValueError, match=r"weight 'weight' is torch\.bits8, which PyTorch cannot convert to .*float32"):
        load_checkpoint(lambda: nn.Linear(2, 3, bias=False), tmp_path / "w.pt")


def test_what_cannot_be_copied_is_named(trained: Net, file: Writer) -> None:
    weight = trained.fc.weight.detach()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own warning that quantised tensors will be removed
        odd = {
            "quantised": torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8),
            "sparse": weight.to_sparse(),
            "meta device": weight.to("meta"),
            "complex": weight.to(torch.complex64),
        }
        for word, value in odd.items():
            with pytest.raises(ValueError, match=rf"weight 'fc\.weight' .*{word}"):
                load_checkpoint(Net, file(trained.state_dict() | {"fc.weight": value}))


def test_tied_weights(tmp_path: Path, file: Writer) -> None:
    reference, x = with_fixed_weights(Tied), torch.eye(3)
    save_file({"a.weight": reference.state_dict()["a.weight"]}, tmp_path / "one.safetensors")
    for path in (tmp_path / "one.safetensors", file(reference.state_dict()),
                 file({"model.b.weight": reference.state_dict()["b.weight"]})):  # fmt: skip
        loaded = load_checkpoint(Tied, path)
        assert torch.equal(loaded(x), reference(x))
        assert loaded.a.weight is loaded.b.weight  # type: ignore[union-attr]


def test_tied_weights_that_differ_in_the_file(file: Writer) -> None:
    with pytest.raises(ValueError, match=r"'a\.weight' and 'b\.weight' are one weight in the model, but differ"):
        load_checkpoint(Tied, file({"a.weight": torch.eye(3), "b.weight": torch.ones(3, 3)}))


def test_other_formats(trained: Net, tmp_path: Path) -> None:
    state, old, safe = prefixed("model.", trained.state_dict()), tmp_path / "old.pth", tmp_path / "net.safetensors"
    torch.save(state, old, _use_new_zipfile_serialization=False)
    save_file(state, safe)
    for path in (old, safe, str(safe)):
        check(load_checkpoint(Net, path, device="cpu"), trained)


@pytest.mark.parametrize("which", demo.MNIST_STATES)
def test_shipped_lenet(which: str) -> None:
    x = torch.linspace(0, 1, 2 * 28 * 28).reshape(2, 1, 28, 28)
    path = str(files("ldam_widget.demo") / "weights" / f"lenet5_{which}.safetensors")
    assert torch.equal(load_checkpoint(LeNet5, path)(x), demo.mnist(which).model(x))


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("old", [False, True], ids=["zip", "old format"])
def test_hostile_file_of_torch(trained: Net, tmp_path: Path, old: bool) -> None:
    trace, path = tmp_path / "trace", tmp_path / "evil.pt"
    content = {"state_dict": trained.state_dict(), "extra": Hostile(trace)}
    torch.save(content, path, _use_new_zipfile_serialization=not old)
    with pytest.raises(ValueError, match=r"refused.*(posix|nt)\.mkdir.*run code.*state_dict.*safetensors"):
        load_checkpoint(Net, path)
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists()  # the control: unpickling it does run code


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_hostile_bare_pickle(tmp_path: Path, protocol: int) -> None:
    trace, path = tmp_path / "trace", tmp_path / "evil.pt"
    path.write_bytes(pickle.dumps(Hostile(trace), protocol))
    # protocols 0 and 1 have no mark that distinguishes them from a damaged file
    with pytest.raises(ValueError, match=r"refused.*mkdir" if protocol > 1 else "refused|damaged"):
        load_checkpoint(Net, path)
    assert not trace.exists()
    pickle.loads(path.read_bytes())
    assert trace.exists()


def test_torchscript(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own warning that TorchScript will be removed
        torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "script.pt"))  # type: ignore[no-untyped-call]
    with pytest.raises(ValueError, match=r"TorchScript archive.*torch\.jit\.load"):
        load_checkpoint(Net, tmp_path / "script.pt")


@pytest.mark.parametrize("name", ["w.pt", "w.bin", "w", "w.SAFETENSORS"])
def test_safetensors_are_known_by_their_content(trained: Net, tmp_path: Path, name: str) -> None:
    save_file(trained.state_dict(), tmp_path / name)
    found = load_checkpoint(Net, tmp_path / name)
    assert same([*found.state_dict().values()], [*trained.state_dict().values()])


@pytest.mark.parametrize("name", ["w.pt", "w.bin", "w.safetensors"])
def test_damaged_files(trained: Net, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if path.suffix == ".safetensors":
        save_file(trained.state_dict(), path)
    else:
        torch.save(trained.state_dict(), path)
    whole = path.read_bytes()
    for data in (whole[: len(whole) // 2], b"\x00\x01\x02" * 99, b"hello\n" * 9, b"version https://git-lfs\n", b"\x80"):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=rf"{re.escape(str(path))} is damaged") as caught:
            load_checkpoint(Net, path)
        assert "weights_only" not in str(caught.value)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="is empty"):
        load_checkpoint(Net, path)


@pytest.mark.parametrize("content", [[1, 2], 3.5, {"epoch": 3}, {}, torch.ones(3), [{"a": torch.ones(2)}]])
def test_no_weights_in_the_file(file: Writer, content: Any) -> None:
    with pytest.raises(ValueError, match=r"no dict of tensors.*(list|float|dict|Tensor)"):
        load_checkpoint(Net, file(content))


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no checkpoint file .*gone\.pt"):
        load_checkpoint(Net, tmp_path / "gone.pt")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        load_checkpoint(Net, tmp_path)
    with pytest.raises(TypeError, match="path must be the path of a file; got dict"):
        load_checkpoint(Net, {"a": 1})  # type: ignore[arg-type]


def test_what_is_no_model(trained: Net, file: Writer) -> None:
    path = file(trained.state_dict())
    for wrong, got in ((3, "got 3"), (lambda: "net", "which made 'net'")):
        with pytest.raises(TypeError, match=rf"model_or_factory must be .*{got}"):
            load_checkpoint(wrong, path)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"'features\.0\.weight' is on the meta device"):
        load_checkpoint(Net().to("meta"), path)
    with pytest.raises(ValueError, match="'weight' has no shape yet"):
        load_checkpoint(lambda: nn.LazyLinear(3), path)
    with pytest.raises(ValueError, match="device='meta' cannot be used"):
        load_checkpoint(Net, path, device="meta")
    locked = net()
    locked.generator = (i for i in range(3))  # type: ignore[assignment]
    with pytest.raises(TypeError, match=r"Net cannot be copied.*callable that makes"):
        load_checkpoint(locked, path)


# ---- nothing of the user's is touched --------------------------------------------------------------------------------


class Watch:
    """All of a model that a user could see, and the generator."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.before = self.look()

    def look(self) -> list[Any]:
        tensors = [*self.model.named_parameters(), *self.model.named_buffers()]
        state = [(name, id(t), t._version, t.requires_grad, t.detach().clone()) for name, t in tensors]
        grads = [None if p.grad is None else (id(p.grad), p.grad.clone()) for p in self.model.parameters()]
        modes = [module.training for module in self.model.modules()]
        hooks = [list(module._forward_hooks.items()) for module in self.model.modules()]
        return [state, grads, modes, hooks, torch.get_rng_state()]

    def check(self) -> None:
        assert same(self.look(), self.before)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def lived_in(seed: int) -> Net:
    """In training mode, with gradients, a frozen weight and a hook."""
    model = net(seed).train()
    model.fc.weight.requires_grad_(False)
    model.fc.register_forward_hook(lambda *_: None)
    model.eval()(X).sum().backward()
    model.train()
    model.fc.eval()
    return model


def test_the_model_given_is_not_changed(trained: Net, file: Writer) -> None:
    path, model = file(trained.state_dict()), lived_in(2)
    watch = Watch(model)
    loaded = load_checkpoint(model, path)
    watch.check()
    check(loaded, trained)
    assert [p.requires_grad for p in loaded.parameters()] == [p.requires_grad for p in model.parameters()]
    assert all(p.grad is None for p in loaded.parameters())
    with torch.no_grad():
        for p in loaded.parameters():
            p.zero_()
    watch.check()
    check(load_checkpoint(Net, path), trained)  # nor is the file


def test_a_factory_draws_no_numbers_and_is_returned(trained: Net, file: Writer) -> None:
    state, made = torch.get_rng_state(), []

    def factory() -> Net:
        made.append(Net())
        return made[-1]

    loaded = load_checkpoint(factory, file(trained.state_dict()))
    assert torch.equal(torch.get_rng_state(), state)
    assert len(made) == 1
    assert loaded is made[0]


def test_pruned_models_can_be_copied(file: Writer) -> None:
    from torch.nn.utils import prune

    model = prune.l1_unstructured(nn.Linear(4, 3), "weight", 5)  # type: ignore[no-untyped-call]
    reference = copy.deepcopy(model.state_dict())
    loaded = load_checkpoint(model, file({k: 2 * v if "mask" not in k else v for k, v in reference.items()}))
    assert torch.allclose(loaded(torch.eye(4)), 2 * model(torch.eye(4)))


# ---- means -----------------------------------------------------------------------------------------------------------


def mean_of(values: list[Tensor], decay: float | None) -> Tensor:
    """By hand, in float64."""
    if decay is None:
        return torch.stack(values).double().mean(0)
    average = values[0].double()
    for value in values[1:]:
        average = decay * average + (1 - decay) * value.double()
    return average


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("decay", [None, 0.9, 0.25])
def test_averages_by_hand(decay: float | None, dtype: torch.dtype) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LDAMWarning)
        models = [net(seed).to(dtype) for seed in range(5)]
        for count, model in enumerate(models):
            model.features[1].num_batches_tracked.fill_(2**40 + count)  # type: ignore[operator]
        result = average_checkpoints(models, decay=decay)
    for name, value in result.state_dict().items():
        given = [model.state_dict()[name] for model in models]
        assert value.dtype == given[0].dtype
        if value.is_floating_point():
            # each of the four steps rounds a few numbers below 1
            assert torch.allclose(value.double(), mean_of(given, decay), rtol=0, atol=16 * torch.finfo(dtype).eps)
        else:
            assert torch.equal(value, given[-1])  # no mean, and no digit lost on the way through float32
    assert not any(module.training for module in result.modules())


def test_averages_of_files_and_models(tmp_path: Path) -> None:
    models = [with_fixed_weights(LeNet5, seed) for seed in range(3)]
    torch.save({"model": nn.DataParallel(models[0]).state_dict()}, tmp_path / "a.pt")
    save_file(models[1].state_dict(), tmp_path / "b.safetensors")
    state = torch.get_rng_state()
    for base in (LeNet5, models[2], nn.DataParallel(models[2])):
        sources: list[nn.Module | str | Path] = [
            tmp_path / "a.pt",
            str(tmp_path / "b.safetensors"),
            compiled(models[2]),
        ]
        result = average_checkpoints(iter(sources), base)
        assert type(result) is LeNet5
        for name, value in result.state_dict().items():
            assert torch.allclose(value.double(), mean_of([m.state_dict()[name] for m in models], None), atol=1e-7)
    assert torch.equal(torch.get_rng_state(), state)


class Norm(nn.Module):
    """(N, 3, 4, 4) -> the same: batch norm behind dropout that does nothing, so that the statistics are known."""

    def __init__(self, p: float = 0.0) -> None:
        super().__init__()
        self.drop, self.norm = nn.Dropout(p), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.drop(x))
        return out


def batches() -> list[Tensor]:
    generator = torch.Generator().manual_seed(4)
    return [torch.randn(n, 3, 4, 4, generator=generator) * (n + 1) + n for n in (5, 2, 7)]


@pytest.mark.parametrize("pairs", [False, True])
def test_batch_norm_statistics_are_computed_again(pairs: bool) -> None:
    loader: list[Any] = [(x, torch.zeros(len(x))) for x in batches()] if pairs else batches()
    result = average_checkpoints([Norm(), Norm()], loader=loader)
    # the plain mean over batches of their means and unbiased variances
    mean = torch.stack([x.mean((0, 2, 3)) for x in batches()]).mean(0)
    variance = torch.stack([x.var((0, 2, 3), unbiased=True) for x in batches()]).mean(0)
    norm = result.norm
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert torch.allclose(norm.running_mean, mean, rtol=1e-5)
    assert torch.allclose(norm.running_var, variance, rtol=1e-5)
    assert norm.momentum == 0.1
    assert not norm.training
    x = batches()[0]
    shown = (x - mean[:, None, None]) / (variance[:, None, None] + norm.eps).sqrt()
    assert torch.allclose(result(x), shown, atol=1e-5)


def test_batch_norm_and_loader_go_together() -> None:
    with pytest.warns(LDAMWarning, match="statistics of 1 batch-norm layer were averaged") as seen:
        average_checkpoints([Norm(), Norm()])
    assert seen[0].filename == __file__
    with pytest.warns(LDAMWarning, match="loader was not used") as seen:
        average_checkpoints([LeNet5(), LeNet5()], loader=[torch.zeros(1, 1, 28, 28)])
    assert seen[0].filename == __file__


def test_loaders_that_are_refused() -> None:
    with pytest.raises(ValueError, match="loader yielded no batch"):
        average_checkpoints([Norm(), Norm()], loader=[])
    for wrong, name in ((torch.zeros(2, 3, 4, 4), "Tensor"), (3, "int")):
        with pytest.raises(TypeError, match=f"loader must yield batches.*got {name}"):
            average_checkpoints([Norm(), Norm()], loader=wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"the average: weight 'norm\.running_mean' holds 3 NaN"):
        average_checkpoints([Norm(), Norm()], loader=[torch.full((2, 3, 4, 4), torch.nan)])


def test_the_models_given_to_an_average_are_not_changed() -> None:
    models: list[nn.Module] = [lived_in(1), lived_in(2), Norm(0.5)]
    watches = [Watch(model) for model in models]
    data = torch.utils.data.TensorDataset(X.repeat(4, 1, 1, 1))
    shuffled = torch.utils.data.DataLoader(data, 4, shuffle=True)
    result = average_checkpoints(models[:2], loader=shuffled)
    average_checkpoints([models[2], models[2]], loader=batches())
    with torch.no_grad():
        for tensor in result.state_dict().values():
            tensor.zero_()
    for watch in watches:
        watch.check()


def test_tied_weights_stay_tied() -> None:
    result = average_checkpoints([with_fixed_weights(Tied, 1), with_fixed_weights(Tied, 2)])
    assert result.a.weight is result.b.weight  # type: ignore[union-attr]


def test_sources_of_different_architecture() -> None:
    with pytest.raises(
        ValueError, match=r"sources\[1\] and sources\[0\].*weight 0 is weight \(3, 2\) and weight \(2, 2\)"
    ):
        average_checkpoints([nn.Linear(2, 2), nn.Linear(2, 3)])
    with pytest.raises(ValueError, match=r"sources\[2\].*weight 1 is nothing and bias \(2,\)"):
        average_checkpoints([nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2, bias=False)])

    class Reversed(nn.Linear):
        def __init__(self) -> None:
            super().__init__(2, 2)
            self._parameters = dict(reversed(self._parameters.items()))

    with pytest.raises(ValueError, match=r"weight 0 is bias \(2,\) and weight \(2, 2\)"):
        average_checkpoints([nn.Linear(2, 2), Reversed()])


def test_sources_that_are_refused(trained: Net, file: Writer) -> None:
    path = file(trained.state_dict())
    for wrong in (str(path), path, nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), 3):
        with pytest.raises(TypeError, match="sources must be a list of models or paths"):
            average_checkpoints(wrong, Net)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least two members; got 1"):
        average_checkpoints([trained])
    with pytest.raises(TypeError, match=r"sources\[1\] must be .*got 3"):
        average_checkpoints([trained, 3])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"model_or_factory must be given, to load .*weights\.pt"):
        average_checkpoints([trained, path])
    with pytest.raises(ValueError, match="model_or_factory is for paths"):
        average_checkpoints([trained, trained], Net)
    for decay in (0.0, 1.0, -0.1, float("nan"), 1, True, "0.9"):
        with pytest.raises(ValueError, match=f"decay={decay!r} must lie between 0 and 1"):
            average_checkpoints([trained, trained], decay=decay)  # type: ignore[arg-type]
    broken = net(3)
    with torch.no_grad():
        broken.fc.weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"sources\[1\]: weight 'fc\.weight' holds 1 NaN"):
        average_checkpoints([trained, broken])
    with pytest.raises(CheckpointError):
        average_checkpoints([path, path], LeNet5)
