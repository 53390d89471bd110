"""What is examined of every network of the zoo, against the user's own model alone."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import ldam_widget as ldam

from .own_model import Network, called, copied, made, main, readings, same, touched, world

_UNITS = range(1, 10)  # of the output: the first that is alive
_FAR = 1e-3  # relative to the largest output; a gradient may be off by ten times as much


class Examined(NamedTuple):
    """What was seen of a network that can be sampled."""

    layers: int
    default: str  # layer
    hidden: str  # layer
    notes: tuple[str, ...]


def examine(network: Network, execution: str = "plain") -> Examined:
    """Sample one output and one hidden unit and compare.

    Raises:
        AssertionError: something is wrong.
        ValueError, TypeError: the product refuses the network.
    """
    model = made(network)
    images = torch.rand(2, *network.shape, generator=torch.Generator().manual_seed(1))
    common: dict[str, Any] = {
        "input_shape": network.shape, "inputs": network.inputs, "device": "cpu", "prior": None, "transforms": None,
        "scale": "none", "temperature": 0.0, "execution": execution,
    }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before, numbers = touched(model), world()
        table = ldam.layers(model, network.shape, inputs=network.inputs)
        s = ldam.Sampler(model, neurons=[0], chains=2, start=images, **common)
        row = next((row for row in table if row.name == s.layer), None)
        assert row is not None, f"the default layer {s.layer!r} is not listed"
        notes = tuple(s.notes)
        assert any("no units to choose from" in note for note in notes) == network.headless, notes
        assert any("draws random numbers" in note for note in notes) == network.chance, notes
        layer = s.layer if network.headless else None
        _check_untouched(model, before, numbers)

        unit, theirs = _alive(model.eval(), network, images[0], layer, row.units)
        # pixels move by 0.01 or so: by less, their own rounding would show
        size = min(1e3, max(1e-6, 0.01 * images[0].numel() ** 0.5 / float(theirs[0].norm())))
        before, numbers = touched(model.train()), world()
        s = ldam.Sampler(model, neurons=[unit], chains=2, start=images, kernel=ldam.kernels.ULA(size), **common)
        first = s.images[0].clone(), s.activation[0].clone()
        s.step(1)
        second = s.images[0].clone(), s.activation[0].clone()
        hidden, h = _hidden(model, table, s.layer, start=images[:1], kernel=ldam.kernels.ULA(size), **common)
        _check_untouched(model, before, numbers)

    model.eval()
    if not network.chance:
        for shown, activations in (first, second):
            for x, value in zip(shown, activations, strict=True):
                _compare(model, network, x, layer, row.units, unit, float(value))
        if hidden is not None:
            x, value = h.images[0, 0], float(h.activation[0, 0])
            _compare(model, network, x, hidden.name, hidden.units, 0, value)
        moved = (second[0][0] - first[0][0]) / size
        _compare_gradients(model, network, first[0][0], layer, row.units, unit, theirs, moved)
    return Examined(len(table), s.layer, hidden.name if hidden is not None else "", notes)


def _check_untouched(model: nn.Module, before: dict[str, Any], numbers: list[Any]) -> None:
    changed = [name for name, value in touched(model).items() if not same(value, before.get(name))]
    assert not changed, f"the model was changed: {changed[:5]}"
    assert world() == numbers, "the user's random numbers were drawn"


def _hidden(model: nn.Module, table: Any, default: str, **settings: Any) -> tuple[Any, Any]:
    """A layer from the middle, sampled. Some have no gradient, such as those of a position bias: a few are tried."""
    rows = [row for row in table if row.leaf and row.name != default and row.type not in ("Identity", "Dropout")]
    for row in rows[len(rows) // 2 :][:6]:
        try:
            s = ldam.Sampler(model, layer=row.name, neurons=[0], **settings)
        except ValueError as error:
            if "no gradient reaches the input" not in str(error):
                raise AssertionError(f"hidden layer {row.name!r} is refused: {error}") from error
            continue
        s.step(1)
        return row, s
    return None, None


def _output(model: nn.Module, network: Network, x: Tensor, layer: str | None) -> Tensor:
    """Of one image: what the model returns, or one of its layers."""
    if layer is None:
        return main(called(model, network, x[None].clone()))
    name, _, call = layer.partition("[")[0].partition("#")
    outputs: list[Any] = []
    handle = dict(model.named_modules())[name].register_forward_hook(lambda *c: outputs.append(copied(c[-1])))
    called(model, network, x[None].clone())
    handle.remove()
    return main(outputs[int(call or 1) - 1])


def _compare(
    model: nn.Module, network: Network, x: Tensor, layer: str | None, units: int, unit: int, value: float
) -> None:
    with torch.no_grad():
        output = _output(model, network, x, layer)
    off = [abs(float(each) - value) for each in readings(output, units, unit)]
    assert off, f"{layer or 'the output'}: {units} units; the model gives {tuple(output.shape)}"
    assert min(off) <= _FAR * float(output.abs().max()) + 1e-6, (
        f"{layer or 'the output'}: {value:.6g} off by {min(off):.2g}"
    )


def _alive(model: nn.Module, network: Network, x: Tensor, layer: str | None, units: int) -> tuple[int, list[Tensor]]:
    """A unit whose gradient is not zero, and that, by autograd, at its centre; for every axis that may hold units."""
    x = x.clone().requires_grad_(True)
    output = _output(model, network, x, layer)
    for unit in _UNITS:
        if unit < units and output.requires_grad:
            values = readings(output, units, unit)
            found = [torch.autograd.grad(value, x, retain_graph=True)[0] for value in values]
            if found and all(float(each.norm()) > 0 for each in found):
                return unit, found
    raise AssertionError("the model has no gradient")


def _compare_gradients(
    model: nn.Module, network: Network, x: Tensor, layer: str | None, units: int, unit: int, theirs: list[Tensor],
    mine: Tensor,
) -> None:  # fmt: skip
    off, nearest = min(((float((mine - g).norm() / g.norm()), g) for g in theirs), key=lambda each: each[0])
    if off < 10 * _FAR:
        return
    # torch's own is wrong for one image of some models: finite differences decide, where the two differ most
    direction = (mine - nearest).double()
    direction /= direction.norm()
    slopes = []
    for size in (1e-6, 1e-5, 1e-4, 1e-3):
        with torch.no_grad():
            ends = [_output(model.double(), network, x.double() + sign * size * direction, layer) for sign in (1, -1)]
        ahead, behind = (readings(end, units, unit) for end in ends)
        slopes += [float(a - b) / (2 * size) for a, b in zip(ahead, behind, strict=True)]
    claimed, doubted = (float((g.double() * direction).sum()) for g in (mine, nearest))
    nearness = min(abs(slope - claimed) for slope in slopes)
    # as near to the truth as autograd is, or nearer: where rectifiers flip, both are off
    assert nearness <= max(0.05 * abs(claimed), min(abs(slope - doubted) for slope in slopes)), (
        f"gradient of length {float(mine.norm()):.3g} is off by {off:.1%}; along the difference the slope is "
        f"{claimed:.4g}, by autograd {doubted:.4g}, by finite differences {slopes}"
    )
