"""Make old rivals importable beside a present torch, without changing what they compute."""

from __future__ import annotations

import torch


def torchvision_without_its_operators() -> None:
    """torchvision's Python code asks for two compiled operators on import that lucent never calls.

    Declaring them lets a torchvision whose binary does not fit this torch be imported for its transforms and models.
    """
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
                 "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"):  # fmt: skip
        library.define(name)
    _KEPT.append(library)  # the declaration lives as long as the object


_KEPT: list[torch.library.Library] = []
