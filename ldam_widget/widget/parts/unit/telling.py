"""What is said of the unit whose page is open: found out in the background, and told to all views of a widget."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from torch import nn

from ....analysis.unit import News, Seen, UnitFinder
from ....network.view import hash_of
from ....pictures.display import Display
from ...protocol import Message
from .background import Background, Work
from .messages import message


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
    display: Display


@dataclass
class Card:
    """One network's side of the page.

    Attributes:
        name: of the network.
        finder: made when it is first needed, and again when the weights have changed.
        make: makes it.
        view: the network; it is read, and not run.
    """

    name: str
    make: Callable[[], UnitFinder]
    view: nn.Module
    finder: UnitFinder | None = None


class Teller:
    """Tells all views of a widget about one unit at a time.

    Args:
        desk: the widget.
        busy: whether its loop is working, so that it is left some time.
        pictured: the images of the networks.
        display: which bands and which slice are shown.
        cards: the widget's network, and perhaps another one.
        noticed: called, on any thread, when `seen` has changed.
    """

    def __init__(
        self,
        desk: Desk,
        busy: Callable[[], bool],
        pictured: Pictured,
        display: Callable[[], Display],
        cards: list[Card],
        noticed: Callable[[], object] = lambda: None,
    ) -> None:
        self._desk, self._pictured, self._display, self._cards = desk, pictured, display, cards
        self._noticed = noticed
        self.subject: Subject | None = None
        self.seen: Seen | None = None  # of the widget's network
        self._number = 0
        self._sent: list[Message] = []  # about this subject, for views that are opened later
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
        subject = Subject(self._number, layer, unit, key, self._display())
        self.subject = subject
        head = {"key": key, "layer": layer, "unit": unit, "networks": [card.name for card in self._cards], **about}
        self._say(subject, 0, ({"subject": head}, []))
        shape, pixels = self._pictured

        def work() -> Work:
            for number, card in enumerate(self._cards):
                if card.finder is None or card.finder.weights != hash_of(card.view):
                    card.finder = card.make()
                for news in card.finder.about(layer, unit, key):
                    if news is None:
                        yield None
                        continue
                    content = message(news, (layer, unit), shape, pixels, subject.display)
                    yield self._telling_of(subject, number, news, content)
            yield lambda: self._say(subject, 0, ({"complete": True}, []))

        self._background.begin(work)

    def forget(self) -> None:
        """No page is open any more."""
        with self._telling:
            self.subject, self.seen, self._sent = None, None, []
            self._number += 1
        self._background.begin(None)

    def retell(self) -> None:
        """Tell a new view all that has been said."""
        with self._telling:
            sent = list(self._sent)
        for content, buffers in sent:
            self._desk.post(content, buffers)

    def close(self) -> None:
        """The widget is closed."""
        self.forget()
        self._background.stop()
        self._cards.clear()

    # ---- in the background -----------------------------------------------------------------------------------------

    def _telling_of(self, subject: Subject, card: int, news: News, content: Message) -> Callable[[], None]:
        def tell() -> None:
            seen = news if card == 0 and isinstance(news, Seen) and subject is self.subject else None
            if seen is not None:
                self.seen = seen
            self._say(subject, card, content)
            if seen is not None:
                self._noticed()

        return tell

    def _say(self, subject: Subject, card: int, message: Message) -> None:
        """Tell the views, unless the page is about another unit by now."""
        fields, buffers = message
        content = {"kind": "unit", "id": subject.number, "card": card} | fields
        with self._telling:
            if subject is not self.subject:
                return
            if "progress" in fields:  # only the newest is of interest
                self._sent = [sent for sent in self._sent if "progress" not in sent[0] or sent[0]["card"] != card]
            self._sent.append((content, buffers))
        self._desk.post(content, buffers)
