"""torchvision, timm and transformers, which the zoo takes its networks from."""

from __future__ import annotations

import importlib
import os
from types import ModuleType

import pytest
import torch
from torch import Tensor

NAMES = ("torchvision", "timm", "transformers")
_kept: list[torch.library.Library] = []  # a library that is collected takes its operators along


def package(name: str) -> ModuleType:
    """Import one of them; skip the test where it is missing, but fail in CI."""
    _declare_operators()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # random weights alone: nothing is downloaded
    try:
        found = importlib.import_module(name)
    except ImportError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"{name} cannot be imported ({error}); pip install -e '.[test]' installs it")

    if name == "torchvision" and _kept:
        for part in ("boxes", "roi_align"):
            importlib.import_module(f"torchvision.ops.{part}")._assert_has_ops = lambda: None
    return found


def _declare_operators() -> None:
    """torchvision as of PyPI is built for CUDA: beside a CPU build of torch its operators do not load, and its import
    fails unless `nms` is declared. Detectors run with this one."""
    if _kept or hasattr(torch.ops.torchvision, "nms"):
        return
    own = torch.library.Library("torchvision", "FRAGMENT")
    own.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    own.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    own.impl("nms", _nms, "CPU")
    _kept.append(own)


def _nms(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Indices of the boxes that no better one overlaps by more than the threshold, best first."""
    area = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1)
    left, kept = scores.argsort(descending=True), []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        low, high = torch.maximum(boxes[best, :2], boxes[left, :2]), torch.minimum(boxes[best, 2:], boxes[left, 2:])
        shared = (high - low).clamp(min=0).prod(1)
        left = left[shared <= threshold * (area[best] + area[left] - shared)]
    return torch.stack(kept) if kept else torch.empty(0, dtype=torch.long)
