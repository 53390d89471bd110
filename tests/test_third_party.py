"""Other people's networks: in plain pixels the sampler finds images that a neuron likes better than (almost) any real.

One hidden and one output neuron each of five published networks. The bar is the 99th percentile of the activation of
that very neuron over real images: the network's own kind where there are any in LDAM_DATA.
"""

from __future__ import annotations

import gzip
import importlib.util
import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

import ldam_widget as ldam

pytestmark = [pytest.mark.realdata, pytest.mark.timeout(180)]


class Network(NamedTuple):
    build: Callable[[Any], nn.Module]  # of the data folder's models.py
    weights: str
    shape: tuple[int, ...]
    hidden: str  # "layer:neuron"; before its rectifier, so that it is alive at the start
    output: str
    steps: int
    step_size: float


NETWORKS: dict[str, Network] = {
    "LeNet-5": Network(lambda m: m.MnistLeNet5(), "mnist/lenet5.pt", (1, 32, 32), "convnet.c3:5", "fc.f7:3", 100, 0.5),
    "ResNet-20": Network(
        lambda m: m.CifarResNet(20), "cifar10/resnet20.pt", (3, 32, 32), "layer2.1.bn2:7", "linear:3", 60, 1.0
    ),
    "ResNet-18": Network(
        lambda m: m.ResNet(18), "imagenet/resnet18_fp16.pt", (3, 224, 224), "layer2.1.bn2:17", "fc:285", 30, 2.0
    ),
    "SqueezeNet": Network(
        lambda m: m.SqueezeNet(),
        "imagenet/squeezenet1_0.pt",
        (3, 227, 227),
        "fire4.expand3x3:17",
        "conv10:285@mean",
        40,
        2.0,
    ),
    "MobileNetV2": Network(
        lambda m: m.MobileNetV2(),
        "imagenet/mobilenet_v2_fp16.pt",
        (3, 224, 224),
        "body.6.project:17",
        "classifier:285",
        40,
        2.0,
    ),
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """These are single images: threads that wait for each other cost more than they bring."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def loaded() -> dict[str, Any]:
    """Networks and images, read once."""
    return {}


def load(network: Network, folder: Path) -> nn.Module:
    spec = importlib.util.spec_from_file_location("third_party_models", folder / "models.py")
    assert spec is not None
    assert spec.loader is not None
    models = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(models)
    model = network.build(models)
    state = torch.load(folder / "weights" / network.weights, map_location="cpu", weights_only=True)
    state = {name.removeprefix("module."): value for name, value in state.get("state_dict", state).items()}
    missing = model.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys
    assert all(name.endswith("num_batches_tracked") for name in missing.missing_keys)
    return model.float().eval()


def real_images(network: Network, folder: Path) -> Tensor:
    """(many, *shape) in [0, 1]."""
    if network.weights.startswith("mnist"):
        raw = gzip.decompress((folder / "mnist" / "t10k-images-idx3-ubyte.gz").read_bytes())
        digits = torch.from_numpy(np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 1, 28, 28)[:500].copy())
        return F.interpolate(digits.float() / 255, network.shape[1:], mode="bilinear")
    if network.weights.startswith("cifar10"):
        with np.load(folder / "cifar10" / "cifar10_lossless_5k.npz") as arrays:
            pixels = next(array for name, array in arrays.items() if array.ndim == 4 and "test" in name)
        return torch.from_numpy(pixels).permute(0, 3, 1, 2)[:500].float() / 255
    with zipfile.ZipFile(folder / "images" / "imagenet_sample_200.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))[::4]
        return torch.stack([centre_crop(archive.read(name), network.shape[1]) for name in names])


def centre_crop(jpeg: bytes, size: int) -> Tensor:
    picture = Image.open(io.BytesIO(jpeg)).convert("RGB")
    left, top = (picture.width - size) // 2, (picture.height - size) // 2
    pixels = np.asarray(picture.crop((left, top, left + size, top + size)))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255


def by_hook(model: nn.Module, neuron: str, images: Tensor) -> Tensor:
    """The activation of a neuron in the user's own model, with none of the package's code."""
    layer, unit = neuron.split(":")
    outputs: list[Tensor] = []
    handle = model.get_submodule(layer).register_forward_hook(lambda *call: outputs.append(call[2]))
    with torch.no_grad():
        for batch in images.split(50):
            model(batch)
    handle.remove()
    maps = torch.cat(outputs)[:, int(unit.removesuffix("@mean"))]
    if maps.ndim == 1:
        return maps
    return maps.mean((1, 2)) if unit.endswith("@mean") else maps[:, maps.shape[1] // 2, maps.shape[2] // 2]


@pytest.mark.parametrize("which", ["hidden", "output"])
@pytest.mark.parametrize("name", NETWORKS)
def test_activation_rises_above_that_of_real_images(
    name: str, which: str, data_folder: Path, loaded: dict[str, Any]
) -> None:
    network = NETWORKS[name]
    if name not in loaded:
        loaded[name] = load(network, data_folder), real_images(network, data_folder)
    model, real = loaded[name]
    mean = torch.tensor(getattr(model, "mean", (0.0,))).view(1, -1, 1, 1)
    std = torch.tensor(getattr(model, "std", (1.0,))).view(1, -1, 1, 1)

    def preprocess(x: Tensor) -> Tensor:
        return (x - mean) / std

    neuron = getattr(network, which)
    bar = float(by_hook(model, neuron, preprocess(real)).quantile(0.99))
    s = ldam.Sampler(
        model,
        neurons=[neuron],
        input_shape=network.shape,
        pixel_range=(0, 1),
        preprocess=preprocess,
        prior="pixels",
        kernel=ldam.kernels.Algorithm1(network.step_size, noise=0.001),
        seed=0,
    )
    s.step(network.steps)
    reached = by_hook(model, neuron, preprocess(s.images[0]))
    torch.testing.assert_close(reached, s.activation[0], rtol=1e-3, atol=1e-3)
    assert float(reached) > bar
