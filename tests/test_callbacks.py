"""Watching trainings of Lightning, transformers and Accelerate: the same losses to the last bit, whatever happens.

With the real packages where they are installed; and with stand-ins that call what those call, in their order.
"""

from __future__ import annotations

import importlib
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget import LDAMWarning, Watch
from ldam_widget.kernels import Algorithm1
from ldam_widget.widget.optimizer_steps import StepCounter
from ldam_widget.widget.parts.watch_bar import Checkpoints

SETTINGS: dict[str, Any] = {"input_shape": (1, 4, 4), "play": False, "every": 2, "kernel": Algorithm1()}
STEPS = 6


def network() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.BatchNorm1d(6), nn.Dropout(0.3), nn.Linear(6, 3))


class Bits:
    """Losses to the last bit, and what the generators give afterwards."""

    def __init__(self) -> None:
        torch.manual_seed(3)
        self.losses: list[str] = []

    def of(self, net: nn.Module, x: Tensor) -> Tensor:
        loss = net(x).square().mean()
        self.losses.append(float(loss).hex())
        return loss

    def all(self, net: nn.Module) -> list[Any]:
        weights = [value.numpy().tobytes() for value in net.state_dict().values()]
        return [self.losses, weights, float(torch.rand(()))]


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", LDAMWarning)
        yield


# ---- stand-ins -------------------------------------------------------------------------------------------------------


class Callback:
    """As lightning.pytorch.Callback: every hook does nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("on_"):
            return lambda *_, **__: None
        raise AttributeError(name)


class LightningLoop:
    """What Lightning's Trainer calls."""

    def __init__(self, callbacks: list[Any], fails: bool = False) -> None:
        self.callbacks, self.fails = callbacks, fails
        self.is_global_zero = True
        self.optimizers: list[Any] = []

    def fit(self, net: nn.Module, bits: Bits) -> None:
        self.optimizers = [torch.optim.SGD(net.parameters(), 0.1)]
        try:
            self._call("on_train_start", net)
            for index in range(STEPS):
                loss = bits.of(net, torch.randn(4, 1, 4, 4))
                loss.backward()
                self.optimizers[0].step()
                self.optimizers[0].zero_grad()
                if self.fails:
                    raise RuntimeError("the user's own")
                self._call("on_train_batch_end", net, loss, None, index)
            self._call("on_train_end", net)
        except RuntimeError as error:
            self._call("on_exception", net, error)
            raise

    def _call(self, hook: str, *arguments: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, hook)(self, *arguments)


class AcceleratedOptimizer(torch.optim.Optimizer):
    """As accelerate's: a subclass that skips its constructor."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.optimizer.step(closure)


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str, **content: Any) -> None:
    for known in [known for known in sys.modules if known.split(".")[0] in (name.split(".")[0], "pytorch_lightning")]:
        monkeypatch.delitem(sys.modules, known)
    for index in range(1, name.count(".") + 2):
        part = ".".join(name.split(".")[:index])
        monkeypatch.setitem(sys.modules, part, types.ModuleType(part))
    vars(sys.modules[name]).update(content)


def trained_by_lightning(monkeypatch: pytest.MonkeyPatch, name: str, watched: bool, **settings: Any) -> tuple[Any, Any]:
    stand_in(monkeypatch, name, Callback=Callback)
    callback = ldam.callbacks.lightning(**SETTINGS | settings) if watched else None
    bits, net = Bits(), network()
    LightningLoop([callback] if watched else []).fit(net, bits)
    return bits.all(net), callback


@pytest.mark.parametrize("name", ["lightning.pytorch", "pytorch_lightning"])
def test_lightning_stand_in(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    plain, _ = trained_by_lightning(monkeypatch, name, False)
    watched, callback = trained_by_lightning(monkeypatch, name, True)
    assert watched == plain
    assert isinstance(callback, Callback)
    assert isinstance(callback.widget, Watch)
    assert (callback.widget.iteration, callback.widget.kept) == (STEPS, [0, 2, 4, 6])
    assert repr(callback.widget).endswith("optimiser step 6)")
    callback.widget.close()


def test_the_users_own_error_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, "lightning.pytorch", Callback=Callback)
    callback = ldam.callbacks.lightning(**SETTINGS)
    loop, net = LightningLoop([callback], fails=True), network()
    with pytest.raises(RuntimeError, match="the user's own"):
        loop.fit(net, Bits())
    assert callback.widget.kept[-1] == 1  # the last weights are kept, and the hooks are gone
    assert not loop.optimizers[0]._optimizer_step_post_hooks
    callback.widget.close()


def test_other_processes_show_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, "lightning.pytorch", Callback=Callback)
    callback = ldam.callbacks.lightning(**SETTINGS)
    loop = LightningLoop([callback])
    loop.is_global_zero = False
    loop.fit(network(), Bits())
    assert callback.widget is None


FAULTS: dict[str, dict[str, Any]] = {
    "shape": {"input_shape": (7,)},
    "layer": {"layer": "nothing"},
    "part": {"module": "nothing"},
    "option": {"every": 0},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_at_the_start_are_told_and_training_goes_on(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    plain, _ = trained_by_lightning(monkeypatch, "lightning.pytorch", False)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", LDAMWarning)
        watched, callback = trained_by_lightning(monkeypatch, "lightning.pytorch", True, **FAULTS[fault])
    assert watched == plain
    assert callback.widget is None
    assert [w for w in seen if "not watched; training continues" in str(w.message)]


@pytest.mark.parametrize("error", [RuntimeError("sampler"), OSError("disk full"), MemoryError(), RecursionError()])
def test_faults_within_are_told_and_training_goes_on(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    plain, _ = trained_by_lightning(monkeypatch, "lightning.pytorch", False)
    calls = []

    def broken(_: Checkpoints) -> None:
        calls.append(1)
        raise error

    monkeypatch.setattr(Checkpoints, "count", broken)
    with pytest.warns(LDAMWarning, match="watching stopped; training continues"):
        watched, callback = trained_by_lightning(monkeypatch, "lightning.pytorch", True)
    assert watched == plain
    assert len(calls) == 1
    callback.widget.close()


def test_warnings_that_are_errors_stop_no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, callback = trained_by_lightning(monkeypatch, "lightning.pytorch", True, input_shape=(7,))
    assert callback.widget is None


def test_huggingface_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    class TrainerCallback:
        def on_step_begin(self, *_: Any, **__: Any) -> None: ...

    stand_in(monkeypatch, "transformers", TrainerCallback=TrainerCallback)

    def run(callback: Any) -> list[Any]:
        bits, net = Bits(), network()
        optimizer = AcceleratedOptimizer(torch.optim.SGD(net.parameters(), 0.1))
        known = {"model": net, "optimizer": optimizer, "train_dataloader": None}
        state = types.SimpleNamespace(is_world_process_zero=True)
        if callback:
            callback.on_train_begin(None, state, None, **known)
        for _ in range(STEPS):
            bits.of(net, torch.randn(4, 1, 4, 4)).backward()
            optimizer.step()
            net.zero_grad()
            if callback:
                callback.on_step_end(None, state, None, **known)
        if callback:
            callback.on_train_end(None, state, None, **known)
        return bits.all(net)

    callback = ldam.callbacks.huggingface(**SETTINGS)
    assert run(callback) == run(None)
    assert isinstance(callback, TrainerCallback)
    assert callback.widget.iteration == STEPS
    callback.widget.close()


def test_accelerate_stand_in() -> None:
    def run(watched: bool, main: bool = True) -> tuple[list[Any], Watch | None]:
        bits, net = Bits(), network()
        optimizer = AcceleratedOptimizer(torch.optim.SGD(net.parameters(), 0.1))
        accelerator = types.SimpleNamespace(is_main_process=main and watched)
        with ldam.callbacks.accelerate(accelerator, net, optimizer, **SETTINGS) as w:
            for _ in range(STEPS):
                bits.of(net, torch.randn(4, 1, 4, 4)).backward()
                optimizer.step()
                net.zero_grad()
        return bits.all(net), w

    (watched, w), (plain, none) = run(True), run(False)
    assert watched == plain
    assert none is None
    assert w is not None
    assert w.iteration == STEPS
    w.close()


def test_arguments_that_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, "lightning.pytorch", Callback=Callback)
    with pytest.raises(TypeError, match="optimizer is taken from the training"):
        ldam.callbacks.lightning(optimizer=None, **SETTINGS)
    with pytest.raises(TypeError, match="module must be the name of a part"):
        ldam.callbacks.lightning(module=network(), **SETTINGS)  # type: ignore[arg-type]
    for name in ("lightning", "lightning.pytorch", "pytorch_lightning", "transformers"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    with pytest.raises(ImportError, match="pip install lightning"):
        ldam.callbacks.lightning(**SETTINGS)
    with pytest.raises(ImportError, match="pip install transformers"):
        ldam.callbacks.huggingface(**SETTINGS)


# ---- the real packages -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lightning.pytorch", "pytorch_lightning"])
def test_lightning(name: str, tmp_path: Any) -> None:
    lightning: Any = pytest.importorskip(name, reason=f"{name} is no dependency", exc_type=ImportError)

    def run(callbacks: list[Any]) -> list[Any]:
        bits = Bits()

        class Module(lightning.LightningModule):  # type: ignore[misc, name-defined, unused-ignore]
            def __init__(self) -> None:
                super().__init__()
                self.net = network()

            def forward(self, x: Tensor) -> Tensor:
                found: Tensor = self.net(x)
                return found

            def training_step(self, batch: Tensor, _: int) -> Tensor:
                return bits.of(self, batch)

            def configure_optimizers(self) -> Any:
                return torch.optim.SGD(self.parameters(), 0.1)

        module = Module()
        loader = torch.utils.data.DataLoader(torch.randn(4 * STEPS, 1, 4, 4), 4, shuffle=True)
        lightning.Trainer(
            max_epochs=1, callbacks=callbacks, logger=False, enable_checkpointing=False, accelerator="cpu",
            enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
        ).fit(module, loader)  # fmt: skip
        return bits.all(module)

    for settings in ({}, {"module": "net"}):
        callback = ldam.callbacks.lightning(**SETTINGS | settings)
        assert run([callback]) == run([])
        assert (callback.widget.iteration, callback.widget.kept) == (STEPS, [0, 2, 4, 6])
        callback.widget.close()


def test_transformers(tmp_path: Any) -> None:
    pytest.importorskip("accelerate", reason="accelerate is no dependency")
    transformers: Any = pytest.importorskip("transformers", reason="transformers is no dependency")
    try:
        Trainer = transformers.Trainer  # noqa: N806
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"its Trainer cannot be imported: {error}")

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def forward(self, x: Tensor, labels: Tensor | None = None) -> Any:
            out = self.net(x)
            return out if labels is None else {"loss": bits.of(self.net, x), "logits": out}

    data = [{"x": torch.randn(1, 4, 4), "labels": 0} for _ in range(4 * STEPS)]
    results = []
    for watched in (True, False):
        bits = Bits()
        net = Net()
        callback = ldam.callbacks.huggingface(**SETTINGS) if watched else None
        arguments = transformers.TrainingArguments(
            str(tmp_path), per_device_train_batch_size=2, gradient_accumulation_steps=2, num_train_epochs=1,
            report_to=[], use_cpu=True, save_strategy="no", disable_tqdm=True, remove_unused_columns=False,
        )  # fmt: skip
        Trainer(net, arguments, train_dataset=data, callbacks=[callback] if callback else []).train()
        results.append(bits.all(net))
        if callback:
            assert callback.widget.iteration == STEPS, "optimiser steps, not batches"
            callback.widget.close()
    assert results[0] == results[1]


def test_accelerate() -> None:
    accelerate: Any = pytest.importorskip("accelerate", reason="accelerate is no dependency")
    results = []
    for watched in (True, False):
        bits, net = Bits(), network()
        accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
        optimizer = torch.optim.SGD(net.parameters(), 0.1)
        model, optimizer = accelerator.prepare(net, optimizer)
        settings = SETTINGS if watched else SETTINGS | {"every": 0}  # which is refused, with a warning
        with warnings.catch_warnings():
            warnings.simplefilter("ignore" if not watched else "error", LDAMWarning)
            watching = ldam.callbacks.accelerate(accelerator, model, optimizer, **settings)
            with watching as w:
                for _ in range(2 * STEPS):
                    with accelerator.accumulate(model):
                        accelerator.backward(bits.of(model, torch.randn(4, 1, 4, 4)))
                        optimizer.step()
                        optimizer.zero_grad()
        results.append(bits.all(net))
        if watched:
            assert w is not None
            assert w.iteration == STEPS
            w.close()
    assert results[0] == results[1]


# ---- optimisers that wrap others -------------------------------------------------------------------------------------


class Sam(torch.optim.Optimizer):
    """As the usual implementation of Foret et al. 2021: two steps, of which the second is the base optimiser's."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {"lr": 0.1})
        self.base_optimizer = torch.optim.SGD(self.param_groups, 0.1)

    def first_step(self) -> None: ...

    def second_step(self) -> None:
        self.base_optimizer.step()

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.second_step()


class Lookahead(torch.optim.Optimizer):
    """As Zhang et al. 2019: changes the weights again after the inner step."""

    def __init__(self, inner: torch.optim.Optimizer) -> None:
        super().__init__(inner.param_groups, {})
        self.optimizer = inner

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.optimizer.step()
        with torch.no_grad():
            self.param_groups[0]["params"][0].fill_(7)


class Apex:
    """As apex' FP16_Optimizer: no Optimizer at all."""

    def __init__(self, inner: torch.optim.Optimizer) -> None:
        self.optimizer = inner

    def step(self) -> None:
        self.optimizer.step()


def weight() -> nn.Parameter:
    parameter = nn.Parameter(torch.ones(2))
    parameter.grad = torch.ones(2)
    return parameter


def counted(make: Callable[[nn.Parameter], Any], step: Callable[[Any], None]) -> list[float]:
    """The weight at every step that is counted, of three."""
    parameter, seen = weight(), list[float]()
    optimizer = make(parameter)
    counter = StepCounter(optimizer, lambda: seen.append(float(parameter.detach()[0])))
    counter.start()
    counter.start()
    for _ in range(3):
        step(optimizer)
    counter.stop()
    step(optimizer)
    return seen


def sgd(p: nn.Parameter) -> torch.optim.Optimizer:
    return torch.optim.SGD([p], 0.25)


def stepped(optimizer: Any) -> None:
    optimizer.step()


WRAPPERS: dict[str, tuple[Callable[[nn.Parameter], Any], Callable[[Any], None], list[float]]] = {
    "plain": (sgd, stepped, [0.75, 0.5, 0.25]),
    "accelerate": (lambda p: AcceleratedOptimizer(sgd(p)), stepped, [0.75, 0.5, 0.25]),
    "apex": (lambda p: Apex(sgd(p)), stepped, [0.75, 0.5, 0.25]),
    "lookahead": (lambda p: Lookahead(sgd(p)), stepped, [7, 7, 7]),
    "accelerate around lookahead": (lambda p: AcceleratedOptimizer(Lookahead(sgd(p))), stepped, [7, 7, 7]),
    "SAM by steps": (lambda p: Sam([p]), lambda o: (o.first_step(), o.second_step()), [0.9, 0.8, 0.7]),  # type: ignore[dict-item, return-value]
    "SAM": (lambda p: Sam([p]), stepped, [0.9, 0.8, 0.7]),
}


@pytest.mark.parametrize("what", WRAPPERS)
def test_steps_of_optimisers_that_wrap_others(what: str) -> None:
    make, step, expected = WRAPPERS[what]
    assert counted(make, step) == pytest.approx(expected)


def test_zero_redundancy_and_sharded_models(tmp_path: Any) -> None:
    """One process that speaks to itself: ZeRO's optimiser, DDP around the model; and what cannot be watched says so."""
    import torch.distributed as dist
    from torch.distributed.optim import ZeroRedundancyOptimizer

    if not dist.is_available() or not dist.is_gloo_available():
        pytest.skip("torch was built without gloo")
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        zero = lambda p: ZeroRedundancyOptimizer([p], torch.optim.SGD, lr=0.25)  # noqa: E731
        assert counted(zero, stepped) == pytest.approx([0.75, 0.5, 0.25])
        net = network()
        wrapped = nn.parallel.DistributedDataParallel(net)
        optimizer = sgd(net[1].weight)
        with ldam.watch(torch.compile(wrapped), optimizer=optimizer, **SETTINGS) as w:  # type: ignore[arg-type]
            wrapped(torch.randn(4, 1, 4, 4)).sum().backward()
            optimizer.step()
        assert w.iteration == 1
        w.step(1)
        assert torch.equal(w.sampler.view[1].weight, net[1].weight)
        w.close()
        from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard

        with pytest.raises(ValueError, match=r"model is sharded.*full state dict"):
            ldam.watch(FullyShardedDataParallel(network(), device_id=torch.device("cpu")), **SETTINGS)
        with pytest.raises(ValueError, match=r"sharded \(DTensor\).*full state dict"):
            ldam.watch(fully_shard(network(), mesh=dist.init_device_mesh("cpu", (1,))), **SETTINGS)  # type: ignore[arg-type]
    finally:
        dist.destroy_process_group()


def test_steps_that_a_gradient_scaler_skips_are_not_counted() -> None:
    parameter, seen = weight(), list[int]()
    optimizer = sgd(parameter)
    counter = StepCounter(optimizer, lambda: seen.append(1))
    counter.start()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    for value in (1.0, torch.inf, 2.0):
        optimizer.zero_grad()
        scaler.scale((parameter * value).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
    assert len(seen) == 2
    counter.stop()


def test_a_step_that_fails_does_not_end_the_counting() -> None:
    parameter, seen = weight(), list[int]()
    outer = Lookahead(sgd(parameter))
    counter = StepCounter(outer, lambda: seen.append(1))
    counter.start()
    outer.param_groups = []  # its own part fails after the inner step
    with pytest.raises(IndexError):
        outer.step()
    assert seen == []
    outer.param_groups = outer.optimizer.param_groups
    outer.step()
    assert seen == [1]


def test_nothing_is_left_in_the_optimiser() -> None:
    outer = Lookahead(sgd(weight()))
    before = [dict(vars(each)) for each in (outer, outer.optimizer)]
    counter = StepCounter(outer, lambda: None)
    counter.start()
    counter.stop()
    assert [dict(vars(each)) for each in (outer, outer.optimizer)] == before


@pytest.mark.parametrize("wrong", [3, "sgd", torch.optim.SGD, types.SimpleNamespace(step=lambda: None)])
def test_what_is_no_optimiser(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"optimizer must be a torch\.optim\.Optimizer or wrap one.*call update\(\)"):
        ldam.watch(network(), optimizer=wrong, **SETTINGS)


def test_callbacks_are_imported_lazily() -> None:
    assert "callbacks" in dir(ldam)
    assert set(ldam.callbacks.__all__) == {"accelerate", "huggingface", "lightning"}
    assert importlib.import_module("ldam_widget.callbacks") is ldam.callbacks
