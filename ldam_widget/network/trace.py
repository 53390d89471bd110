"""Trace of a forward pass: the table of layers."""

from __future__ import annotations

import contextlib
import operator
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..core.notes import Notes
from ..core.random_numbers import drawing_from
from ..core.tables import Row, Table
from .addresses import Address, AxisHint, axis_hint, module_names, parse, tensors, unit_axis
from .capture import Call, listed, listen
from .inputs import Inputs, call_with, inputs_hint
from .memory import is_out_of_memory
from .own_output import Computed, OwnOutput, own_output
from .surroundings import surroundings, undisturbed
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


@undisturbed()
def layers(
    model: nn.Module,
    input_shape: Sequence[int],
    preprocess: Preprocess | None = None,
    inputs: Inputs | None = None,
) -> LayerTable:
    """List the layers that a forward pass runs, in order.

    A module that runs several times has one row per call ("name", "name#2", …); one that returns a tuple or dict has
    one row per tensor ("name[0]", "name[key]"). `units` is the size of the axis found by `addresses.unit_axis`:
    channels of a map, features of a token.

    Args:
        model: any `nn.Module`; left unchanged.
        input_shape: of one image, without the batch axis, e.g. (1, 28, 28).
        preprocess: x in pixel range -> model input.
        inputs: for models with other arguments than images, as for `Sampler`.

    Raises:
        ValueError: the model does not accept `input_shape`; the message includes the model's error.
    """
    view = private_view(model, None, Notes(), shared=False)
    call_with(view, inputs)
    shape = check_shape(input_shape)
    return trace(view, shape, for_batches(preprocess, shape, device_of(view)), None, Notes()).table


class PerImage:
    """A batch's version of a preprocess that takes one image at a time."""

    def __init__(self, preprocess: Preprocess) -> None:
        self._preprocess = preprocess

    def __call__(self, x: Tensor) -> Tensor:
        return torch.stack([self._preprocess(image) for image in x])


def for_batches(preprocess: Preprocess | None, shape: tuple[int, ...], device: torch.device) -> Preprocess | None:
    """The preprocess; made to take batches, if it fails for them and takes single images."""
    if preprocess is None:
        return None
    own = torch.Generator().manual_seed(0)
    x = torch.rand(2, *shape, generator=own, device="cpu").to(device)
    try:
        with drawing_from(own):
            preprocess(x.clone())
    except Exception:
        try:
            with drawing_from(own):
                single = preprocess(x[0].clone())
        except Exception:
            return preprocess  # its error for a batch is the one to be told
        return PerImage(preprocess) if isinstance(single, Tensor) else preprocess
    return preprocess


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
        for keys, tensor in tensors(call.output):
            if tensor.ndim > 1 and tensor.shape[0] > 1:  # frames or windows of an image?
                address = call.address._replace(keys=keys)
                row = Layer(str(address), type(module).__name__, tuple(tensor.shape), 0, not any(module.children()))
                outputs.append(LayerOutput(address, row, module, 1 + unit_axis(tensor, last), False))
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
    if any(not row.layer.units for row in outputs):
        outputs = _parted(view, outputs, x, lambda two: run(view, two, preprocess, shape))
    own = own_output(returned, computed)
    if own.functional:
        outputs = [row._replace(listed=row.listed or row.address.module == "") for row in outputs]
    return Trace(outputs, names, calls, coupled, x._version > 0, own)


def _parted(
    view: nn.Module, outputs: list[LayerOutput], x: Tensor, forward: Callable[[Tensor], Any]
) -> list[LayerOutput]:
    """List the layers with several rows per image: twice as many for two images. Theirs are the rows without units;
    where an axis of size 1 might also be that of the images, only one of two rows is right."""
    sizes: dict[Address, tuple[int, ...]] = {}

    def record(call: Call) -> None:
        for keys, tensor in tensors(call.output):
            sizes[call.address._replace(keys=keys)] = tuple(tensor.shape)

    with contextlib.suppress(ValueError):  # it takes one image at a time
        listen(
            dict(view.named_modules()), record, lambda: forward(torch.cat([x, x]).detach().requires_grad_(True).clone())
        )
    given = {output.address: output.layer.shape for output in outputs if not output.layer.units}
    confirmed = {address: sizes.get(address) == (2 * shape[0], *shape[1:]) for address, shape in given.items()}
    found = []
    for output in outputs:
        if output.layer.units and confirmed.get(output.address):
            continue
        if not output.layer.units:
            if not confirmed.get(output.address):
                continue
            row = output.layer._replace(units=output.layer.shape[output.axis - 1])
            output = output._replace(layer=row, listed=output.address.module != "" or row.leaf)
        found.append(output)
    return found


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
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    around = surroundings(view)
    with drawing_from(generator) if around is None else around.around_a_pass(generator):
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
            f"{_hint(error, view, shape)}Give the shape of one image without the batch axis, as the model was "
            "trained on it."
        ) from error


def _hint(error: Exception, view: nn.Module, shape: tuple[int, ...]) -> str:
    if isinstance(error, TypeError) and "missing" in str(error) and "argument" in str(error):
        return "If it takes more than images, give the rest as inputs={'name': value}. "
    if any(p.is_floating_point() and p.element_size() == 1 for p in view.parameters()):
        return "Its weights are float8, which torch cannot differentiate: give model.float(). "
    conv = next((module for module in view.modules() if isinstance(module, nn.modules.conv._ConvNd)), None)
    if conv is not None:
        channels, axes = conv.in_channels, len(conv.kernel_size)
        if len(shape) == axes:
            return f"The channels are missing: is it input_shape={(channels, *shape)}? "
        if len(shape) == axes + 1 and shape[-1] == channels != shape[0]:
            return f"Channels come first: is it input_shape={(channels, *shape[:-1])}? "
    return inputs_hint(view)
