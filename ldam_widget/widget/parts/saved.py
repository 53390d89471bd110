"""What a notebook keeps of a widget when it is saved: its newest picture.

The widget itself is not saved. Beside it, the cell's output has a picture, replaced now and then, that the style sheet
hides while there is a widget (`base.css`). While no page shows the widget, as in `nbconvert --execute`, it is replaced
at the end of each cell: later, such programs take no outputs. Before a page has shown the widget, there is a line of
text, too: it remains where the page cannot show widgets, and says what to do.
"""

from __future__ import annotations

import base64
import contextlib
import html
import io
import time
from collections.abc import Callable

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ...live.loop import Loop
from ..kernel import on_cell_end, publish

TILE = 56  # pixels of a panel's pictures
PATIENCE = 2.0  # seconds for which the end of a cell waits for its picture
PERIOD = 30.0  # seconds while playing: every new picture marks the notebook as changed
HELP = (
    "The live view of {0} belongs here. If it does not appear: install anywidget where Jupyter itself runs "
    "(pip install anywidget), restart Jupyter and reload the page. A page that blocks scripts cannot show it{1}"
)


class Saved:
    """The picture in the saved notebook.

    Args:
        name: describes the widget.
        page: on the loop: draws what is displayed; None: there is nothing that may be saved.
        seen: whether a page has a view.
        loop: of the widget.
        instead: what to do where it cannot be shown, in Python.
    """

    def __init__(
        self,
        name: Callable[[], str],
        page: Callable[[], Image.Image | None],
        seen: Callable[[], bool],
        loop: Loop,
        instead: str,
    ) -> None:
        self._name, self._page, self._seen, self._loop, self._instead = name, page, seen, loop, instead
        self._id = f"ldam-{id(self):x}-{time.time_ns():x}"
        self._shown = False  # whether a cell has our output
        self._hidden = True  # whether the page hides it beside the widget
        self._due = 0.0
        self._last: dict[str, str] | None = None
        on_cell_end(self)

    def begin(self, *, pictured: bool) -> None:
        """A cell is about to show the widget; `pictured`: with the picture, before a page has shown it."""
        self._shown = publish(self._bundle(None), self._id, update=False) or self._shown
        if self._shown and pictured:
            self._loop.call(self.refresh)

    def greeted(self, hides: bool) -> None:
        """On the loop: a view has appeared, in a page that hides the picture while there is a widget, or does not."""
        self._hidden, self._last = hides, None
        self.refresh()

    def refresh(self) -> None:
        """On the loop: replace the picture, if it is another one."""
        if not self._shown:
            return
        self._due = time.monotonic() + PERIOD
        bundle = self._bundle(self._png()) if self._hidden else {"text/plain": ""}
        if bundle != self._last:
            self._last = bundle
            publish(bundle, self._id, update=True)

    def cell_ended(self) -> None:
        """From the cell's thread: `refresh` unless a page shows the widget."""
        if self._shown and not self._seen():
            with contextlib.suppress(Exception):  # closed, or busy for too long: the picture before stays
                self._loop.submit(self.refresh).result(PATIENCE)

    def when_due(self) -> None:
        """On the loop: `refresh` if that was long ago."""
        if self._shown and self._hidden and time.monotonic() >= self._due:
            self.refresh()

    def _bundle(self, png: bytes | None) -> dict[str, str]:
        name = self._name()
        picture = "" if png is None else base64.b64encode(png).decode()
        if png is not None and self._seen():
            return {"text/plain": name, "image/png": picture}
        text = HELP.format(name, f"; {self._instead}." if self._instead else ".")
        shown = f'<br><img alt="{html.escape(name)}" src="data:image/png;base64,{picture}">' if picture else ""
        return {"text/plain": text, "text/html": f'<div class="ldam-saved">{html.escape(text)}{shown}</div>'}

    def _png(self) -> bytes | None:
        page = self._page()
        if page is None:
            return None
        mark = PngInfo()
        mark.add_text("Software", "ldam-widget")  # by which the style sheet knows it
        file = io.BytesIO()
        page.save(file, "PNG", pnginfo=mark)
        return file.getvalue()
