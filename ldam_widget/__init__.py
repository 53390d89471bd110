"""See what a neuron has really learned: live Langevin sampling of the images it likes.

The widget, matplotlib and arviz-stats are imported on first use, so that a script that only samples needs none of them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from . import demo, kernels
from ._version import __version__
from .averages import EMA, Window
from .burn_in import BurnIn
from .discriminator.build import build_discriminator
from .discriminator.files import load_discriminator
from .discriminator.recipe import Recipe
from .discriminator.train import Trainer, TrainingError, train_discriminator
from .exploration import Exploration, explore
from .heat import HeatPulse
from .ladder import Ladder
from .models import LDAMWarning
from .neurons import layers
from .regularizers import L2, Discriminator
from .sampler import Sampler, SamplingError
from .schedules import PolynomialDecay
from .types import Frame
from .wiring import neurons_of

if TYPE_CHECKING:
    from . import figures
    from .widget import LDAM

__all__ = [
    "EMA",
    "L2",
    "LDAM",
    "BurnIn",
    "Discriminator",
    "Exploration",
    "Frame",
    "HeatPulse",
    "LDAMWarning",
    "Ladder",
    "PolynomialDecay",
    "Recipe",
    "Sampler",
    "SamplingError",
    "Trainer",
    "TrainingError",
    "Window",
    "__version__",
    "build_discriminator",
    "demo",
    "explore",
    "figures",
    "kernels",
    "layers",
    "load_discriminator",
    "neurons_of",
    "train_discriminator",
]

_LAZY = {"LDAM": ".widget", "figures": ".figures"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_LAZY[name], __name__)
    return module if name == "figures" else getattr(module, name)


def __dir__() -> list[str]:
    return __all__
