"""See what a neuron has really learned: live Langevin sampling of the images it likes.

The widget, matplotlib and arviz-stats are imported on first use, so that a script that only samples needs none of them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from . import demo, kernels
from ._version import __version__
from .agreement import Agreement
from .averages import EMA, Window
from .burn_in import BurnIn
from .checkpoints import CheckpointError, average_checkpoints, load_checkpoint
from .comparison import Comparison
from .discriminator.build import build_discriminator
from .discriminator.files import load_discriminator
from .discriminator.recipe import Recipe
from .discriminator.train import Trainer, TrainingError, train_discriminator
from .exploration import Exploration, explore
from .heat import HeatPulse
from .ladder import Ladder
from .models import LDAMWarning
from .neurons import layers
from .parametrizations import Jitter, Natural, Robust
from .regularizers import L2, Discriminator
from .sampler import Sampler, SamplingError
from .schedules import PolynomialDecay
from .types import Frame
from .wiring import neurons_of

if TYPE_CHECKING:
    from . import figures
    from .widget import LDAM, Compare, Watch, compare, compare_checkpoints, watch

__all__ = [
    "EMA",
    "L2",
    "LDAM",
    "Agreement",
    "BurnIn",
    "CheckpointError",
    "Compare",
    "Comparison",
    "Discriminator",
    "Exploration",
    "Frame",
    "HeatPulse",
    "Jitter",
    "LDAMWarning",
    "Ladder",
    "Natural",
    "PolynomialDecay",
    "Recipe",
    "Robust",
    "Sampler",
    "SamplingError",
    "Trainer",
    "TrainingError",
    "Watch",
    "Window",
    "__version__",
    "average_checkpoints",
    "build_discriminator",
    "compare",
    "compare_checkpoints",
    "demo",
    "explore",
    "figures",
    "kernels",
    "layers",
    "load_checkpoint",
    "load_discriminator",
    "neurons_of",
    "train_discriminator",
    "watch",
]

_WIDGETS = ("LDAM", "Compare", "Watch", "compare", "compare_checkpoints", "watch")
_LAZY = {"figures": ".figures"} | dict.fromkeys(_WIDGETS, ".widget")


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_LAZY[name], __name__)
    return module if name == "figures" else getattr(module, name)


def __dir__() -> list[str]:
    return __all__
