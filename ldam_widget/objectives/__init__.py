"""Terms of the objective: neurons f_α and regularisers R_i, one term per file."""

from .batch_statistics import BatchStatistics
from .denoiser import Denoiser
from .discriminator import Discriminator
from .l2 import L2
from .total_variation import TotalVariation

__all__ = ["L2", "BatchStatistics", "Denoiser", "Discriminator", "TotalVariation"]
