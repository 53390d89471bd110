"""The history of the activations, for pages that are opened later."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..protocol import plain
from .part import Part

POINTS = 300


class ActivationTrace(Part):
    """Mean activation of every neuron, thinned; frames supply the rest."""

    def setup(self) -> dict[str, Any]:
        history = self.host.sampler.history
        steps = history.steps()
        draws = history.draws().mean(2) if len(steps) else np.empty((0, 0))
        every = max(1, math.ceil(len(draws) / POINTS))
        return {
            "trace": {
                "steps": steps[::every].tolist(),
                "activation": [[plain(v) for v in row] for row in draws[::every]],
            }
        }
