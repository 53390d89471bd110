"""`Base`: what all our widgets have, an `anywidget` with a loop and a connection."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import anywidget
import traitlets
from PIL import Image

from ..live.loop import Loop
from ..pictures.bundle import read_bundle
from . import lifetime
from .connection import Connection
from .kernel import honour_requested_subshell, patch_shell_socket, survive_page_reload
from .parts.saved import Saved


class Base(anywidget.AnyWidget):
    """A widget that is freed once nobody holds or shows it; subclasses make its `_loop`, then call `_save_pictures`."""

    # declared here, or anywidget would add them by giving every widget a class of its own
    _esm = traitlets.Unicode().tag(sync=True)
    _css = traitlets.Unicode().tag(sync=True)
    _anywidget_id = traitlets.Unicode().tag(sync=True)
    _loop: Loop
    _saved: Saved
    _INSTEAD = ""  # what to do where the widget cannot be shown

    def __init__(self) -> None:
        read_bundle()  # raises FileNotFoundError before anything starts
        lifetime.collect()
        patch_shell_socket()
        super().__init__()
        lifetime.hold_weakly(self)
        honour_requested_subshell(self.comm)
        me = weakref.ref(self)
        survive_page_reload(self.comm, lambda: of(me, lambda w: w._on_page_unload(), None))
        self._connection = Connection(lambda *message: of(me, lambda w: w.send(*message), None))

    @traitlets.default("_esm")
    def _default_esm(self) -> str:
        return read_bundle()[0]

    @traitlets.default("_css")
    def _default_css(self) -> str:
        return read_bundle()[1]

    @traitlets.default("_anywidget_id")
    def _default_anywidget_id(self) -> str:
        return f"{type(self).__module__}.{type(self).__name__}"

    def add_traits(self, **traits: Any) -> None:
        """Overrides `HasTraits`: traits that are already declared need not be added."""
        unknown = {name: trait for name, trait in traits.items() if not self.has_trait(name)}
        if unknown:
            super().add_traits(**unknown)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        lifetime.keep(self)
        lifetime.shown_by_cell(self)
        if not self._loop.closed:
            self._saved.begin(pictured=self._pictured)
        return super()._repr_mimebundle_(**kwargs)

    def _save_pictures(self) -> None:
        """Have the notebook keep a picture of the widget."""
        self._saved = Saved(lambda: repr(self), self._still, lambda: self._connection.seen, self._loop, self._INSTEAD)
        me = weakref.ref(self)
        self._loop.on_idle = lambda: of(me, lambda w: w._saved.refresh(), None)

    @property
    def _pictured(self) -> bool:
        """Whether there is a picture before a page has shown the widget."""
        return True

    def _still(self) -> Image.Image | None:
        """On the loop: what is displayed, for the saved notebook; None: there is nothing that may be saved."""
        raise NotImplementedError

    def _refuse_copy(self, *_: Any) -> Any:
        raise TypeError(
            f"a widget ({type(self).__name__}) cannot be copied or pickled: it is tied to its thread and its page. "
            "Keep its settings and the model, and create another from them"
        )

    __copy__ = __deepcopy__ = __reduce_ex__ = _refuse_copy

    def _on_page_unload(self) -> None:
        """The page has discarded its side of the widget, and all views with it: rest until it is loaded again."""
        self._connection.forget_views()
        if not self._loop.closed:
            self._loop.leave()


def of(reference: Any, use: Any, otherwise: Any) -> Any:
    """Use the widget if it still exists: the loop must not keep it alive."""
    widget = reference()
    return otherwise if widget is None else use(widget)


def joined(fields: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """All fields in one dict."""
    found: dict[str, Any] = {}
    for more in fields:
        found |= more
    return found
