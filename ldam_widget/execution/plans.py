"""Plans, and networks built from them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from ..core.notes import QuietNotes
from ..network.capture import Call, listen
from ..network.view import private_view
from .banded import Band, BandedConv2d
from .convolutions import THIN, NativeBackwardConv2d, NativeConv2d, native_modules
from .cuda_graph import CudaGraph
from .hooks import hooked
from .operations import Operations, can_be_recorded
from .packed import PackedConv2d, packable
from .recordings import Recordings

Pair = tuple[str, str]  # dotted names of a layer and of the batch norm that follows it
_SMALL = 1e7  # multiplications
_BEFORE_NORM = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


@dataclass(frozen=True)
class Plan:
    """How to run a network.

    Attributes:
        folded: fold batch norms into the layers before them.
        channels_last: store weights and pictures channels last.
        native: which convolutions run as matrix products: none, those with few input channels ("thin"), only the
            backward pass of these, or all.
        recorded: run forward and backward pass as a list of operations, without Python and autograd.
        captured: run forward and backward pass as one CUDA graph.
        banded: compute small convolutions as products with banded matrices, together with the following max pooling.
        packed: keep convolution weights in oneDNN's layout, and flip them for gradients.
    """

    folded: bool = False
    channels_last: bool = False
    native: Literal["none", "thin backward", "thin", "all"] = "none"
    banded: bool = False
    packed: bool = False
    recorded: bool = False
    captured: bool = False

    def __str__(self) -> str:
        parts = [
            "batch norms folded" if self.folded else "",
            "channels last" if self.channels_last else "",
            "" if self.native == "none" else f"native convolutions ({self.native})",
            "banded convolutions" if self.banded else "",
            "packed convolutions" if self.packed else "",
            "recorded" if self.recorded else "",
            "CUDA graph" if self.captured else "",
        ]
        return ", ".join(part for part in parts if part) or "plain"

    @property
    def derives(self) -> bool:
        """Whether its network has weights derived from the user's."""
        return self.folded or self.channels_last or self.banded or self.packed


_NETWORKS = (  # most promising first: trials of slow networks do not reach the end
    Plan(),
    Plan(banded=True),
    Plan(folded=True, banded=True),
    Plan(channels_last=True, packed=True),
    Plan(folded=True, channels_last=True, packed=True),
    Plan(folded=True, channels_last=True),
    Plan(folded=True),
    Plan(native="all"),
    Plan(native="thin"),
    Plan(native="thin backward"),
    Plan(folded=True, native="thin"),
    Plan(folded=True, native="thin backward"),
    Plan(channels_last=True, native="thin backward"),
    Plan(folded=True, channels_last=True, native="thin backward"),
)
_CAPTURED = (
    Plan(captured=True),
    Plan(channels_last=True, captured=True),
    Plan(folded=True, captured=True),
    Plan(folded=True, channels_last=True, captured=True),
)
PLANS = _NETWORKS + tuple(replace(plan, recorded=True) for plan in _NETWORKS) + _CAPTURED


def plans_for(view: nn.Module, pairs: Sequence[Pair], bands: Sequence[Band], device: torch.device) -> list[Plan]:
    """The applicable plans, the plain one first."""
    maps = [module for module in view.modules() if isinstance(module, nn.Conv2d)]
    native = native_modules(view) if device.type == "cpu" else []
    thin = [module for module in native if module.in_channels <= THIN]
    kinds = {"none"} | ({"thin", "thin backward"} if thin else set()) | ({"all"} if len(native) > len(thin) else set())
    return [
        plan
        for plan in PLANS
        # folding always pays, but "CUDA graph" may be requested by its bare name; channels last needs maps
        if plan == Plan()
        or (
            (plan.folded == bool(pairs) or plan == Plan(captured=True))
            and plan.native in kinds
            and (maps or not plan.channels_last)
            and (bands or not plan.banded)
            and (not plan.packed or (device.type == "cpu" and packable(view)))
            and (device.type == "cuda" or not plan.captured)
            and (not plan.recorded or (device.type == "cpu" and can_be_recorded(view)))
        )
    ]


def is_small(view: nn.Module, images: int) -> bool:
    """Whether no plan or number of threads can help on a CPU: a few small dense layers."""
    if any(isinstance(module, (nn.modules.conv._ConvNd, _BatchNorm)) for module in view.modules()):
        return False
    return images * sum(parameter.numel() for parameter in view.parameters()) < _SMALL


class Prepared:
    """A network equivalent to `view`, built by a plan.

    Weights not affected by the plan are shared with the view, and so with the user's model; `follow` recomputes the
    others.

    Args:
        view: see `network.view.private_view`.
        plan: how to build the network.
        pairs: what can be folded, see `foldable`.
        bands: what can be banded, see `banded.bands`; after folding, if the plan folds.
    """

    def __init__(self, view: nn.Module, plan: Plan, pairs: Sequence[Pair], bands: Sequence[Band] = ()) -> None:
        self.plan = plan
        tape = CudaGraph if plan.captured else Operations if plan.recorded else None
        self.recordings = None if tape is None else Recordings(tape)
        self.network = view if plan == Plan() else private_view(view, None, QuietNotes())
        self._updates: list[Callable[[], object]] = []
        folded = pairs if plan.folded else ()
        if plan.channels_last:
            self._lay_out(view, {layer for layer, _ in folded})
        for layer, norm in folded:
            self._fold(view.get_submodule(layer), view.get_submodule(norm), layer, norm)
        for band in bands if plan.banded else ():
            self._replace(band.name, BandedConv2d(self.network.get_submodule(band.name), band))
        for name in packable(self.network) if plan.packed else ():
            self._replace(name, PackedConv2d(self.network.get_submodule(name)))
        for module in native_modules(self.network) if plan.native != "none" else ():
            if plan.native == "all" or module.in_channels <= THIN:
                module.__class__ = NativeBackwardConv2d if plan.native == "thin backward" else NativeConv2d

    @property
    def memory_format(self) -> torch.memory_format:
        """Memory format of the network's input."""
        return torch.channels_last if self.plan.channels_last else torch.contiguous_format

    @torch.no_grad()
    def follow(self) -> None:
        """Recompute the plan's derived weights from the view's, in place."""
        for update in self._updates:
            update()

    def _lay_out(self, view: nn.Module, folded: set[str]) -> None:
        for (name, own), source in zip(self.network.named_parameters(), view.parameters(), strict=True):
            if source.ndim == 4 and name.rpartition(".")[0] not in folded:
                own.data = source.detach().clone(memory_format=torch.channels_last)
                self._updates.append(_copying(own, source))

    def _fold(self, layer: Any, norm: Any, layer_name: str, norm_name: str) -> None:
        fuse = fuse_linear_bn_weights if isinstance(layer, nn.Linear) else fuse_conv_bn_weights

        def fused() -> tuple[Tensor, Tensor]:
            weight, bias = fuse(
                layer.weight, layer.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
            )
            return weight.detach(), bias.detach()

        own: Any = self.network.get_submodule(layer_name)
        weight, bias = fused()
        layout = torch.channels_last if self.plan.channels_last and weight.ndim == 4 else torch.contiguous_format
        own.weight = nn.Parameter(weight.clone(memory_format=layout), requires_grad=False)
        own.bias = nn.Parameter(bias.clone(), requires_grad=False)

        def update() -> None:
            weight, bias = fused()
            own.weight.data.copy_(weight)
            own.bias.data.copy_(bias)

        self._updates.append(update)
        self._put(nn.Identity(), norm_name)

    def _replace(self, name: str, made: BandedConv2d | PackedConv2d) -> None:
        self._put(made, name)
        self._updates.append(made.update)

    def _put(self, module: nn.Module, name: str) -> None:
        """Replace the module of this name, under all of its names."""
        replaced = self.network.get_submodule(name)
        parents = [parent for parent in self.network.modules() if parent is not module]
        for parent in parents:
            for key, child in parent._modules.items():
                if child is replaced:
                    parent._modules[key] = module


def foldable(view: nn.Module, forward: Callable[[], object], keep: Collection[str]) -> list[Pair]:
    """Pairs of a layer and a batch norm that takes its output unchanged.

    Uses of the output outside modules are not visible here, so the caller must compare the folded network with the
    plain one.

    Args:
        view: in eval mode.
        forward: runs the view once, as far as sampling needs.
        keep: dotted names of the layers that are read, whose outputs must not change.
    """
    if not any(isinstance(module, _BatchNorm) for module in view.modules()):
        return []
    names = {module: name for name, module in view.named_modules()}
    shared = {id(p) for p in _shared_parameters(view)}
    made: dict[int, tuple[nn.Module, Tensor, int]] = {}  # by id: layer, output (kept so the id is not reused), version
    calls: dict[nn.Module, int] = {}
    pairs: list[tuple[nn.Module, nn.Module]] = []

    def record(call: Call) -> None:
        module, inputs, output = call.module, call.inputs, call.output
        calls[module] = calls.get(module, 0) + 1
        if isinstance(module, _BEFORE_NORM) and isinstance(output, Tensor) and _own_weights(module, shared):
            made[id(output)] = module, output, output._version
        if isinstance(module, _BatchNorm) and len(inputs) == 1 and id(inputs[0]) in made and _plain_norm(module):
            layer, tensor, version = made[id(inputs[0])]
            if tensor._version == version:  # not modified in place in between
                pairs.append((layer, module))

    leaves = [module for module in view.modules() if not any(module.children())]
    left_alone = {module for module in leaves if hooked(module)}
    listen({names[module]: module for module in leaves}, record, forward)
    return [
        (names[layer], names[norm])
        for layer, norm in pairs
        if calls[layer] == calls[norm] == 1 and names[layer] not in keep and not {layer, norm} & left_alone
    ]


def with_other_norms(view: nn.Module) -> nn.Module:
    """A copy with non-trivial batch norms: in an untrained network they hardly matter, so a wrong folding would go
    unnoticed."""
    copied = private_view(view, None, QuietNotes())
    for module in copied.modules():
        if isinstance(module, _BatchNorm):
            own = torch.Generator().manual_seed(0)
            for name, low, high in (("running_mean", -0.5, 0.5), ("running_var", 0.5, 2.0), ("weight", 0.5, 1.5),
                                    ("bias", -0.5, 0.5)):  # fmt: skip
                tensor = getattr(module, name)
                if tensor is not None:
                    other = torch.empty(tensor.shape).uniform_(low, high, generator=own)
                    tensor.data = other.to(tensor.device, tensor.dtype)  # a new tensor: the old one is the user's
    return copied


def _copying(own: Tensor, source: Tensor) -> Callable[[], object]:
    return lambda: own.data.copy_(source)


def _own_weights(module: Any, shared: set[int]) -> bool:
    """Whether a layer's parameters are plain: not computed (pruning, weight norm) and not shared between modules."""
    exact = type(module) in _BEFORE_NORM
    return exact and set(module._parameters) == {"weight", "bias"} and id(module.weight) not in shared


def _plain_norm(module: nn.Module) -> bool:
    return module.running_mean is not None and type(module) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def _shared_parameters(view: nn.Module) -> list[Tensor]:
    seen: dict[int, Tensor] = {}
    again: list[Tensor] = []
    for module in view.modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                again += [parameter] if id(parameter) in seen else []
                seen[id(parameter)] = parameter
    return again
