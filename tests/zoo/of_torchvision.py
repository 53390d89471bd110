"""torchvision's networks, at the smallest sizes that they accept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from .own_model import Network
from .packages import package

RGB = (3, 32, 32)
QUICK = {
    "resnet18",
    "vit",
    "maxvit",
    "lraspp_mobilenet_v3_large",
    "retinanet_resnet50_fpn",
    "r3d_18",
    "googlenet",
}

CLASSIFIERS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "alexnet": ((3, 64, 64), {}),
    "convnext_tiny": (RGB, {}),
    "densenet121": (RGB, {}),
    "efficientnet_b0": (RGB, {}),
    "efficientnet_v2_s": (RGB, {}),
    "googlenet": (RGB, {"init_weights": False}),
    "inception_v3": ((3, 75, 75), {"init_weights": False}),
    "mnasnet0_5": (RGB, {}),
    "mobilenet_v2": (RGB, {}),
    "mobilenet_v3_small": (RGB, {}),
    "regnet_x_400mf": (RGB, {}),
    "regnet_y_400mf": (RGB, {}),
    "resnet18": (RGB, {}),
    "resnext50_32x4d": (RGB, {}),
    "shufflenet_v2_x0_5": (RGB, {}),
    "squeezenet1_0": (RGB, {}),
    "squeezenet1_1": (RGB, {}),
    "swin_t": (RGB, {}),
    "swin_v2_t": (RGB, {}),
    "vgg11": (RGB, {}),
    "vgg11_bn": (RGB, {}),
    "wide_resnet50_2": ((3, 64, 64), {}),
}
VIDEO = ("mc3_18", "r2plus1d_18", "r3d_18")
DENSE = ("deeplabv3_mobilenet_v3_large", "deeplabv3_resnet50", "fcn_resnet50", "lraspp_mobilenet_v3_large")
DETECTORS: dict[str, dict[str, Any]] = {
    "retinanet_resnet50_fpn": {"min_size": 64, "max_size": 64},
}


def _model(name: str, **options: Any) -> Callable[[], nn.Module]:
    return lambda: package("torchvision").models.get_model(name, weights=None, **options)


def _vit() -> nn.Module:
    vit = package("torchvision").models.VisionTransformer
    return vit(image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64, num_classes=10)


def _maxvit() -> nn.Module:
    return package("torchvision").models.MaxVit(
        (32, 32),
        16,
        4,
        block_channels=[16, 16],
        block_layers=[1, 1],
        head_dim=8,
        stochastic_depth_prob=0.0,
        num_classes=10,
    )


def _swin3d() -> nn.Module:
    return package("torchvision").models.video.SwinTransformer3d(
        [2, 4, 4], 16, [1, 1], [2, 2], [2, 2, 2], num_classes=10
    )


def _mvit() -> nn.Module:
    mvit = package("torchvision").models.video.mvit
    blocks = [
        mvit.MSBlockConfig(1, 16, 32, [3, 3, 3], [3, 3, 3], [1, 1, 1], [1, 2, 2]),
        mvit.MSBlockConfig(2, 32, 32, [3, 3, 3], [3, 3, 3], [1, 2, 2], [1, 1, 1]),
    ]
    return mvit.MViT((32, 32), 4, blocks, True, True, 0.0, 0.0, 0.0, num_classes=10)


def networks() -> Iterator[Network]:
    for name, (shape, options) in CLASSIFIERS.items():
        yield Network(name, _model(name, **options), shape, quick=name in QUICK)
    yield Network("vit", _vit, RGB, quick=True)
    yield Network("maxvit", _maxvit, RGB, quick=True)
    for name in VIDEO:
        yield Network(name, _model(name, num_classes=10), (3, 4, 16, 16), quick=name in QUICK)
    yield Network("swin3d", _swin3d, (3, 4, 32, 32))
    yield Network("mvit", _mvit, (3, 4, 32, 32))
    for name in DENSE:
        yield Network(name, _model(name, weights_backbone=None, num_classes=5), (3, 64, 64), quick=name in QUICK)
    for name, options in DETECTORS.items():
        build = _model(name, weights_backbone=None, num_classes=5, **options)
        yield Network(name, build, (3, 64, 64), list, quick=name in QUICK, headless=True)
    other = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    yield Network("raft_small", _model("raft_small"), (3, 128, 128), inputs={"image2": other, "num_flow_updates": 2})
    yield Network("quantized_resnet18", _model("quantized_resnet18", quantize=True), RGB, refused="is quantised")
