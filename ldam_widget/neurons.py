"""Turn `layer` and `neurons` into f_α(x): one activation a chain, the forward pass stopped at the layer.

A neuron is a linear read-out of a layer's output: one unit, the spatial mean of a channel, or a direction. Its
gradient is therefore one backward pass from the layer, seeded with the read-out.
"""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from .models import Notes, dtype_of, private_view

Preprocess = Callable[[Tensor], Tensor]
NeuronLike = "int | tuple[int, ...] | str | Tensor"

_SOFTMAX = (nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.Softmax2d)
_SAME_UNITS = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)


class Layer(NamedTuple):
    """One layer that a forward pass runs through."""

    name: str  # dotted, as in `model.named_modules()`
    type: str  # class name
    shape: tuple[int, ...]  # of its output for one image
    units: int  # neurons, or channels where the output has spatial axes
    leaf: bool = True  # has no modules inside


class LayerTable(list[Layer]):
    """The layers of a model in the order they run; prints as a table."""

    def __repr__(self) -> str:
        head = ("name", "type", "output shape", "units")
        rows = [(layer.name, layer.type, "×".join(map(str, layer.shape)), str(layer.units)) for layer in self]
        width = [max(len(row[i]) for row in [head, *rows]) for i in range(4)]
        form = "{:<%d}  {:<%d}  {:<%d}  {:>%d}" % tuple(width)  # noqa: UP031  (braces within braces read worse)
        return "\n".join(form.format(*row) for row in [head, tuple("-" * w for w in width), *rows])


class Neuron(NamedTuple):
    """One neuron of the chosen layer, resolved."""

    key: str  # how the picker and JSON name it: "5", "5@3,4", "5@mean", "direction 1"
    name: str  # class name or ""
    unit: int | None  # None for a direction
    readout: Tensor | tuple[int, ...]  # index into the output of one image, or weights over it

    @property
    def label(self) -> str:
        return f"{self.key} {self.name}".rstrip()


class _Reached(BaseException):
    """No error: it carries the output out of the forward pass, past any `except Exception` of the model's."""

    def __init__(self, output: Any) -> None:
        self.output = output


def layers(model: nn.Module, input_shape: Sequence[int], preprocess: Preprocess | None = None) -> LayerTable:
    """List the layers that a forward pass runs, in order, each once.

    Args:
        model: any `nn.Module`; comes back untouched.
        input_shape: of one image, without the batch axis, e.g. (1, 28, 28).
        preprocess: x in pixel range -> model input.

    Raises:
        ValueError: the model does not accept `input_shape`; its own error is shown.
    """
    return trace_layers(private_view(model, None, Notes()), check_shape(input_shape), preprocess, None, Notes())


def check_shape(input_shape: Sequence[int]) -> tuple[int, ...]:
    """Raises ValueError unless `input_shape` is a non-empty sequence of positive integers."""
    try:
        shape = tuple(operator.index(size) for size in input_shape)
    except TypeError:
        shape = ()
    if not shape or any(size < 1 for size in shape):
        raise ValueError(
            f"input_shape must hold positive integers, without the batch axis, e.g. (1, 28, 28); got {input_shape!r}"
        )
    return shape


def trace_layers(
    view: nn.Module, shape: tuple[int, ...], preprocess: Preprocess | None, wanted: str | None, notes: Notes
) -> LayerTable:
    """`layers` on a model that is already private; a failure beyond the layer `wanted` is worth a remark only."""
    table, seen = LayerTable(), set()
    names = {module: name for name, module in view.named_modules()}

    def record(module: nn.Module, _inputs: Any, output: Any) -> None:
        leaf = not any(module.children())
        if isinstance(output, Tensor) and output.ndim >= 2 and module not in seen and (names[module] or leaf):
            seen.add(module)
            table.append(Layer(names[module], type(module).__name__, tuple(output.shape[1:]), output.shape[1], leaf))

    handles = [module.register_forward_hook(record) for module in names]
    try:
        with torch.no_grad():
            run(view, torch.zeros(1, *shape, dtype=torch.float32, device=_device(view)), preprocess, shape)
    except ValueError as error:
        if wanted not in [layer.name for layer in table]:
            raise
        notes.tell(f"the forward pass is listed up to {table[-1].name!r} only: {error}")
    finally:
        for handle in handles:
            handle.remove()
    return table


def run(view: nn.Module, x: Tensor, preprocess: Preprocess | None, shape: tuple[int, ...]) -> Any:
    """Forward pass whose failure says that `input_shape` or `preprocess` does not fit, in the model's own words."""
    try:
        inputs = preprocess(x) if preprocess is not None else x
    except Exception as error:
        raise ValueError(
            f"preprocess failed on a batch of shape {tuple(x.shape)}: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(inputs, Tensor):
        raise ValueError(f"preprocess must return the model's input as a tensor; it returned {type(inputs).__name__}")
    try:
        return view(inputs.to(dtype_of(view)))
    except Exception as error:
        made = "" if inputs.shape == x.shape else f" (preprocess made it {tuple(inputs.shape[1:])})"
        raise ValueError(
            f"input_shape={shape} does not fit the model{made}, which raised {type(error).__name__}: {error}. "
            "Give the shape of one image without the batch axis, as the model was trained on it."
        ) from error


class Neurons:
    """f_α for a list of neurons of one layer: the neuron term of the target.

    Args:
        view: a private view of the model (`models.private_view`).
        layer: dotted name; None is the last layer before any softmax.
        neurons: ints, (channel, y, x) tuples, strings "5", "5@3,4", "layer:5", class names, or direction tensors.
        chains: chains a neuron; the batch axis counts neurons × chains, neuron first.
        input_shape, preprocess: as for `layers`.
        class_names: names of the layer's units, used wherever one is named.
        at: where on the map an int looks: "center" (as the original program) or "mean".
        default_layer: where neither `layer` nor a neuron names one, instead of the last layer.

    Raises:
        ValueError: unknown layer, neuron out of range, empty list, no gradient; the message says what would work.
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
    ) -> None:
        if at not in ("center", "mean"):
            raise ValueError(f"at must be 'center' or 'mean'; got {at!r}")
        self._view, self._preprocess, self._shape = view, preprocess, input_shape
        self._dtype = dtype_of(view)
        notes = Notes() if notes is None else notes
        wanted = _as_list(neurons)
        layer, wanted = _layer_of_strings(layer, wanted)
        layer = default_layer if layer is None else layer
        self.layers = trace_layers(view, input_shape, preprocess, layer, notes)
        self.layer = self._choose_layer(layer, notes)
        self._module = view.get_submodule(self.layer)
        self.output_shape = self._probe()
        self.units = self.output_shape[0]
        # names of the classes belong to the network's outputs; a hidden layer that happens to be listed has none
        named = class_names is not None and len(class_names) == self.units
        self.unit_names: Sequence[str] = class_names if named and class_names is not None else ()
        if wanted is None:
            wanted = list(range(min(10, self.units)))
        if not wanted:
            raise ValueError("neurons must name at least one neuron; got an empty list")
        self.neurons = [self._resolve(neuron, at, i) for i, neuron in enumerate(wanted)]
        keys = [neuron.key for neuron in self.neurons]
        if len(set(keys)) < len(keys):
            raise ValueError(f"neurons must differ from each other; got {', '.join(keys)}")
        self._seed, self._index = self._readout(chains)
        self._is_last = self._ends_the_model()

    def evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (chain, *image) -> activation (chain,) and its gradient with respect to x."""
        if torch.is_inference_mode_enabled():  # of the caller's; nothing made in it could have a gradient
            with torch.inference_mode(False):
                return self.evaluate(x)
        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            output = self._forward(x)
            (grad,) = torch.autograd.grad(output, x, self._seed)
        output = output.detach()
        value = output.take(self._index) if self._index is not None else (output * self._seed).flatten(1).sum(1)
        return value.float(), grad

    def unit(self, key: str) -> Neuron:
        """Resolve one neuron of this layer by its key; for the picker."""
        return self._resolve(key, "center", 0)

    def _forward(self, x: Tensor) -> Tensor:
        inputs = self._preprocess(x) if self._preprocess is not None else x
        if self._is_last:
            return self._view(inputs.to(self._dtype))  # type: ignore[no-any-return]
        handle = self._module.register_forward_hook(_stop)
        try:
            self._view(inputs.to(self._dtype))
        except _Reached as reached:
            return reached.output  # type: ignore[no-any-return]
        finally:
            handle.remove()
        raise RuntimeError(f"layer {self.layer!r} was not run by this forward pass")

    def _ends_the_model(self) -> bool:
        """Is the layer's output what the model returns? Then the forward pass need not be stopped."""
        made: list[Any] = []
        handle = self._module.register_forward_hook(lambda _module, _inputs, output: made.append(output))
        try:
            with torch.no_grad():
                x = torch.zeros(1, *self._shape, device=_device(self._view))
                returned = run(self._view, x, self._preprocess, self._shape)
        except ValueError:
            return False  # something fails behind the layer, where sampling never goes
        finally:
            handle.remove()
        return len(made) == 1 and returned is made[0]

    def _choose_layer(self, layer: str | None, notes: Notes) -> str:
        table = self.layers
        known = dict(self._view.named_modules())
        leaves = [row for row in table if row.leaf]
        candidates = [row.name for row in leaves if not isinstance(known[row.name], (*_SOFTMAX, *_SAME_UNITS))]
        if layer is None and not candidates:
            raise ValueError("model runs no layer with neurons; give layer= the dotted name of one of its modules")
        last = leaves[-1] if leaves else None
        if last is not None and candidates and isinstance(known[last.name], _SOFTMAX) and layer in (None, last.name):
            notes.tell(
                f"the model ends in {last.type} ({last.name!r}), whose outputs saturate and compete; sampling the "
                f"layer before it, {candidates[-1]!r}"
            )
            return candidates[-1]
        if layer is None:
            return candidates[-1]
        if not isinstance(layer, str) or layer not in known or (layer == "" and not leaves):
            near = difflib.get_close_matches(str(layer), [name for name in known if name], n=3, cutoff=0.4)
            listed = ", ".join(row.name for row in table[:30]) + (", …" if len(table) > 30 else "")
            hint = f" Did you mean {' or '.join(repr(name) for name in near)}?" if near else ""
            raise ValueError(f"unknown layer {layer!r}.{hint} The forward pass runs: {listed}")
        return layer

    def _probe(self) -> tuple[int, ...]:
        """Shape of the layer's output for one image, having made sure that a gradient reaches the pixels."""
        name = self.layer
        with torch.inference_mode(False), torch.enable_grad():
            device = _device(self._view)
            own = torch.Generator(device).manual_seed(0)  # the user's random numbers stay where they are
            x = torch.rand(1, *self._shape, generator=own, dtype=torch.float32, device=device).requires_grad_(True)
            handle = self._module.register_forward_hook(_stop)
            try:
                run(self._view, x, self._preprocess, self._shape)
            except _Reached as reached:
                output = reached.output
            else:
                raise ValueError(f"layer {name!r} is not run by the model's forward pass; choose one of layers(model)")
            finally:
                handle.remove()
            if isinstance(output, (tuple, list, dict)):
                inside = (
                    f"a dict with keys {list(output)}"
                    if isinstance(output, dict)
                    else f"a {type(output).__name__} of {len(output)}"
                )
                raise ValueError(f"layer {name!r} returns {inside}, not one tensor; choose a layer inside or before it")
            if not isinstance(output, Tensor) or output.ndim < 2 or output.shape[0] != 1:
                got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
                raise ValueError(
                    f"layer {name!r} gives {got} for a batch of one image; neurons need an output (batch, units, …)"
                )
            if not output.is_floating_point():
                raise ValueError(
                    f"layer {name!r} gives integers ({output.dtype}), which have no gradient; choose a layer before it"
                )
            try:
                grad = torch.autograd.grad(output.sum(), x, allow_unused=True)[0] if output.requires_grad else None
            except RuntimeError as error:  # e.g. re-entrant checkpointing, which autograd.grad cannot follow
                raise ValueError(
                    f"layer {name!r} has no gradient with respect to the input: {error} Choose another layer, or mend "
                    "the path."
                ) from error
            if grad is None:
                raise ValueError(
                    f"no gradient reaches the input from layer {name!r}: its path is cut (torch.no_grad, .detach(), an "
                    "integer or argmax step) or does not start at the input. Choose another layer, or mend the path."
                )
        return tuple(output.shape[1:])

    def _resolve(self, neuron: Any, at: str, position: int) -> Neuron:
        if isinstance(neuron, Tensor) and neuron.ndim > 0:
            return self._direction(neuron, position)
        if isinstance(neuron, str):
            neuron, at = self._parse(neuron, at)
        if isinstance(neuron, (tuple, list)):
            unit, place = neuron[0], tuple(neuron[1:])
        else:
            unit, place = neuron, None
        try:
            unit = operator.index(unit.item() if hasattr(unit, "item") else unit)
            place = None if place is None else tuple(operator.index(p) for p in place)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"a neuron is an int, (channel, y, x), '5', '5@3,4', a class name or a direction tensor; got {neuron!r}"
            ) from error
        if not 0 <= unit < self.units:
            raise ValueError(
                f"neuron {unit} is out of range: layer {self.layer!r} has {self.units} units, 0 to {self.units - 1}"
            )
        name = str(self.unit_names[unit]) if self.unit_names else ""
        spatial = self.output_shape[1:]
        if place is not None:
            if len(place) != len(spatial) or any(not 0 <= p < size for p, size in zip(place, spatial, strict=True)):
                raise ValueError(
                    f"neuron {(unit, *place)} does not fit layer {self.layer!r}, whose units have a map of size "
                    f"{'×'.join(map(str, spatial)) or '1 (no place can be given)'}"
                )
            return Neuron(f"{unit}@{','.join(map(str, place))}", name, unit, (unit, *place))
        if at == "mean" and spatial:
            weights = torch.zeros(self.output_shape)
            weights[unit] = 1 / weights[unit].numel()
            return Neuron(f"{unit}@mean", name, unit, weights)
        return Neuron(str(unit), name, unit, (unit, *(size // 2 for size in spatial)))

    def _parse(self, text: str, at: str) -> tuple[Any, str]:
        match = re.fullmatch(r"\s*(\d+)(?:@(mean|center|\d+(?:\s*,\s*\d+)*))?\s*", text)
        if match:
            unit, place = int(match[1]), match[2]
            if place in ("mean", "center"):
                return unit, place
            return (unit, *(int(p) for p in place.split(","))) if place else unit, at
        if text in self.unit_names:
            return list(self.unit_names).index(text), at
        names = [str(name) for name in self.unit_names]
        near = difflib.get_close_matches(text, names, n=3)
        hint = f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
        listed = f" (known are: {', '.join(names[:30])}{', …' if len(names) > 30 else ''})" if names else ""
        raise ValueError(
            f"neuron {text!r} is neither a number such as '5' or '5@3,4' nor a known class name{hint}{listed}"
        )

    def _direction(self, direction: Tensor, position: int) -> Neuron:
        shape = self.output_shape
        direction = direction.detach().to("cpu", torch.float32)
        if tuple(direction.shape) not in {shape, shape[:1]}:
            raise ValueError(
                f"a direction for layer {self.layer!r} has shape {shape[:1]} (at the map's centre) or {shape}; "
                f"got {tuple(direction.shape)}"
            )
        norm = float(direction.norm())
        if not 0 < norm < float("inf"):
            raise ValueError(f"a direction must be finite and not zero; its norm is {norm}")
        weights = torch.zeros(shape)
        if tuple(direction.shape) == shape:
            weights = direction / norm
        else:
            weights.view(shape[0], -1)[:, _centre(shape[1:])] = direction / norm
        return Neuron(f"direction {position + 1}", "", None, weights)

    def _readout(self, chains: int) -> tuple[Tensor, Tensor | None]:
        """Seed of the backward pass (chain, *output), and flat indices where every neuron is a single unit."""
        device = _device(self._view)
        seed = torch.zeros(len(self.neurons), *self.output_shape)
        for row, neuron in zip(seed, self.neurons, strict=True):
            if isinstance(neuron.readout, tuple):
                row[neuron.readout] = 1.0
            else:
                row.copy_(neuron.readout)
        single = all(isinstance(neuron.readout, tuple) for neuron in self.neurons)
        seed = seed.repeat_interleave(chains, 0)
        rows = seed.flatten(1)
        index = rows.argmax(1) + rows.shape[1] * torch.arange(len(rows)) if single else None  # into the whole batch
        return seed.to(device, self._dtype), None if index is None else index.to(device)


def _centre(spatial: tuple[int, ...]) -> int:
    """Flat index of the centre of a map; 0 where there is none."""
    index = 0
    for size in spatial:
        index = index * size + size // 2
    return index


def _stop(_module: nn.Module, _inputs: Any, output: Any) -> None:
    raise _Reached(output)


def _device(view: nn.Module) -> torch.device:
    first = next(view.parameters(), None)
    return first.device if first is not None else torch.device("cpu")


def _as_list(neurons: Any) -> list[Any] | None:
    if neurons is None:
        return None
    if isinstance(neurons, Tensor) and neurons.ndim == 1 and not neurons.is_floating_point():
        return list(neurons.tolist())  # [3, 5], and no direction
    if isinstance(neurons, (int, str)) or (isinstance(neurons, Tensor) and neurons.ndim <= 1):
        return [neurons]
    if isinstance(neurons, tuple) and neurons and all(isinstance(n, int) for n in neurons):
        # (3, 5) could be two neurons or one place; a sequence is always a list of neurons
        return list(neurons)
    try:
        return list(neurons)
    except TypeError as error:
        raise ValueError(f"neurons must be a list of neurons, e.g. range(10) or [3, 5]; got {neurons!r}") from error


def _layer_of_strings(layer: str | None, neurons: list[Any] | None) -> tuple[str | None, list[Any] | None]:
    """Take the layer out of "layer:5" strings; all of them must name the same one."""
    if neurons is None:
        return layer, None
    found, plain = [] if layer is None else [layer], []
    for neuron in neurons:
        if isinstance(neuron, str) and re.fullmatch(r"[^:]+:\d+(@.*)?", neuron):
            name, neuron = neuron.split(":", 1)
            found.append(name)
        plain.append(neuron)
    if any(name != found[0] for name in found):
        raise ValueError(f"neurons must be of one layer; got {', '.join(dict.fromkeys(map(str, found)))}")
    return (found[0] if found else None), plain
