"""`ldam sample --json`: what a run gave, for programs.

The object described in `summary_of` is a promise: fields may be added; if one changes or goes, `format` becomes 2.
"""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .._version import __version__
from ..sampling.sampler import Sampler

FORMAT = 1


def summary_of(sampler: Sampler, *, seed: int, files: Sequence[Path]) -> dict[str, Any]:
    """The state of a run, its diagnostics, and what is needed to repeat it, as plain data.

    Args:
        sampler: after its last step.
        seed: it was made with.
        files: that were written.

    Returns:
        A dict; `as_json` writes null for numbers that are NaN or infinite. `neurons` has one entry each: `activation`
        of the last samples (mean over the chains), `activation_of_chains`, `temperature` (requested, measured, and
        their ratio; in units of the activation), `r_hat` and `ess` of the activation, `r_hat_pictures` (the largest of
        the three directions in which pictures vary most), `autocorrelation_time` in steps, `acceptance` of proposals
        (None for kernels that accept everything), `level` ("good", "warn" or "wait") and `verdict` (in words).
    """
    found = sampler.diagnostics()
    activation = sampler.activation.tolist()
    return {
        "format": FORMAT,
        "layer": sampler.layer,
        "input_shape": list(sampler.input_shape),
        "kernel": {"name": sampler.kernel.name, "note": sampler.kernel_note},
        "seed": seed,
        "steps": sampler.steps,
        "chains": sampler.chains,
        "device": str(sampler.device),
        "execution": sampler.execution,
        "parameters": sampler.params,
        "verdict": {"level": found.verdict.level, "text": found.verdict.text},
        "neurons": [
            {
                "label": found.neurons[n],
                "activation": _mean(activation[n]),
                "activation_of_chains": activation[n],
                "temperature": {
                    "requested": found.temperature.each[n],
                    "measured": found.temperature.measured[n],
                    "ratio": found.temperature.ratio[n],
                },
                "r_hat": found.r_hat[n],
                "r_hat_pictures": _largest(found.projections.r_hat[n]),
                "ess": found.ess[n],
                "autocorrelation_time": found.autocorrelation_time[n],
                "acceptance": None if found.acceptance is None else _mean(found.acceptance[n]),
                "level": found.levels[n],
                "verdict": found.verdicts[n],
            }
            for n in range(len(found.neurons))
        ],
        "notes": list(sampler.notes),
        "files": [str(file) for file in files],
        "versions": {
            "ldam_widget": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }


def as_json(summary: dict[str, Any]) -> str:
    """One line of ASCII, so that no terminal or pipe can garble it; JSON has no NaN and no infinity, hence null."""
    return json.dumps(_finite(summary), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _largest(values: Sequence[float]) -> float:
    """Leaves NaN out: R-hat is undefined along directions in which pictures do not differ."""
    return max((value for value in values if not math.isnan(value)), default=math.nan)
