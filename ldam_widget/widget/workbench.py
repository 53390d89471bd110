"""`Workbench`: the toolbox without its public face; a loop that looks at pictures when it is asked to, and messages.

Developer notes. The loop never plays: a picture is looked at when the page sends one, when something is chosen, or when
Python asks. The page sends the camera's pictures only while few are unanswered, and the newest wins; a look is put off
while the page has not painted what it was sent. So a slow network or connection costs pictures and no delay.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
import traitlets
from PIL import Image
from torch import Tensor, nn

from ..core.notes import Notes
from ..data import PictureError, images_of
from ..network.trace import Preprocess, check_shape
from ..sampling.checks import pixel_range as checked_range
from ..surveys import Survey
from ..toolbox.explorer import Explorer, Shown
from .base import joined
from .parts.toolbox import screens
from .parts.toolbox.about import about_unit
from .parts.toolbox.choices import Choices
from .parts.toolbox.sources import CAMERA, Sources
from .parts.toolbox.still import still
from .parts.unit.build import checked_survey
from .protocol import Message, Other, plains
from .tool import Tool

T = TypeVar("T")


class Workbench(Tool):
    """The `Bench` of the toolbox's parts. Takes the arguments of `Toolbox`."""

    _kind = traitlets.Unicode("toolbox").tag(sync=True)  # tells the page what to show

    def __init__(
        self,
        model: nn.Module,
        *,
        input_shape: Sequence[int],
        images: Any,
        labels: Sequence[str] | None,
        compare: nn.Module | None,
        preprocess: Preprocess | None,
        pixel_range: tuple[float, float],
        device: torch.device | str | None,
        title: str | None,
        survey: Survey | None,
    ) -> None:
        shape, (low, high) = check_shape(input_shape), checked_range(pixel_range) or (0.0, 1.0)
        if len(shape) != 3:
            raise ValueError(f"input_shape must be (channels, height, width); got {shape}")
        notes, names = Notes(), () if labels is None else labels
        found = None if images is None else images_of(images, shape, (low, high), notes=notes)
        self._explorer: Explorer | None = Explorer(
            model, shape, preprocess=preprocess, device=device, labels=names, other=compare,
            pixel_range=(low, high), notes=notes,
        )  # fmt: skip
        checked = checked_survey(survey, self._explorer.probe.view, shape, preprocess)
        name = type(model).__name__ if title is None else str(title)
        super().__init__(name, notes, self._explorer.probe.device)
        self._put_off = False  # a look: the window is full, or nobody sees it
        self._ready: Message | None = None
        self._newest: tuple[Shown, str] | None = None  # what is shown, and the picture's name; None: of a camera
        self._sources = Sources(self, found, shape, (low, high))
        self._about = about_unit(self, self._sources, found, checked, preprocess, self._explorer.probe.labels)
        self._parts = (self._sources, Choices(self, self._set_echo), self._about)
        self._open()

    def _forget(self) -> None:
        self._about.close()
        self._sources.close()
        self._explorer, self._ready, self._newest = None, None, None

    # ---- the `Bench` of the parts ----------------------------------------------------------------------------------

    @property
    def explorer(self) -> Explorer:
        """What looks at pictures; use it between calls only. RuntimeError if the widget is closed."""
        if self._explorer is None:
            raise RuntimeError("the widget is closed; make a new one")
        return self._explorer

    def look(self) -> None:
        """Show the present picture soon; from any thread. Several requests are one."""
        self._request_turn()

    def post(self, content: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        """Send a message, from any thread."""
        self._connection.post(content, buffers)

    def post_state(self) -> None:
        """Send everything that may have changed."""
        self._about.follow()
        self._connection.post({"kind": "state", **self._connection.echo} | joined(part.state() for part in self._parts))

    def _hear(self, message: Other, buffers: Sequence[Any]) -> None:
        if message.kind == "picture":
            self._run(self._sources.hear(message.content, buffers))
        else:
            super()._hear(message, buffers)

    def _set_echo(self, view: str, rev: int) -> None:
        self._connection.echo = {"view": view, "rev": rev}

    # ---- on the loop -----------------------------------------------------------------------------------------------

    def _greet(self) -> None:
        """A view has appeared."""
        self._loop.pacer.wake(time.monotonic())
        more = [fields for part in self._parts for fields in (part.setup(), part.state())]
        device = str(self.explorer.probe.device)
        head = {
            "kind": "setup",
            "title": self._title,
            "device": device,
            "notes": list(self._notes),
            "error": self._error,
        }
        self._connection.post(head | self._connection.echo | joined(more))
        self._about.greet()
        self.look()

    @property
    def _due(self) -> bool:
        return self._put_off

    def _turn(self) -> None:
        """Find out what the present picture does, and send it, unless the page cannot take it now."""
        if self._explorer is None:
            return
        self._put_off = True  # first: an answer may come just now
        if not self._connection.seen or not self._loop.pacer.may_send(time.monotonic()):
            return
        self._put_off = False
        try:
            began = time.perf_counter()
            picture = self._sources.current(self.explorer.choice.fit)
            if picture is None:
                return
            name, camera = self._sources.name[:200], self._sources.source == CAMERA
            shown = self.explorer.look(picture)
            content, buffers = screens.message(shown)
            content |= {
                "reading": self._about.reading(shown),
                "name": name,
                "answers": self._sources.answers,
                "ms": 1e3 * (time.perf_counter() - began),
            }
            self._ready, self._newest = (content, buffers), None if camera else (shown, name)
        except Exception as error:
            if not self._loop.closed:
                self.report(error)
            return
        self._loop.send_now()

    def _publish(self, seq: int) -> int:
        if self._ready is None:
            return 0
        content, buffers = self._ready
        stats = self._loop.stats
        speed = {name: stats[name] for name in ("frames_per_second", "round_trip_ms")}
        self._connection.post(content | {"seq": seq, "stats": plains(speed)}, buffers)
        return sum(map(len, buffers))

    def _still(self) -> Image.Image | None:
        """None for the camera: who saves a notebook does not expect to save a photograph of themselves."""
        return None if self._newest is None else still(self._newest[0], self._title, self._newest[1])

    def _picture(self) -> Tensor:
        picture = self._sources.current(self.explorer.choice.fit)
        if picture is None:
            raise PictureError("there is no picture yet: set image, or give one in the page")
        return picture

    # ---- from Python -----------------------------------------------------------------------------------------------

    def _change(self, action: Callable[[], object]) -> None:
        """Change something on the loop; errors are raised here."""
        _ = self.explorer

        def change() -> None:
            action()
            self.report(None)
            self.post_state()

        self._call(change)
        self.look()
