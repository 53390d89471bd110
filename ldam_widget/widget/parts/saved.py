"""What a notebook keeps of a panel when it is saved: its newest picture.

The panel itself is not saved. Beside it, the cell's output has a picture, replaced now and then, that the style sheet
hides while there is a panel (`base.css`). Before a page has shown the panel, there is a line of text instead: it
remains where the page cannot show panels, and says what to do.
"""

from __future__ import annotations

import base64
import html
import io
import time
from collections.abc import Callable

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..kernel import publish
from .part import Host, Part

TILE = 56  # pixels
PERIOD = 30.0  # seconds while playing: every new picture marks the notebook as changed
HELP = (
    "The live panel of {0} belongs here. If it does not appear: install anywidget where Jupyter itself runs "
    "(pip install anywidget), restart Jupyter and reload the page. A page that blocks scripts cannot show it; "
    'w.export_html("run.html") and w.snapshot() save what it would show.'
)


class Saved(Part):
    """The picture in the saved notebook.

    Args:
        host: the panel.
        page: draws the displayed picture, given the tile size in pixels.
    """

    def __init__(self, host: Host, page: Callable[[int], Image.Image]) -> None:
        super().__init__(host)
        self._page = page
        self._id = f"ldam-{id(self):x}-{time.time_ns():x}"
        self._shown = False  # whether a cell has our output
        self._hidden = True  # whether the page hides it beside the panel
        self._due = 0.0

    def begin(self) -> None:
        """A cell is about to show the panel."""
        self._shown = publish(self._bundle(None), self._id, update=False) or self._shown
        if self._shown and self.host.runner.steps:
            self.host.loop.call(self.refresh)

    def greeted(self, hides: bool) -> None:
        """On the loop: a view has appeared, in a page that hides the picture while there is a panel, or does not."""
        self._hidden = hides
        self.refresh()

    def refresh(self) -> None:
        """On the loop: replace the picture."""
        if self._shown:
            self._due = time.monotonic() + PERIOD
            publish(self._bundle(self._png()) if self._hidden else {"text/plain": ""}, self._id, update=True)

    def on_frame(self) -> None:
        if self._shown and self._hidden and time.monotonic() >= self._due:
            self.refresh()

    def _bundle(self, png: bytes | None) -> dict[str, str]:
        name = repr(self.host)
        picture = "" if png is None else base64.b64encode(png).decode()
        if png is not None and self.host.seen:
            return {"text/plain": name, "image/png": picture}
        text = HELP.format(name)
        shown = f'<br><img alt="{html.escape(name)}" src="data:image/png;base64,{picture}">' if picture else ""
        return {"text/plain": text, "text/html": f'<div class="ldam-saved">{html.escape(text)}{shown}</div>'}

    def _png(self) -> bytes:
        mark = PngInfo()
        mark.add_text("Software", "ldam-widget")  # by which the style sheet knows it
        file = io.BytesIO()
        self._page(TILE).save(file, "PNG", pnginfo=mark)
        return file.getvalue()
