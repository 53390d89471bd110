"""See what a neuron has really learned: live Langevin sampling of the images it likes.

The widget, matplotlib and arviz-stats are imported on first use, so scripts that only sample need none of them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from . import demo, kernels
from ._version import __version__
from .adversary.recipe import Recipe
from .adversary.rounds import TrainingError
from .adversary.train import train_discriminator
from .adversary.trainer import Trainer
from .analysis.exploration import Exploration, explore
from .checkpoints import CheckpointError, average_checkpoints, load_checkpoint
from .core.notes import LDAMWarning
from .core.schedules import PolynomialDecay
from .diagnostics.agreement import Agreement
from .network.activations import activations
from .network.receptive_field import receptive_field
from .network.trace import layers
from .network.wiring import neurons_of
from .objectives import L2, BatchStatistics, Denoiser, Discriminator, TotalVariation
from .objectives.algebra import Expression, cosine, interpolate, neuron, opposites
from .objectives.discriminator_file import load_discriminator
from .objectives.discriminator_net import build_discriminator
from .parametrizations import Blur, Jitter, Natural, Robust
from .sampling.averages import EMA, Window
from .sampling.burn_in import BurnIn
from .sampling.comparison import Comparison
from .sampling.frame import Frame
from .sampling.heat import HeatPulse
from .sampling.ladder import Ladder
from .sampling.sampler import Sampler, SamplingError
from .toolbox import views
from .toolbox.backward import backward

if TYPE_CHECKING:
    from . import callbacks
    from .analysis.embed import embed
    from .analysis.walk import Walk
    from .atlases import Atlas, atlas
    from .embedding.embedding import Embedding
    from .embedding.tsne import TSNE
    from .engines import EngineError
    from .pictures import figures
    from .surveys import Survey, survey
    from .widget import (
        LDAM,
        AtlasView,
        Compare,
        LayerPage,
        Scatter,
        Toolbox,
        UnitPage,
        Watch,
        compare,
        compare_checkpoints,
        watch,
    )

__all__ = [
    "EMA",
    "L2",
    "LDAM",
    "TSNE",
    "Agreement",
    "Atlas",
    "AtlasView",
    "BatchStatistics",
    "Blur",
    "BurnIn",
    "CheckpointError",
    "Compare",
    "Comparison",
    "Denoiser",
    "Discriminator",
    "Embedding",
    "EngineError",
    "Exploration",
    "Expression",
    "Frame",
    "HeatPulse",
    "Jitter",
    "LDAMWarning",
    "Ladder",
    "LayerPage",
    "Natural",
    "PolynomialDecay",
    "Recipe",
    "Robust",
    "Sampler",
    "SamplingError",
    "Scatter",
    "Survey",
    "Toolbox",
    "TotalVariation",
    "Trainer",
    "TrainingError",
    "UnitPage",
    "Walk",
    "Watch",
    "Window",
    "__version__",
    "activations",
    "atlas",
    "average_checkpoints",
    "backward",
    "build_discriminator",
    "callbacks",
    "compare",
    "compare_checkpoints",
    "cosine",
    "demo",
    "embed",
    "explore",
    "figures",
    "interpolate",
    "kernels",
    "layers",
    "load_checkpoint",
    "load_discriminator",
    "neuron",
    "neurons_of",
    "opposites",
    "receptive_field",
    "survey",
    "train_discriminator",
    "views",
    "watch",
]

_WIDGETS = (
    "LDAM",
    "AtlasView",
    "Compare",
    "LayerPage",
    "Scatter",
    "Toolbox",
    "UnitPage",
    "Watch",
    "compare",
    "compare_checkpoints",
    "watch",
)
_MODULES = {"figures": ".pictures.figures", "callbacks": ".callbacks"}
_LAZY = {
    **_MODULES,
    "Atlas": ".atlases",
    "atlas": ".atlases",
    "TSNE": ".embedding.tsne",
    "EngineError": ".engines",
    "Embedding": ".embedding.embedding",
    "Walk": ".analysis.walk",
    "embed": ".analysis.embed",
    "Survey": ".surveys",
    "survey": ".surveys",
} | dict.fromkeys(_WIDGETS, ".widget")


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_LAZY[name], __name__)
    return module if name in _MODULES else getattr(module, name)


def __dir__() -> list[str]:
    return __all__
