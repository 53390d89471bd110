"""How the network is run: other ways to the same numbers, of which a short trial takes the fastest.

The sampler's private view of the model computes as the user wrote it. A `Plan` makes another network of it that gives
the same outputs and gradients up to rounding, in less time: batch norms folded into the layers before them, another
memory layout, other routines for convolutions. Both passes may then be recorded as a list of operations, or on a GPU
as one graph. Which of them is faster depends on network, layer, batch, and machine, so it is
measured. No process-wide switch of torch is touched, and nothing of the user's.
"""

from __future__ import annotations

from ..network.memory import give_back
from .plans import PLANS, Plan
from .runner import Execution, check_execution
from .threads import cpu_threads

__all__ = ["PLANS", "Execution", "Plan", "check_execution", "cpu_threads", "give_back"]
