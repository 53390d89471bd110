"""Turn `layer` and `neurons` into f_α(x): one activation per chain, with the forward pass stopped at the layer.

A neuron is the simplest objective: a linear readout of one layer's output, i.e. a unit, the mean of a channel, or a
direction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from torch import nn

from ..core.notes import Notes
from ..network.leaky import check_leaky
from ..network.readout import Readout
from ..network.trace import Preprocess
from ..network.traced import Traced
from ..network.units import LayerUnits, Neuron, as_list, layer_of_strings
from ..network.view import device_of
from .choice import choose_layer, choose_neurons
from .objective import Objective


class Neurons(Objective):
    """f_α for a list of neurons in one layer: the neuron term of the target.

    Args:
        view: a private view of the model (`network.view.private_view`).
        layer: dotted name, with "#2" for a second call and "[0]" or "[key]" into a tuple or dict; None is the last
            layer before any softmax.
        neurons: ints, (channel, y, x) tuples, strings "5", "5@3,4", "layer:5", class names, or direction tensors of
            shape (units,) or of the layer's whole output for one image. Units are channels of a map and features of a
            token, by the rule of `addresses.unit_axis`; "5@7" is feature 5 of token 7.
        chains: per neuron; the batch axis is neurons × chains, neuron-major.
        input_shape, preprocess: as for `layers`.
        class_names: names of the layer's units; ignored if their number differs.
        at: readout of a plain int on a map or among tokens: "center" (as in the original program) or "mean".
        notes: receives notes for the user.
        default_layer: used instead of the last layer if neither `layer` nor a neuron names one.
        leaky: as for `Objective`.

    Raises:
        ValueError: unknown layer, neuron out of range, empty list, no gradient; the message says what is valid.
    """

    def __init__(
        self,
        view: nn.Module,
        layer: str | None,
        neurons: Iterable[Any] | None,
        *,
        chains: int,
        input_shape: tuple[int, ...],
        preprocess: Preprocess | None = None,
        class_names: Sequence[str] | None = None,
        at: Literal["center", "mean"] = "center",
        notes: Notes | None = None,
        default_layer: str | None = None,
        leaky: float = 0.0,
    ) -> None:
        if at not in ("center", "mean"):
            raise ValueError(f"at must be 'center' or 'mean'; got {at!r}")
        check_leaky(leaky)
        notes = Notes() if notes is None else notes
        layer, wanted = layer_of_strings(layer, as_list(neurons))
        layer = default_layer if layer is None else layer
        traced = Traced.of(view, input_shape, preprocess, layer, notes)
        place = traced.place(choose_layer(traced.trace, layer, notes))
        self.layers = traced.trace.table
        self.output_shape = place.shape  # (units, *positions)
        self.units = place.shape[0]
        # class names apply only to a layer with as many units as there are names
        named = class_names is not None and len(class_names) == self.units
        self.unit_names: Sequence[str] = class_names if named and class_names is not None else ()
        self._units = LayerUnits(str(place.address), place.shape, place.unit_axis, self.unit_names)
        self.neurons = choose_neurons(self._units, wanted, at)
        readout = Readout(self.neurons, place.shape, chains, device_of(view), place.dtype)
        super().__init__(traced, [place], readout, notes=notes, leaky=leaky)

    def unit(self, key: str) -> Neuron:
        """Resolve one neuron of this layer by its key; for the picker."""
        return self._units.resolve(key, "center", 0)
