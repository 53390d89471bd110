"""What is said of the unit whose page is open: found out in the background, and told to all views of a widget."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from torch import nn

from ....analysis.unit import News, Seen, UnitFinder
from ....execution import bits
from ....network.view import hash_of, weights_of
from ....pictures.display import Display
from ...protocol import Message
from .background import Background, Work
from .messages import message

_SHARE = 0.01  # largest fraction of time spent on looking for changes of weights
_STALE = (
    "The network has other weights by now: ranks, images and all else here are of {}. Look again, or survey the "
    "network again."
)


class Desk(Protocol):
    """What is needed of a widget."""

    def post(self, content: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        """Send a message, from any thread."""
        ...

    def report(self, error: BaseException | None) -> None:
        """Show an error in the banner."""
        ...


class Pictured(NamedTuple):
    """The images of a network."""

    shape: tuple[int, ...]
    range: Any  # of their pixels


class Subject(NamedTuple):
    """The unit that is shown."""

    number: int  # of the choice; what is found out later about another one is dropped
    layer: str
    unit: int
    key: str  # of the neuron that is sampled for it


@dataclass
class Said:
    """A message to the page, kept for views that are opened later.

    Attributes:
        card: which network it is about.
        fields, buffers: of the message.
        news: what its pictures are of; None: it has none.
        display: what is shown of them.
    """

    card: int
    fields: dict[str, Any]
    buffers: list[bytes]
    news: News | None = None
    display: Display | None = None


class MadeOf:
    """Notices when a network has other weights than at first.

    Args:
        view: the network.
        name: of the weights at first, in words.
    """

    def __init__(self, view: nn.Module, name: str) -> None:
        self.name = name
        self._view = view
        self._first = bits(weights_of(view))
        self._due = 0.0

    def differs(self, *, at_once: bool) -> bool | None:
        """Whether they are others now; None: not looked at, since that takes time and has just been done."""
        began = time.monotonic()
        if not at_once and began < self._due:
            return None
        differs = bits(weights_of(self._view)) != self._first
        now = time.monotonic()
        self._due = now + (now - began) / _SHARE
        return differs


@dataclass
class Card:
    """One network's side of the page.

    Attributes:
        name: of the network.
        finder: made when it is first needed, and again when the weights have changed.
        make: makes it.
        view: the network; it is read, and not run.
        made_of: the weights that the finder was made of; None: it was not needed yet for the unit shown.
        stale: whether the page says that the network has other weights by now.
    """

    name: str
    make: Callable[[], UnitFinder]
    view: nn.Module
    finder: UnitFinder | None = None
    made_of: MadeOf | None = None
    stale: bool = False


class Teller:
    """Tells all views of a widget about one unit at a time.

    Args:
        desk: the widget.
        busy: whether its loop is working, so that it is left some time.
        pictured: the images of the networks.
        display: which bands and which slice are shown.
        cards: the widget's network, and perhaps another one.
        noticed: called, on any thread, when `seen` has changed.
        weights: what the present weights are called.
    """

    def __init__(
        self,
        desk: Desk,
        busy: Callable[[], bool],
        pictured: Pictured,
        display: Callable[[], Display],
        cards: list[Card],
        noticed: Callable[[], object] = lambda: None,
        weights: Callable[[], str] = lambda: "the weights that it had when this page was opened",
    ) -> None:
        self._desk, self._pictured, self._display, self._cards = desk, pictured, display, cards
        self._busy, self._noticed, self._weights = busy, noticed, weights
        self.subject: Subject | None = None
        self.seen: Seen | None = None  # of the widget's network
        self._number = 0
        self._shown = Display()  # what of pictures is shown
        self._said: list[Said] = []  # about this subject
        self._telling = threading.Lock()
        self._background = Background(busy, desk.report)

    def show(self, layer: str, unit: int, key: str, about: Mapping[str, Any]) -> None:
        """Tell of another unit from now on.

        Args:
            layer, unit: whose page it is.
            key: of the neuron that is sampled for it.
            about: more for the head of the page.
        """
        self.forget()
        subject = Subject(self._number, layer, unit, key)
        self.subject, self._shown = subject, self._display()
        head = {"key": key, "layer": layer, "unit": unit, "networks": [card.name for card in self._cards], **about}
        self._say(subject, Said(0, {"subject": head}, []))

        def work() -> Work:
            for number, card in enumerate(self._cards):
                present = MadeOf(card.view, self._weights())
                if card.finder is None or card.finder.weights != hash_of(card.view):
                    card.finder = card.make()
                card.made_of = present
                for news in card.finder.about(layer, unit, key):
                    if news is None:
                        yield None
                        continue
                    yield self._telling_of(subject, number, news)
            yield lambda: self._say(subject, Said(0, {"complete": True}, []))

        self._background.begin(work)

    def forget(self) -> None:
        """No page is open any more."""
        with self._telling:
            self.subject, self.seen, self._said = None, None, []
            self._number += 1
            for card in self._cards:
                card.made_of, card.stale = None, False
        self._background.begin(None)

    def retell(self) -> None:
        """Tell a new view all that has been said."""
        with self._telling:
            subject, said = self.subject, list(self._said)
        for each in said if subject is not None else ():
            self._post(subject, each.card, each.fields, each.buffers)

    def check(self) -> None:
        """On the loop: say so if a network has other weights by now than those that the page is about."""
        subject = self.subject
        if subject is None:
            return
        for number, card in enumerate(self._cards):
            made_of = card.made_of
            stale = None if made_of is None else made_of.differs(at_once=not self._busy())
            if made_of is not None and stale is not None and stale != card.stale:
                card.stale = stale
                self._say(subject, Said(number, {"stale": _STALE.format(made_of.name) if stale else ""}, []))

    @property
    def outdated(self) -> bool:
        """Whether other bands or another slice are shown by now than on the page."""
        now = self._display()
        return self.subject is not None and (now.bands, now.slice) != (self._shown.bands, self._shown.slice)

    def redraw(self) -> None:
        """Send the pictures again, if other bands or another slice are shown by now."""
        if not self.outdated:
            return
        with self._telling:
            self._shown = self._display()
            subject, said = self.subject, list(self._said)
        for each in said:
            self._redraw(subject, each)

    def close(self) -> None:
        """The widget is closed."""
        self.forget()
        self._background.stop()
        self._cards.clear()
        self._weights = str  # it holds the sampler

    # ---- in the background -----------------------------------------------------------------------------------------

    def _telling_of(self, subject: Subject, card: int, news: News) -> Callable[[], None]:
        display = self._shown
        said = Said(card, *self._message(subject, news, display), news, display)

        def tell() -> None:
            seen = news if card == 0 and isinstance(news, Seen) and subject is self.subject else None
            if seen is not None:
                self.seen = seen
            self._say(subject, said)
            self._redraw(subject, said)  # what is shown may have been changed meanwhile
            if seen is not None:
                self._noticed()

        return tell

    def _message(self, subject: Subject, news: News, display: Display) -> Message:
        return message(news, (subject.layer, subject.unit), self._pictured.shape, self._pictured.range, display)

    def _say(self, subject: Subject, said: Said) -> None:
        """Tell the views, unless the page is about another unit by now."""
        with self._telling:
            if subject is not self.subject:
                return
            for name in {"progress", "stale"} & said.fields.keys():  # only the newest is of interest
                self._said = [each for each in self._said if name not in each.fields or each.card != said.card]
            self._said.append(said)
        self._post(subject, said.card, said.fields, said.buffers)

    def _redraw(self, subject: Subject | None, said: Said) -> None:
        """Send the pictures of a message again, unless they are as they should be."""
        display = self._shown
        if subject is None or said.news is None or not said.buffers or said.display is display:
            return
        fields, buffers = self._message(subject, said.news, display)
        with self._telling:
            if subject is not self.subject or display is not self._shown:
                return
            said.fields, said.buffers, said.display = fields, buffers, display
        # what images say of the unit is as before: the page keeps what is chosen there
        self._post(subject, said.card, {name: value for name, value in fields.items() if name != "seen"}, buffers)

    def _post(self, subject: Subject | None, card: int, fields: dict[str, Any], buffers: list[bytes]) -> None:
        if subject is not None:
            self._desk.post({"kind": "unit", "id": subject.number, "card": card} | fields, buffers)
