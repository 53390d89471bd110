"""Files that are hostile, broken, or cannot be written."""

from __future__ import annotations

import contextlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import ldam_widget as ldam

from ..conftest import with_fixed_weights
from .harness import Bench, Net, Switch

Make = Callable[..., Bench]


def net() -> nn.Module:
    return with_fixed_weights(lambda: Net(Switch()))


class Hostile:
    """Writes a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.trace),)


def bare_pickle(path: Path, trace: Path) -> None:
    path.write_bytes(pickle.dumps({"fc.weight": Hostile(trace)}))


def of_torch(path: Path, trace: Path) -> None:
    torch.save(net().state_dict() | {"extra": Hostile(trace)}, path)


def whole_model(path: Path, trace: Path) -> None:
    torch.save([nn.Linear(6, 5), Hostile(trace)], path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("write", [bare_pickle, of_torch, whole_model])
def test_a_hostile_pickle_runs_nothing(tmp_path: Path, write: Callable[[Path, Path], None]) -> None:
    good, bad, trace = tmp_path / "good.pt", tmp_path / "bad.pt", tmp_path / "trace"
    torch.save(net().state_dict(), good)
    write(bad, trace)
    with pytest.raises((ValueError, pickle.UnpicklingError), match=r"bad\.pt"):
        ldam.load_checkpoint(net, bad)
    for pair in ((good, bad), (bad, good)):
        with pytest.raises((ValueError, pickle.UnpicklingError), match=r"bad\.pt"):
            ldam.compare_checkpoints(net, *pair, input_shape=(1, 8, 8))
    assert not trace.exists()
    with contextlib.suppress(RuntimeError):  # what follows in the file
        torch.load(bad, weights_only=False)
    assert trace.exists()  # the control: unpickling it does run code


@pytest.mark.parametrize("length", [0, 7, 100, -1], ids=["empty", "no header", "half a header", "no end"])
def test_a_safetensors_file_that_ends_too_early(tmp_path: Path, length: int) -> None:
    path, good = tmp_path / "bad.safetensors", tmp_path / "good.safetensors"
    save_file(net().state_dict(), good)
    path.write_bytes(good.read_bytes()[:length])
    before = ldam.load_checkpoint(net, good)
    weights = {name: tensor.clone() for name, tensor in before.state_dict().items()}
    with pytest.raises(ValueError, match=r"bad\.safetensors"):
        ldam.LDAM(ldam.load_checkpoint(before, path), input_shape=(1, 8, 8))
    with pytest.raises(ValueError, match=r"bad\.safetensors"):
        ldam.compare_checkpoints(net, good, path, input_shape=(1, 8, 8))
    for name, tensor in before.state_dict().items():
        assert torch.equal(tensor, weights[name]), "half a file is loaded not at all"


WRITES: dict[str, Callable[[Any, Path], None]] = {
    "snapshot": lambda w, path: w.snapshot().save(path.with_suffix(".png")),
    "save": lambda w, path: w.save(path.with_suffix(".png")),
    "record": lambda w, path: w.record(0.2, path.with_suffix(".gif")),
    "figure": lambda w, path: w.figure().savefig(path.with_suffix(".png")),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
@pytest.mark.parametrize("place", ["full", "nowhere", "a folder"])
@pytest.mark.parametrize("playing", [True, False])
def test_a_picture_that_cannot_be_written(
    set_up: Make, tmp_path: Path, write: Callable[[Any, Path], None], place: str, playing: bool
) -> None:
    if place == "full" and not Path("/dev/full").exists():
        pytest.skip("a system without /dev/full")
    path = {"full": tmp_path / "full", "nowhere": tmp_path / "no" / "x", "a folder": tmp_path / "y"}[place]
    for ending in (".png", ".gif"):
        if place == "full":
            path.with_suffix(ending).symlink_to("/dev/full")
        elif place == "a folder":
            path.with_suffix(ending).mkdir()
    bench = set_up()
    if playing:
        bench.play()
    watching = len(bench.w.loop.observers)
    with pytest.raises(OSError, match=r"No space left|No such file|Is a directory"):
        write(bench.w, path)
    assert len(bench.w.loop.observers) == watching
    assert bench.w.error is None
    assert bench.w.playing == playing
    bench.play()
    write(bench.w, tmp_path / "fine")
