"""The weights of a layer, by unit."""

from __future__ import annotations

from torch import Tensor, nn

from .capture import Capture

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def own_weights(model: nn.Module, layer: str, units: int) -> Tensor | None:
    """Weights that the units of a layer have themselves, (units, weights of each); the model's own tensor, detached.

    The `weight` of the layer's module: that of a convolution or linear layer leads from its inputs to a unit, that of a
    norm is a unit's scale. None for modules without one, such as rectifiers, poolings and blocks.

    Args:
        model, layer: as for `receptive_field`.
        units: how many the layer has.

    Raises:
        ValueError: unknown layer.
    """
    (place,) = Capture(model, [layer]).places
    module = model.get_submodule(place.module)
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or not weight.is_floating_point() or weight.ndim < 1 or place.keys:
        return None
    weight = weight.detach()
    if isinstance(module, _TRANSPOSED):  # (inputs, outputs of a group, …)
        grouped = weight.view(module.groups, -1, *weight.shape[1:]).movedim(2, 1)
        weight = grouped.flatten(0, 1)
    return weight.reshape(units, -1) if len(weight) == units else None
