"""The page of the chosen channel: the same as in the panels, beside the picture that is looked at."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import nn

from ....analysis.unit import Asked, UnitFinder
from ....core.notes import QuietNotes
from ....data import Images, PictureFolder
from ....network.trace import Preprocess
from ....network.view import private_view
from ....pictures.display import Display
from ....surveys import Survey
from ....toolbox.explorer import Shown
from ...protocol import Content, integer, plain, text
from ..part import Action, Command, Feature
from ..unit.telling import Card, Pictured, Teller
from .bench import Bench
from .sources import CAMERA, Sources

_MOST_BACK = 50  # choices that "back" leads to
_WITHOUT_IMAGES = "there are no real images: give images= or survey="


class AboutUnit(Feature):
    """Shows the page of the chosen channel on demand; while it is open, it follows the choice. Used on the loop only.

    Args:
        bench: the toolbox.
        teller: tells the page.
        class_names: of the network's classes; () if unknown.
    """

    def __init__(self, bench: Bench, teller: Teller, class_names: Sequence[str]) -> None:
        self.bench, self._teller, self._class_names = bench, teller, class_names
        self._before: list[tuple[str, tuple[int, ...]]] = []  # layer and unit

    def open(self) -> None:
        """Show the page of the chosen channel."""
        self._show()
        self.bench.post_state()

    def shut(self) -> None:
        """Show no page."""
        self._teller.forget()
        self.bench.post_state()

    def follow(self) -> None:
        """Something may have been chosen: if a page is open, it is that of the chosen channel."""
        subject, choice = self._teller.subject, self.bench.explorer.choice
        if subject is not None and (subject.layer, subject.unit) != (choice.layer, choice.unit[0]):
            self._show()

    def go(self, layer: str, unit: int) -> None:
        """Choose a channel and show its page. Raises ValueError."""
        before = self.bench.explorer.choice
        if (layer, unit) != (before.layer, before.unit[0]):
            self.bench.explorer.choose(layer=layer, unit=(unit,))
            self._before = [*self._before, (before.layer, before.unit)][-_MOST_BACK:]
            self.bench.look()
        self.open()

    def _look_again(self) -> None:
        if self._teller.subject is not None:
            self.open()

    def step(self, by: int) -> None:
        """Show the channel that comes so many after this one, cyclically."""
        subject = self._teller.subject
        if subject is not None:
            self.go(subject.layer, (subject.unit + by) % self._units(subject.layer))

    def back(self) -> None:
        """Choose what was chosen before the last channel was chosen here."""
        if self._before:
            layer, unit = self._before.pop()
            self.bench.explorer.choose(layer=layer, unit=unit)
            self.open()
            self.bench.look()

    def _show(self) -> None:
        layer, unit = self.bench.explorer.choice.layer, self.bench.explorer.choice.unit[0]
        units, names = self._units(layer), self._class_names
        is_output = layer == self.bench.explorer.probe.output_layer
        name = names[unit] if is_output and len(names) == units else ""
        self._teller.show(layer, unit, str(unit), {"units": units, "name": name, "back": bool(self._before)})

    def _units(self, layer: str) -> int:
        return self.bench.explorer.shape_of(layer)[0]

    # ---- the page --------------------------------------------------------------------------------------------------

    def greet(self) -> None:
        """A view has appeared."""
        self._teller.retell()

    def reading(self, shown: Shown) -> dict[str, Any] | None:
        """How the picture ranks among real images; None if they do not say."""
        self._teller.check()
        subject, seen, choice = self._teller.subject, self._teller.seen, shown.choice
        if subject is None or seen is None or (subject.layer, subject.unit) != (choice.layer, choice.unit[0]):
            return None
        rank = seen.histogram.percentile(shown.largest) if shown.largest == shown.largest else shown.largest
        return {"id": subject.number, "values": [plain(shown.largest)], "ranks": [plain(rank)]}

    def state(self) -> dict[str, Any]:
        subject = self._teller.subject
        return {"unit_shown": None if subject is None else subject.number}

    def actions(self) -> Mapping[str, Action]:
        return {
            "close_unit": self.shut,
            "look_again": self._look_again,
            "unit_back": self.back,
            "previous_unit": lambda: self.step(-1),
            "next_unit": lambda: self.step(1),
        }

    def messages(self) -> Mapping[str, Any]:
        return {"unit": self._read}

    def _read(self, content: Content) -> Command | None:
        layer, unit = text(content, "layer"), integer(content, "unit")
        return None if layer is None or unit is None else Command(lambda: self.go(layer, unit))

    def close(self) -> None:
        """The widget is closed."""
        self._teller.close()


def about_unit(
    bench: Bench,
    sources: Sources,
    images: Images | None,
    survey: Survey | None,
    preprocess: Preprocess | None,
    class_names: Sequence[str],
) -> AboutUnit:
    """The part of a toolbox.

    Args:
        bench: the toolbox; its explorer is there.
        sources: of its pictures.
        images: given to it, or None.
        survey: of its network, checked; or None.
        preprocess, class_names: as given to it.
    """
    explorer = bench.explorer
    shape = explorer.input_shape
    if images is None and survey is not None and survey.source is not None:
        images = survey.source.images
    asked = Asked(
        {
            "input_shape": shape,
            "preprocess": preprocess,
            "pixel_range": explorer.pixel_range,
            "device": explorer.probe.device,
            "class_names": class_names or None,
        },
        without_images=_WITHOUT_IMAGES,
    )
    # a folder of the sources is cropped or stretched as is chosen
    own_images = copy.copy(images) if isinstance(images, PictureFolder) else images

    def card(name: str, view: nn.Module, its: Survey | None) -> Card:
        still = private_view(view, None, QuietNotes())
        return Card(name, partial(UnitFinder, still, own_images, its, asked), still)

    cards = [card("", explorer.probe.view, survey)]
    if explorer.other is not None:
        cards[0].name = "this network"
        cards.append(card("other", explorer.other.view, None))
    pictured = Pictured(shape, explorer.pixel_range)
    teller = Teller(bench, lambda: sources.source == CAMERA, pictured, Display, cards, noticed=bench.look)
    return AboutUnit(bench, teller, class_names)
