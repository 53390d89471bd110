"""The layer and neurons on display, and the alternatives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from ...network.units import Neuron
from ...objectives.algebra import neuron as expression
from ...surveys import Survey
from ..protocol import Content, integer, text, texts, unit
from .part import Command, Host, Part

_QUERY = 200  # characters
_PAGE = 500  # units


class Choice(NamedTuple):
    """A selection sent by a page."""

    layer: str | None
    neurons: list[str] | None


class Picker(Part):
    """Layer selector, chips, searchable list of units, and the strongest inputs of a class.

    Args:
        host: the panel.
        survey: of real images; units that are dead for them are marked.
    """

    _newest: Choice | None = None
    _refused = False  # the banner shows what was wrong with the last choice

    def __init__(self, host: Host, survey: Survey | None = None) -> None:
        super().__init__(host)
        self._survey = survey
        self._dead: dict[str, frozenset[int]] = {}  # by layer

    def setup(self) -> dict[str, Any]:
        sampler = self.host.sampler
        names = sampler.class_names
        wiring = {"label": "units of the layer below with the largest weights", "classes": names}
        return {
            "layer": sampler.layer,
            "layers": [row._asdict() for row in sampler.layers],
            "neurons": [self._unit(neuron) for neuron in sampler.neurons],
            "chains": sampler.chains,
            "wiring": None if names is None else wiring,
        }

    def _unit(self, neuron: Neuron) -> dict[str, Any]:
        layer, survey = self.host.sampler.layer, self._survey
        if layer not in self._dead:
            self._dead[layer] = frozenset(survey.dead(layer) if survey is not None and layer in survey.layers else ())
        return unit(neuron) | ({"dead": True} if neuron.unit in self._dead[layer] else {})

    def select(self, layer: Any, neurons: Iterable[Any] | None, names: Mapping[str, str] | None = None) -> None:
        """On the loop."""
        self.host.runner.select(layer, neurons, names)
        self.host.redeclare()  # some neurons have a live parameter of their own
        self.host.begin_anew()

    def messages(self) -> Mapping[str, Callable[[Content], Command | None]]:
        return {"select": self._read_selection, "units": self._read_query}

    def _read_selection(self, content: Content) -> Command | None:
        wired_to = integer(content, "wired_to")
        if wired_to is not None:
            return Command(lambda: self._select_wired(wired_to))
        choice = Choice(text(content, "layer"), texts(content, "neurons"))
        if choice.neurons is None and (choice.layer is None or content.get("neurons") is not None):
            return None
        self._newest = choice
        return Command(lambda: self._select_newest(choice))

    def _select_newest(self, choice: Choice) -> None:
        """Skip it if other neurons of the same layer, or of another, have been chosen since."""
        if choice is not self._newest and choice.layer is None:
            return
        refused, self._refused = self._refused, True
        self.select(choice.layer, None if choice.neurons is None else self._read(choice.neurons))
        self._refused = False
        if refused:
            self.host.report(None)

    def _read(self, keys: list[str]) -> list[Any]:
        """The neurons of keys or of typed text; "fc3:5" joins the others, without a change of layer."""
        present = self.host.sampler.recalled(keys) or []
        return [expression(one) if isinstance(one, str) and ":" in one else one for one in present]

    def _select_wired(self, class_index: int) -> None:
        found = self.host.sampler.wired_to(class_index)
        names = {neuron.neuron: neuron.label.split(" → ")[1] for neuron in found}
        self.select(found.layer, found.neurons, names)

    def _read_query(self, content: Content) -> Command:
        layer, query = text(content, "layer") or "", text(content, "query") or ""
        offset, limit = integer(content, "offset") or 0, integer(content, "limit") or 50
        page = max(0, offset), min(max(1, limit), _PAGE)
        return Command(lambda: self._send_units(layer, query[:_QUERY], *page), hurry=False)

    def _send_units(self, layer: str, query: str, offset: int, limit: int) -> None:
        """Send a page of the units whose number starts with, or whose name contains, the query.

        If there are none, the query may be an expression, which is then the only result.
        """
        sampler = self.host.sampler
        wanted, names = query.strip().lower(), sampler.unit_names
        found = [
            i
            for i in range(sampler.units)
            if not wanted or str(i).startswith(wanted) or (names and wanted in str(names[i]).lower())
        ]
        units, problem = [sampler.unit(str(i)) for i in found[offset : offset + limit]], ""
        total = len(found)
        if not found and layer == sampler.layer:
            try:
                written = sampler.unit(query.strip())
                units, total = [written][offset:], 1
            except ValueError as error:
                problem = str(error)
        self.host.post(
            {
                "kind": "units",
                "layer": layer,
                "query": query,
                "offset": offset,
                "total": total,
                "units": [self._unit(each) for each in units],
                "problem": problem,
            }
        )
