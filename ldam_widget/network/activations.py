"""Layer activations for given images, from one forward pass of the user's model."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ..core.notes import Notes
from .addresses import describe, example
from .capture import Call, Capture, listed, listen
from .surroundings import generators_kept
from .view import device_of, dtype_of, private_view


@torch.inference_mode(False)
@torch.no_grad()
@generators_kept()
def activations(model: nn.Module, x: Tensor, layers: Iterable[str] | None = None) -> dict[str, Tensor]:
    """Layer outputs for given images, by name, from one forward pass.

    The model runs in eval mode, and only as far as needed. The global random state is restored afterwards.

    Args:
        model: any `nn.Module`; left unchanged.
        x: (images, *image), the model's input; moved to the model's device and floating-point type.
        layers: names as in `ldam.layers`: dotted, with "#2" for a second call and "[0]" or "[key]" into a tuple or
            dict; None is every layer of that table, in execution order, and the model's own output, "(output)", if no
            layer returns it.

    Returns:
        name -> the layer's full output, without a gradient, on the model's device.

    Raises:
        TypeError: `model` is not a module, or `x` is not a tensor.
        ValueError: no layers, an unknown layer, one that does not run, or one that does not return a single tensor.
    """
    view = private_view(model, None, Notes(), shared=False)
    if not isinstance(x, Tensor):
        raise TypeError(f"x must be a tensor (images, *image); got {type(x).__name__}")
    device = device_of(view)
    # a copy: the model may write into its input
    images = x.detach().to(device, dtype_of(view) if x.is_floating_point() else x.dtype, copy=True)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        if layers is None:
            return _all(view, images)
        names = [layers] if isinstance(layers, str) else list(layers)
        capture = Capture(view, names, lambda output: output)  # copies: a layer may return one of the user's weights
        outputs = capture(lambda: view(images))
    for place, output in zip(capture.places, outputs, strict=True):
        if not isinstance(output, Tensor):
            raise ValueError(
                f"layer {str(place)!r} returns {describe(output)}, not one tensor; choose {example(place, output)}"
            )
    return dict(zip(names, outputs, strict=True))


def _all(view: nn.Module, images: Tensor) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}

    def keep(call: Call) -> None:
        for place, tensor, shown in listed(call, len(images)):
            if shown or (place.module == "" and not _contains(found, tensor)):
                found[str(place)] = tensor.clone()

    listen(dict(view.named_modules()), keep, lambda: view(images))
    return found


def _contains(found: dict[str, Tensor], output: Tensor) -> bool:
    """Whether the model's own output is that of one of its layers, in whatever shape."""
    same = (each for each in found.values() if each.numel() == output.numel() and each.dtype == output.dtype)
    return any(torch.equal(each.flatten(), output.flatten()) for each in same)
