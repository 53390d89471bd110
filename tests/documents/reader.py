"""What a reader of the documentation has: a network, images, files. The pages call them by these names.

Small and untrained, so that every block runs in a moment; a run is cut short where a reader would wait for it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

import ldam_widget as ldam
from ldam_widget.execution.runner import Execution
from ldam_widget.sampling import defaults
from ldam_widget.sampling.belief import side_chains
from ldam_widget.widget.player import Player

STEPS = 6  # of any run, at most


class Net(nn.Module):
    """Takes images or volumes of any size and number of channels, of which it sees the mean; ten classes."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv2 = nn.Conv2d(1, 18, 5, stride=2)
        self.layer1 = nn.Sequential(nn.Conv2d(18, 18, 3, padding=1), nn.BatchNorm2d(18), nn.ReLU())
        self.layer3 = nn.Conv2d(18, 18, 3, padding=1)
        self.fc2 = nn.Linear(18 * 16, 20)
        self.fc3 = nn.Linear(20, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2(x.flatten(1, -3).mean(1, keepdim=True))
        x = nn.functional.adaptive_avg_pool2d(torch.relu(self.layer3(self.layer1(x))), 4)
        return self.fc3(torch.relu(self.fc2(x.flatten(1))))


def net(classes: int = 10, *, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Net(classes).eval()


def normalise(x: Tensor) -> Tensor:
    return (x - 0.45) / 0.22


MODULE = """
from tests.documents.reader import net
def make_net(): return net()
"""


def files(folder: Path, page: str) -> None:
    """Writes pictures, checkpoints, modules with a network, and atlases for pages that speak of them."""
    random = np.random.default_rng(0)
    for number in range(24):
        kind = folder / "photos" / ("cats" if number % 2 else "dogs")
        kind.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(random.integers(0, 256, (36, 40, 3), dtype=np.uint8))
        picture.save(kind / f"{number}.jpg")
    picture.save(folder / "photo.jpg")
    for name in ("epoch1.pt", "epoch10.pt", "last.ckpt", "8.pt", "9.pt", "10.pt"):
        torch.save(Net().state_dict(), folder / name)
    save_file(Net().state_dict(), folder / "epoch10.safetensors")
    (folder / "my_models.py").write_text(MODULE)
    (folder / "sat.py").write_text(MODULE)
    (folder / "names.txt").write_text("\n".join(ldam.demo.mnist().settings["class_names"]))
    for seed, name in enumerate(("epoch1", "epoch10")):
        if f'"{name}/"' in page:
            atlas = {"input_shape": (3, 32, 32), "pixel_range": (0, 1), "steps": 2, "warm_up": 2, "chains": 1}
            ldam.atlas(net(seed=seed), "layer3", out=folder / name, engine="serial", progress=False, **atlas)
    save_file(net(seed=3).state_dict(), folder / "epoch3.safetensors")


def names() -> dict[str, Any]:
    """What the pages do not define: everything that is the reader's own."""
    stripes = (torch.arange(32) % 8 < 4).float()
    images = stripes.expand(64, 3, 32, 32) * torch.rand(64, 3, 1, 1)  # unlike noise, as a discriminator finds out soon
    model = net()
    labels = torch.arange(64) % 10
    return {
        "Net": Net, "model": model, "mobilenet": net(1000), "other_network": net(seed=1), "a": net(seed=1),
        "b": net(seed=2),
        "normalise": normalise, "images": images, "labels": labels, "picture": images[0],
        "names": list(ldam.demo.mnist().settings["class_names"]),
        "x": images[:2], "batches": [images[:8], images[8:16]], "other": net(seed=1), "later": net(seed=1),
        "loader": [(torch.rand(4, 1, 28, 28), torch.arange(4)) for _ in range(3)],
        "digits": torch.rand(64, 1, 28, 28), "new_features": torch.rand(5, 20),
        "optimizer": torch.optim.SGD(model.parameters(), 1e-3),
    }  # fmt: skip


def _without_a_trial(self: Any, init: Callable[..., None], view: nn.Module, model: nn.Module, asked: str) -> None:
    init(self, view, model, "plain" if asked == "auto" else asked)


def cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of thousands of steps, recordings of seconds and trainings of minutes end at once."""
    for module in (defaults, side_chains):
        monkeypatch.setattr(module, "warm_up_for", lambda **_: 2)

    plain = functools.partialmethod(_without_a_trial, Execution.__init__)
    monkeypatch.setattr(Execution, "__init__", plain)

    def cap(owner: Any, name: str, limit: float, argument: str, position: int) -> None:
        whole: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(whole)
        def short(*given: Any, **options: Any) -> Any:
            if len(given) > position:
                given = (*given[:position], min(given[position], limit), *given[position + 1 :])
            else:
                options[argument] = min(options.get(argument, limit), limit)
            return whole(*given, **options)

        monkeypatch.setattr(owner, name, short)

    for kind in (ldam.Sampler, ldam.Comparison, ldam.LDAM, ldam.Compare, ldam.Watch):
        cap(kind, "step", STEPS, "n", 1)
    for kind in (ldam.Sampler, ldam.LDAM, ldam.Comparison, ldam.Compare):
        if hasattr(kind, "belief"):
            cap(kind, "belief", 2, "steps", 99)
    cap(ldam.Sampler, "frames", STEPS, "steps", 1)
    cap(ldam.Compare, "most_changed", 2, "steps", 1)
    cap(ldam.Compare, "most_changed", 3, "chains", 99)
    cap(Player, "record", 0.2, "seconds", 1)
    cap(Player, "export_html", 0.2, "seconds", 2)
    quick = ldam.Recipe(batch=16, steps=2, learning_rate=5e-3)
    training = functools.partial(ldam.train_discriminator, rounds=4, recipe=quick)
    monkeypatch.setattr(ldam, "train_discriminator", training)
    cap(ldam, "embed", 20, "steps", 99)
    cap(ldam, "TSNE", 20, "steps", 99)
    few: dict[str, Any] = {
        "layers": ["layer3"],
        "steps": STEPS,
        "warm_up": 2,
        "chains": 3,
        "engine": "serial",
        "progress": False,
    }
    few["input_shape"] = (3, 32, 32)
    whole_atlas = ldam.atlas
    monkeypatch.setattr(ldam, "atlas", lambda *given, survey=None, **options: whole_atlas(*given, **(options | few)))
    for argument in ("looks", "every", "quench"):
        cap(ldam, "explore", 2, argument, 99)
