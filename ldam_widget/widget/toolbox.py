"""`Toolbox`: real pictures in a network, live, as the Deep Visualization Toolbox showed them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..network.trace import Preprocess
from ..surveys import Survey
from ..toolbox.choice import OFF
from ..toolbox.probe import Class
from .workbench import Workbench


class Toolbox(Workbench):
    """What pictures do in a network, live: every channel of every layer, classes, and backward views.

    ``ldam.Toolbox(model, input_shape=(3, 224, 224), images="photos/", labels=names)`` shows the pictures of a folder;
    in the page, others can be dropped, pasted, chosen or taken with the camera. Press ? in it for the keys.

    Args:
        model: any `nn.Module`; it is left unchanged. Changes of its weights show with the next picture.
        input_shape: of one picture, (channels, height, width).
        images: a folder, an array, a tensor or a Dataset, see `images_of`; None: only what the page gives.
        labels: names of the classes, one per output of the model.
        compare: another model with the same layers, such as another checkpoint: its differences are shown.
        preprocess: pictures in the pixel range -> the model's input.
        pixel_range: (lo, hi) of black and white.
        device: None: CUDA if there is one, else where the weights are.
        layer: the first one shown; None: the first with a map.
        title: heading; the model's class name by default.
        survey: of this network, see `ldam.survey`: what it says of a channel is shown on the channel's page. Without
            one, some of `images` are looked at: a few thousand, in the background.

    All choices can be read and set: ``t.layer, t.unit, t.rule = "layer3", 17, "guided"``.

    Raises:
        TypeError, ValueError, FileNotFoundError: arguments that do not fit; the message says which.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        input_shape: Sequence[int],
        images: Any = None,
        labels: Sequence[str] | None = None,
        compare: nn.Module | None = None,
        preprocess: Preprocess | None = None,
        pixel_range: tuple[float, float] = (0.0, 1.0),
        device: torch.device | str | None = None,
        layer: str | None = None,
        title: str | None = None,
        survey: Survey | None = None,
    ) -> None:
        super().__init__(
            model, input_shape=input_shape, images=images, labels=labels, compare=compare, preprocess=preprocess,
            pixel_range=pixel_range, device=device, title=title, survey=survey,
        )  # fmt: skip
        if layer is not None:
            self.explorer.choose(layer=layer)

    def __repr__(self) -> str:
        if self._explorer is None:
            return "Toolbox(closed)"
        choice = self._explorer.choice
        return f"Toolbox({self._title}, layer {choice.layer}, unit {_plain(choice.unit)})"

    # ---- choices ---------------------------------------------------------------------------------------------------

    @property
    def layer(self) -> str:
        """Dotted name of the layer whose channels are shown; can be set, as all that follows."""
        return self.explorer.choice.layer

    @layer.setter
    def layer(self, layer: str) -> None:
        self._choose(layer=layer)

    @property
    def unit(self) -> int | tuple[int, ...]:
        """The chosen channel, or (channel, y, x)."""
        return _plain(self.explorer.choice.unit)

    @unit.setter
    def unit(self, unit: int | tuple[int, ...]) -> None:
        self._choose(unit=unit)

    @property
    def rule(self) -> str:
        """The backward view of the unit: "off", "gradient", "guided" or "deconv", see `ldam.backward`."""
        return self.explorer.choice.rule

    @rule.setter
    def rule(self, rule: str | None) -> None:
        self._choose(rule=OFF if rule is None else rule)

    @property
    def view(self) -> str:
        """How the gradient becomes a picture: "raw", "grey", "norm", "blurred" or "positive", see `ldam.views`."""
        return self.explorer.choice.view

    @view.setter
    def view(self, view: str) -> None:
        self._choose(view=view)

    @property
    def show(self) -> str:
        """What the tiles are: "activations"; "backward", the gradient of the pinned unit; or "difference", the
        activations of the other model minus those of this one."""
        return self.explorer.choice.show

    @show.setter
    def show(self, show: str) -> None:
        self._choose(show=show)

    @property
    def boost(self) -> float:
        """From 0 (all channels are scaled by the layer's maximum) to 1 (each by its own)."""
        return self.explorer.choice.boost

    @boost.setter
    def boost(self, boost: float) -> None:
        self._choose(boost=boost)

    @property
    def gamma(self) -> float:
        """Exponent of the grey levels of tiles, above 0 and up to 1: below 1, weak activations are brighter."""
        return self.explorer.choice.gamma

    @gamma.setter
    def gamma(self, gamma: float) -> None:
        self._choose(gamma=gamma)

    @property
    def fit(self) -> str:
        """How picture files and the camera's pictures are brought into shape: "crop" or "stretch"."""
        return self.explorer.choice.fit

    @fit.setter
    def fit(self, fit: str) -> None:
        self._choose(fit=fit)

    @property
    def frozen(self) -> bool:
        """Whether the camera's picture is held."""
        return self.explorer.choice.frozen

    def freeze(self, on: bool = True) -> None:
        """Hold the camera's picture, or let it move again."""
        self._choose(frozen=on)

    @property
    def pinned(self) -> tuple[str, int | tuple[int, ...]] | None:
        """Layer and unit that backward views start from; None: those chosen."""
        pinned = self.explorer.choice.pinned
        return None if pinned is None else (pinned[0], _plain(pinned[1]))

    def pin(self, on: bool = True) -> None:
        """Keep the chosen unit as the start of backward views while other layers are looked at."""
        self._change(lambda: self.explorer.pin(on))

    def unit_page(self, open: bool = True) -> None:
        """Open the page of the chosen channel, as the button "about unit" and the key p do, or close it.

        It shows the strongest real images (of `survey`, or of some of `images`), what of them the channel reacts to,
        how the present picture ranks among them, what drives it and what it drives, and the picture that an optimiser
        finds. While it is open, it follows the choice.
        """
        _ = self.explorer
        self._call(self._about.open if open else self._about.shut)

    # ---- pictures --------------------------------------------------------------------------------------------------

    @property
    def image(self) -> Tensor | None:
        """The present picture, (channels, height, width) in the pixel range; None if there is none yet.

        Can be set to a tensor, an array, a PIL image or the name of a file.
        """
        return self._call(lambda: self._sources.current(self.explorer.choice.fit))

    @image.setter
    def image(self, image: Any) -> None:
        self._change(lambda: self._sources.give(image, self.explorer.choice.fit))

    @property
    def source(self) -> str:
        """Where pictures come from: "images" (given in Python), "files" (given in the page) or "camera"."""
        return self._sources.source

    @source.setter
    def source(self, source: str) -> None:
        self._change(lambda: self._sources.use(source))

    @property
    def index(self) -> int:
        """The number of the present picture in its source."""
        return self._sources.index

    @index.setter
    def index(self, index: int) -> None:
        self._change(lambda: self._sources.go_to(index))

    def next(self) -> None:
        """Show the next picture that can be read."""
        self._change(lambda: self._sources.step(1))

    def previous(self) -> None:
        """Show the picture before."""
        self._change(lambda: self._sources.step(-1))

    @property
    def classes(self) -> list[Class]:
        """The five most probable classes of the present picture: number, name, probability."""
        return self._call(lambda: self.explorer.probe.read(self._picture(), self.layer).classes)

    @property
    def gradient(self) -> Tensor:
        """The backward view of the unit before it becomes a picture, like `image`. ValueError if `rule` is "off"."""
        return self._call(lambda: self.explorer.gradient(self._picture()))

    @property
    def error(self) -> str | None:
        """What the banner says."""
        return None if self._error is None else self._error["message"]

    @property
    def stats(self) -> dict[str, float]:
        """frames_per_second (pictures shown), bytes_per_frame and round_trip_ms, over about a second."""
        return {name: value for name, value in self._loop.stats.items() if name != "steps_per_second"}

    def _choose(self, **changes: Any) -> None:
        self._change(lambda: self.explorer.choose(**changes))

    def __setattr__(self, name: str, value: Any) -> None:
        ours = type(self).__module__.partition(".")[0] == __name__.partition(".")[0]
        if ours and not name.startswith("_") and not hasattr(type(self), name):
            raise AttributeError(f"Toolbox has no attribute {name!r}")
        super().__setattr__(name, value)


def _plain(unit: tuple[int, ...]) -> int | tuple[int, ...]:
    return unit[0] if len(unit) == 1 else unit
