"""The chains of another widget on the map: placed as they move, with a table of what they cover."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from ....analysis.coverage import Coverage
from ....analysis.walk import Walk
from ....live.newest import Newest
from ...base import of
from ...player import Player
from ..part import Part
from .chains import ChainOverlay

_TABLE_PERIOD = 1.0  # seconds between tables


class Following:
    """Places the chains after every picture of a widget, on a thread of its own, which takes a quarter of the time.

    Args:
        widget: whose chains.
        walk: on this map.
        overlay: draws them; a click on a chain enlarges its tile in the widget.
        classes: of the points, by level; empty: none are known.

    Raises:
        RuntimeError: the widget is closed.
    """

    def __init__(self, widget: Player, walk: Walk, overlay: ChainOverlay, classes: Sequence[str] = ()) -> None:
        self.walk, self._widget, self._overlay = walk, widget, overlay
        self._classes = tuple(classes)
        self._turn = threading.Lock()  # of the walk
        self._table_due = 0.0
        self._restarts = 0
        self._before: tuple[Any, ...] = ()  # the walkers that are drawn
        self._fault: BaseException | None = None  # why the last update failed
        me = weakref.ref(self)
        self._newest = Newest(
            lambda: of(me, lambda f: f._update(), None), lambda error: of(me, lambda f: f._failed(error), None)
        )
        newest, poker = self._newest, _Poker(widget, self._newest)  # neither holds the map
        self._poker = poker
        widget._call(lambda: widget._add(poker))
        self._finalizer = weakref.finalize(self, _leave, weakref.ref(widget), poker, newest)
        overlay.on_pick = lambda index: of(me, lambda f: f._pick(index), None)
        newest.poke()  # where they are now

    def close(self) -> None:
        """Follow no longer."""
        self._finalizer()

    def coverage(self) -> Coverage:
        """See `Walk.coverage`; from any thread."""
        with self._turn:
            return self.walk.coverage()

    def clear(self) -> None:
        """Forget trails and coverage; from any thread."""
        with self._turn:
            self.walk.clear()
            self._before = ()
        self._table_due = 0.0
        self._newest.poke()

    # ---- on the thread ---------------------------------------------------------------------------------------------

    def _update(self) -> None:
        with self._turn:
            self._place()
        if self._fault is not None:
            self._overlay.plot.retract(self._fault)
            self._fault = None

    def _place(self) -> None:
        """Of the present pictures; the turn is held."""
        walk = self.walk
        restarts = self._poker.restarts
        walk.update(restarted=restarts != self._restarts)
        self._restarts = restarts
        neurons = list(dict.fromkeys(walker[:3] for walker in walk.walkers))
        number = [neurons.index(walker[:3]) for walker in walk.walkers]
        restarted = len(walk.trails) > 1 and bool(np.isnan(walk.trails[-2]).any())
        fresh = walk.walkers != self._before or restarted
        self._before = walk.walkers
        names = [f"{model}: {name}" if model else name for model, _, name in neurons]
        self._overlay.show(walk.positions, number, walk.solid, names, colours=self._colours(neurons), fresh=fresh)
        now = time.monotonic()
        if now >= self._table_due:
            self._overlay.tell(walk.coverage())
            self._table_due = now + _TABLE_PERIOD

    def _colours(self, neurons: list[tuple[str, str, str]]) -> list[int]:
        """Of a class of the points: its own. Of other neurons, and of several models: further ones."""
        found = []
        for i, (model, key, name) in enumerate(neurons):
            wanted = () if model else (name.removeprefix(key).strip(), name, key)
            known = [self._classes.index(each) for each in wanted if each and each in self._classes]
            found.append(known[0] if known else len(self._classes) + i)
        return found

    def _failed(self, error: BaseException) -> None:
        if self._widget.loop.closed:
            return  # its chains stay where they were
        if repr(error) != repr(self._fault):  # told once, though it may return with every picture
            self._overlay.plot.report(error)
        self._fault = error

    # ---- on the map's loop -----------------------------------------------------------------------------------------

    def _pick(self, index: int) -> None:
        walkers = self.walk.walkers
        if index < len(walkers):
            chosen = walkers[index]
            self._widget.enlarge(chosen.neuron, chosen.chain, chosen.model or None)


class _Poker(Part):
    """The part of the followed widget that says that chains have moved."""

    def __init__(self, host: Player, newest: Newest) -> None:
        super().__init__(weakref.proxy(host))
        self._newest = newest
        self.restarts = 0  # of all chains; many steps may follow before they are placed

    def on_frame(self) -> None:
        self._newest.poke()

    def on_new_chains(self) -> None:
        if not self.host.runner.steps:
            self.restarts += 1
        self._newest.poke()


def _leave(widget: weakref.ref[Player], poker: _Poker, newest: Newest) -> None:
    newest.stop()
    player = widget()
    if player is not None and not player.loop.closed:
        player.loop.submit(lambda: player._remove(poker))
