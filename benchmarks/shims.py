"""Make old rivals importable beside a present torch, without changing what they compute."""

from __future__ import annotations

import importlib.util
import sys
import types

import torch
import torch.nn.functional as F
from torch import Tensor


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


def roi_align_by_sampling() -> None:
    """Give torchvision's `roi_align`, where its operator is missing, the same crops by `grid_sample`.

    It takes one bilinear sample a cell where boxes are no larger than what is made of them, as they are for Horama.
    """
    import torchvision.ops

    def roi_align(images: Tensor, boxes: Tensor, output_size: tuple[int, int]) -> Tensor:
        height, width = images.shape[-2:]
        cells = [(torch.arange(n, device=images.device) + 0.5) / n for n in output_size]
        x = boxes[:, 1, None] + cells[1] * (boxes[:, 3] - boxes[:, 1])[:, None]
        y = boxes[:, 2, None] + cells[0] * (boxes[:, 4] - boxes[:, 2])[:, None]
        grid = torch.stack(
            [
                (x * 2 / (width - 1) - 1)[:, None, :].expand(-1, output_size[0], -1),
                (y * 2 / (height - 1) - 1)[:, :, None].expand(-1, -1, output_size[1]),
            ],
            3,
        )
        chosen = images[boxes[:, 0].long()]
        return F.grid_sample(chosen, grid, align_corners=True)

    torchvision.ops.roi_align = roi_align


_KEPT: list[torch.library.Library] = []
