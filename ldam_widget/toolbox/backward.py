"""Backward views: what of the picture, or of a lower layer, a unit reacts to.

The gradient of a unit, or its guided or deconvolution variant (`network.rectifiers`), from any unit, place or map to
the input or to any lower layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ..core.notes import Notes
from ..core.vjp import vjp
from ..network.addresses import Address, replace, select
from ..network.capture import STOP, Call, Capture, listen
from ..network.rectifiers import Deconvolution, Guided, Rectifiers, Rule
from ..network.traced import Traced
from ..network.units import LayerUnits
from ..network.view import device_of, private_view

INPUT = "input"
RULES: dict[str, Rule | None] = {"gradient": None, "guided": Guided(), "deconv": Deconvolution()}
SEEDS = ("activation", "one")


@torch.inference_mode(False)
def backward(
    model: nn.Module,
    x: Tensor,
    layer: str,
    unit: Any,
    *,
    rule: str = "gradient",
    to: str = INPUT,
    seed: str | Tensor | None = None,
    class_names: Sequence[str] = (),
) -> Tensor:
    """What of the input, or of a lower layer, makes a unit of some images large.

    ``ldam.backward(net, x, "layer3", 17, rule="deconv")`` is a picture for each image of `x`; see `ldam.views`.

    The model runs in eval mode on a private copy. Rectifiers are found as modules, functions and methods alike;
    smooth and leaky activations (GELU, SiLU, LeakyReLU, PReLU) always have their own derivative.

    Args:
        model: any `nn.Module`; left unchanged.
        x: (images, *image), the model's input, floating-point.
        layer: a name as in `ldam.layers`.
        unit: an int (of a map: the whole channel), a place (channel, y, x), "17@3,4", a class name, or a direction.
        rule: "gradient" is the true one; "guided" lets rectifiers pass what is positive where they are active,
            "deconv" what is positive anywhere.
        to: "input", or a layer that runs before `layer`.
        seed: what the backward pass starts with: "one", or "activation", which weights every place of the map by its
            own activation, as the Deep Visualization Toolbox does, or a tensor that broadcasts to (images, *map).
            None: "activation" for a whole channel of a map, "one" for anything else.
        class_names: of the layer's units.

    Returns:
        a tensor like `x`; or like the output of layer `to`, on the model's device.

    Raises:
        TypeError: `model` is not a module, or `x` not a floating-point tensor.
        ValueError: an unknown layer, unit, rule or seed; `to` does not lead to `layer`; no gradient.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        got = f"{x.dtype} numbers" if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"x must be a tensor (images, *image) of floating-point numbers; got {got}")
    if x.ndim < 2 or len(x) == 0:
        raise ValueError(f"x must be (images, *image), one image at least; got shape {tuple(x.shape)}")
    notes = Notes()
    view = private_view(model, None, notes, shared=False)
    traced = Traced.of(view, tuple(x.shape[1:]), None, layer, notes)
    back = BackwardPass(traced, layer, unit, rule=rule, to=to, seed=seed, class_names=class_names)
    result = back(x.to(device_of(view)))
    if back.without_rectifiers:
        notes.tell(f"no rectifier runs on the way to {layer!r}, so that {rule!r} is the plain gradient")
    return result.to(x) if to == INPUT else result


class BackwardPass:
    """From a unit of a layer back to the pixels, or to a lower layer.

    Args:
        traced: the model.
        layer, unit, rule, to, seed, class_names: as for `backward`.

    Attributes:
        without_rectifiers: the last pass had a rule that no rectifier followed.
    """

    def __init__(
        self,
        traced: Traced,
        layer: str,
        unit: Any,
        *,
        rule: str = "gradient",
        to: str = INPUT,
        seed: str | Tensor | None = None,
        class_names: Sequence[str] = (),
    ) -> None:
        self._rule = RULES[check_rule(rule)]
        self._traced = traced
        self._layer = Capture(traced.view, [layer]).places[0]
        self._to = None if to == INPUT else Capture(traced.view, [to]).places[0]
        if self._to == self._layer:
            raise ValueError(f"to must be a layer before {layer!r}, or 'input'; got {to!r}")
        self._place = traced.place(self._layer)
        shape = self._place.shape
        names = class_names if len(class_names) == shape[0] else ()
        neuron = LayerUnits(layer, shape, self._place.unit_axis, names).resolve(unit, "mean", 0)
        self._readout = neuron.readout
        whole_map = not isinstance(neuron.readout, Tensor) and len(neuron.readout) < len(shape)
        self._seed = _checked_seed(seed, "activation" if whole_map else "one", neuron.readout)
        self.without_rectifiers = False
        self._modules = {
            name: dict(traced.view.named_modules(remove_duplicate=False))[name]
            for name in {address.module for address in (self._layer, self._to) if address is not None}
        }

    def __call__(self, x: Tensor) -> Tensor:
        """For images (n, *image); returns a tensor like `x`, or like the output of the lower layer."""
        mode = None if self._rule is None else Rectifiers(self._rule)
        with torch.inference_mode(False), torch.enable_grad(), mode or nullcontext():
            source, output = self._forward(x)
            cut = f"layer {str(self._layer)!r} does not depend on {self._target}; choose a layer that leads to it"
            if not output.requires_grad:
                raise ValueError(cut)
            try:
                grad = vjp([output], source, [self._seeds(output.detach())])
            except RuntimeError as error:
                if "appears to not have been used" not in str(error):
                    raise
                raise ValueError(cut) from error
        self.without_rectifiers = mode is not None and mode.met == 0
        return grad.detach()

    @property
    def _target(self) -> str:
        return "the input" if self._to is None else f"layer {str(self._to)!r}"

    def _forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The tensor that the gradient is taken with respect to, and the layer's output."""
        made: dict[str, Tensor] = {}
        if self._to is None:
            # own memory, and no leaf inside the model: it may write into its input
            made["source"] = x = x.detach().clone().requires_grad_(True)

        def hear(call: Call) -> object:
            if self._to is not None and "source" not in made and _is(call.address, self._to):
                source = select(call.output, self._to).detach().clone().requires_grad_(True)
                made["source"] = source
                return replace(call.output, self._to.keys, source.clone())
            if not _is(call.address, self._layer):
                return None
            made["output"] = select(call.output, self._layer)
            return STOP

        listen(self._modules, hear, lambda: self._traced.run(x))
        if "output" not in made:
            raise ValueError(f"layer {str(self._layer)!r} does not run for these images")
        if "source" not in made:
            raise ValueError(f"{self._target} does not run before {str(self._layer)!r}; to must be a layer before it")
        return made["source"], made["output"]

    def _seeds(self, output: Tensor) -> Tensor:
        seeds = torch.zeros_like(output)
        ordered, values = self._place.in_order(seeds), self._place.in_order(output)
        if isinstance(self._readout, Tensor):
            ordered.copy_(self._readout.to(ordered).expand_as(ordered))
            return seeds
        index: Any = (slice(None), *self._readout)
        if isinstance(self._seed, Tensor):
            try:
                ordered[index] = self._seed.to(ordered)
            except RuntimeError as error:
                raise ValueError(
                    f"seed must broadcast to (images, *map) = {tuple(ordered[index].shape)}; got shape "
                    f"{tuple(self._seed.shape)}"
                ) from error
        else:
            ordered[index] = values[index] if self._seed == "activation" else 1
        return seeds


def check_rule(rule: Any) -> str:
    """Raises ValueError unless it is one of `RULES`."""
    if not isinstance(rule, str) or rule not in RULES:
        raise ValueError(f"rule must be one of {', '.join(map(repr, RULES))}; got {rule!r}")
    return rule


def _checked_seed(seed: Any, default: str, readout: Any) -> str | Tensor:
    if seed is None:
        return default
    if isinstance(readout, Tensor) and (isinstance(seed, Tensor) or seed != "one"):
        raise ValueError("a direction is its own seed; leave seed out")
    if isinstance(seed, Tensor) or (isinstance(seed, str) and seed in SEEDS):
        return seed
    raise ValueError(f"seed must be 'activation', 'one', a tensor or None; got {seed!r}")


def _is(call: Address, wanted: Address) -> bool:
    return (call.module, call.call) == (wanted.module, wanted.call)
