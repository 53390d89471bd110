"""A network with the same weights in another order: it has learned nothing."""

from __future__ import annotations

import torch
from torch import nn

from ...core.notes import QuietNotes
from ...network.first_pass import first_pass
from ...network.view import private_view
from ..fixed import Fixed


def shuffled(fixed: Fixed, seed: int) -> nn.Module:
    """A copy of a sampler's network in which the numbers within every weight tensor are shuffled.

    Their distribution stays, which keeps activations in range. Vectors, such as biases, are shuffled too.

    Args:
        fixed: of the sampler; its view is left as it is.
        seed: of the permutations.
    """
    view = private_view(fixed.view, None, QuietNotes(), shared=False)
    own = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in view.parameters():
            flat = parameter.data.flatten()
            order = torch.randperm(flat.numel(), generator=own)
            parameter.data.copy_(flat[order.to(flat.device)].view_as(parameter))
    first_pass(view, fixed.view, fixed.input_shape, fixed.preprocess, QuietNotes())
    return view
