"""Make old rivals importable beside a present torch, without changing what they compute."""

from __future__ import annotations

import importlib.util
import sys
import types

import torch


def torchvision_without_its_operators() -> None:
    """torchvision asks for two compiled operators on import that neither its classifiers nor the rivals ever call.

    Declaring them lets a torchvision whose binary does not fit this torch be imported for its transforms and models.
    One that fits, or is not there, is left alone.
    """
    try:
        import torchvision  # noqa: F401
    except ImportError:
        return
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
                     "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"):  # fmt: skip
            library.define(name)
        _KEPT.append(library)  # the declaration lives as long as the object


def opencv_in_name() -> None:
    """torch-dreams imports OpenCV, 60 MB, which it calls for reading pictures from files alone."""
    if importlib.util.find_spec("cv2") is None:
        sys.modules.setdefault("cv2", types.ModuleType("cv2"))


_KEPT: list[torch.library.Library] = []
