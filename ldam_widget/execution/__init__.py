"""How the network is run: equivalent faster implementations, chosen by a short timing trial.

The sampler's private view of the model computes as the user wrote it. A `Plan` builds from it another network with the
same outputs and gradients up to rounding, in less time: batch norms folded into the layers before them, another memory
layout, other convolution routines. Both passes may then be recorded as a list of operations, or on a GPU as one graph.
The fastest choice depends on network, layer, batch and machine, so it is measured. No process-wide torch setting is
changed, nor anything of the user's.
"""

from __future__ import annotations

from ..network.memory import give_back
from .freshness import bits
from .plans import PLANS, Plan
from .runner import Execution, check_execution
from .threads import cpu_threads

__all__ = ["PLANS", "Execution", "Plan", "bits", "check_execution", "cpu_threads", "give_back"]
