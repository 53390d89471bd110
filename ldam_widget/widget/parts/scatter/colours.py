"""What points are coloured by: labels, predicted classes, arrays of the user's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ...protocol import Content, integer, plain, text
from ..part import Command, Feature
from .coloring import Coloring, Values, coloring, one_colour
from .plot import Plot

LABEL, PREDICTED, COLOUR = "label", "predicted", "colour"
_FRACTION = 0.05  # of the work, between two notes on how far it is

Predict = Callable[[], Iterator[tuple[float, Values | None]]]


class ColourChoice(Feature):
    """The colourings by name, and the chosen one. Its methods run on the loop, or before there is one.

    Args:
        count: points.
        labels: of the points; None: there are none.
        predict: gives predicted classes, with the share of the work that is done; None: there is no model.
        class_names: of labels and predicted classes.
    """

    plot: Plot

    def __init__(
        self, count: int, labels: Coloring | None, predict: Predict | None, class_names: tuple[str, ...]
    ) -> None:
        self._count, self._predict, self._class_names = count, predict, class_names
        self.known: dict[str, Coloring | None] = {}  # None: not computed yet
        if labels is not None:
            self.known[LABEL] = labels
        if predict is not None:
            self.known[PREDICTED] = None
        self.name = LABEL if labels is not None else ""
        self.busy = ""
        self._shown, self._shown_name = self.known.get(self.name) or one_colour(count), self.name
        self._echo: tuple[str, int] = ("", 0)
        self._predicting = False

    @property
    def shown(self) -> Coloring:
        """What the points are coloured by now."""
        return self._shown

    def check(self, color: Any) -> dict[str, Coloring]:
        """The colourings that a user gives: an array, or arrays by name. Raises TypeError, ValueError."""
        given = color if isinstance(color, Mapping) else {COLOUR: color}
        found = {}
        for name, values in given.items():
            if not isinstance(name, str):
                raise TypeError(f"names in color must be text; got {name!r}")
            what = f"color[{name!r}]" if isinstance(color, Mapping) else "color"
            found[name] = coloring(values, self._count, what, self._class_names if name == PREDICTED else ())
        return found

    def choose(self, name: str) -> None:
        """Colour by one of the names. Raises ValueError."""
        if name and name not in self.known:
            known = ", ".join(map(repr, self.known)) or "none"
            more = "" if PREDICTED in self.known else '; "predicted" needs model= and images='
            raise ValueError(f"color must be an array, or one of {known}; got {name!r}{more}")
        self.name = name
        found = self.known[name] if name else one_colour(self._count)
        if found is None:
            self._begin()
        else:
            self._shown, self._shown_name = found, name

    def add(self, found: dict[str, Coloring]) -> None:
        """Further colourings; the first one is chosen."""
        self.known.update(found)
        if found:
            self.choose(next(iter(found)))

    # ---- predicted classes -----------------------------------------------------------------------------------------

    def predicted(self) -> Coloring | None:
        """Predicted classes, computed now if they are not known; None without a model. On the loop."""
        found = self.known.get(PREDICTED)
        if found is None and self._predict is not None:
            for _, values in self._predict():
                if values is not None:
                    found = self._take(values)
        return found

    def _begin(self) -> None:
        if not self._predicting:
            self._predicting = True
            self.plot.start(self._work())

    def _work(self) -> Iterator[None]:
        assert self._predict is not None
        told = -1.0
        try:
            for done, values in self._predict():
                if self.known[PREDICTED] is not None:
                    break  # meanwhile, someone could not wait
                if values is not None:
                    self._take(values)
                elif done - told >= _FRACTION:
                    told = done
                    self.busy = f"predicting classes: {round(100 * done)} %"
                    self.plot.post_state()
                yield
        finally:
            self.busy, self._predicting = "", False
            if self.known[PREDICTED] is None and self.name == PREDICTED:  # it failed
                self.name = self._shown_name
            elif self.name == PREDICTED:
                self.choose(PREDICTED)
                self.post()
            self.plot.post_state()

    def _take(self, values: Values) -> Coloring:
        found = coloring(values, self._count, PREDICTED, self._class_names)
        self.known[PREDICTED] = found
        return found

    # ---- the page --------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        view, rev = self._echo
        return {"view": view, "rev": rev, "colours": list(self.known), "colour": self.name, "busy": self.busy}

    def post(self) -> None:
        """Send the colours."""
        shown = self._shown
        content = {
            "kind": "colours",
            "name": self._shown_name,
            "type": shown.kind,
            "classes": [{"name": name[:200], "count": count} for name, count in shown.classes],
            "low": None if shown.low is None else plain(shown.low),
            "high": None if shown.high is None else plain(shown.high),
        }
        self.plot.post(content, [shown.levels.tobytes()])

    def messages(self) -> Mapping[str, Callable[[Content], Command | None]]:
        return {"colour": self._read}

    def _read(self, content: Content) -> Command | None:
        view, rev, name = text(content, "view"), integer(content, "rev"), text(content, "name")
        if view is None or rev is None or name is None:
            return None
        return Command(lambda: self._from_page(view, rev, name))

    def _from_page(self, view: str, rev: int, name: str) -> None:
        try:
            self.choose(name)
            self.post()
        finally:
            self._echo = view, rev
            self.plot.post_state()
