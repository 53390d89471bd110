"""Matches neurons and expressions with a network: what every column of the picture reads, and where."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from ..core.notes import Notes
from ..network.capture import Capture
from ..network.readout import Read, Readout, read_by
from ..network.traced import Place, Traced
from ..network.units import LayerUnits, Neuron, as_list, centre
from .algebra import Atom, Cosine, Expression, Unit, Vector, text_of
from .choice import choose_layer
from .combination import Combination, Cosines, Linear, Reader
from .reading import read


class Summand(NamedTuple):
    """A summand of an expression: a neuron or a cosine, and its factor as `interpolation` goes from 0 to 1."""

    start: float
    end: float
    layer: str | None  # None is the sampler's own
    atom: Atom
    neuron: Neuron  # of a cosine, only key and label


def listed(neurons: Any) -> list[Any] | None:
    """The user's `neurons` as a list; a single expression is one. Raises ValueError if it is not iterable."""
    return [neurons] if isinstance(neurons, Expression) else as_list(neurons)


def home_layer(
    layer: str | None,
    neurons: list[Any] | None,
    names: Sequence[str],
    layers: Collection[str],
    *,
    chosen: bool = False,
) -> tuple[str | None, list[Any] | None]:
    """The sampler's own layer, where neurons without a layer are; and the neurons, with "fc3:5" cut to "5".

    Args:
        layer: as given. None: that of the "fc3:5" among the neurons.
        neurons: as given.
        names, layers: as for `reading.read`.
        chosen: whether there is a layer to fall back on. If not, it is the one that all expressions name.

    Returns:
        the layer, None if nothing determines it; the neurons.

    Raises:
        ValueError: "fc3:5" and "conv2:1" side by side; an expression that cannot be read.
    """
    if neurons is None:
        return layer, None
    found, cut, other = [] if layer is None else [layer], [], ""
    named: set[str | None] = set()  # layers that the neurons name; None: the sampler's own
    for neuron in neurons:
        expression = read(neuron, names, layers) if isinstance(neuron, str) else neuron
        if not isinstance(expression, Expression):
            cut.append(neuron)
            named.add(None)
        elif isinstance(neuron, str) and (unit := expression.plain) and _same_text(str(unit), neuron):
            cut.append(unit.what)
            named.add(unit.layer)
            if unit.layer is not None:
                found.append(unit.layer)
                other = neuron if unit.layer != found[0] else other
        else:
            cut.append(neuron)
            named |= _layers_of(expression, names, layers)
    if other:
        raise ValueError(
            f"neurons must be of one layer; got {', '.join(dict.fromkeys(map(str, found)))}. Only expressions read "
            f"others: write '+{other}', or ldam.neuron('{other}')"
        )
    if not found and not chosen and len(named) == 1:
        found = [name for name in named if name is not None]
    return (found[0] if found else None), cut


def _layers_of(expression: Expression, names: Sequence[str], layers: Collection[str]) -> set[str | None]:
    found: set[str | None] = set()
    for term in expression.terms:
        atom = term.atom
        inner = read(atom.what, names, layers) if isinstance(atom, Unit) and isinstance(atom.what, str) else None
        if atom.layer is not None or inner is None:
            found.add(atom.layer)
        elif inner.plain is not None:
            found.add(inner.plain.layer)
        else:
            found |= _layers_of(inner, names, layers)
    return found


class Columns:
    """Resolves neurons in a network.

    Args:
        traced: the model.
        place: of the sampler's own layer.
        names: class names; they apply to layers with as many units.
        at: readout of a plain int on a map, "center" or "mean".
        notes: receives notes for the user.
    """

    def __init__(
        self, traced: Traced, place: Place, names: Sequence[str], at: Literal["center", "mean"], notes: Notes
    ) -> None:
        self._traced, self._names, self._at, self._notes = traced, names, at, notes
        self._places: dict[str | None, Place] = {None: place}
        self.units = self._units_of(place)

    @property
    def layer(self) -> str:
        return self.units.layer

    def resolve(self, neuron: Any, position: int) -> Neuron:
        """What a column reads.

        Args:
            neuron: as `LayerUnits.resolve`, or an expression, as text or object.
            position: in the list of neurons; used to number directions.

        Raises:
            ValueError: there is no such neuron, or nothing is left of the expression; the message says what is valid.
        """
        expression = read(neuron, self._names, self._traced.trace.names) if isinstance(neuron, str) else neuron
        if not isinstance(expression, Expression):
            return self.units.resolve(neuron, self._at, position)
        unit = expression.plain
        if unit is not None and unit.layer is None and not self._is_text_of_several(unit):
            return self.units.resolve(_as_given(unit), self._at, position)
        merged = self._terms(expression, 1.0, 1.0, None, _shown(neuron))
        terms = [term for term in merged.values() if term.start or term.end]
        for end, where in ((0, "interpolation = 0"), (1, "interpolation = 1")):
            if not any(term[end] for term in terms):
                where = f" at {where}" if expression.interpolates else ""
                raise ValueError(f"neuron {_shown(neuron)} is zero{where}: its terms cancel. Leave them out")
        only = terms[0]
        if len(terms) == 1 and only.layer is None and only[:2] == (1.0, 1.0) and isinstance(only.atom, Unit):
            return only.neuron
        written = text_of([(t.start, t.end, self._name_of(t)) for t in terms], " → ", "·")
        ordered = sorted(terms, key=_order)
        key = text_of([(t.start, t.end, _key_of(t)) for t in ordered])
        if len(ordered) == 1 and ordered[0][:2] == (1.0, 1.0) and isinstance(ordered[0].atom, Unit):
            key = f"+{key}"  # "fc3:5" would ask for that layer
        return Neuron(key, "", None, (), tuple(ordered), written)

    def read(self, text: str) -> Neuron:
        """One that is typed into the picker. There a number is the centre of a channel, whatever `at` is."""
        plain = read(text, self._names, self._traced.trace.names).plain
        return self.units.resolve(text, "center", 0) if plain == Unit(text) else self.resolve(text, 0)

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _terms(
        self, expression: Expression, start: float, end: float, layer: str | None, asked: str
    ) -> dict[str, Summand]:
        """Terms by key, those of text within included, times a factor; equal ones are added up."""
        found: dict[str, Summand] = {}
        largest = 0.0
        for own_start, own_end, atom in expression.terms:
            if start != end and own_start != own_end:
                raise ValueError(f"{expression.label}: what is interpolated already has no second interpolation")
            factors = start * own_start, end * own_end
            if atom.layer is None and layer is not None:
                atom = replace(atom, layer=layer)
            if isinstance(atom, Unit) and self._is_text_of_several(atom):
                inner = read(str(atom.what), self._names, self._traced.trace.names)
                new = self._terms(inner, *factors, atom.layer, asked)
            else:
                try:
                    term = self._term(atom, *factors)
                except ValueError as error:
                    raise ValueError(f"neuron {asked}, at '{atom}': {error}") from error
                new = {_key_of(term): term}
            for key, term in new.items():
                largest = max(largest, abs(term.start), abs(term.end))
                before = found.get(key)
                if before is not None:
                    term = before._replace(start=before.start + term.start, end=before.end + term.end)
                found[key] = term
        return {  # 0.1 + 0.2 − 0.3 is zero
            key: t._replace(start=_rounded(t.start, largest), end=_rounded(t.end, largest)) for key, t in found.items()
        }

    def _is_text_of_several(self, unit: Unit) -> bool:
        """Whether it is text that says more than one unit of its layer."""
        if not isinstance(unit.what, str):
            return False
        return read(unit.what, self._names, self._traced.trace.names).plain != Unit(unit.what)

    def _term(self, atom: Atom, start: float, end: float) -> Summand:
        layer = self._layer(atom.layer)
        units = self._units_of(self._places[layer])
        if isinstance(atom, Cosine):
            self._check_cosine(atom, units)
            return Summand(start, end, layer, atom, Neuron(atom.key, "", None, ()))
        resolved = units.resolve(_as_given(atom), self._at, 0)
        if isinstance(atom.what, Vector):
            resolved = resolved._replace(key=f"direction {atom.what.digest}")
        return Summand(start, end, layer, atom, resolved)

    def _layer(self, layer: str | None) -> str | None:
        """Its name in `_places`."""
        if layer is None:
            return None
        address = choose_layer(self._traced.trace, layer, self._notes)
        if address == self._places[None].address:
            return None
        if str(address) not in self._places:
            self._places[str(address)] = self._traced.place(address)
        return str(address)

    def _units_of(self, place: Place) -> LayerUnits:
        names = self._names if len(self._names) == place.shape[0] else ()
        return LayerUnits(str(place.address), place.shape, place.unit_axis, names)

    def _name_of(self, term: Summand) -> str:
        """For the label: the class name, if no other class has it."""
        neuron = term.neuron
        if isinstance(term.atom, Cosine):
            return f"cosine({self.layer if term.layer is None else term.layer}, {term.atom.vector.digest[:4]})"
        if neuron.name and neuron.key == str(neuron.unit) and list(self._names).count(neuron.name) == 1:
            return neuron.name if term.layer is None else f"{term.layer}:{neuron.name}"
        return _key_of(term)

    def _check_cosine(self, cosine: Cosine, units: LayerUnits) -> None:
        """Raises ValueError if it does not fit the layer."""
        shape, own = tuple(cosine.vector.values.shape), _natural(units.shape, units.axis)
        if isinstance(cosine.at, tuple):
            units.resolve((0, *cosine.at), self._at, 0)
        if cosine.of_image:
            if shape != self._traced.image_shape:
                raise ValueError(f"cosine: an image has the shape {self._traced.image_shape}; got {shape}")
        elif shape != (own if cosine.where == "whole" else units.shape[:1]):
            raise ValueError(
                f"cosine: a direction for layer {units.layer!r} has shape {(units.shape[0],)}, of the units at one "
                f"place, or {own}; got {shape}" + (f" with at={cosine.at!r}" if cosine.at is not None else "")
            )

    # ---- what is computed ------------------------------------------------------------------------------------------

    def combination(
        self, neurons: Sequence[Neuron], chains: int, device: torch.device
    ) -> tuple[list[Place], Combination]:
        """The places that neurons read, at least one of which is an expression; and how."""
        columns = [n.terms or (Summand(1.0, 1.0, None, Unit(n.key), n),) for n in neurons]
        layers = list(dict.fromkeys(term.layer for terms in columns for term in terms))
        readers: list[Reader] = []
        for index, layer in enumerate(layers):
            place = self._places[layer]
            own = [[term for term in terms if term.layer == layer] for terms in columns]
            linear = [[term for term in terms if isinstance(term.atom, Unit)] for terms in own]
            if any(linear):
                start = [_summed([(t.start, t.neuron) for t in terms], place.shape) for terms in linear]
                change = [_summed([(t.end - t.start, t.neuron) for t in terms], place.shape) for terms in linear]
                moves = any(len(places) for places, _ in change)
                readers.append(
                    Linear(
                        index,
                        Readout(start, place.shape, chains, device, place.dtype),
                        Readout(change, place.shape, chains, device, place.dtype) if moves else None,
                    )
                )
            cosines = [[term for term in terms if isinstance(term.atom, Cosine)] for terms in own]
            readers += self._cosines(index, place, cosines, chains, device)
        return [self._places[layer] for layer in layers], Combination(
            tuple(readers), len(layers), len(columns) * chains, device
        )

    def _cosines(
        self, index: int, place: Place, columns: list[list[Summand]], chains: int, device: torch.device
    ) -> Iterable[Reader]:
        """Readers of one place, each for at most one cosine per column."""
        slots: list[tuple[tuple[slice | int, ...], dict[int, tuple[Summand, Tensor]]]] = []
        for n, terms in enumerate(columns):
            for term in terms:
                region, direction = self._aimed(term.atom, place)  # type: ignore[arg-type]  # a cosine
                free = next((rows for where, rows in slots if where == region and n not in rows), None)
                if free is None:
                    slots.append((region, free := {}))
                free[n] = term, direction
        wide = torch.promote_types(place.dtype, torch.float32)
        for region, rows in slots:
            size = len(next(iter(rows.values()))[1])
            start, end = (torch.zeros(len(columns), size, dtype=wide) for _ in range(2))
            for n, (term, direction) in rows.items():
                start[n], end[n] = term.start * direction, term.end * direction
            yield Cosines(index, region, start.to(device), (end - start).to(device), chains)

    def _aimed(self, cosine: Cosine, place: Place) -> tuple[tuple[slice | int, ...], Tensor]:
        """The part of the output that is compared, and the direction in it, flat, of length 1."""
        at = cosine.where
        region: tuple[slice | int, ...] = (slice(None),) * len(place.shape)
        if at != "whole":
            region = (slice(None), *(centre(place.shape[1:]) if at == "center" else at))
        values = cosine.vector.values
        if cosine.of_image:
            values = self._activation(values, place)[region]
        elif at == "whole":
            values = values.movedim(place.unit_axis - 1, 0)
        norm = float(values.norm())
        if not 0 < norm < torch.inf:
            raise ValueError(
                f"cosine: the activation of the image in layer {str(place.address)!r} is {norm:g} there, which has no "
                "direction; choose another layer or another place"
            )
        return region, (values / norm).flatten()

    def _activation(self, image: Tensor, place: Place) -> Tensor:
        """(units, *positions) of one image, float32 on the CPU."""
        x = image.to(next((p.device for p in self._traced.view.parameters()), "cpu"))[None]
        with torch.inference_mode(False), torch.no_grad():
            (output,) = Capture(self._traced.view, [place.address])(lambda: self._traced.run(x))
        return place.in_order(output)[0].float().cpu()


def _as_given(unit: Unit) -> Any:
    return unit.what.values if isinstance(unit.what, Vector) else unit.what


def _same_text(one: str, other: str) -> bool:
    return "".join(one.split()) == "".join(other.split())


def _shown(neuron: Any) -> str:
    return repr(neuron) if isinstance(neuron, str) else neuron.label


def _key_of(term: Summand) -> str:
    return term.neuron.key if term.layer is None else f"{term.layer}:{term.neuron.key}"


def _order(term: Summand) -> tuple[Any, ...]:
    return (
        term.layer is not None,
        term.layer or "",
        -1 if term.neuron.unit is None else term.neuron.unit,
        term.neuron.key,
    )


def _natural(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    """(units, *positions) as the layer returns it."""
    units, *positions = shape
    return (*positions[: axis - 1], units, *positions[axis - 1 :])


def _rounded(factor: float, largest: float) -> float:
    return 0.0 if abs(factor) < 1e-12 * largest else factor


def _summed(weighted: Sequence[tuple[float, Neuron]], shape: tuple[int, ...]) -> Read:
    """What a sum of neurons reads."""
    reads = [(factor, *read_by(neuron, shape)) for factor, neuron in weighted if factor]
    if not reads:
        return torch.empty(0, dtype=torch.int64), torch.empty(0)
    places, inverse = torch.unique(torch.cat([where for _, where, _ in reads]), return_inverse=True)
    weights = torch.cat([factor * weights for factor, _, weights in reads])
    return places, torch.zeros(len(places)).index_add_(0, inverse, weights)
