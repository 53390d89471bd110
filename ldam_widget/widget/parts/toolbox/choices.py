"""All that can be chosen in the toolbox's page, in one message."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ....toolbox.choice import BACKWARD, SHOWN, Chosen
from ....toolbox.views import VIEWS
from ...protocol import Content, flag, integer, integers, text
from ..part import Command, Feature
from .bench import Bench

_TEXTS = ("layer", "rule", "view", "show", "fit")
_NUMBERS = ("boost", "gamma")


class Choices(Feature):
    """Layer, unit, backward view and what is shown; see `toolbox.choice.Chosen`.

    Args:
        bench: the toolbox.
        echo: called with the sender and the revision of a change, once it is made or refused.
    """

    def __init__(self, bench: Bench, echo: Callable[[str, int], None]) -> None:
        self.bench, self._echo = bench, echo

    def setup(self) -> dict[str, Any]:
        explorer = self.bench.explorer
        layers = [{"name": row.name, "type": row.type, "units": row.units} for row in explorer.probe.layers]
        compares = explorer.other is not None
        return {
            "layers": layers,
            "rules": list(BACKWARD),
            "views": list(VIEWS),
            "shown": [show for show in SHOWN if compares or show != "difference"],
            "classifies": explorer.probe.classifies,
        }

    def state(self) -> dict[str, Any]:
        return {"choice": _plain(self.bench.explorer.choice, self.bench.explorer.shape_of)}

    def messages(self) -> Mapping[str, Callable[[Content], Command | None]]:
        return {"change": self._read}

    def _read(self, content: Content) -> Command | None:
        view, rev, wanted = text(content, "view"), integer(content, "rev"), content.get("choice")
        if view is None or rev is None or not isinstance(wanted, Mapping):
            return None
        changes: dict[str, Any] = {name: text(wanted, name) for name in _TEXTS if name in wanted}
        changes |= {name: wanted[name] for name in _NUMBERS if name in wanted}
        changes |= {name: flag(wanted, name) for name in ("frozen", "pinned") if name in wanted}
        if "unit" in wanted:
            unit = integers(wanted, "unit")
            changes["unit"] = None if unit is None else tuple(unit)
        if any(value is None for value in changes.values()):
            return None
        return Command(lambda: self._change(view, rev, changes))

    def _change(self, view: str, rev: int, changes: dict[str, Any]) -> None:
        pinned = changes.pop("pinned", None)
        try:
            self.bench.explorer.choose(**changes)
            if pinned is not None:
                self.bench.explorer.pin(pinned)
            self.bench.report(None)
        finally:
            self._echo(view, rev)
            self.bench.post_state()
        self.bench.look()


def _plain(choice: Chosen, shape_of: Callable[[str], tuple[int, ...]]) -> dict[str, Any]:
    shape = shape_of(choice.layer)
    pinned = choice.pinned
    return {
        **{name: getattr(choice, name) for name in (*_TEXTS, *_NUMBERS, "frozen")},
        "unit": list(choice.unit),
        "shape": list(shape),
        "pinned": None if pinned is None else {"layer": pinned[0], "unit": list(pinned[1])},
    }
