"""Turn `layer` and `neurons` into f_α(x): one activation per chain; the forward pass stops at the last layer read.

A neuron is the simplest objective: a linear readout of one layer's output, i.e. a unit, the mean of a channel, or a
direction. Expressions (see `algebra`) add up several, from several layers of one pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from ..core.notes import Notes
from ..network.addresses import module_names
from ..network.inputs import inputs_hint
from ..network.leaky import check_leaky
from ..network.readout import Readout
from ..network.trace import Preprocess
from ..network.traced import Traced
from ..network.units import Neuron
from ..network.view import device_of
from .choice import choose_layer, choose_neurons
from .columns import Columns, home_layer, listed
from .combination import Combination
from .objective import Objective


class Neurons(Objective):
    """f_α for a list of neurons in one layer: the neuron term of the target.

    Args:
        view: a private view of the model (`network.view.private_view`).
        layer: dotted name, with "#2" for a second call and "[0]" or "[key]" into a tuple or dict; None is what
            the model returns, before any softmax. Expressions may read other layers as well.
        neurons: ints, (channel, y, x) tuples, strings "5", "5@3,4", "layer:5", class names, direction tensors of shape
            (units,) or of the layer's whole output for one image, or expressions, as text ("3 + 0.5*5 - conv2:1") or
            made from `algebra.neuron`. Units are channels of a map and features of a token, by the rule of
            `addresses.unit_axis`; "5@7" is feature 5 of token 7.
        chains: per neuron; the batch axis is neurons × chains, neuron-major.
        input_shape, preprocess: as for `layers`.
        class_names: names of the layer's units; ignored if their number differs.
        at: readout of a plain int on a map or among tokens: "center" (as in the original program) or "mean".
        notes: receives notes for the user.
        default_layer: used instead of the model's output if neither `layer` nor a neuron names one.
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
        given, names = listed(neurons), tuple(map(str, class_names or ()))
        layer, wanted = home_layer(layer, given, names, module_names(view), chosen=default_layer is not None)
        layer = default_layer if layer is None else layer
        traced = Traced.of(view, input_shape, preprocess, layer, notes)
        place = traced.place(choose_layer(traced.trace, layer, notes, inputs_hint(view)))
        self.layer = str(place.address)  # its own, whose units the picker lists
        self.layers = traced.trace.table
        self.output_shape = place.shape  # (units, *positions)
        self.units = place.shape[0]
        # class names apply only to a layer with as many units as there are names
        self.unit_names: Sequence[str] = names if len(names) == self.units else ()
        self._columns = Columns(traced, place, names, at, notes)
        if names and not self.unit_names and place.address == traced.trace.own.address:
            notes.tell(
                f"class_names are {len(names)}, and layer {self.layer!r} has {self.units} units: they are not used"
            )
        try:
            self.neurons = choose_neurons(self.units, wanted, self._columns.resolve)
        except ValueError as error:
            if self.unit_names or not any(isinstance(neuron, str) and neuron in names for neuron in wanted or ()):
                raise
            raise ValueError(
                f"{error}: class_names are {len(names)}, and layer {self.layer!r} has {self.units} units"
            ) from None
        self._asked = dict(zip((n.key for n in self.neurons), given, strict=True)) if given else {}
        self._chains = chains
        self.interpolates = any(term.start != term.end for n in self.neurons for term in n.terms)
        if any(neuron.terms for neuron in self.neurons):
            places, combination = self._columns.combination(self.neurons, chains, device_of(view))
            super().__init__(traced, places, combination, notes=notes, leaky=leaky)
        else:
            readout = Readout(self.neurons, place.shape, chains, device_of(view), place.dtype)
            super().__init__(traced, [place], readout, notes=notes, leaky=leaky)

    def unit(self, key: str) -> Neuron:
        """Resolve one neuron or expression; for the picker.

        Raises:
            ValueError: there is none; the message says what is valid.
        """
        return self._columns.read(key)

    def recalled(self, neurons: Iterable[Any] | None) -> list[Any] | None:
        """The user's `neurons` with the keys of present directions and expressions replaced by what was asked for."""
        wanted = listed(neurons)
        several = {n.key: self._asked[n.key] for n in self.neurons if n.unit is None}
        return wanted and [several.get(n, n) if isinstance(n, str) else n for n in wanted]

    def at(self, interpolation: float) -> Neurons | Interpolated:
        """The term at a value of the live parameter `interpolation`."""
        return Interpolated(self, interpolation) if self.interpolates else self

    @property
    def _readers(self) -> tuple[str, ...] | None:
        return tuple(n.key for n in self.neurons) if all(n.unit is not None for n in self.neurons) else None

    def weights_changed(self) -> None:
        """Compute again what expressions read off the network: the activations of images that they compare with."""
        if isinstance(self._scalars, Combination):
            self._scalars = self._columns.combination(self.neurons, self._chains, self._scalars.device)[1]


@dataclass(frozen=True)
class Interpolated:
    """Neurons at a value of the live parameter `interpolation`: a term of the target."""

    neurons: Neurons
    interpolation: float

    def evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As `Neurons.evaluate`."""
        return self.neurons.evaluate(x, self._scalars())

    def activations(self, x: Tensor) -> Tensor:
        """As `Neurons.activations`."""
        return self.neurons.activations(x, self._scalars())

    def _scalars(self) -> Combination:
        scalars = self.neurons._scalars
        assert isinstance(scalars, Combination), "only expressions interpolate"
        return scalars.at(self.interpolation)
