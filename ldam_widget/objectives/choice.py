"""Choose the layer and its neurons: defaults, and errors for invalid requests."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any

from torch import nn

from ..core.notes import Notes
from ..network.addresses import Address, parse
from ..network.trace import Trace
from ..network.units import Neuron

_FIRST = 10  # neurons sampled by default
_SOFTMAX = (nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.Softmax2d)
_SAME_UNITS = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)


def choose_layer(trace: Trace, layer: str | None, notes: Notes) -> Address:
    """The output to sample; None is the last layer before any softmax.

    Raises:
        ValueError: an unknown layer, or a call number it does not reach; the message says what is valid.
    """
    rows = [output for output in trace.outputs if output.listed]
    leaves = [output for output in rows if output.layer.leaf]
    makers = [output for output in leaves if not isinstance(output.module, (*_SOFTMAX, *_SAME_UNITS))]
    makers = [output for output in makers if not output.address.keys] or makers  # parts of tuples only as a last resort
    if layer is None and not makers:
        raise ValueError("model runs no layer with neurons; give layer= the dotted name of one of its modules")
    asked = parse(layer, trace.names) if isinstance(layer, str) else None
    last = leaves[-1] if leaves else None
    if last is not None and makers and isinstance(last.module, _SOFTMAX) and (layer is None or asked == last[0]):
        notes.tell(
            f"the model ends in {last.layer.type} ({last.layer.name!r}), whose outputs saturate and compete; "
            f"sampling the layer before it, {makers[-1].layer.name!r}"
        )
        return makers[-1].address
    if layer is None:
        return makers[-1].address
    if asked is None or (layer == "" and not leaves):
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
