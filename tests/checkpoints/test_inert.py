"""Weights beside what only other code could read: the same as torch's own reader gives, where that reads the file."""

from __future__ import annotations

import pickle
import sys
import types
from argparse import Namespace
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ldam_widget import CheckpointError, load_checkpoint
from ldam_widget.checkpoints.inert import Stub
from ldam_widget.checkpoints.reading import read

from ..conftest import with_fixed_weights


class Net(nn.Module):
    """(N, 2) -> (N, 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.ReLU())
        self.head = nn.Linear(4, 3)
        self.register_buffer("table", torch.arange(3.0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(x))
        return out


class Custom(Net):
    """Saves itself in a way of its own."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Custom, ()


class Colour(Enum):
    RED = 1


@dataclass
class Config:
    lr: float = 0.1
    path: Path = Path("runs")
    colour: Colour = Colour.RED
    more: dict[str, Any] = field(default_factory=lambda: {"seen": {1, 2}, "frozen": frozenset({3})})


class Settings(dict):  # type: ignore[type-arg]  # as yacs.CfgNode
    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.__dict__["frozen"] = True


class Slotted:
    __slots__ = ("a",)


BESIDE: dict[str, Any] = {
    "numpy scalars": {"best": np.float64(0.25), "epoch": np.int32(7), "flag": np.bool_(True), "half": np.float16(2)},
    "numpy arrays": [np.arange(6.0).reshape(2, 3), np.arange(4)[::-1], np.asfortranarray(np.ones((2, 3))),
                     np.array(["a", "b"]), np.array([None, 1]), np.zeros(3, [("x", "f4")]), np.ones(2, ">f4")],
    "a namespace": Namespace(lr=0.1, nested=Namespace(a=[1, 2]), path=Path("x")),
    "a dataclass": Config(),
    "a dict of a class of its own": Settings({"a": Settings({"b": 1})}),
    "an object with slots": Slotted(),
    "a time": datetime(2026, 1, 1, tzinfo=timezone.utc),
    "a class": Config,
    "a function": Path.cwd,
    "collections": [Counter("abca"), defaultdict(list, {"a": [1]}), OrderedDict(a=1), {1, 2}, frozenset({1}), 1 + 2j],
    "types of torch": [torch.Size([1, 2]), torch.float16, torch.device("cpu"), torch.strided],
    "bytes": [b"abc", bytearray(b"abc"), "ü\ud800"],
    "large numbers": [2**70, -(2**70), 2**31, float("inf"), -0.0],
    "itself": [],
}  # fmt: skip
BESIDE["itself"].append(BESIDE["itself"])


@pytest.fixture
def net() -> nn.Module:
    return with_fixed_weights(Net)


def saved(content: Any, path: Path, how: str) -> Path:
    if how == "bare pickle":
        path.write_bytes(pickle.dumps(content, 4))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "zip")
    return path


def same(model: nn.Module, other: nn.Module) -> bool:
    own, its = model.state_dict(), other.state_dict()
    return own.keys() == its.keys() and all(torch.equal(own[name], its[name]) for name in own)


@pytest.mark.parametrize("how", ["zip", "old format", "bare pickle"])
@pytest.mark.parametrize("what", BESIDE)
def test_weights_beside_anything(net: nn.Module, tmp_path: Path, what: str, how: str) -> None:
    content = {"hyper_parameters": BESIDE[what], "state_dict": net.state_dict(), "args": BESIDE[what]}
    assert same(load_checkpoint(Net, saved(content, tmp_path / "w.pt", how)), net)


@pytest.mark.parametrize("package", ["omegaconf", "yacs.config"])
def test_configs(net: nn.Module, tmp_path: Path, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = pytest.importorskip(package, reason=f"{package} is no dependency")
    cfg = config.OmegaConf.create({"a": {"b": [1]}}) if package == "omegaconf" else config.CfgNode({"a": {"b": 1}})
    path = saved({"cfg": cfg, "model": net.state_dict()}, tmp_path / "w.pt", "zip")
    for name in [name for name in sys.modules if name.startswith(package.split(".")[0])]:
        monkeypatch.delitem(sys.modules, name)
    assert same(load_checkpoint(Net, path), net)
    assert package not in sys.modules


def test_a_package_that_is_not_installed(net: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = types.ModuleType("gone")
    monkeypatch.setitem(sys.modules, "gone", gone)
    exec("class Config(dict):\n pass\nclass State(dict):\n pass", gone.__dict__)
    content = {"cfg": gone.Config(a=1), "model": gone.State(net.state_dict())}
    path = saved(content, tmp_path / "w.pt", "zip")
    monkeypatch.delitem(sys.modules, "gone")
    assert same(load_checkpoint(Net, path), net)


# ---- plain files: as torch itself reads them -------------------------------------------------------------------------

TENSORS: dict[str, Callable[[], Any]] = {
    "views": lambda: (lambda x: [x[1:, ::2], x.t(), x[0, 0], x.expand(2, 3, 4), x[:0]])(torch.arange(12.0).view(3, 4)),
    "types": lambda: [torch.ones(3).to(dtype) for dtype in (
        torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64,
        torch.bool, torch.complex64, torch.complex128)],
    "types without a storage class": lambda: [torch.ones(3).to(dtype) for dtype in (
        torch.uint16, torch.float8_e4m3fn, torch.float8_e5m2)],
    "parameters": lambda: [nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2), requires_grad=False)],
    "conjugates": lambda: [torch.tensor([1 + 2j]).conj(), torch.tensor([1 + 2j]).conj().imag],
    "empty": lambda: [torch.empty(0), torch.empty(2, 0, 3)],
    "shared": lambda: (lambda x: [x, x.view(2, 2), x])(torch.arange(4.0)),
}  # fmt: skip


@pytest.mark.parametrize("how", ["zip", "old format"])
@pytest.mark.parametrize("what", TENSORS)
def test_tensors_are_those_of_torch(tmp_path: Path, what: str, how: str) -> None:
    if what == "types without a storage class" and how == "old format":
        pytest.skip("torch cannot write them")
    path = saved(TENSORS[what](), tmp_path / "w.pt", how)
    own, other = read(path), torch.load(path, weights_only=True)
    assert isinstance(own, list)
    for a, b in zip(own, other, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert what == "conjugates" or a.stride() == b.stride()
        assert torch.equal(a.to(torch.complex128), b.to(torch.complex128))


def test_plain_data_are_those_of_torch(tmp_path: Path) -> None:
    content = {"a": [1, (2.5, None, True)], "b": {"c": "ü", 3: b"x"}, "lr": [2**40, -1, float("inf")]}
    path = saved(content, tmp_path / "w.pt", "zip")
    assert read(path) == torch.load(path, weights_only=True) == content


def test_optimizers_are_those_of_torch(net: nn.Module, tmp_path: Path) -> None:
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(3, 2)).sum().backward()
    optimizer.step()
    path = saved(optimizer.state_dict(), tmp_path / "w.pt", "zip")
    own, other = read(path), torch.load(path, weights_only=True)
    assert isinstance(own, dict)
    assert own["param_groups"] == other["param_groups"]
    for index, state in other["state"].items():
        assert all(torch.equal(own["state"][index][name], value) for name, value in state.items())


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1", "c8", "c16", ">f4", ">i8"])
@pytest.mark.parametrize("how", ["zip", "bare pickle"])
def test_numpy_arrays_are_read_as_tensors(tmp_path: Path, dtype: str, how: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(dtype)
    found = read(saved({"a": array, "t": array.T, "s": array[1, 2]}, tmp_path / "w.pt", how))
    assert isinstance(found, dict)
    assert np.array_equal(found["a"].numpy(), array)
    assert np.array_equal(found["t"].numpy(), array.T)
    assert found["s"] == array[1, 2].item()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_numpy_weights_of_every_protocol(net: nn.Module, tmp_path: Path, protocol: int) -> None:
    """From protocol 5 on, the default of Python 3.14, arrays hold bytearrays; and what lies beside are no numbers."""
    content: dict[str, Any] = {"model": {name: value.numpy() for name, value in net.state_dict().items()}}
    content["days"] = np.array(["2020-01-01"], "datetime64[D]")
    content["rows"] = np.array([(1, 2.5)], [("a", int), ("b", float)])
    path = tmp_path / "w.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    assert same(load_checkpoint(net, path), net)


def test_weights_as_numpy_arrays(net: nn.Module, tmp_path: Path) -> None:
    """As Detectron's model zoo keeps them."""
    arrays = {name: value.numpy() for name, value in net.state_dict().items()}
    content = {"model": arrays, "__author__": "zoo", "matching_heuristics": True}
    assert same(load_checkpoint(Net, saved(content, tmp_path / "w.pkl", "bare pickle")), net)


def test_a_tensor_with_attributes_is_read_without_them(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.eye(2))
    weight.note = Namespace(a=1)  # type: ignore[attr-defined]
    path = saved({"weight": weight}, tmp_path / "w.pt", "zip")
    assert torch.equal(load_checkpoint(lambda: nn.Linear(2, 2, bias=False), path).weight, weight)  # type: ignore[arg-type]


# ---- whole models ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["zip", "old format"])
@pytest.mark.parametrize("wrap", [lambda net: net, lambda net: {"ema": net.half(), "epoch": 3}, nn.DataParallel,
                                  lambda net: {"model": nn.DataParallel(net), "opt": Namespace()}])  # fmt: skip
def test_weights_of_whole_models(net: nn.Module, tmp_path: Path, wrap: Callable[[nn.Module], Any], how: str) -> None:
    """Their classes are not even looked up."""
    path = saved(wrap(net), tmp_path / "w.pt", how)
    assert same(load_checkpoint(Net, path), net.float())


def test_a_whole_model_of_a_module_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = types.ModuleType("gone")
    monkeypatch.setitem(sys.modules, "gone", gone)
    exec("import torch\nclass Net(torch.nn.Linear):\n pass", gone.__dict__)
    net = gone.Net(2, 2)
    path = saved(net, tmp_path / "w.pt", "zip")
    monkeypatch.delitem(sys.modules, "gone")
    assert same(load_checkpoint(lambda: nn.Linear(2, 2), path), net)


def test_whole_models_that_save_themselves_otherwise(tmp_path: Path) -> None:
    path = saved(Custom(), tmp_path / "w.pt", "zip")
    with pytest.raises(ValueError, match=r"no dict of tensors.*Only its own code could read: .*test_inert\.Custom; it"
                       r" was not run.*state_dict"):  # fmt: skip
        load_checkpoint(Net, path)


def test_weights_that_are_objects_are_named(net: nn.Module, tmp_path: Path) -> None:
    path = saved(net.state_dict() | {"head.bias": Slotted()}, tmp_path / "w.pt", "zip")
    with pytest.raises(CheckpointError, match=r"head\.bias a .*Slotted object, which only its own code could read"):
        load_checkpoint(Net, path)


def test_stubs_say_what_they_stand_for(tmp_path: Path) -> None:
    found = read(saved({"a": Namespace(lr=1)}, tmp_path / "w.pt", "zip"))
    assert isinstance(found, dict)
    assert isinstance(found["a"], Stub)
    assert (found["a"].name, found["a"].state) == ("argparse.Namespace", {"lr": 1})
