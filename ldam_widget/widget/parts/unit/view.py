"""The page of one unit, below the picture: real images, connections, an optimised picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ....network.units import Neuron
from ...protocol import Content, integer, plain, text
from ..part import Action, Command, Host, Part
from .telling import Subject, Teller

_MOST_BACK = 50  # choices that "back" leads to


class Before(NamedTuple):
    """What "back" leads to."""

    layer: str
    neurons: list[Any]
    key: str | None  # of the neuron whose page was open


class UnitView(Part):
    """Shows the page of a unit on demand, or always.

    Args:
        host: the panel.
        select: chooses layer and neurons, as `Picker.select`.
        teller: tells the page.
        always: a page is always open.
    """

    def __init__(self, host: Host, select: Callable[[Any, Any], None], teller: Teller, *, always: bool = False) -> None:
        super().__init__(host)
        self._select, self._teller, self._always = select, teller, always
        self._before: list[Before] = []

    # ---- on the loop -----------------------------------------------------------------------------------------------

    @property
    def _subject(self) -> Subject | None:
        return self._teller.subject

    @property
    def column(self) -> int | None:
        """Of the neuron whose page is open."""
        subject, sampler = self._subject, self.host.sampler
        if subject is None or subject.layer != sampler.layer:  # keys are the same in all layers
            return None
        keys = [neuron.key for neuron in sampler.neurons]
        return keys.index(subject.key) if subject.key in keys else None

    @property
    def unit(self) -> int | None:
        """The unit whose page is open."""
        return None if self._subject is None else self._subject.unit

    def open(self, column: int) -> None:
        """Show the page of a column's neuron.

        Raises:
            ValueError: there is no such column, or it shows no single unit.
        """
        neurons = self.host.sampler.neurons
        if not 0 <= column < len(neurons):
            raise ValueError(f"column must be from 0 to {len(neurons) - 1}; got {column}")
        neuron = neurons[column]
        if neuron.unit is None:
            raise ValueError(f"{neuron.label} is not a single unit of the layer, and has no page; choose one that is")
        self._show(neuron)

    def go(self, layer: str, unit: int) -> None:
        """Show the page of any unit; if it is not among the panel's neurons, it becomes the only one.

        Raises:
            ValueError: no such layer or unit.
        """
        sampler = self.host.sampler
        shown = [neuron.unit for neuron in sampler.neurons]
        if layer == sampler.layer and unit in shown:
            self.open(shown.index(unit))
            return
        neurons = sampler.recalled([neuron.key for neuron in sampler.neurons]) or []
        before = Before(sampler.layer, neurons, None if self._subject is None else self._subject.key)
        self._before.append(before)
        try:
            self._select(layer, [unit])
        except BaseException:
            self._before.remove(before)
            raise
        del self._before[:-_MOST_BACK]
        if self._subject is None:
            self.open(0)

    def step(self, by: int) -> None:
        """Show the unit that comes so many after this one, cyclically."""
        if self._subject is not None:
            self.go(self._subject.layer, (self._subject.unit + by) % self.host.sampler.units)

    def back(self) -> None:
        """Show what was shown before the last unit was chosen here."""
        if not self._before:
            return
        before = self._before.pop()
        self._select(before.layer, before.neurons)
        for neuron in self.host.sampler.neurons:
            if neuron.key == before.key and neuron.unit is not None:
                self._show(neuron)

    def look_again(self) -> None:
        """Show the same page anew, of the present weights."""
        column = self.column
        if column is not None:
            self.open(column)

    def close_page(self) -> None:
        """Show the picture alone."""
        if self._always:
            return
        self._teller.forget()
        self.host.post_state()

    def start_from(self, number: int, images: int, rank: int) -> None:
        """Restart the chains of the unit's neuron in one of its top images.

        Args:
            number: of the page's subject.
            images: so many had been looked at when they were chosen from.
            rank: among the top images, from 0.

        Raises:
            ValueError: there is no such image, or others are shown by now.
        """
        column, seen = self.column, self._teller.seen
        if column is None or seen is None or seen.pictures is None or not 0 <= rank < len(seen.pictures):
            raise ValueError("there is no such image to start from")
        if self._subject is None or (number, images) != (self._subject.number, seen.survey.images):
            raise ValueError("the strongest images are others by now; choose again")
        self.host.sampler.restart_neuron(column, seen.pictures[rank])
        self.host.begin_anew()

    def on_new_chains(self) -> None:
        neurons = self.host.sampler.neurons
        if self._subject is not None and self.column is None:
            self._teller.forget()
        if self._subject is None and self._always and neurons[-1].unit is not None:
            self._show(neurons[-1])

    def _show(self, neuron: Neuron) -> None:
        sampler = self.host.sampler
        assert neuron.unit is not None
        about = {"units": sampler.units, "name": neuron.name, "back": bool(self._before)}
        self._teller.show(sampler.layer, neuron.unit, neuron.key, about)
        self.host.post_state()

    # ---- the page --------------------------------------------------------------------------------------------------

    def on_greeting(self) -> None:
        if self._subject is None and self._always:
            self.on_new_chains()
            return
        self._teller.retell()

    def close(self) -> None:
        self._teller.close()

    def setup(self) -> dict[str, Any]:
        return {"unit_page": "always" if self._always else "on demand"}

    def state(self) -> dict[str, Any]:
        if self._teller.outdated:  # states are sent when what is shown has changed, by any thread
            self.host.loop.submit(self._teller.redraw)
        return {"unit_shown": None if self._subject is None else self._subject.number}

    def gauges(self) -> dict[str, Any]:
        """How the samples rank on the scale of the survey."""
        self._teller.check()
        subject, seen, column = self._subject, self._teller.seen, self.column
        if subject is None or column is None:
            return {}
        if seen is None:
            return {"unit": None}
        values = seen.measure(self.host.sampler.images[column]).tolist()
        ranks = [seen.histogram.percentile(v) if v == v else v for v in values]
        return {
            "unit": {"id": subject.number, "values": [plain(v) for v in values], "ranks": [plain(r) for r in ranks]}
        }

    def actions(self) -> Mapping[str, Action]:
        return {
            "close_unit": self.close_page,
            "look_again": self.look_again,
            "unit_back": self.back,
            "previous_unit": lambda: self.step(-1),
            "next_unit": lambda: self.step(1),
        }

    def messages(self) -> Mapping[str, Callable[[Content], Command | None]]:
        return {"unit": self._read_choice, "start_from": self._read_start}

    def _read_choice(self, content: Content) -> Command | None:
        column, layer, unit = integer(content, "column"), text(content, "layer"), integer(content, "unit")
        if column is not None:
            return Command(lambda: self.open(column), hurry=False)
        return None if layer is None or unit is None else Command(lambda: self.go(layer, unit))

    def _read_start(self, content: Content) -> Command | None:
        number, images, rank = (integer(content, name) for name in ("id", "images", "rank"))
        if number is None or images is None or rank is None:
            return None
        return Command(lambda: self.start_from(number, images, rank))
