"""Choose the layer and its neurons: defaults, and errors for invalid requests."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any

from torch import nn

from ..core.notes import Notes
from ..network.addresses import Address, parse
from ..network.own_output import SOFTMAX
from ..network.trace import LayerOutput, Trace
from ..network.units import Neuron

_FIRST = 10  # neurons sampled by default
_SAME_UNITS = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)


def choose_layer(trace: Trace, layer: str | None, notes: Notes, hint: str = "") -> Address:
    """The output to sample; None is the model's own output, or what it was before a softmax at the end.

    Args:
        trace: of the model.
        layer: as for `Sampler`.
        notes: receives notes for the user.
        hint: part of the error if no layer has units.

    Raises:
        ValueError: an unknown layer, or a call number it does not reach; the message says what is valid.
    """
    rows = [output for output in trace.outputs if output.listed]
    own, asked = trace.own, parse(layer, trace.names) if isinstance(layer, str) else None
    if own.softmax is not None and own.address is not None and (layer is None or asked == own.softmax):
        notes.tell(
            f"the model ends in a softmax ({str(own.softmax)!r}), whose outputs saturate and compete; sampling the "
            f"layer before it, {str(own.address)!r}"
        )
        return own.address
    if layer is None:
        if own.saturated:
            notes.tell("the model ends in a softmax, whose outputs saturate and compete; give layer= one before it")
        return _last(rows, own.described, notes, hint) if own.address is None else own.address
    if asked is None:
        near = difflib.get_close_matches(str(layer), [name for name in trace.names if name], n=3, cutoff=0.4)
        listed = ", ".join(output.layer.name for output in rows[:30]) + (", …" if len(rows) > 30 else "")
        hint = f" Did you mean {' or '.join(repr(name) for name in near)}?" if near else ""
        raise ValueError(f"unknown layer {layer!r}.{hint} The forward pass runs: {listed}")
    calls = trace.calls[asked.module]
    if asked.call > max(calls, 1):
        raise ValueError(
            f"layer {layer!r} is call {asked.call} of {asked.module!r}, which the forward pass runs "
            f"{calls} time{'s' if calls > 1 else ''}; choose "
            + " or ".join(repr(str(asked._replace(call=i + 1))) for i in range(min(calls, 4)))
        )
    return asked


def _last(rows: list[LayerOutput], described: str, notes: Notes, hint: str) -> Address:
    """The last layer with units, for a model whose own output has none."""
    leaves = [output for output in rows if output.layer.leaf]
    makers = [output for output in leaves if not isinstance(output.module, (*SOFTMAX, *_SAME_UNITS))]
    makers = [output for output in makers if not output.address.keys] or makers  # parts of tuples only as a last resort
    if not makers:
        raise ValueError(f"model runs no layer with neurons. {hint}Give layer= the dotted name of one of its modules")
    if described:
        notes.tell(
            f"the model returns {described}, in which there are no units to choose from; sampling the last layer that "
            f"has some, {makers[-1].layer.name!r}"
        )
    return makers[-1].address


def choose_neurons(units: int, wanted: Iterable[Any] | None, resolve: Callable[[Any, int], Neuron]) -> list[Neuron]:
    """The neurons to sample; None is the first ten of a layer.

    Args:
        units: of the layer.
        wanted: as given by the user.
        resolve: of one of them and its position.

    Raises:
        ValueError: an unknown neuron, an empty list, or a duplicate.
    """
    asked = list(range(min(_FIRST, units))) if wanted is None else list(wanted)
    if not asked:
        raise ValueError("neurons must name at least one neuron; got an empty list")
    neurons = [resolve(neuron, i) for i, neuron in enumerate(asked)]
    keys = [neuron.key for neuron in neurons]
    if len(set(keys)) < len(keys):
        raise ValueError(f"neurons must differ from each other; got {', '.join(keys)}")
    return neurons
