"""Trace of a forward pass: the table of layers."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..core.notes import Notes
from ..core.random_numbers import drawing_from
from ..core.tables import Row, Table
from .addresses import Address, AxisHint, axis_hint, module_names, parse, unit_axis
from .capture import Call, listed, listen
from .memory import is_out_of_memory
from .own_output import Computed, OwnOutput, own_output
from .view import device_of, dtype_of, private_view

Preprocess = Callable[[Tensor], Tensor]


class Layer(NamedTuple):
    """One output of a forward pass."""

    name: str  # dotted, as in `model.named_modules()`; "name#2" is a second call, "name[0]" a part of a tuple
    type: str  # class name
    shape: tuple[int, ...]  # for one image
    units: int  # neurons, or channels or features where the output has positions
    leaf: bool = True  # has no modules inside


class LayerTable(Table, list[Layer]):
    """The layers of a model in the order they run; prints as a table."""

    def table(self) -> tuple[Row, list[Row]]:
        """One row per layer."""
        head = ("name", "type", "output shape", "units")
        return head, [(layer.name, layer.type, "×".join(map(str, layer.shape)), str(layer.units)) for layer in self]


class LayerOutput(NamedTuple):
    """One tensor produced by a forward pass."""

    address: Address
    layer: Layer
    module: nn.Module
    axis: int  # of the units, in (batch, …)
    listed: bool  # in the table


class Trace(NamedTuple):
    """One forward pass."""

    outputs: list[LayerOutput]  # in order
    names: dict[str, str]  # every name of every module -> its listed name
    calls: Counter[str]  # by listed name
    coupled: dict[str, int]  # batch norm that mixes the images of a batch -> number of tensors produced before it
    writes_input: bool  # the model changes its input in place
    own: OwnOutput

    @property
    def table(self) -> LayerTable:
        return LayerTable(output.layer for output in self.outputs if output.listed)

    def find(self, address: Address) -> LayerOutput | None:
        return next((output for output in self.outputs if output.address == address), None)


def layers(model: nn.Module, input_shape: Sequence[int], preprocess: Preprocess | None = None) -> LayerTable:
    """List the layers that a forward pass runs, in order.

    A module that runs several times has one row per call ("name", "name#2", …); one that returns a tuple or dict has
    one row per tensor ("name[0]", "name[key]"). `units` is the size of the axis found by `addresses.unit_axis`:
    channels of a map, features of a token.

    Args:
        model: any `nn.Module`; left unchanged.
        input_shape: of one image, without the batch axis, e.g. (1, 28, 28).
        preprocess: x in pixel range -> model input.

    Raises:
        ValueError: the model does not accept `input_shape`; the message includes the model's error.
    """
    return trace(
        private_view(model, None, Notes(), shared=False), check_shape(input_shape), preprocess, None, Notes()
    ).table


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


@torch.inference_mode(False)
@torch.enable_grad()
def trace(
    view: nn.Module, shape: tuple[int, ...], preprocess: Preprocess | None, wanted: str | None, notes: Notes
) -> Trace:
    """Run one image through a private view and record every output.

    A failure after the layer `wanted` only adds a note. Gradients are on, as in sampling: without them transformers
    take a fast path that does not run the modules inside.
    """
    names = module_names(view)
    outputs: list[LayerOutput] = []
    calls: Counter[str] = Counter()
    coupled: dict[str, int] = {}
    last: AxisHint | None = None
    computed = Computed()
    returned: Any = None

    def record(call: Call) -> None:
        nonlocal last
        name, module = call.address.module, call.module
        calls[name] += 1
        last = axis_hint(module, call.output) or last
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            coupled.setdefault(name, len(outputs))
        for address, tensor, shown in listed(call, 1):
            batch_first = tensor.movedim(tensor.shape.index(1), 0)
            axis = unit_axis(batch_first, last)
            sizes = tuple(batch_first.shape)
            row = Layer(str(address), type(module).__name__, sizes[1:], sizes[axis], not any(module.children()))
            outputs.append(LayerOutput(address, row, module, axis, shown))
            computed.add(address, module, tensor)

    x = torch.zeros(1, *shape, dtype=torch.float32, device=device_of(view)).requires_grad_(True).clone()
    try:
        returned = listen(dict(view.named_modules()), record, lambda: run(view, x, preprocess, shape))
    except ValueError as error:
        address = parse(wanted, names) if isinstance(wanted, str) else None
        if address is None or address not in [row.address for row in outputs]:
            raise
        notes.tell(f"the forward pass is listed up to {outputs[-1].layer.name!r} only: {error}")
    own = own_output(returned, computed)
    if own.functional:
        outputs = [row._replace(listed=row.listed or row.address.module == "") for row in outputs]
    return Trace(outputs, names, calls, coupled, x._version > 0, own)


def run(
    view: nn.Module,
    x: Tensor,
    preprocess: Preprocess | None,
    shape: tuple[int, ...],
    generator: torch.Generator | None = None,
) -> Any:
    """Forward pass; a failure raises an error that blames `input_shape` or `preprocess` and quotes the model's own.

    What the model draws comes from `generator`; None is one of its own, the same at every call.
    """
    with drawing_from(torch.Generator().manual_seed(0) if generator is None else generator):
        return _run(view, x, preprocess, shape)


def _run(view: nn.Module, x: Tensor, preprocess: Preprocess | None, shape: tuple[int, ...]) -> Any:
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
        if is_out_of_memory(error):
            raise MemoryError(
                f"one image of shape {shape} through the model does not fit into the memory of {device_of(view)}; free "
                f"some, or choose another device. ({error})"
            ) from error
        made = "" if inputs.shape == x.shape else f" (preprocess made it {tuple(inputs.shape[1:])})"
        raise ValueError(
            f"input_shape={shape} does not fit the model{made}, which raised {type(error).__name__}: {error}. "
            "Give the shape of one image without the batch axis, as the model was trained on it."
        ) from error
