"""From a class to the units of the layer below with the largest weights for it, each with its own top classes.

As in the original program's ImageNet panel: selecting a class of fc8 shows the 20 units of fc7 with the largest
weights for it, each labelled with the three classes it has the largest weights for (alex0.ssc, lines 145 to 159).
"""

from __future__ import annotations

import difflib
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..core.notes import Notes
from ..core.tables import Row, Table
from .addresses import Address, module_names, parse, replace, select
from .capture import STOP, Call, listen
from .surroundings import undisturbed
from .trace import LayerOutput, Preprocess, Trace, check_shape, run, trace
from .view import device_of, dtype_of, private_view

_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class TopClass(NamedTuple):
    """A class that a unit is wired to."""

    class_index: int
    name: str  # or ""
    weight: float


class Wired(NamedTuple):
    """A unit that is wired to the requested class."""

    layer: str  # for `Sampler(layer=…)`
    neuron: str  # for `Sampler(neurons=[…])`: "17", "17@2,3" or "17@mean"
    unit: int  # its number in the layer
    weight: float  # for the requested class
    classes: tuple[TopClass, ...]  # those with the largest weights from this unit, largest first

    @property
    def label(self) -> str:
        """E.g. "fc2:17 → 3 .81, 8 .44"."""
        return f"{self.layer}:{self.neuron} → " + ", ".join(
            f"{top.name or top.class_index} {short(top.weight)}" for top in self.classes
        )


class Wiring(Table, list[Wired]):
    """The units most strongly wired to a class, strongest first; prints as a table.

    Attributes:
        layer: the layer they are in; ``Sampler(model, layer=w.layer, neurons=w.neurons, …)``.
        class_index, class_name: the requested class; the name may be "".
    """

    def __init__(self, rows: Sequence[Wired], layer: str, class_index: int, class_name: str) -> None:
        super().__init__(rows)
        self.layer, self.class_index, self.class_name = layer, class_index, class_name

    @property
    def neurons(self) -> list[str]:
        """Their keys, in order."""
        return [row.neuron for row in self]

    def table(self) -> tuple[Row, list[Row]]:
        """One row per unit."""
        head = ("neuron", "wired to", f"weight for {self.class_name or self.class_index}")
        return head, [(f"{r.layer}:{r.neuron}", r.label.split(" → ", 1)[1], f"{r.weight:.4g}") for r in self]


def short(weight: float) -> str:
    """Two decimals without a leading zero: ".81", "-1.20"."""
    return f"{weight:.2f}".replace("0.", ".", 1) if abs(weight) < 0.995 else f"{weight:.2f}"


@undisturbed()
def neurons_of(
    model: nn.Module,
    class_index: int | str,
    k: int = 20,
    *,
    layer: str | None = None,
    input_shape: Sequence[int] | None = None,
    class_names: Sequence[str] | None = None,
    top: int = 3,
    preprocess: Preprocess | None = None,
) -> Wiring:
    """The k units of the layer below with the largest weights for a class.

    The classifying layer is the last linear one, or a final convolution that acts as a linear layer at every position
    (kernel 1, or as large as its input). Weights are ranked with their sign, as in the original: units that drive the
    class come first.

    The layer below is the nearest one with weights whose outputs reach the classifier one to one, found by running the
    model on `input_shape`: through activations, dropout, flattening ("17@2,3" is a position on the map of channel 17)
    and global pooling ("17@mean"). Separate activation modules are skipped, as the original reads fc7 before its
    rectifier, where an inactive unit still has a gradient. Without `input_shape` the order of `model.named_modules()`
    is used: an error for flattened maps, and a guess where the forward pass runs in another order (class tokens,
    branches).

    Args:
        model: left unchanged.
        class_index: 0 to classes − 1, or one of `class_names`.
        k: ≥ 1; all units if there are fewer.
        layer: dotted name of the classifying layer; None finds it.
        input_shape, preprocess: as for `layers`.
        class_names: one per class.
        top: number of classes in each unit's label, ≥ 1.

    Raises:
        ValueError: no such class or layer, no classifying layer, or no suitable layer below it; the message says what
            to do.
    """
    for name, number in (("k", k), ("top", top)):
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise ValueError(f"{name} must be a positive integer; got {number!r}")
    shape = None if input_shape is None else check_shape(input_shape)
    view = private_view(model, None, Notes(), shared=False)
    if dtype_of(view) in (torch.float16, torch.bfloat16):
        view = view.float()  # units are identified by numbers that half precision would round
    with torch.inference_mode(False), torch.enable_grad():
        seen = None if shape is None else trace(view, shape, preprocess, None, Notes())
        name, head = _head(view, layer, seen)
        weight = head.weight.detach().flatten(1).float().cpu()  # (classes, features)
        index, class_name = _class(class_index, class_names, len(weight), name)
        if seen is not None and shape is not None:
            x = torch.rand(1, *shape, generator=torch.Generator().manual_seed(0)).to(device_of(view))
            below, units = _below_by_running(name, head, seen, lambda: run(view, x.clone(), preprocess, shape))
        else:
            below, units = _below_by_order(view, name, head)
    names = [""] * len(weight) if class_names is None else [str(n) for n in class_names]
    strongest = weight[index].topk(min(k, weight.shape[1]))
    rows = []
    for value, feature in zip(strongest.values.tolist(), strongest.indices.tolist(), strict=True):
        own = weight[:, feature].topk(min(top, len(weight)))
        classes = [TopClass(c, names[c], w) for w, c in zip(own.values.tolist(), own.indices.tolist(), strict=True)]
        unit, key = units(feature)
        rows.append(Wired(below, key, unit, value, tuple(classes)))
    return Wiring(rows, below, index, class_name)


def _class(wanted: int | str, names: Sequence[str] | None, count: int, layer: str) -> tuple[int, str]:
    if names is not None and len(names) != count:
        raise ValueError(f"class_names must name the {count} classes of layer {layer!r}; got {len(names)} names")
    known = [] if names is None else [str(name) for name in names]
    if isinstance(wanted, str):
        if wanted in known:
            return known.index(wanted), wanted
        near = difflib.get_close_matches(wanted, known, n=3)
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        listed = f" Known are: {', '.join(known[:30])}{', …' if count > 30 else ''}." if known else " Give class_names."
        raise ValueError(f"class_index={wanted!r} is not a class name.{hint}{listed}")
    try:
        index = operator.index(wanted)
    except TypeError as error:
        raise ValueError(f"class_index must be an integer or a class name; got {wanted!r}") from error
    if isinstance(wanted, bool) or not 0 <= index < count:
        raise ValueError(f"class_index {wanted} is out of range: layer {layer!r} has {count} classes, 0 to {count - 1}")
    return index, known[index] if known else ""


# ---- the classifying layer -------------------------------------------------------------------------------------------


def _head(view: nn.Module, layer: str | None, seen: Trace | None) -> tuple[str, Any]:
    """The classifying layer: its listed name and the module."""
    weighted = {name: m for name, m in view.named_modules() if isinstance(m, (nn.Linear, *_CONVS))}
    if layer is not None:
        asked = parse(layer, module_names(view))
        if asked is None or asked.module not in weighted:
            raise ValueError(
                f"layer={layer!r} is not a linear layer or convolution of the model; give the classifying one, e.g. "
                + (repr(list(weighted)[-1]) if weighted else "none: this model has no such layer")
            )
        if seen is not None and not seen.calls[asked.module]:
            raise ValueError(f"layer {layer!r} is not run by the model's forward pass; choose one of layers(model)")
        order = [asked.module]
    elif seen is not None:
        order = [candidate.address.module for candidate in seen.outputs if candidate.address.module in weighted]
    else:
        order = list(weighted)
    if not order:
        raise ValueError("model has no linear layer or convolution that could tell classes apart")
    head = weighted[order[-1]]
    if isinstance(head, _CONVS) and (head.groups > 1 or (max(head.kernel_size) > 1 and not _is_global(head, seen))):
        kernel = "×".join(map(str, head.kernel_size))
        raise ValueError(
            f"the last layer with weights, {order[-1]!r}, is a convolution of kernel {kernel}"
            f"{' in groups' if head.groups > 1 else ''}, which does not weigh single units; give layer= the dotted "
            "name of the linear layer that classifies"
        )
    return order[-1], head


def _is_global(head: Any, seen: Trace | None) -> bool:
    """Whether the kernel covers its whole input, giving a single output position."""
    candidate = None if seen is None else next((m for m in seen.outputs if m.module is head), None)
    return candidate is not None and set(candidate.layer.shape[1:]) == {1} and not any(head.padding)


# ---- the layer below, by order ---------------------------------------------------------------------------------------

_Units = Callable[[int], tuple[int, str]]  # feature of the classifier -> unit of the layer below, and its key


def _below_by_order(view: nn.Module, name: str, head: Any) -> tuple[str, _Units]:
    features = head.in_features if isinstance(head, nn.Linear) else head.in_channels
    found: tuple[str, int] | None = None  # its name and number of units
    for other, module in view.named_modules():
        if other == name:
            break
        if isinstance(module, (nn.Linear, *_CONVS, nn.modules.batchnorm._BatchNorm, nn.LayerNorm)):
            sizes = ("out_features", "out_channels", "num_features", "normalized_shape")
            size = next(getattr(module, size) for size in sizes if hasattr(module, size))
            found = other, size if isinstance(size, int) else size[-1]
    if found is None or found[1] != features or (isinstance(head, _CONVS) and max(head.kernel_size) > 1):
        before = f"{found[0]!r} with {found[1]} units" if found else "nothing"
        raise ValueError(
            f"layer {name!r} takes {features} features and {before} comes before it; give input_shape, so that the "
            "model can be run to see what feeds it"
        )
    below = found[0]
    # a block ending here also includes the residual added to this layer's output
    parent = below.rpartition(".")[0]
    while parent and not name.startswith(parent + "."):
        inside = view.get_submodule(parent).named_modules(prefix=parent)
        if [n for n, module in inside if next(module.parameters(False), None) is not None][-1] not in (below, found[0]):
            break
        below, parent = parent, parent.rpartition(".")[0]
    # a map with as many channels as features must have been pooled; for plain units, the mean is the unit itself
    plain = isinstance(view.get_submodule(below), (nn.Linear, nn.BatchNorm1d))
    return below, lambda feature: (feature, str(feature) if plain else f"{feature}@mean")


# ---- the layer below, by running the model ---------------------------------------------------------------------------


def _below_by_running(name: str, head: Any, seen: Trace, forward: Callable[[], Any]) -> tuple[str, _Units]:
    """The nearest layer with weights before the classifier whose elements reach its features one to one.

    Falls back to a layer without weights. A layer's output is replaced by random numbers; the derivatives of the
    classifier's input with respect to them show which element feeds which feature, whatever lies between.
    """
    end = max(i for i, candidate in enumerate(seen.outputs) if candidate.address.module == name)
    at = Address(name, seen.calls[name])
    best: tuple[LayerOutput, Tensor] | None = None
    for candidate in reversed(
        seen.outputs[:end]
    ):  # the classifier has no submodules: all these finished before it started
        # max pooling depends on the values; fixed wiring does not
        fed = _features_fed(head, at, candidate, forward, seed=1)
        again = None if fed is None else _features_fed(head, at, candidate, forward, seed=2)
        if fed is None or again is None or not torch.equal(fed, again):
            if best is not None and not candidate.address.keys:
                break
            continue
        best = candidate, fed
        if next(candidate.module.parameters(), None) is not None:
            break
    if best is None:
        raise ValueError(
            f"no layer feeds {name!r} one to one: something between them mixes units, e.g. pooling by maxima without a "
            "module of its own; give layer= another classifying layer"
        )
    candidate, fed = best

    def units(feature: int) -> tuple[int, str]:
        places = (fed == feature).nonzero().tolist()
        unit, *place = places[0]
        if fed[0].numel() == 1:
            return unit, str(unit)
        return unit, f"{unit}@mean" if len(places) > 1 else f"{unit}@{','.join(map(str, place))}"

    return candidate.layer.name, units


def _features_fed(
    head: Any, at: Address, candidate: LayerOutput, forward: Callable[[], Any], seed: int
) -> Tensor | None:
    """Which feature of the classifier each element of a layer's output feeds.

    Returns:
        (units, *positions), −1 for an element that feeds none; None unless every feature is fed by exactly one
        element, or every feature by all positions of one unit.
    """
    exchanged = _exchange(head, at, candidate, forward, seed)
    if exchanged is None or not exchanged[1].requires_grad:
        return None
    ours, inputs = exchanged
    total = _by_feature(inputs, head).double().sum(1)
    count = len(total)
    # Features are identified by number: for an element that feeds only feature j, the derivative of Σ (j + 1)
    # feature_j is j + 1 times that of Σ feature_j.
    numbers = torch.arange(1.0, count + 1, dtype=torch.float64, device=total.device)
    (plain,) = torch.autograd.grad(total.sum(), ours, retain_graph=True, allow_unused=True)
    (numbered,) = torch.autograd.grad((total * numbers).sum(), ours, allow_unused=True)
    if plain is None or numbered is None or bool(((plain == 0) & (numbered != 0)).any()):
        return None
    number = torch.where(plain == 0, torch.zeros_like(plain), numbered / plain).double()
    tolerance = min(0.3, 1e-3 + 1e-5 * count)  # float32 holds numbers to a few parts in 10⁷
    if not bool(number.isfinite().all()) or bool(((number - number.round()).abs() > tolerance).any()):
        return None
    fed = number.round().long().cpu() - 1
    fed = fed.movedim(list(fed.shape).index(1), 0).movedim(candidate.axis, 1)[0]  # axes as in the trace
    if int(fed.max()) >= count or int(fed.min()) < -1:
        return None
    rows = fed.reshape(len(fed), -1)
    elements = torch.bincount(rows[rows >= 0], minlength=count)
    whole = bool((elements == rows.shape[1]).all()) and bool((rows == rows[:, :1]).all())
    return fed if whole or bool((elements == 1).all()) else None


def _exchange(
    head: Any, at: Address, candidate: LayerOutput, forward: Callable[[], Any], seed: int
) -> tuple[Tensor, Tensor] | None:
    """Random numbers substituted for a layer's output, and the resulting classifier input; None if that fails."""
    own = torch.Generator().manual_seed(seed)
    ours: list[Tensor] = []
    arrived: list[Tensor] = []

    def put(call: Call) -> Any:
        if call.address == at:
            arrived.append(call.inputs[0])
            return STOP
        if call.address != candidate.address._replace(keys=()):
            return None
        part = select(call.output, candidate.address)
        if not part.is_floating_point():
            return None
        # in a range where rectifiers are active and other activations have a slope
        ours.append((0.3 + 0.4 * torch.rand(part.shape, generator=own, device="cpu")).to(part).requires_grad_(True))
        return replace(call.output, candidate.address.keys, ours[0].clone())

    try:
        listen({candidate.address.module: candidate.module, at.module: head}, put, forward)
    except Exception:  # the model rejects such numbers there
        return None
    return (ours[0], arrived[0]) if ours and arrived else None


def _by_feature(inputs: Tensor, head: Any) -> Tensor:
    """The classifier's input for one image as (features, positions)."""
    if isinstance(head, nn.Linear):
        return inputs.movedim(-1, 0).flatten(1) if inputs.ndim > 1 else inputs[:, None]
    one = inputs[0] if inputs.ndim == len(head.kernel_size) + 2 else inputs
    return one.flatten()[:, None] if max(head.kernel_size) > 1 else one.flatten(1)
