"""`AtlasView`: an atlas in the notebook, with the same browser as `Atlas.export` writes for web servers."""

from __future__ import annotations

import operator
import os
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import traitlets
from PIL import Image

from ..atlases import Atlas
from ..atlases.pages import pages_of
from ..atlases.still import still
from ..live.loop import Loop
from . import lifetime
from .base import Base, of
from .idle import Idle
from .kernel import cell_running
from .protocol import Bye, Content, Hello, Other, integer, text

AtlasLike = Atlas | str | os.PathLike[str]


class AtlasView(Base):
    """Every unit of an atlas, to browse: layers, units searched and sorted, a page for each unit.

    ``ldam.AtlasView("atlas/")``; with another checkpoint's atlas beside it, ``ldam.AtlasView("epoch1/", "epoch10/")``.
    Arrow keys move, Enter opens a unit; the keys are listed below the units. An atlas can be looked at while it is
    being built: `refresh` reads it again.

    Args:
        atlas: an atlas, or its folder.
        other: another one with the same layers: every unit is shown in both, and units can be sorted by how much their
            pictures differ.
        names: of both; None: those of their folders.
        title: heading; None: the model's class name.
        top: whether pictures of the survey's images are shown.

    Raises:
        FileNotFoundError: there is no atlas.
        ValueError: it is damaged; names do not fit; the atlases have no layer in common.
    """

    _INSTEAD = 'atlas.export("site/") writes what it would show'
    _kind = traitlets.Unicode("atlas").tag(sync=True)  # tells the page what to show

    def __init__(
        self,
        atlas: AtlasLike,
        other: AtlasLike | None = None,
        *,
        names: Sequence[str] | None = None,
        title: str | None = None,
        top: bool = True,
    ) -> None:
        both = [each if isinstance(each, Atlas) else Atlas(each) for each in (atlas, other) if each is not None]
        if not both:
            raise TypeError("atlas must be an Atlas or the path of its folder; got None")
        self._pages = pages_of(both[0], both[1] if len(both) > 1 else None, names, title, top=top)
        self._atlases = dict(zip(self._pages.atlases, both, strict=True))
        self._selection: tuple[str, int | None] | None = None
        self._lock = threading.Lock()
        super().__init__()
        self._loop = Loop(
            Idle(torch.device("cpu")),
            publish=lambda seq: 0,
            on_fault=lambda error: None,  # every question is answered, with words if it fails
            cell_running=cell_running(),
        )
        self._save_pictures()
        self._finalizer = weakref.finalize(self, self._loop.close)  # also at exit
        self.on_msg(self._receive)

    def __repr__(self) -> str:
        names = ", ".join(map(repr, self._atlases))
        return f"AtlasView({names}{', closed' if self._loop.closed else ''})"

    @property
    def selection(self) -> tuple[str, int | None] | None:
        """Layer and unit that are shown, (layer, None) without a unit; None before anything is shown."""
        with self._lock:
            return self._selection

    def show(self, layer: str, unit: int | None = None) -> None:
        """Show a layer, or a unit's page.

        Raises:
            ValueError: there is no such layer or unit.
            TypeError: the unit is no whole number.
        """
        of_layer = next(iter(self._atlases.values())).layer(layer)
        if unit is not None:
            number = operator.index(unit)
            if isinstance(unit, bool) or not 0 <= number < of_layer.units:
                raise ValueError(f"unit must be from 0 to {of_layer.units - 1} in layer {layer!r}; got {unit!r}")
            unit = number
        with self._lock:
            self._selection = (layer, unit)
        self._connection.post({"kind": "show", "layer": layer, "unit": unit})

    def refresh(self) -> None:
        """Read the folder again: it may have grown."""
        self._loop.submit(lambda: self._connection.post(self._pages.overview()))

    def close(self) -> None:
        """Stop the thread and remove the view from the page."""
        if "_finalizer" in self.__dict__ and not self._loop.closed:
            self._finalizer()
            lifetime.let_go(self)
        super().close()

    # ---- messages from the page, on whatever thread the kernel picked -----------------------------------------------

    def _receive(self, _widget: Any, content: Any, _buffers: Any) -> None:
        if self._loop.closed:
            return
        me = weakref.ref(self)
        message = self._connection.read(content)
        match message:
            case Hello():
                lifetime.keep(self)
                self._loop.submit(lambda: of(me, lambda view: view._greet(message.hides), None))
            case Bye():
                if not self._connection.shown:
                    lifetime.let_go(self)
            case Other(kind="chosen", content=said):
                self._chosen(said)
            case Other(kind="table" | "sheet", content=question):
                self._loop.submit(lambda: of(me, lambda view: view._answer(question), None))

    def _chosen(self, said: Content) -> None:
        layer, unit = text(said, "layer"), integer(said, "unit")
        if layer is not None and any(layer in atlas.layers for atlas in self._atlases.values()):
            with self._lock:
                self._selection = (layer, unit)
            self._loop.submit(lambda: None)  # so that it falls idle, and its picture is saved

    # ---- on the loop -----------------------------------------------------------------------------------------------

    def _greet(self, hides: bool) -> None:
        """A view has appeared."""
        self._connection.post(self._pages.overview())
        chosen = self.selection
        if chosen is not None:
            self._connection.post({"kind": "show", "layer": chosen[0], "unit": chosen[1]})
        self._saved.greeted(hides)

    def _still(self) -> Image.Image | None:
        return still(next(iter(self._atlases.values())), self._pages.title, self.selection)

    def _answer(self, question: Content) -> None:
        ask = text(question, "ask")
        if ask is None:
            return
        answer: dict[str, Any] = {"kind": "answer", "ask": ask, "table": None, "error": ""}
        buffers: list[bytes] = []
        try:
            name, layer = self._asked_for(question)
            if question["kind"] == "table":
                answer["table"] = self._pages.table(name, layer)
            else:
                buffers = [self._sheet(name, layer, question)]
        except Exception as error:
            answer["error"] = f"{type(error).__name__}: {error}"
        self._connection.post(answer, buffers)

    def _asked_for(self, question: Content) -> tuple[str, str]:
        number, layer = integer(question, "atlas"), text(question, "layer")
        names = list(self._atlases)
        if number is None or not 0 <= number < len(names) or layer not in self._atlases[names[number]].layers:
            raise ValueError("there is no such layer")
        return names[number], str(layer)

    def _sheet(self, name: str, layer: str, question: Mapping[str, Any]) -> bytes:
        atlas, file, number = self._atlases[name], text(question, "file"), integer(question, "block")
        of_layer = atlas.layers[layer]
        for kind in self._pages.kinds(of_layer):
            files = of_layer.sheets[kind].files
            if file in files:
                block = atlas.block(layer, -1 if number is None else number)
                if block is None:
                    raise ValueError("this block has not been rendered yet")
                return atlas.sheet_bytes(block, kind, files.index(file))
        raise ValueError("there is no such sheet")
