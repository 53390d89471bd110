"""What an atlas costs beside the bare gradients of its steps; its bytes, and its memory.

    LDAM_DATA=… python benchmarks/atlas.py step cifar [layer …] | step squeezenet [layer …]
    LDAM_DATA=… python benchmarks/atlas.py whole cifar 2 1 | whole squeezenet 1 4

`step`: CPU seconds of one thread, for one batch of units of each layer, with few and with more steps: the difference
gives a step, the rest is what every batch costs once. The bare gradient is the same batch through the network up to the
layer and back to the pixels, frozen, in plain PyTorch. `whole`: all layers with so many steps, or every n-th of their
blocks, in two processes; wall-clock time, bytes and memory. Networks are those of LDAM_DATA (see CONTRIBUTING.md).
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.atlases.recipe import checked

CHAINS, WARM_UP, STEPS = 4, 100, 200  # the last two by default, for which costs are stated


class Subject(NamedTuple):
    model: nn.Module
    layers: list[str]
    settings: dict[str, Any]


class Standardised:
    """(x − mean)/std; can be sent to other processes."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        self.mean, self.std = (torch.tensor(each).view(-1, 1, 1) for each in (mean, std))

    def __call__(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


def squeezenet() -> nn.Module:
    """SqueezeNet 1.0 with its weights."""
    data = Path(os.environ["LDAM_DATA"])
    sys.path.insert(0, str(data))
    import models

    weights = torch.load(data / "weights/imagenet/squeezenet1_0.pt", weights_only=True)
    network = models.SqueezeNet().eval()
    network.load_state_dict({name: w.float() if w.is_floating_point() else w for name, w in weights.items()})
    return network


def subject(name: str) -> Subject:
    if name == "cifar":
        demo = ldam.demo.cifar()
        settings = {key: demo.settings[key] for key in ("input_shape", "preprocess", "pixel_range", "class_names")}
        listed = ldam.layers(demo.model, (3, 32, 32), settings["preprocess"])
        return Subject(demo.model, [row.name for row in listed], settings | {"prior": demo.prior})
    network = squeezenet()
    settings = {
        "input_shape": (3, 227, 227),
        "preprocess": Standardised(network.mean, network.std),
        "pixel_range": (0.0, 1.0),
    }
    listed = ldam.layers(network, (3, 227, 227), settings["preprocess"])
    modules = dict(network.named_modules())
    fire = [row.name for row in listed if type(modules.get(row.name)).__name__ == "Fire"][:5]
    return Subject(network, fire, settings)


class _ReachedError(Exception):
    pass


def bare(of: Subject, layer: str, images: int, units: int) -> float:
    """CPU seconds of one gradient of a batch, up to the layer and back."""
    modules = dict(of.model.named_modules())
    for weight in of.model.parameters():
        weight.requires_grad_(False)
    x = torch.rand(images, *of.settings["input_shape"]).requires_grad_(True)
    own = torch.arange(units).repeat_interleave(images // units)
    found: list[Tensor] = []

    def stop(module: nn.Module, inputs: Any, output: Tensor) -> None:
        found.append(output)
        raise _ReachedError

    def gradient() -> None:
        found.clear()
        handle = modules[layer].register_forward_hook(stop)
        try:
            of.model(of.settings["preprocess"](x))
        except _ReachedError:
            pass
        finally:
            handle.remove()
        (output,) = found
        middle = output[(slice(None), slice(None), *(size // 2 for size in output.shape[2:]))]
        torch.autograd.grad(middle[torch.arange(images), own].sum(), x)

    gradient()
    times = []
    for _ in range(5):
        before = time.process_time()
        gradient()
        times.append(time.process_time() - before)
    return statistics.median(times)


def steps(name: str, only: list[str]) -> None:
    torch.set_num_threads(1)
    of = subject(name)
    few, more = (4, 16) if name == "cifar" else (1, 3)
    given = {key: of.settings[key] for key in of.settings if key not in ("class_names",)}
    recipe = checked(
        **{"prior": "auto", **given}, steps=1, chains=CHAINS, seed=0, kernel=None, goal=None, batch=None, threads=1,
        execution="plain", tile=112,
    )  # fmt: skip
    from ldam_widget.atlases.sampling import UnitSampler

    bare_total = own_total = once_total = 0.0
    print("layer | units | bare gradient, ms an image | step | once a batch, s")
    for layer in only or of.layers:
        row = next(r for r in ldam.layers(of.model, recipe.input_shape, recipe.preprocess) if r.name == layer)
        units = min(row.units, recipe.units_at_once)
        floor = bare(of, layer, units * CHAINS, units)
        seconds = {}
        for warm_up, count in ((few, few), (few, few + more), (few + more, few)):
            before = time.process_time()
            UnitSampler(of.model, layer, range(units), replace(recipe, warm_up=warm_up), "cpu").sampled(count)
            seconds[warm_up, count] = time.process_time() - before
        after = (seconds[few, few + more] - seconds[few, few]) / more
        warm = (seconds[few + more, few] - seconds[few, few]) / more
        once = max(0.0, seconds[few, few] - few * (after + warm))
        floor = (floor + bare(of, layer, units * CHAINS, units)) / 2
        batches = row.units / units
        bare_total += batches * floor * (WARM_UP + STEPS)
        own_total += batches * (once + warm * WARM_UP + after * STEPS)
        once_total += batches * once
        images = units * CHAINS
        print(
            f"{layer} | {row.units} | {floor / images * 1e3:.2f} | {after / floor:.2f} (warm-up {warm / floor:.2f}) | "
            f"{once:.2f}", flush=True,
        )  # fmt: skip
    print(
        f"{name}: these layers, {WARM_UP} + {STEPS} steps of {CHAINS} chains: {own_total / 3600:.2f} CPU hours, "
        f"{own_total / bare_total:.3f} of the bare gradients; of it {once_total / own_total:.1%} once a batch"
    )


def resident() -> float:
    """MB of the largest process that this one has started."""
    found = [0.0]
    for each in Path("/proc").glob("[0-9]*"):
        try:
            fields = (each / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == os.getpid():
                found.append(int((each / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6)
        except OSError:  # it has just ended
            continue
    return max(found)


def whole(name: str, few: int, every: int) -> None:
    of = subject(name)
    with tempfile.TemporaryDirectory() as folder:
        out, ended = Path(folder) / "atlas", threading.Event()
        seen: list[tuple[int, float]] = []

        def watch() -> None:
            while not ended.wait(0.5):
                seen.append((len(list(out.glob("*/0*/done.json"))), resident()))

        watcher = threading.Thread(target=watch)
        watcher.start()
        began = time.monotonic()
        try:
            made = ldam.atlas(
                of.model, of.layers, out=out, steps=few, warm_up=few, chains=CHAINS, workers=2, part=(0, every),
                progress=False, **of.settings,
            )  # fmt: skip
        finally:
            ended.set()
            watcher.join()
        took, cpu = time.monotonic() - began, sum(os.times()[2:4])
        status = made.status(verify=True)
        units = status.units[0]
        print(
            f"{name}: {units} of {status.units[1]} units of {len(of.layers)} layers, {few} + {few} steps, 2 workers: "
            f"{took:.0f} s, {cpu:.0f} CPU s; {status.bytes / units:.0f} bytes a unit, {status.bytes / 1e6:.2f} MB, "
            f"{sum(1 for each in out.rglob('*') if each.is_file())} files; failures {len(status.failures)}, "
            f"problems {len(status.problems)}"
        )
        blocks = max(block for block, _ in seen)
        for first, end in ((0.1, 0.3), (0.3, 0.5), (0.5, 0.7), (0.7, 0.9)):
            those = [size for block, size in seen if first * blocks <= block < end * blocks]
            if those:
                print(f"  from {first:.0%} to {end:.0%} of {blocks} blocks: largest process up to {max(those):.0f} MB")


if __name__ == "__main__":
    if sys.argv[1] == "step":
        steps(sys.argv[2], sys.argv[3:])
    else:
        whole(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
