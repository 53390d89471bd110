"""Classes that a model predicts for images, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from ....analysis.features import LayerFeatures
from ....data import Images
from ....network.trace import Preprocess
from .coloring import Values
from .colours import Predict

_BATCH = 64


def classes_of(
    model: nn.Module, images: Images, preprocess: Preprocess | None, device: torch.device | str | None
) -> Predict:
    """What gives the largest output's number for each image; −1 where outputs are not finite.

    Raises:
        TypeError, ValueError: a model that these images do not fit.
    """
    outputs = LayerFeatures(model, None, tuple(images.input_shape), "all", preprocess, None, device)

    def predict() -> Iterator[tuple[float, Values | None]]:
        found = np.full(len(images), -1, np.int64)
        for chosen in torch.split(torch.arange(len(images)), 1 if outputs.one_by_one else _BATCH):
            given = outputs(images.take(chosen))
            sound = given.isfinite().all(1)
            found[chosen[sound].numpy()] = given[sound].argmax(1).numpy()
            yield (int(chosen[-1]) + 1) / len(images), None
        yield 1.0, found

    return predict
