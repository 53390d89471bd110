"""Which layer returns what the model itself returns."""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

from torch import Tensor, nn

from .addresses import Address, describe, tensors

SOFTMAX = (nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.Softmax2d)
_SOFTMAX_NODES = {"SoftmaxBackward0", "LogSoftmaxBackward0"}
_RESHAPES = {
    *(f"{name}Backward0" for name in ("View", "UnsafeView", "ReshapeAlias", "Squeeze", "Unsqueeze", "ToCopy", "Alias")),
    *("CloneBackward0", "SqueezeBackward1", "SqueezeBackward2"),
}
_COPIES = {"CloneBackward0", "ToCopyBackward0"}
_MAIN = {"logits", "out"}  # the part of a dict that is meant, among others such as a loss or auxiliary outputs


class OwnOutput(NamedTuple):
    """What the model returns."""

    address: Address | None = None  # the layer that returns it, before a softmax; None: it has no units
    softmax: Address | None = None  # the module at the end whose input is at `address`
    saturated: bool = False  # it is the output of a softmax
    functional: bool = False  # no layer returns it: it is computed from the outputs of layers
    described: str = ""  # in words; "" if the pass failed


class Computed:
    """The outputs of layers in the course of a pass with gradients."""

    def __init__(self) -> None:
        self.addresses: list[Address] = []
        self.modules: list[nn.Module] = []
        self._tensors: list[tuple[weakref.ref[Tensor], int, Any, list[int]]] = []  # version, node of the graph, sizes

    def add(self, address: Address, module: nn.Module, tensor: Tensor) -> None:
        self.addresses.append(address)
        self.modules.append(module)
        self._tensors.append((weakref.ref(tensor), _version(tensor), tensor.grad_fn, _sizes(tensor)))

    def find(self, tensor: Tensor) -> int | None:
        """The first output that is this tensor and has not been written to since."""
        version = _version(tensor)
        return next((i for i, (ref, v, *_) in enumerate(self._tensors) if ref() is tensor and v == version), None)

    def find_node(self, node: Any, sizes: list[int], version: int | None) -> int | None:
        """The first output that a node of the graph computed, or another shape of it; axes of size 1 do not count.

        Args:
            node, sizes: of a tensor.
            version: of it; if it was written to since, without a gradient, it is not that output. None: any.
        """
        while node is not None:
            for i, (_, its_version, grad_fn, its) in enumerate(self._tensors):
                if grad_fn is node and its == sizes and version in (None, its_version):
                    return i
            if node.name() not in _RESHAPES:
                return None
            if node.name() in _COPIES:
                version = None  # a copy counts anew
            node = node.next_functions[0][0]
        return None


def own_output(returned: Any, computed: Computed) -> OwnOutput:
    """Find what the model returned among the outputs of its layers; of several tensors, the logits or the first."""
    if returned is None:
        return OwnOutput()
    described = describe(returned)
    found = [
        (keys, tensor) for keys, tensor in tensors(returned) if tensor.is_floating_point() and tensor.requires_grad
    ]
    if not found:
        return OwnOutput(described=described)
    keys, tensor = next((each for each in found if each[0] and each[0][-1] in _MAIN), found[0])
    node: Any = tensor.grad_fn
    at = computed.find(tensor)
    if at is None or computed.addresses[at].module == "":  # the model is not a layer of itself
        at = computed.find_node(node, _sizes(tensor), _version(tensor))
    layer = None if at is None or computed.addresses[at].module == "" else computed.addresses[at]
    softmax = node is not None and node.name() in _SOFTMAX_NODES
    before = computed.find_node(node.next_functions[0][0], _sizes(tensor), None) if softmax else None
    if before is not None:
        module = layer if at is not None and isinstance(computed.modules[at], SOFTMAX) else None
        return OwnOutput(computed.addresses[before], module, False, layer is None, described)
    if layer is not None:
        return OwnOutput(layer, None, softmax, False, described)
    has_units = tensor.ndim > 1 and 1 in tensor.shape
    return OwnOutput(Address("", keys=keys) if has_units else None, None, softmax, True, described)


def _version(tensor: Tensor) -> int:
    return -1 if tensor.is_inference() else tensor._version


def _sizes(tensor: Tensor) -> list[int]:
    return [size for size in tensor.shape if size != 1]
