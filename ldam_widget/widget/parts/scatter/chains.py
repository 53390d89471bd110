"""Chains of a sampler over the map: where they are now, and clicks on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ....core.tables import Table
from ...protocol import Content, integer
from ..part import Command, Feature
from .plot import Plot


class ChainOverlay(Feature):
    """The chains that are drawn over the map, with trails, in the colours of their neurons.

    `show` may be called from any thread, as often as wished: the page gets the newest places as fast as it can paint
    them. `on_pick` is called on the loop with the index of a chain that was clicked, in the order of `show`.
    """

    plot: Plot

    def __init__(self) -> None:
        self.on_pick: Callable[[int], object] | None = None
        self.due = False
        self._now: tuple[dict[str, Any], bytes] = ({"count": 0, "neurons": [], "colours": [], "fresh": True}, b"")
        self._table: dict[str, Any] | None = None
        self._fresh = True  # trails begin anew with what is sent next

    def show(
        self,
        positions: Any,
        neuron: Any,
        solid: Any,
        names: Sequence[str],
        *,
        colours: Sequence[int] | None = None,
        fresh: bool = False,
    ) -> None:
        """Draw chains.

        Args:
            positions: (m, 2) on the map; NaN: this chain has no place.
            neuron: (m,) index into `names`.
            solid: (m,) booleans; False: drawn hollow, since it lies off the real points.
            names: of the neurons.
            colours: of the neurons, as numbers of classes; None: 0, 1, …
            fresh: begin trails anew, as after a restart or with other neurons.
        """
        places = np.asarray(positions, np.float32).reshape(-1, 2)
        table = np.empty((len(places), 4), "<f4")
        table[:, :2] = places
        table[:, 2], table[:, 3] = np.asarray(neuron, np.float32), np.asarray(solid, np.float32)
        content: dict[str, Any] = {"count": len(places), "neurons": [str(name)[:200] for name in names]}
        content["colours"] = list(range(len(names)) if colours is None else colours)
        self._fresh = self._fresh or fresh or self._now[0]["count"] != len(places)
        self._now = content, table.tobytes()
        self.due = True
        self.plot.offer()

    def tell(self, table: Table) -> None:
        """Show a table below the map; from any thread."""
        head, rows = table.table()
        self._table = {"kind": "coverage", "head": list(head), "rows": [list(row) for row in rows]}
        self.post_table()

    def post_table(self) -> None:
        """Send the table, if there is one."""
        if self._table is not None:
            self.plot.post(self._table)

    def clear(self) -> None:
        """Draw no chains."""
        self.show(np.empty((0, 2)), [], [], (), fresh=True)

    def packed(self) -> tuple[dict[str, Any], bytes]:
        """The message's `Chains` and buffer; they count as sent."""
        self.due = False
        fresh, self._fresh = self._fresh, False
        content, data = self._now
        return content | {"fresh": fresh}, data

    def messages(self) -> Mapping[str, Callable[[Content], Command | None]]:
        return {"chain": self._read}

    def _read(self, content: Content) -> Command | None:
        index, pick = integer(content, "index"), self.on_pick
        if index is None or pick is None or not 0 <= index < self._now[0]["count"]:
            return None
        return Command(lambda: pick(index))
