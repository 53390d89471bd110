"""The table of a layer's units, sent whole; the page sorts, searches, opens units and asks for files."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

from ...core.bars import Bars
from ...surveys.results import Survey
from ...surveys.units import UnitRow, UnitTable
from ..protocol import Content, flag, integer, plain, text
from .part import Command, Host, Part
from .unit.background import Background, Work

MOST_ON_A_SHEET = 256  # units, of a sheet that the page asks for
_COLUMNS = tuple(name for name in UnitRow._fields if name != "name")
_TEXTS = ("dead", "best_class", "unit")


class UnitsOfLayer(Part):
    """All units of one layer.

    Args:
        host: the panel.
        survey: of the model.
        layer: in it.
        table: of the layer.
        show: shows a unit; called on the loop.
        first: called on the loop when a unit is shown for the first time.
    """

    def __init__(
        self,
        host: Host,
        survey: Survey,
        layer: str,
        table: UnitTable,
        show: Callable[[int], object],
        first: Callable[[], object],
    ) -> None:
        super().__init__(host)
        self._survey, self._layer, self.table, self._show, self._first = survey, layer, table, show, first
        self._initial = host.sampler.layer, host.sampler.neurons[0].key
        self._open = False
        self._background = Background(lambda: host.loop.playing, host.report)  # makes sheets while the chains go on

    @property
    def opened(self) -> int | None:
        """The unit that is sampled; −1: one of another layer; None: none has been opened yet."""
        if not self._open:
            return None
        sampler = self.host.sampler
        unit = sampler.neurons[-1].unit if sampler.layer == self._layer else None
        return -1 if unit is None else unit

    def open(self, unit: int) -> None:
        """On the loop: show a unit."""
        first, self._open = not self._open, True
        self._show(unit)
        if first:
            self._first()

    def on_new_chains(self) -> None:
        """A unit has been chosen, here or elsewhere in the panel, or the chains have restarted."""
        if not self._open and (self.host.sampler.layer, self.host.sampler.neurons[0].key) == self._initial:
            return
        first, self._open = not self._open, True
        if first:
            self._first()
        self._send_bars()

    # ---- the page --------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        return {"open_unit": self.opened}

    def on_greeting(self) -> None:
        survey, layer = self._survey, self._layer
        self.host.post(
            {
                "kind": "unit_table",
                "layer": layer,
                "images": survey.images,
                "columns": {name: _column(name, self.table) for name in _COLUMNS},
                "activations": _plain(survey.distribution(layer)),
                "weights": _plain(survey.weights(layer) if survey.source else None),
            }
        )
        self._send_bars()

    def _send_bars(self) -> None:
        survey, layer, unit = self._survey, self._layer, self.opened
        if unit is None or unit < 0:
            return
        found = survey.histogram(layer, unit)
        activations = Bars(found.edges, found.counts) if found.finite else None
        weights = survey.weights(layer, unit) if survey.source else None
        bars = {"activations": _plain(activations), "weights": _plain(weights)}
        self.host.post({"kind": "unit_bars", "unit": unit} | bars)

    def messages(self) -> Mapping[str, Callable[[Content], Command | None]]:
        return {"open_unit": self._read_open, "export_units": self._read_export}

    def _read_open(self, content: Content) -> Command | None:
        unit = integer(content, "unit")
        return None if unit is None or not 0 <= unit < len(self.table) else Command(lambda: self.open(unit))

    def _read_export(self, content: Content) -> Command | None:
        what, column = text(content, "what"), text(content, "column")
        ascending, query = flag(content, "ascending"), text(content, "query")
        if what not in ("csv", "sheet") or column not in UnitRow._fields or ascending is None or query is None:
            return None
        return Command(lambda: self._export(what, self.table.find(query).by(column, ascending=ascending)), hurry=False)

    def _export(self, what: str, rows: UnitTable) -> None:
        name = "".join(c if c.isalnum() else "-" for c in f"{self.host.title}-{self._layer}")[:80]
        if what == "csv":
            written = io.StringIO(newline="")
            rows.write(written)
            self._download(f"{name}.csv", "text/csv", written.getvalue().encode())
            return
        units = [row.unit for row in rows[:MOST_ON_A_SHEET]]
        drawing = self._survey.sheet_in_pieces(self._layer, units)

        def work() -> Work:
            picture = yield from drawing
            written = io.BytesIO()
            picture.save(written, "png")
            yield lambda: self._download(f"{name}.png", "image/png", written.getvalue())

        self._background.begin(work)

    def close(self) -> None:
        self._background.stop()

    def _download(self, filename: str, mime: str, data: bytes) -> None:
        self.host.post({"kind": "download", "filename": filename, "mime": mime}, [data])


def _column(name: str, table: UnitTable) -> list[Any]:
    values = [getattr(row, name) for row in table]
    if name == "partner":
        return [None if value < 0 else value for value in values]
    if name == "best_class":
        return [value[:200] for value in values]
    return values if name in _TEXTS else [plain(value) for value in values]


def _plain(bars: Bars | None) -> dict[str, Any] | None:
    if bars is None or not bars.counts:
        return None
    return {"low": bars.edges[0], "high": bars.edges[-1], "counts": list(bars.counts)}
